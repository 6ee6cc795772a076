"""The full EDSR, 32 x 256 with residual scaling; recipe as the baseline."""

_base_ = 'edsr_baseline.py'

model = dict(generator=dict(mid_channels=256, num_blocks=32, res_scale=0.1))
