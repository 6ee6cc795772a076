"""MDSR and its published recipe: 650 epochs of 1000 steps, at one scale each.

Validated at x2; testing and inference choose with `--scale`.
"""

_base_ = ['edsr_baseline.py', 'div2k.py', 'runtime.py']

scales = (2, 3, 4)
model = dict(
    type='sr_plugins.MultiScaleModel',
    generator=dict(
        _delete_=True, type='sr_plugins.MDSR', scales=scales, mid_channels=64
    ),
)
train_dataloader = dict(
    batch_sampler=dict(type='sr_plugins.OneScaleBatchSampler'),
    drop_last=False,  # there is no last batch; torch refuses it beside a batch sampler
    dataset=dict(scale=scales),
)
val_dataloader = dict(dataset=dict(scale=scales[0]))
test_dataloader = dict(dataset=dict(scale=scales[0]))
# Halved every 200,000 steps, as the paper has it.
param_scheduler = dict(milestones=[200_000, 400_000, 600_000])
train_cfg = dict(max_iters=650_000)
# A step leaves the ends of the other scales without gradients.
find_unused_parameters = True
