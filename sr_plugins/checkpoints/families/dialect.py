"""How one package names the weights of a network, and which images it expects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...layers import DIV2K_MEAN

State = Mapping[str, Tensor]
Table = tuple[tuple[str, str], ...]
"""Beginnings of keys, theirs and ours; `#` is a number. The first that fits counts."""


@dataclass(frozen=True)
class Dialect:
    """Names and range of one package's weights for one family.

    Attributes:
        name: as shown to the user.
        packages: those that load files of this dialect, of `PACKAGES`.
        marker: a pattern that only keys of this dialect match.
        table: the names, from weights under either names; one to one for these.
        value_range: largest image value that the network expects.
        reads_range: whether stored means tell another range, 1 or 255.
        is_bgr: whether the network takes and gives BGR.
        constants: what files of a range hold beside the weights, from weights in our
            names.
        prefix: of every key in a file that is written.
        refuses: why the package cannot have a network of these options, or ''.
    """

    name: str
    packages: tuple[str, ...]
    marker: str
    table: Callable[[State], Table] = lambda state: ()
    value_range: float = 1.0
    reads_range: bool = False
    is_bgr: bool = False
    constants: Callable[[State, float], dict[str, Tensor]] = lambda state, top: {}
    prefix: str = ''
    refuses: Callable[[Mapping], str] = lambda options: ''

    def matches(self, state: State) -> bool:
        return any(re.match(self.marker, key) for key in state)

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """The weights under our names, as they are, without constants.

        Raises:
            ValueError: when two get the same name.
        """
        kept = {k: v for k, v in state.items() if not _is_constant(k)}
        table = self.table(state)
        return _renamed(kept, table)

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """Weights of our names under theirs, as they are, without constants."""
        table = tuple((theirs, ours) for ours, theirs in self.table(state))
        return _renamed(state, table)

    def range_of(self, state: State) -> float:
        """Largest image value that these weights expect.

        Raises:
            ValueError: when the stored mean is not DIV2K's.
        """
        stored = stored_range(state)
        if stored is None or stored == self.value_range or self.reads_range:
            return stored or self.value_range
        raise ValueError(
            f'Expected the stored means to be of images in [0, {self.value_range:g}], '
            f'but got those of [0, {stored:g}].'
        )


def _is_constant(key: str) -> bool:
    """Stored by published code; constants of the networks here."""
    return key.startswith(('sub_mean.', 'add_mean.')) or key.endswith('escape_NaN')


def _renamed(state: State, table: Table) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        new = _rename(key, table)
        if new in renamed:
            raise ValueError(
                f'Expected every weight to have a name of its own, but got two for '
                f'{new}, one of them {key}.'
            )
        renamed[new] = value
    return renamed


def _rename(key: str, table: Table) -> str:
    for old, new in table:
        pattern = r'(\d+)'.join(re.escape(piece) for piece in old.split('#'))
        if match := re.match(pattern, key):
            start = new
            for number in match.groups():
                start = start.replace('#', number, 1)
            return start + key[match.end() :]
    return key


def stored_range(state: State) -> float | None:
    """255 or 1, read off the stored means; None without them.

    Raises:
        ValueError: when they are other means than DIV2K's.
    """
    mean = torch.tensor(DIV2K_MEAN, dtype=torch.float64)
    signs = {'sub_mean.bias': -1, 'add_mean.bias': 1}
    stored = {key: state[key].double() for key in signs if key in state}
    if not stored:
        return None
    for value_range in (1.0, 255.0):
        if all(
            value.shape == mean.shape
            and torch.allclose(
                value, signs[key] * value_range * mean, rtol=1e-4, atol=0
            )
            for key, value in stored.items()
        ):
            return value_range
    shown = ', '.join(f'{key} {value.tolist()}' for key, value in stored.items())
    raise ValueError(
        f'Expected the stored `sub_mean.bias` to be minus the mean of DIV2K '
        f'{DIV2K_MEAN} times 1 or 255, and `add_mean.bias` the opposite, but got '
        f'{shown}. Networks of another mean cannot be converted.'
    )


def mean_shift(name: str, sign: int, value_range: float) -> dict[str, Tensor]:
    """The frozen 1x1 convolution with which published code shifts the mean."""
    # In float32 from the start, as there: the last bit depends on it.
    bias = sign * value_range * torch.tensor(DIV2K_MEAN)
    return {f'{name}.weight': torch.eye(3).view(3, 3, 1, 1), f'{name}.bias': bias}


def only_rgb(options: Mapping) -> str:
    """The reason against images that are not RGB, for packages that know no other."""
    channels = {options['in_channels'], options.get('out_channels', 3)}
    return '' if channels == {3} else 'it takes and gives images of 3 channels'


def count(state: State, pattern: str) -> int:
    """Number of different first groups of `pattern` among the keys."""
    return len({m[1] for key in state if (m := re.match(pattern, key))})
