"""CAR, both networks from scratch on HR images alone: 500 epochs of 400 steps.

Crop, batch and losses as in the leaves; the rate falls in five equal parts.
"""

_base_ = ['edsr_baseline.py', 'div2k.py', 'runtime.py']

model = dict(
    type='sr_plugins.CARModel',
    generator=dict(
        _delete_=True,
        type='sr_plugins.CAR',
        downscaler=dict(mid_channels=128, num_blocks=5),
        upscaler=dict(mid_channels=256, num_blocks=32, res_scale=0.1),
    ),
    # Weights of the MindSpore code; the paper gives none.
    offset_loss=dict(type='sr_plugins.OffsetLoss'),
    tv_loss=dict(type='sr_plugins.PartialTVLoss'),
)

# The HR image is its own input.
copy = dict(
    type='CopyValues',
    src_keys=['gt', 'gt_channel_order', 'gt_color_type'],
    dst_keys=['img', 'img_channel_order', 'img_color_type'],
)
# No transposition, as published.
train_pipeline = [
    _base_.load,
    dict(type='sr_plugins.PairedRandomCrop', lr_patch_size=48),
    dict(type='Flip', keys=['gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['gt'], flip_ratio=0.5, direction='vertical'),
    copy,
    _base_.pack,
]
# Whole images less the rest of a division by 8, as published.
crop = dict(type='sr_plugins.CropToMultiple', multiple=8)
test_pipeline = [_base_.load, crop, copy, _base_.pack]
inference_pipeline = test_pipeline
train_dataloader = dict(dataset=dict(lr=None, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(lr=None, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(lr=None, pipeline=test_pipeline))
test_evaluator = [
    *_base_.val_evaluator,
    dict(type='sr_plugins.PSNR', protocol='car_y'),
    dict(type='sr_plugins.SSIM', protocol='car_y'),
    dict(type='sr_plugins.LRRate'),
    dict(type='sr_plugins.LRRate', jpeg_quality=90),
]

optim_wrapper = dict(optimizer=dict(eps=1e-6))
# 1e-4, 5e-5, 1e-5, 5e-6 and 1e-6, as in the MindSpore code. In the paper the rate falls
# when validation stalls.
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[40_000, 120_000], gamma=0.5),
    dict(type='MultiStepLR', by_epoch=False, milestones=[80_000, 160_000], gamma=0.2),
]
train_cfg = dict(max_iters=200_000)

visualizer = dict(img_keys=['lr_img', 'pred_img', 'gt_img'])
