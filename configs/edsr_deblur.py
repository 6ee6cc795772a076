"""EDSR at the size of its input (x1, 16 x 64), trained to deblur on pairs of GoPro."""

_base_ = ['_base_/edsr_baseline.py', '_base_/gopro.py', '_base_/runtime.py']

model = dict(generator=dict(scale=1))
default_hooks = dict(checkpoint=dict(save_best='rgb_whole/PSNR'))
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(metrics=('rgb_whole/PSNR', 'rgb_whole/SSIM'))
