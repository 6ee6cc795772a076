"""Weights in and out: our own and those of the published code, BasicSR and mmagic."""

from .contents import CheckpointMismatchError, require_finite
from .convert import Conversion, convert
from .families import FAMILIES, PACKAGES, Architecture, Dialect, Family
from .inspection import Inspection, build, inspect
from .load import LoadReport, load
from .resume import (
    find_resumable,
    first_readable,
    last_readable,
    require_resumable,
    set_aside,
)

__all__ = [
    'FAMILIES',
    'PACKAGES',
    'Architecture',
    'CheckpointMismatchError',
    'Conversion',
    'Dialect',
    'Family',
    'Inspection',
    'LoadReport',
    'build',
    'convert',
    'find_resumable',
    'first_readable',
    'inspect',
    'last_readable',
    'load',
    'require_finite',
    'require_resumable',
    'set_aside',
]
