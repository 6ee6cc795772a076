"""From a photograph to a larger one, or to a smaller one and back."""

from .comparison import compare, save_comparison
from .kernel_plot import plot_kernels
from .memory import peak_memory
from .mmagic_inferencer import MMagicInferencer
from .photographs import Photograph, read_photograph, write_photograph
from .rescaler import Rescaler, make_scaler, scaler_from_config, steps
from .selection import find_images, plan_outputs
from .sharing import Share
from .upscaler import Upscaler, load_network

__all__ = [
    'MMagicInferencer',
    'Photograph',
    'Rescaler',
    'Share',
    'Upscaler',
    'compare',
    'find_images',
    'load_network',
    'make_scaler',
    'peak_memory',
    'plan_outputs',
    'plot_kernels',
    'read_photograph',
    'save_comparison',
    'scaler_from_config',
    'steps',
    'write_photograph',
]
