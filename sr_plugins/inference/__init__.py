"""From a photograph to a larger one."""

from .comparison import compare, save_comparison
from .mmagic_inferencer import MMagicInferencer
from .photographs import Photograph, read_photograph, write_photograph
from .selection import find_images, plan_outputs
from .upscaler import Upscaler

__all__ = [
    'MMagicInferencer',
    'Photograph',
    'Upscaler',
    'compare',
    'find_images',
    'plan_outputs',
    'read_photograph',
    'save_comparison',
    'write_photograph',
]
