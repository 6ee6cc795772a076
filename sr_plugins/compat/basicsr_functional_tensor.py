"""Give basicsr the torchvision module it was written for.

Symptom: `import basicsr` raises "No module named
'torchvision.transforms.functional_tensor'".
Needed by: basicsr <= 1.4.2 with torchvision >= 0.17.
Repair: the old name resolves to `torchvision.transforms._functional_tensor`. The
finder stands last, so it is asked only where torchvision has no such module.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ._repair import Repair

__all__ = ['REPAIR']

OLD = 'torchvision.transforms.functional_tensor'
NEW = 'torchvision.transforms._functional_tensor'


class _AliasFinder(MetaPathFinder, Loader):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != OLD or importlib.util.find_spec(NEW) is None:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what it finds in sys.modules after this call.
        sys.modules[OLD] = importlib.import_module(NEW)


def _needed() -> bool:
    # Looks for the file: importing torchvision to find out would be slow.
    torchvision = importlib.util.find_spec('torchvision')
    if torchvision is None or importlib.util.find_spec('basicsr') is None:
        return False
    return not any(
        os.path.exists(os.path.join(folder, 'transforms', 'functional_tensor.py'))
        for folder in torchvision.submodule_search_locations or ()
    )


def _install() -> None:
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.append(_AliasFinder())


REPAIR = Repair(
    name='basicsr functional_tensor',
    symptom=f'import basicsr: No module named {OLD!r}',
    versions='basicsr <= 1.4.2 with torchvision >= 0.17',
    needed=_needed,
    install=_install,
)
