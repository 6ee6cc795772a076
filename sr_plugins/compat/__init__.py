"""Repairs of the upstream packages, put in place by importing this package.

Importing it is cheap: each repair waits until the package it concerns is imported,
and does nothing where the installed versions do not need it. Import it before
mmagic, basicsr and torchvision; `sr_plugins.registry` does.
"""

from . import (
    basicsr_functional_tensor,
    checkpoint_loading,
    checkpoint_writing,
    cpu_distributed,
    mmagic_imports,
    mmcv_ops,
    numpy_bool8,
    torchvision_ops,
)
from ._repair import Repair

__all__ = ['REPAIRS', 'Repair', 'active']

# mmagic comes last: where it is imported already, its repair imports what is left,
# which needs the others.
REPAIRS: tuple[Repair, ...] = (
    torchvision_ops.REPAIR,
    basicsr_functional_tensor.REPAIR,
    mmcv_ops.REPAIR,
    numpy_bool8.REPAIR,
    checkpoint_loading.REPAIR,
    checkpoint_writing.REPAIR,
    cpu_distributed.REPAIR,
    mmagic_imports.REPAIR,
)


def active() -> list[Repair]:
    """Return the repairs that the installed versions need; imports some of them."""
    return [repair for repair in REPAIRS if repair.needed()]


for _repair in REPAIRS:
    _repair.install()
