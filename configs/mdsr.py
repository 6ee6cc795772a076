"""The full MDSR (80 x 64) for x2, x3 and x4, trained on DIV2K."""

_base_ = '_base_/mdsr.py'

model = dict(generator=dict(num_blocks=80))
