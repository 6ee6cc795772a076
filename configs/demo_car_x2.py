"""A small CAR for x2 that learns from the photographs of `prepare_data.py demo`."""

_base_ = 'car_x2.py'

small_kgn = dict(mid_channels=16, num_blocks=2)
small_usn = dict(mid_channels=32, num_blocks=8, res_scale=1.0)
model = dict(generator=dict(downscaler=small_kgn, upscaler=small_usn))

data_root, global_batch_size = 'data/demo', 16
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(cache=True)
train_pipeline[1].update(lr_patch_size=24)
train_dataloader = dict(
    batch_size=global_batch_size,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
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
