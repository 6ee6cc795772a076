"""What a config tells of a network and weights do not, read without running it."""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import archs
from .families import Architecture

_THEIRS = {'EDSRNet': 'EDSR'}
_LONGEST = 1_000_000


def architecture_with(architecture: Architecture, config: Any) -> Architecture:
    """The architecture, with those options that a config in its file tells.

    Args:
        architecture: as weights tell.
        config: text of a config, as mmengine puts into checkpoints, or anything else.
    """
    found = _generator(architecture.network, config)
    if found is None:
        return architecture
    name, arguments = found
    told = _arguments(name, arguments, architecture.assumed)
    if not _is_numbers(told):
        return architecture
    options = dict(architecture.options)
    for key, value in told.items():
        is_nested = isinstance(value, Mapping)
        options[key] = {**options[key], **value} if is_nested else value
    return replace(architecture, options=options, assumed={}, told=told)


def _arguments(name: str, given: Mapping, wanted: Mapping) -> dict[str, Any]:
    """What the class `name` gets for the arguments `wanted`, given or by default."""
    defaults = inspect.signature(getattr(archs, name)).parameters
    found = {}
    for key, usual in wanted.items():
        if isinstance(usual, Mapping):
            # Of CAR, whose upscaler is a USN.
            inner = given.get(key, {})
            is_known = isinstance(inner, Mapping)
            found[key] = _arguments('USN', inner, usual) if is_known else None
        else:
            found[key] = given.get(key, defaults[key].default)
    return found


def _is_numbers(value: Any) -> bool:
    """Whether there are numbers and yes or no only, which is all that is looked for."""
    if isinstance(value, Mapping):
        return all(map(_is_numbers, value.values()))
    return isinstance(value, int | float)


def _generator(network: str, config: Any) -> tuple[str, Mapping] | None:
    """Class and arguments of the one network of that kind in a config."""
    if not isinstance(config, str) or len(config) > _LONGEST:
        return None
    try:
        tree = ast.parse(config)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = []
    for node in ast.walk(tree):
        value = _literal(node) if isinstance(node, ast.Call) else None
        kind = value.get('type') if isinstance(value, Mapping) else None
        if not isinstance(kind, str):
            continue
        name = kind.rpartition('.')[2]
        name = _THEIRS.get(name, name)
        cls = getattr(archs, name, None) if name in archs.__all__ else None
        if cls is not None and network in (base.__name__ for base in cls.__mro__):
            found.append((name, value))
    return found[0] if len(found) == 1 else None


def _literal(node: ast.AST) -> Any:
    """The value of constants, and of calls of `dict` by keywords; None for others."""
    is_dict = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    if is_dict and node.func.id == 'dict' and not node.args:
        return {pair.arg: _literal(pair.value) for pair in node.keywords}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
