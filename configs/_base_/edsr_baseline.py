"""EDSR baseline, 16 x 64, and its published recipe: 300 epochs of 1000 steps."""

model = dict(
    type='BaseEditModel',
    generator=dict(
        type='sr_plugins.EDSR', mid_channels=64, num_blocks=16, res_scale=1.0
    ),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    # Images of [0, 255] become the [0, 1] that the networks take.
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
)

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999))
)
param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[200_000], gamma=0.5
)
train_cfg = dict(
    type='sr_plugins.ResumableTrainLoop', max_iters=300_000, val_interval=5000
)
