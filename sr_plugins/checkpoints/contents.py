"""The weights in a checkpoint of any package, and what else the file says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..fileio import torch_load

Source = str | Path | Mapping[str, Any]
_SHOWN = 4
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class CheckpointMismatchError(ValueError):
    """The weights belong to another architecture, scale, width or depth."""


@dataclass(frozen=True)
class Contents:
    """A checkpoint, taken apart.

    Attributes:
        where: the file, or 'the state dict'.
        state: the weights of the network, without prefixes.
        container: 'mmengine' or 'BasicSR' for what these write, else 'plain'.
        is_average: whether the weights are an average over training (EMA).
        is_resumable: whether training can go on from the file.
        meta: what mmengine notes: iteration, epoch, config.
    """

    where: str
    state: dict[str, Tensor]
    container: str
    is_average: bool
    is_resumable: bool
    meta: Mapping[str, Any]


def read_contents(source: Source) -> Contents:
    """Take a checkpoint apart; of several copies of the weights, averaged ones count.

    Args:
        source: a file, or what is in one.

    Raises:
        CheckpointMismatchError: when there are no weights in it.
        ValueError: when the file is damaged, or holds objects other than weights.
        FileNotFoundError: when there is no such file.
    """
    where = 'the state dict'
    if isinstance(source, str | Path):
        where = str(source)
        source = torch_load(source)
    outer = source if isinstance(source, Mapping) else {}
    inner, key = source, None
    for name in ('state_dict', 'params_ema', 'params'):
        if isinstance(outer.get(name), Mapping):
            inner, key = outer[name], name
            break
    state = {}
    if isinstance(inner, Mapping):
        state = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
    if not state:
        raise CheckpointMismatchError(
            f'Expected {where} to be a state dict, or a dict with one under '
            f'`state_dict`, `params_ema` or `params`, but got {_shown(inner)}.'
        )
    _check_tensors(where, state)
    state, prefixes = _without_prefixes(state)
    meta = outer.get('meta') if key == 'state_dict' else None
    return Contents(
        where=where,
        state=state,
        container={None: 'plain', 'state_dict': 'mmengine'}.get(key, 'BasicSR'),
        # mmengine keeps the weights that were averaged apart from the average.
        is_average=key == 'params_ema'
        or 'generator_ema.' in prefixes
        or 'ema_state_dict' in outer,
        is_resumable='optimizer' in outer,
        meta=meta if isinstance(meta, Mapping) else {},
    )


def _without_prefixes(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The network's own names, and what was taken off."""
    found = []
    for prefix in ('module.', 'generator_ema.', 'generator.', 'module.'):
        inner = {
            k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
        }
        if inner:
            state = inner
            found.append(prefix)
    return state, found


def _check_tensors(where: str, state: dict[str, Tensor]) -> None:
    for key, value in state.items():
        kind = value.dtype
        is_plain = kind in _FLOATS or kind in (torch.int64, torch.int32, torch.bool)
        if value.layout is not torch.strided or value.is_meta:
            kind, is_plain = 'on no device' if value.is_meta else value.layout, False
        if not is_plain:
            raise CheckpointMismatchError(
                f'Expected {where} to hold plain tensors of floating point numbers, '
                f'but {key} is {kind}. Save the weights of the float network.'
            )


def require_finite(where: str, state: Mapping[str, Tensor]) -> None:
    """Refuse weights of a training that diverged: they give black images.

    Raises:
        ValueError: with the names of those that are not numbers.
    """
    refuse_non_finite(where, non_finite(state))


def refuse_non_finite(where: str, names: tuple[str, ...]) -> None:
    """Refuse what has weights of these names, as `non_finite` finds them.

    Raises:
        ValueError: when there are any.
    """
    if names:
        raise ValueError(
            f'Expected {where} to hold finite weights, but NaN or infinite values are '
            f'in {listed(names)}. Go back to an earlier checkpoint.'
        )


def non_finite(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of weights with values that are NaN or infinite."""
    return tuple(key for key, value in state.items() if not value.isfinite().all())


def listed(names: 'tuple[str, ...] | list[str]') -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - _SHOWN
    return ', '.join(names[:_SHOWN]) + (f', and {rest} more' if rest > 0 else '')


def _shown(content: Any) -> str:
    if isinstance(content, Mapping):
        return f'a dict with {sorted(map(str, content))[:_SHOWN]}'
    return f'a {type(content).__name__}'
