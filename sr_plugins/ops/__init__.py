"""Custom operators. Without compiled kernels all of them run on torch's own."""

from .adaptive_grid_sample import adaptive_grid_sample, adaptive_grid_sample_reference
from .library import load as _load

__all__ = ['adaptive_grid_sample', 'adaptive_grid_sample_reference']

_load()
