"""Preparing data sets: MATLAB's bicubic resizing and the folder layouts.

Imports neither torch nor MMEngine, so that worker processes start quickly.
"""

from .demo import prepare_demo
from .download import DIV2K_URL, download_div2k
from .folders import prepare_benchmark, prepare_div2k
from .gopro import prepare_gopro
from .images import read_rgb
from .imresize import crop_to_multiple, downscale, imresize
from .runner import Report

__all__ = [
    'DIV2K_URL',
    'Report',
    'crop_to_multiple',
    'download_div2k',
    'downscale',
    'imresize',
    'prepare_benchmark',
    'prepare_demo',
    'prepare_div2k',
    'prepare_gopro',
    'read_rgb',
]
