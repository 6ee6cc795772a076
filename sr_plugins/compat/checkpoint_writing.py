"""Let a killed training always find a whole checkpoint.

Symptom: after a kill in mid-write the newest checkpoint is torn, `last_checkpoint`
names it or is empty, and with `max_keep_ckpts=1` the one before is already removed.
Needed by: mmengine <= 0.10.7, with every torch.
Repair: checkpoints and `last_checkpoint` on local disks are written atomically, and
an old checkpoint is removed only after the new one and `last_checkpoint` are on the
disk. History buffers are stored as plain values, so a stock torch reads the files.
"""

import builtins
import importlib.util
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']


def _repair_saving(module: ModuleType) -> None:
    from mmengine.fileio import LocalBackend, get_file_backend

    from sr_plugins import fileio

    from ._checkpoint_values import pack

    stock = module.save_checkpoint
    if getattr(stock, '__wrapped__', None) is not None:
        return

    @wraps(stock)
    def save_checkpoint(
        checkpoint: dict,
        filename: str,
        file_client_args: dict | None = None,
        backend_args: dict | None = None,
    ) -> None:
        packed = pack(checkpoint)
        _warn_if_unreadable(packed)
        filename = str(filename)
        if (
            file_client_args is None
            and not filename.startswith('pavi://')
            and isinstance(
                get_file_backend(filename, backend_args=backend_args), LocalBackend
            )
        ):
            fileio.torch_save(packed, filename)
        else:
            stock(packed, filename, file_client_args, backend_args)

    for user in list(sys.modules.values()):
        # Modules that took the stock function by name, if this repair comes late.
        if getattr(user, '__dict__', {}).get('save_checkpoint') is stock:
            user.save_checkpoint = save_checkpoint


def _warn_if_unreadable(checkpoint: dict) -> None:
    """Say now, not when the training is resumed, that a value will be refused."""
    import torch
    from mmengine.logging import print_log

    from sr_plugins import fileio

    for part in ('message_hub', 'meta'):
        buffer = io.BytesIO()
        torch.save(checkpoint.get(part), buffer)
        buffer.seek(0)
        try:
            fileio.torch_load(buffer)
        except fileio.UnsafeFileError as error:
            print_log(
                f'Expected `{part}` to be loadable, but this checkpoint cannot be '
                f'resumed from: {error}',
                logger='current',
                level=30,
            )


def _repair_hook(module: ModuleType) -> None:
    from sr_plugins import fileio

    hook = module.CheckpointHook
    stock = hook._save_checkpoint_with_step
    if getattr(stock, '__wrapped__', None) is not None:
        return

    @contextmanager
    def open_whole(path: str, mode: str) -> Iterator[Any]:
        with fileio.atomic_path(path) as temporary, temporary.open(mode) as file:
            yield file

    def open_(path: str, mode: str = 'r', *args: Any, **options: Any) -> Any:
        # The hook opens one file in its own name: `last_checkpoint`.
        if mode == 'w' and not args and not options:
            return open_whole(path, mode)
        return builtins.open(path, mode, *args, **options)

    @wraps(stock)
    def save_checkpoint_with_step(self: Any, *args: Any, **options: Any) -> None:
        backend = self.file_backend
        self.file_backend = _LateRemoval(backend)
        try:
            stock(self, *args, **options)
            self.file_backend.remove_now()
        finally:
            self.file_backend = backend

    module.open = open_
    hook._save_checkpoint_with_step = save_checkpoint_with_step


class _LateRemoval:
    """A file backend that removes files when told to, not before."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._pending = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._pending.append(partial(self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._pending.append(partial(self._backend.rmtree, path))

    def remove_now(self) -> None:
        for remove in self._pending:
            remove()


def _needed() -> bool:
    return importlib.util.find_spec('mmengine') is not None


def _install() -> None:
    _import_hook.after('mmengine.runner.checkpoint', _repair_saving)
    _import_hook.after('mmengine.hooks.checkpoint_hook', _repair_hook)


REPAIR = Repair(
    name='checkpoint writing',
    symptom='a kill in mid-write leaves a torn checkpoint',
    versions='mmengine <= 0.10.7',
    needed=_needed,
    install=_install,
)
