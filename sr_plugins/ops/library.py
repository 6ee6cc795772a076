"""Compiled kernels: the files they are in, and whether they fit.

A library names the torch and the sources that it was built of. Another torch has
another binary interface, so a library is loaded under its own torch only.
"""

import hashlib
import os
import platform
import sys
import warnings
from functools import cache
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
SOURCES = FOLDER / 'csrc'
BUILD = 'python -m sr_plugins.ops.build'
_SWITCH = 'SR_PLUGINS_OPS'


def library_path(kind: str) -> Path:
    """Where the kernels for `kind`, 'cpu' or 'cuda', of this torch belong."""
    version = f'torch{torch.__version__}-{platform.machine()}'
    return FOLDER / f'{kind}-{version}-{_digest(kind)}.so'


def kinds() -> list[str]:
    """What this torch can use kernels for."""
    return ['cpu', 'cuda'] if torch.version.cuda else ['cpu']


def state(kind: str) -> str:
    """'built', 'outdated' (for another torch, or of other sources) or 'missing'."""
    if library_path(kind).exists():
        return 'built'
    return 'outdated' if any(FOLDER.glob(f'{kind}-*.so')) else 'missing'


def wanted() -> bool:
    """False where SR_PLUGINS_OPS=reference in the environment asks for torch's own.

    Raises:
        ValueError: when it says anything else.
    """
    value = os.environ.get(_SWITCH, '')
    if value not in ('', 'reference'):
        raise ValueError(
            f"Expected {_SWITCH} in the environment to be 'reference' or unset, but "
            f'got {value!r}.'
        )
    return not value


def load() -> None:
    """Load what is built; warn of what does not fit. Nothing is compiled."""
    if not wanted():
        return
    for kind in kinds():
        found = state(kind)
        if found == 'built':
            try:
                torch.ops.load_library(library_path(kind))
            except OSError as error:
                _warn(f'they cannot be loaded ({error})', '--force')
        # Not while it is being mended.
        elif found == 'outdated' and 'sr_plugins.ops.build' not in sys.orig_argv:
            _warn('they are for another torch or of older sources')


def _warn(reason: str, *options: str) -> None:
    warnings.warn(
        f'Expected the compiled kernels in {FOLDER} to fit, but {reason}. The slower '
        f'operators of torch take their place. Build them again: '
        f'{" ".join([BUILD, *options])}. {_SWITCH}=reference in the environment does '
        f'without this message.',
        stacklevel=4,
    )


@cache
def _digest(kind: str) -> str:
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob('*.h'), *(SOURCES / kind).iterdir()]):
        digest.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    return digest.hexdigest()[:12]
