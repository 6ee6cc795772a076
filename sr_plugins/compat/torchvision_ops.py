"""Let torchvision import when its compiled operators do not load.

Symptom: `import torchvision` raises "operator torchvision::nms does not exist".
Needed by: torchvision >= 0.17 built for another torch than the one installed, for
instance the registry's CUDA build of torchvision beside a CPU build of torch.
Repair: before torchvision registers its fake kernels it finds the two operators
declared, without a kernel. Calling them still fails, with torchvision's own message.
"""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']

SCHEMA = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'


@contextmanager
def _operators_declared() -> Iterator[None]:
    # The extension declares the operators if it loads at all, so ask afterwards.
    importlib.import_module('torchvision.extension')
    import torch

    for name in ('nms', 'qnms'):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f'torchvision::{name}', SCHEMA)
    yield


def _needed() -> bool:
    if importlib.util.find_spec('torchvision') is None:
        return False
    return not importlib.import_module('torchvision.extension')._has_ops()


def _install() -> None:
    _import_hook.around('torchvision._meta_registrations', _operators_declared)


REPAIR = Repair(
    name='torchvision operators',
    symptom='import torchvision: operator torchvision::nms does not exist',
    versions='torchvision >= 0.17 built for another torch',
    needed=_needed,
    install=_install,
)
