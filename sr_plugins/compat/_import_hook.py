"""Act while a named module is imported, without importing it oneself.

A repair that imported the package it repairs would make every `import sr_plugins`
cost seconds, so repairs wait here for the module's own import.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ['after', 'around', 'is_importing']

_around: dict[str, list[Callable[[], AbstractContextManager]]] = {}
_after: dict[str, list[Callable[[ModuleType], None]]] = {}


def around(name: str, context: Callable[[], AbstractContextManager]) -> None:
    """Run the code of module `name` inside `context()`, on its next import."""
    _around.setdefault(name, []).append(context)
    _install()


def after(name: str, repair: Callable[[ModuleType], None]) -> None:
    """Call `repair(module)` right after module `name` ran, or now if it has run."""
    _after.setdefault(name, []).append(repair)
    _install()
    module = sys.modules.get(name)
    if module is not None and not is_importing(module):
        repair(module)


def is_importing(module: ModuleType) -> bool:
    """Whether the module's code is still running."""
    return getattr(getattr(module, '__spec__', None), '_initializing', False)


def _real_spec(name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Find module `name` as Python would do without this hook."""
    for finder in sys.meta_path:
        find_spec = getattr(finder, 'find_spec', None)
        if find_spec is None or isinstance(finder, _Finder):
            continue
        spec = find_spec(name, path, None)
        if spec is not None:
            return spec
    return None


class _Finder(MetaPathFinder):
    """Finds only modules that a repair waits for, and only by asking the others."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in _around and fullname not in _after:
            return None
        spec = _real_spec(fullname, path)
        if spec is not None and hasattr(spec.loader, 'exec_module'):
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """The module's own loader, with the repairs around its execution."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        # get_source, get_resource_reader and the like.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module shall look as if nobody had stood in between.
        module.__spec__.loader = module.__loader__ = self._loader
        name = module.__spec__.name
        with ExitStack() as stack:
            for context in _around.get(name, ()):
                stack.enter_context(context())
            self._loader.exec_module(module)
            for repair in _after.get(name, ()):
                repair(module)


def _install() -> None:
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
