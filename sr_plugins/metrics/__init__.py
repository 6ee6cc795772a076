"""PSNR and SSIM under named protocols: functions, and metrics for MMEngine."""

from .functional import (
    PROTOCOLS,
    Protocol,
    get_protocol,
    psnr,
    ssim,
)
from .sr_metrics import PSNR, SSIM

__all__ = ['PROTOCOLS', 'PSNR', 'SSIM', 'Protocol', 'get_protocol', 'psnr', 'ssim']
