"""Lend mmagic the name `numpy.bool8`.

Symptom: `import mmagic.utils` raises "module 'numpy' has no attribute 'bool8'".
Needed by: mmagic <= 1.2.0 with numpy >= 2.
Repair: the name exists while `mmagic.utils.trans_utils` is imported, no longer.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from . import _import_hook
from ._repair import Repair

__all__ = ['REPAIR']


@contextmanager
def _bool8_lent() -> Iterator[None]:
    import numpy as np

    if not _needed():
        yield
        return
    np.bool8 = np.bool_
    try:
        yield
    finally:
        del np.bool8


def _needed() -> bool:
    import numpy as np

    with warnings.catch_warnings():
        # numpy 1.24 to 1.26 still has the name, and says that it will go.
        warnings.simplefilter('ignore')
        return not hasattr(np, 'bool8')


def _install() -> None:
    _import_hook.around('mmagic.utils.trans_utils', _bool8_lent)


REPAIR = Repair(
    name='numpy.bool8',
    symptom="import mmagic.utils: module 'numpy' has no attribute 'bool8'",
    versions='mmagic <= 1.2.0 with numpy >= 2',
    needed=_needed,
    install=_install,
)
