"""Pieces that several networks share; torch only."""

from .attention import cross_scale_attention, in_scale_attention
from .checks import check_image, check_scale
from .mean_shift import DIV2K_MEAN, image_mean
from .upsample import PixelShuffleUpsample, make_upsampler

__all__ = [
    'DIV2K_MEAN',
    'PixelShuffleUpsample',
    'check_image',
    'check_scale',
    'cross_scale_attention',
    'image_mean',
    'in_scale_attention',
    'make_upsampler',
]
