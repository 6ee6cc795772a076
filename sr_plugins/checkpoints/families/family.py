"""One network's weights: whose they are, and from one dialect to another.

A network f for images of range r equals ours when its first weight is multiplied by r
and its last weight and bias are divided by r; biases inside stay as they are. Where
nothing but convolutions and ReLU lies between, dividing every bias by r does the same
and leaves the weights alone. From BGR to RGB, the outer weights change places.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .dialect import Dialect, State, stored_range


@dataclass(frozen=True)
class Architecture:
    """What weights tell of their network.

    Attributes:
        network: name of the class in `sr_plugins.archs`.
        options: its arguments.
        summary: one line.
        assumed: arguments that weights do not show, with their usual values.
        told: of the options, those that weights do not show and a config does.
    """

    network: str
    options: Mapping[str, Any]
    summary: str
    assumed: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """What is known of one network's weights.

    Attributes:
        network: name of the class in `sr_plugins.archs`.
        marker: a pattern that some key matches, in our own names.
        first: the convolution that sees the image.
        last: the convolution that makes the image.
        means: buffer of the mean colour -> where the published code stores it.
        describe: the architecture, from weights in our names; may raise LookupError
            or ArithmeticError when some are missing or of impossible shapes.
        dialects: in the order in which they are tried; our own names come last.
        foreign: a pattern that only keys of another, more special family match.
        is_homogeneous: whether the network without its biases gives r times the image
            for r times the image.
        parts: of a network that is published in parts, the prefix of each part in our
            names, its family and the name of its file.
    """

    network: str
    marker: str
    first: str
    last: str
    means: Mapping[str, str]
    describe: Callable[[State], Architecture]
    dialects: tuple[Dialect, ...]
    is_homogeneous: bool = False
    foreign: str | None = None
    parts: 'tuple[Part, ...]' = ()

    def recognise(self, state: State) -> Dialect | None:
        """The dialect of `state`, or None when it is not of this family."""
        if self.foreign and any(re.match(self.foreign, key) for key in state):
            return None
        for dialect in self.dialects:
            if dialect.matches(state) and any(
                re.match(self.marker, key) for key in dialect.to_ours(state)
            ):
                return dialect
        return None

    def to_ours(
        self, state: State, dialect: Dialect, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """Weights under our names, for RGB images in [0, 1].

        What is multiplied becomes `dtype`, rounded once.

        Raises:
            ValueError: when the stored mean is not DIV2K's.
        """
        ours = self.fold(dialect.to_ours(state), dialect.range_of(state), 1.0, dtype)
        return self.flip(ours) if dialect.is_bgr else ours

    def fold(
        self,
        state: State,
        source: float,
        target: float,
        dtype: torch.dtype | None = None,
    ) -> dict[str, Tensor]:
        """Weights in our names, for images of another range.

        Args:
            state: weights for images of [0, source].
            source: 1 or 255.
            target: 1 or 255.
            dtype: of what is multiplied; None takes the smallest type from which the
                way back gives the same bits: float64 where float32 does not do.
        """
        folded = dict(state)
        if source == target:
            return folded
        if self.is_homogeneous:
            up = [key for key in state if key.endswith('.bias')]
            down = []
        else:
            up = [f'{self.last}.weight', f'{self.last}.bias']
            down = [f'{self.first}.weight']
        for keys, old, new in ((up, source, target), (down, target, source)):
            for key in keys:
                if key in state:
                    folded[key] = _times(state[key], new, old, dtype)
        return folded

    def flip(self, state: State) -> dict[str, Tensor]:
        """Weights in our names, for images with their colours in the other order."""
        colours = {f'{self.first}.weight': 1}
        colours |= {f'{self.last}.{kind}': 0 for kind in ('weight', 'bias')}
        # Of another number of dimensions it will not fit any network, flipped or not.
        return {
            key: value.flip(colours[key])
            if colours.get(key, value.dim()) < value.dim()
            else value
            for key, value in state.items()
        }

    def stored_means(self, state: State) -> dict[str, Tensor]:
        """Float64 mean colours in [0, 1] by buffer name, where `state` has them.

        They equal ours in float32; in float64 they keep the rounding of the file.
        """
        value_range = stored_range(state)
        return {
            buffer: state[key].double().abs().view(1, -1, 1, 1) / value_range
            for buffer, key in self.means.items()
            if key in state
        }


@dataclass(frozen=True)
class Part:
    """A part of a network that is published in a file of its own."""

    prefix: str
    family: Family
    file: str


def _times(
    value: Tensor, factor: float, divisor: float, dtype: torch.dtype | None
) -> Tensor:
    # One of the two is 1: a division, not a product with the rounded reciprocal.
    exact = value.double() * factor / divisor
    if dtype is not None:
        return exact.to(dtype)
    for kind in (value.dtype, torch.float32):
        rounded = exact.to(kind)
        back = (rounded.double() * divisor / factor).to(value.dtype)
        if kind.itemsize <= 4 and torch.equal(back, value):
            return rounded
    return exact
