"""Let mmengine train in several processes on a machine without a GPU.

Symptom: under torchrun, `Runner` raises AttributeError or AssertionError from
`torch.cuda.set_device`, then ValueError for `device_ids`.
Needed by: mmengine <= 0.10.7 where torch sees no accelerator.
Repair: the 'pytorch' launcher uses gloo instead of nccl and leaves `torch.cuda`
alone, and the model is wrapped without `device_ids`, which DistributedDataParallel
accepts for GPU models only. With an accelerator both do what they did.
"""

import importlib.util
import os
from functools import wraps
from types import ModuleType
from typing import Any

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']


def _repair_launcher(module: ModuleType) -> None:
    stock = module._init_dist_pytorch
    if getattr(stock, '__wrapped__', None) is not None:
        return

    @wraps(stock)
    def init_dist(backend: str, init_backend: str = 'torch', **options: Any) -> None:
        if _has_accelerator() or init_backend != 'torch':
            stock(backend, init_backend=init_backend, **options)
            return
        from torch import distributed

        backend = backend if backend in ('gloo', 'mpi', 'ucc') else 'gloo'
        distributed.init_process_group(
            backend=backend,
            rank=int(os.environ['RANK']),
            world_size=int(os.environ['WORLD_SIZE']),
            **options,
        )

    module._init_dist_pytorch = init_dist


def _repair_wrapper(module: ModuleType) -> None:
    wrapper = module.MMDistributedDataParallel
    stock = wrapper.__init__
    if getattr(stock, '__wrapped__', None) is not None:
        return

    @wraps(stock)
    def init(self: Any, module: Any, *args: Any, **options: Any) -> None:
        if not _has_accelerator():
            options['device_ids'] = None
        stock(self, module, *args, **options)

    wrapper.__init__ = init


def _has_accelerator() -> bool:
    from mmengine.device import get_device

    return get_device() not in ('cpu', 'mps')


def _needed() -> bool:
    return importlib.util.find_spec('mmengine') is not None and not _has_accelerator()


def _install() -> None:
    _import_hook.after('mmengine.dist.utils', _repair_launcher)
    _import_hook.after('mmengine.model.wrappers.distributed', _repair_wrapper)


REPAIR = Repair(
    name='distributed on CPUs',
    symptom='torchrun without a GPU: error from torch.cuda.set_device, device_ids',
    versions='mmengine <= 0.10.7 without an accelerator',
    needed=_needed,
    install=_install,
)
