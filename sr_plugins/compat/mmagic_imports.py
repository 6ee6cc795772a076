"""Let mmagic import beside current releases of what its generative editors use.

Symptom: `import mmagic.models` or `mmagic.apis` raises ImportError from diffusers,
transformers, mediapipe or albumentations, although super-resolution uses none.
Needed by: mmagic <= 1.2.0, unless ALL of diffusers, transformers, huggingface-hub,
mediapipe and numpy are of its age (`KNOWN_TO_WORK`). They are judged together since
diffusers imports transformers. Versions are read from the packages' metadata:
importing them to find out costs seconds. albumentations and resize-right are judged
by themselves, and imported where they are installed.
Repair: while mmagic is imported, import statements in mmagic's own files get inert
placeholders for these names. `sys.modules` never holds one, so other packages, and
everybody afterwards, import the real ones. All parts of mmagic are imported at once,
since its registries would import them later, without placeholders.
"""

import builtins
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import _import_hook
from ._inert import InertType, inert
from ._repair import Repair

__all__ = ['REPAIR']

PARTS = (
    'datasets',
    'datasets.transforms',
    'engine',
    'evaluation',
    'visualization',
    'models',
    'apis',
)
# Distribution: first version, and the first one that is too new.
KNOWN_TO_WORK = {
    'diffusers': ('0.23', '0.25'),
    'transformers': ('4.27', '4.40'),
    'huggingface-hub': ('0.19', '0.26'),
    'mediapipe': ('0.8', '0.10.22'),
    'controlnet-aux': ('0.0.5', '0.1'),
    'numpy': ('1.22', '2'),
}
JUDGED_TOGETHER = ('diffusers', 'transformers', 'controlnet_aux')
JUDGED_ALONE = ('albumentations', 'resize_right')


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r'\d+', text)[:3])


def _old_enough() -> bool:
    for name, (first, too_new) in KNOWN_TO_WORK.items():
        try:
            # Damaged metadata gives None, which is no known version.
            found = _version(importlib.metadata.version(name) or '')
        except importlib.metadata.PackageNotFoundError:
            return False
        if not _version(first) <= found < _version(too_new):
            return False
    return True


def _placeholders() -> dict[str, InertType]:
    remedy = (
        'Install releases that mmagic 1.2 was written for, in an environment of '
        "their own: pip install 'diffusers==0.24.0' 'transformers<4.40' "
        "'huggingface-hub<0.26' 'mediapipe<0.10.22' 'numpy<2' controlnet-aux"
    )
    names = {} if _old_enough() else dict.fromkeys(JUDGED_TOGETHER, remedy)
    for name in JUDGED_ALONE:
        if importlib.util.find_spec(name) is None:
            names[name] = f'Install it: pip install {name.replace("_", "-")}'
    return {name: inert(name, remedy) for name, remedy in names.items()}


# The placeholders being served; empty outside the window.
_served: dict[str, InertType] = {}


def _find(name: str) -> Any:
    root, *parts = name.split('.')
    found = _served[root]
    for part in parts:
        found = getattr(found, part)
    return found


@contextmanager
def _window() -> Iterator[None]:
    """Serve placeholders to mmagic's own import statements, in this thread."""
    thread = threading.get_ident()
    real_import = builtins.__import__

    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        root = name.partition('.')[0]
        if (
            root in _served
            and level == 0
            and str((globals or {}).get('__name__')).startswith('mmagic.')
            and threading.get_ident() == thread
        ):
            return _find(name if fromlist else root)
        return real_import(name, globals, locals, fromlist, level)

    _served.update(_placeholders())
    builtins.__import__ = import_
    InertType.importing = True
    try:
        yield
        for part in PARTS:
            importlib.import_module(f'mmagic.{part}')
    finally:
        InertType.importing = False
        builtins.__import__ = real_import
        _served.clear()


def _repair_try_import(module: ModuleType) -> None:
    # mmagic's helper goes through importlib, past the import statement.
    stock = module.try_import
    if getattr(stock, 'stock', None) is not None:
        return

    def try_import(name: str) -> Any:
        return _find(name) if name.partition('.')[0] in _served else stock(name)

    try_import.stock = stock
    module.try_import = try_import


def _needed() -> bool:
    return importlib.util.find_spec('mmagic') is not None and bool(_placeholders())


def _install() -> None:
    _import_hook.after('mmagic.utils.setup_env', _repair_try_import)
    _import_hook.around('mmagic', _window)
    module = sys.modules.get('mmagic')
    if module is not None and not _import_hook.is_importing(module):
        # Somebody was faster; the parts that failed or wait can still be imported.
        with _window():
            pass


REPAIR = Repair(
    name='mmagic imports',
    symptom='import mmagic.models: ImportError from diffusers or transformers',
    versions='mmagic <= 1.2.0 with diffusers >= 0.25 or transformers >= 4.40',
    needed=_needed,
    install=_install,
)
