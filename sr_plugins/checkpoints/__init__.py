"""Weights in: our own files and those of the published code, BasicSR and mmagic."""

from .families import FAMILIES, PACKAGES, Architecture, Dialect, Family
from .load import CheckpointMismatchError, LoadReport, load
from .resume import find_resumable, last_readable, require_resumable, set_aside

__all__ = [
    'FAMILIES',
    'PACKAGES',
    'Architecture',
    'CheckpointMismatchError',
    'Dialect',
    'Family',
    'LoadReport',
    'find_resumable',
    'last_readable',
    'load',
    'require_resumable',
    'set_aside',
]
