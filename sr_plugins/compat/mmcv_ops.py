"""Let `mmcv.ops` import from mmcv-lite.

Symptom: `import mmcv.ops`, and with it `import mmagic.models`, raises "No module
named 'mmcv._ext'".
Needed by: mmcv-lite, and mmcv built without its operators.
Repair: mmcv's loader of the extension returns operators that raise, when they are
called, an error that says what to install. Nothing is put into `sys.modules`:
mmengine takes a `mmcv._ext` found there for the real one. An extension that is there
but does not load still raises its own error.
"""

import importlib.util
import os
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any, NoReturn

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']


class _MissingOps:
    """Stands for `mmcv._ext`: has every operator, and each raises."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> NoReturn:
            raise ImportError(
                f'Expected mmcv to be built with its operators to call `{name}`, but '
                f'got a build without them (mmcv-lite). Compile them: pip uninstall '
                f'-y mmcv-lite && MMCV_WITH_OPS=1 pip install --no-build-isolation '
                f'--no-binary mmcv mmcv==2.1.0'
            )

        missing.__name__ = name
        return missing


def _repair_loader(module: ModuleType) -> None:
    stock = module.load_ext
    if getattr(stock, 'stock', None) is not None:
        return

    def load_ext(name: str, funcs: list[str]) -> Any:
        try:
            return stock(name, funcs)
        except ModuleNotFoundError as error:
            if error.name != 'mmcv._ext':
                raise
            return _MissingOps()

    load_ext.stock = stock
    module.load_ext = load_ext


def _needed() -> bool:
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None:
        return False
    return not any(
        os.path.exists(os.path.join(folder, f'_ext{suffix}'))
        for folder in mmcv.submodule_search_locations or ()
        for suffix in EXTENSION_SUFFIXES
    )


def _install() -> None:
    _import_hook.after('mmcv.utils.ext_loader', _repair_loader)


REPAIR = Repair(
    name='mmcv operators',
    symptom="import mmcv.ops: No module named 'mmcv._ext'",
    versions='mmcv-lite, or mmcv built without operators',
    needed=_needed,
    install=_install,
)
