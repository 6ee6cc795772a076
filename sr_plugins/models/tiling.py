"""Where to cut an image into overlapping tiles, and how to put them together."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from torch import nn

# For networks that look at all of an image: what seams of CSNLN hardly show with.
DEFAULT_OVERLAP = 32


@dataclass(frozen=True)
class Tiling:
    """How to cut images.

    Args:
        size: side of a tile in LR pixels, without its overlap.
        overlap: LR pixels that the network sees beyond the tile on every side that is
            not the image's own; 'auto' takes the network's `receptive_field`, with
            which the tiled image equals the whole one to rounding. Networks without
            one, such as CSNLN, get `DEFAULT_OVERLAP`, an approximation.
        seams: 'exact' cuts tiles where they meet; 'blended' fades one into the other
            across the overlap, where the network does not see all that counts, so
            that the result is approximate, without an edge.

    Raises:
        TypeError: when `size` or `overlap` is no number.
        ValueError: when they are out of range, or `seams` is unknown.
    """

    size: int = 256
    overlap: int | Literal['auto'] = 'auto'
    seams: Literal['exact', 'blended'] = 'exact'

    def __post_init__(self) -> None:
        _check_count('tile', self.size, 1)
        if self.overlap != 'auto':
            _check_count('overlap', self.overlap, 0, " or 'auto'")
            self._check_size(self.overlap)
        if self.seams not in ('exact', 'blended'):
            raise ValueError(
                f"Expected `seams` to be 'exact' or 'blended', but got {self.seams!r}."
            )

    def overlap_of(self, network: nn.Module) -> int:
        """The overlap in LR pixels.

        Raises:
            ValueError: when tiles are smaller than the network's reach.
        """
        if self.overlap != 'auto':
            return self.overlap
        overlap = getattr(network, 'receptive_field', None)
        if overlap is None:
            overlap = DEFAULT_OVERLAP
        self._check_size(overlap, f' of {type(network).__name__}')
        return overlap

    def _check_size(self, overlap: int, whose: str = '') -> None:
        if self.size < overlap:
            raise ValueError(
                f'Expected `tile` to be at least the overlap{whose}, {overlap}, but '
                f'got {self.size}: most of the work would be overlap. Take '
                f'larger tiles, or a smaller overlap, with which seams are '
                f'approximate.'
            )


class Window(NamedTuple):
    """One tile along one side of an image, in LR pixels.

    Attributes:
        start: of what the network sees.
        stop: its end.
        first: of what is kept.
        last: the end of that.
        fade_in: how many kept pixels at the start fade in over the tile before.
        fade_out: how many at the end fade out.
    """

    start: int
    stop: int
    first: int
    last: int
    fade_in: int = 0
    fade_out: int = 0

    def read(self) -> slice:
        """What to give to the network, in the image."""
        return slice(self.start, self.stop)

    def cut(self, scale: int) -> slice:
        """What to keep of the network's output, in HR pixels."""
        return slice(
            (self.first - self.start) * scale, (self.last - self.start) * scale
        )

    def place(self, scale: int) -> slice:
        """Where to put it in the output."""
        return slice(self.first * scale, self.last * scale)

    def weights(self, scale: int) -> np.ndarray:
        """Of the HR pixels that are kept; those of all tiles at a place add up to 1."""
        weights = np.ones((self.last - self.first) * scale, np.float32)
        for fade, part in ((self.fade_in, weights), (self.fade_out, weights[::-1])):
            count = fade * scale
            part[:count] = (np.arange(count, dtype=np.float32) + 0.5) / max(count, 1)
        return weights


def plan_windows(
    side: int, size: int, overlap: int, alignment: int = 1, blended: bool = False
) -> list[Window]:
    """Cut one side of an image.

    Windows have equal lengths as far as `alignment` allows, and end where the image
    ends, so that the network pads its own borders there and nowhere else.

    Args:
        side: of the image.
        size: of a tile without its overlap, at most; rounded up to `alignment`.
        overlap: beyond it on both sides.
        alignment: starts of windows are multiples of it.
        blended: fade tiles into each other.
    """
    overlap += -overlap % alignment
    middle = side - 2 * overlap
    count = max(-(-middle // size), 1)
    step = -(-middle // count)
    step += -step % alignment
    if middle <= step:
        return [Window(0, side, 0, side)]
    length = step + 2 * overlap
    starts = list(range(0, middle - step, step))
    starts.append((side - length) // alignment * alignment)
    stops = [start + length for start in starts[:-1]] + [side]
    # Neighbours meet here, `overlap` pixels or more from the end of either.
    seams = [0, *(start + overlap for start in starts[1:]), side]
    fade = 0
    if blended:
        fade = min(overlap, min(b - a for a, b in pairwise(seams)) // 2)
    last = len(starts) - 1
    return [
        Window(
            starts[i],
            stops[i],
            seams[i] - (fade if i > 0 else 0),
            seams[i + 1] + (fade if i < last else 0),
            2 * fade if i > 0 else 0,
            2 * fade if i < last else 0,
        )
        for i in range(len(starts))
    ]


def _check_count(name: str, value: object, least: int, also: str = '') -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f'Expected `{name}` to be a whole number of LR pixels{also}, but got '
            f'{value!r}.'
        )
    if value < least:
        raise ValueError(
            f'Expected `{name}` to be at least {least}{also}, but got {value}.'
        )
