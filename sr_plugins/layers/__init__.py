"""Pieces that several networks share; torch only."""

from .attention_reference import (
    cross_scale_attention_reference,
    in_scale_attention_reference,
)
from .checks import check_image, check_scale
from .cross_scale import cross_scale_attention
from .in_scale import in_scale_attention
from .mean_shift import DIV2K_MEAN, image_mean
from .memory import check_budget
from .quantize import quantize
from .recompute import recompute
from .residual import ResidualBlock
from .upsample import PixelShuffleUpsample, make_upsampler

__all__ = [
    'DIV2K_MEAN',
    'PixelShuffleUpsample',
    'ResidualBlock',
    'check_budget',
    'check_image',
    'check_scale',
    'cross_scale_attention',
    'cross_scale_attention_reference',
    'image_mean',
    'in_scale_attention',
    'in_scale_attention_reference',
    'make_upsampler',
    'quantize',
    'recompute',
]
