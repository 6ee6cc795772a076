"""A small EDSR for x2 that learns from a few photographs within minutes on a CPU.

The photographs come from `python tools/prepare_data.py demo`.
"""

_base_ = ['edsr_baseline_x2.py']

model = dict(generator=dict(mid_channels=32, num_blocks=8))

data_root = 'data/demo'
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(cache=True)
train_pipeline[1].update(lr_patch_size=24)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

train_cfg = dict(max_iters=1000, val_interval=250)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=1000, eta_min=1e-5
)
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=250),
    visualization=dict(interval=1),
)
