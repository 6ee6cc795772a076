"""CSNLN and its published recipe: 1000 epochs of 1000 steps, halved every 200."""

_base_ = 'edsr_baseline.py'

model = dict(
    type='sr_plugins.SRModel',
    generator=dict(
        _delete_=True, type='sr_plugins.CSNLN', mid_channels=128, num_recurrences=12
    ),
)
param_scheduler = dict(milestones=[200_000, 400_000, 600_000, 800_000])
train_cfg = dict(max_iters=1_000_000)
