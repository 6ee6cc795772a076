"""Checks of what a config hands to the search."""

import difflib
import math
from collections.abc import Iterable, Mapping


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError on a name that is not known, with the nearest that is."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f' Did you mean `{near[0]}`?' if near else ''
            raise ValueError(
                f'Expected the fields of {owner} to be among {", ".join(known)}, but '
                f'got {name!r}.{hint}'
            )


def check_mapping(owner: str, config: object) -> None:
    """Raise TypeError unless `config` is a mapping."""
    if not isinstance(config, Mapping):
        raise TypeError(
            f'Expected the config of {owner} to be a dictionary, but got '
            f'{type(config).__name__}.'
        )


def check_integer(
    name: str, value: object, least: int, most: int | None = None
) -> None:
    """Raise ValueError unless `value` is an integer between the two."""
    inside = (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= least
        and (most is None or value <= most)
    )
    if not inside:
        wanted = f'of at least {least}' if most is None else f'from {least} to {most}'
        raise ValueError(
            f'Expected `{name}` to be an integer {wanted}, but got {value!r}.'
        )


def check_number(
    name: str, value: object, least: float, most: float = math.inf
) -> None:
    """Raise ValueError unless `value` is a finite number between the two."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        wanted = f'from {least} to {most}'
        if most == math.inf:
            wanted = f'of at least {least}'
        raise ValueError(
            f'Expected `{name}` to be a finite number {wanted}, but got {value!r}.'
        )
