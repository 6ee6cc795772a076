"""Whether there is what a config names, before anything is built."""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import mmagic.registry
from mmengine.config import Config
from mmengine.registry import Registry

from .. import registry

# What mmengine takes out of an entry before it builds the rest.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'constructor', 'paramwise_cfg'}


def check_types(cfg: Config) -> None:
    """Raise when an entry is of a type that is not there, or has unknown arguments.

    mmengine would say so only when it builds that part, after the data was loaded or
    at the first validation. Looked at are types of our scope, and the model.

    Raises:
        ValueError: with what there is instead.
    """
    known: dict[str, Any] = {}
    for key, node in _entries(cfg):
        name = node.get('type')
        if not isinstance(name, str) or not name.startswith('sr_plugins.'):
            continue
        known = known or _registered()
        short = name.removeprefix('sr_plugins.')
        if short not in known:
            close = difflib.get_close_matches(short, known, n=1, cutoff=0.5)
            hint = f' Did you mean `sr_plugins.{close[0]}`?' if close else ''
            raise ValueError(
                f'Expected `type` to be something that sr_plugins registers, but got '
                f'{name!r}.{hint} Known are {", ".join(sorted(known))}.'
            )
        require_arguments(known[short], key, node, partial=True)
    model = cfg.get('model') or {}
    kind = mmagic.registry.MODELS.get(model.get('type') or '')
    if kind is not None:
        require_arguments(kind, 'model', model, partial=True)


def require_arguments(
    kind: Any, key: str, entry: Mapping[str, Any], *given: Any, partial: bool = False
) -> None:
    """Raise unless a class or function takes what an entry has besides its type.

    Args:
        kind: the class or function.
        key: of the entry, for the message.
        entry: with `type`.
        given: what comes before, from the program.
        partial: others may come from the program, so none is missing.

    Raises:
        ValueError: with what it takes.
    """
    arguments = {k: value for k, value in entry.items() if k not in _TAKEN_OUT}
    signature = inspect.signature(kind)
    try:
        (signature.bind_partial if partial else signature.bind)(*given, **arguments)
    except TypeError as error:
        # 'got an unexpected ...', or 'missing a required ...'.
        problem = str(error)
        if problem.startswith('missing'):
            problem = f'is {problem}'
        takes = (
            p.name if p.default is p.empty else f'{p.name}={p.default!r}'
            for p in signature.parameters.values()
        )
        raise ValueError(
            f'Expected `{key}` to have arguments of {entry["type"]}, but {problem}. It '
            f'takes {", ".join(takes)}.'
        ) from error


def _registered() -> dict[str, Any]:
    """All that is registered in our scope, by name."""
    children = [r for r in vars(registry).values() if isinstance(r, Registry)]
    children = [r for r in children if r.scope == 'sr_plugins']
    for child in children:
        child.import_from_location()
    return {k: kind for child in children for k, kind in child.module_dict.items()}


def nodes(value: Any) -> Iterator[dict]:
    """Every dict in a config."""
    return (node for _, node in _entries(value))


def _entries(value: Any, key: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict in a config, and by which dotted name it is reached."""
    if isinstance(value, Config):
        value = value._cfg_dict
    items: Any = ()
    if isinstance(value, dict):
        yield key, value
        # A list, since what is yielded may be changed.
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for name, item in items:
        yield from _entries(item, f'{key}.{name}' if key else str(name))
