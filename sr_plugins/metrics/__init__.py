"""PSNR and SSIM under named protocols, and rates: functions, and MMEngine metrics."""

from .functional import (
    PROTOCOLS,
    Protocol,
    get_protocol,
    psnr,
    ssim,
)
from .image_metric import ImageMetric
from .lr_rate import LRRate, bits_per_pixel
from .sr_metrics import PSNR, SSIM

__all__ = [
    'PROTOCOLS',
    'PSNR',
    'SSIM',
    'ImageMetric',
    'LRRate',
    'Protocol',
    'bits_per_pixel',
    'get_protocol',
    'psnr',
    'ssim',
]
