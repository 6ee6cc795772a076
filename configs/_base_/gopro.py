"""Pairs of blurred and sharp photographs of one size, GoPro, for training and testing.

The layout is that of `tools/prepare_data.py gopro`.
"""

_base_ = 'div2k.py'

lr_patch_size = 96
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(lr_patch_size=lr_patch_size)
train_dataloader = dict(
    dataset=dict(
        scale=1,
        hr='GoPro/train/sharp',
        lr='GoPro/train/blur',
        lr_name='{name}',
        pipeline=train_pipeline,
    )
)
test_data = dict(scale=1, hr='GoPro/test/sharp', lr='GoPro/test/blur', lr_name='{name}')
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)
val_evaluator = [
    dict(type='sr_plugins.PSNR', protocol='rgb_whole'),
    dict(type='sr_plugins.SSIM', protocol='rgb_whole'),
]
test_evaluator = val_evaluator
test_cfg = dict(sets=dict(GoPro=('GoPro/test/sharp', 'GoPro/test/blur')))
