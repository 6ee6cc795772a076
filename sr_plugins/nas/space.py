"""Which networks a search may visit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .blocks import KINDS, BlockType
from .checks import check_integer, check_mapping, check_names, check_number
from .counts import HR_SIZE, block_convolutions, frame_convolutions
from .genome import Genome
from .reachable import check_reachable

if TYPE_CHECKING:
    from .sampling import Sampler

_LISTS = {
    'block_type': 'type_prob',
    'conv_num': 'conv_prob',
    'growth_rate': 'growth_prob',
}
_SCALES = (2, 3, 4)


@dataclass(frozen=True)
class SearchSpace:
    """Rows of `node_num` blocks, of which some are on, in a window of weights.

    Names and defaults are those of the published file for ESRN-V. Block types are all
    combinations of kind, layers, growth rate and output channels, where the latter are
    growth rates, too, and no less than the block's own.

    Counts are those of the network itself, without bias. The published program counts
    the input width of all blocks but the first as 0 and so finds 0.7 % to 3.2 % less.

    Attributes:
        block_type: kinds of blocks, among S, G and C.
        conv_num: numbers of dense layers.
        growth_rate: widths inside and after a block.
        type_prob: how often each kind is drawn, relative to the others.
        conv_prob: the same for each number of layers.
        growth_prob: the same for each width; one is drawn for the inside, one for the
            output.
        G0: width of the network outside its blocks.
        scale: 2, 3 or 4.
        node_num: genes, the most blocks of a network.
        min_active: the least blocks of a network.
        min_params: least weights.
        max_params: most weights.
        max_multiply_adds: most multiply-adds for an HR image of 1280 x 720; None sets
            no ceiling.
        max_latency: the most that the function given to `ESREA` may say of a network,
            in its unit; None sets no ceiling.

    Raises:
        ValueError: on a field that is not as described, and when no network fulfils
            all: it names the constraint and what is reachable.
    """

    block_type: tuple[str, ...] = ('S', 'G', 'C')
    conv_num: tuple[int, ...] = (4, 6, 8)
    growth_rate: tuple[int, ...] = (8, 16, 24, 32)
    type_prob: tuple[float, ...] = (1, 1, 1)
    conv_prob: tuple[float, ...] = (1, 1, 1)
    growth_prob: tuple[float, ...] = (1, 1, 1, 1)
    G0: int = 32
    scale: int = 2
    node_num: int = 20
    min_active: int = 16
    min_params: int = 315_000
    max_params: int = 325_000
    max_multiply_adds: int | None = None
    max_latency: float | None = None

    def __post_init__(self) -> None:
        for choices, odds in _LISTS.items():
            self._check_choices(choices)
            self._check_odds(odds, choices)
        check_integer('G0', self.G0, 1)
        if self.scale not in _SCALES or isinstance(self.scale, bool):
            raise ValueError(
                f'Expected `scale` to be one of 2, 3, 4, but got {self.scale!r}.'
            )
        check_integer('node_num', self.node_num, 1)
        check_integer('min_active', self.min_active, 1)
        if self.min_active > self.node_num:
            raise ValueError(
                f'Expected `min_active` to be at most `node_num`, {self.node_num}, the '
                f'genes that can be on, but got {self.min_active}.'
            )
        check_integer('min_params', self.min_params, 0)
        check_integer('max_params', self.max_params, 1)
        if self.min_params > self.max_params:
            raise ValueError(
                f'Expected `min_params` to be at most `max_params`, {self.max_params}, '
                f'but got {self.min_params}.'
            )
        if self.max_multiply_adds is not None:
            check_integer('max_multiply_adds', self.max_multiply_adds, 1)
        if self.max_latency is not None:
            check_number('max_latency', self.max_latency, 0)
        check_reachable(self)

    def _check_choices(self, name: str) -> None:
        values = getattr(self, name)
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(f'Expected `{name}` to be a list, but got {values!r}.')
        values = tuple(values)
        object.__setattr__(self, name, values)
        if not values or len(set(values)) != len(values):
            raise ValueError(
                f'Expected `{name}` to list different values, at least one, but got '
                f'{list(values)}.'
            )
        for value in values:
            if name != 'block_type':
                check_integer(f'{name}', value, 1)
            elif value not in KINDS:
                raise ValueError(
                    f'Expected `block_type` to list S, G or C, but got {value!r}.'
                )

    def _check_odds(self, name: str, choices: str) -> None:
        values, count = getattr(self, name), len(getattr(self, choices))
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(f'Expected `{name}` to be a list, but got {values!r}.')
        values = tuple(values)
        object.__setattr__(self, name, values)
        if len(values) != count:
            raise ValueError(
                f'Expected `{name}` to have {count} numbers, one for each of '
                f'`{choices}`, but got {list(values)}.'
            )
        for value in values:
            check_number(name, value, 0)
        if not sum(values):
            raise ValueError(
                f'Expected `{name}` to have a number above 0, but got {list(values)}.'
            )

    @classmethod
    def from_config(cls, config: Mapping) -> 'SearchSpace':
        """Make one from a config, in which an unknown name fails with the nearest."""
        check_mapping('the search space', config)
        check_names('the search space', config, [field.name for field in fields(cls)])
        return cls(**config)

    def to_dict(self) -> dict:
        """Fields as JSON holds them, for `from_config`."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @cached_property
    def types(self) -> tuple[BlockType, ...]:
        """All block types; genes are indices into them."""
        return tuple(
            BlockType(kind, layers, growth, out)
            for kind in self.block_type
            for layers in self.conv_num
            for growth in self.growth_rate
            for out in self.growth_rate
            if out >= growth
        )

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(T,) of each type, by which genes are drawn."""
        kind = dict(zip(self.block_type, self.type_prob, strict=True))
        layers = dict(zip(self.conv_num, self.conv_prob, strict=True))
        width = dict(zip(self.growth_rate, self.growth_prob, strict=True))
        odds = [
            kind[t.kind]
            * layers[t.conv_num]
            * width[t.growth_rate]
            * width[t.out_channels]
            for t in self.types
        ]
        return np.asarray(odds, float) / sum(odds)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """What can come before a block: `G0`, then the widths of the blocks."""
        outs = {block.out_channels for block in self.types}
        return (self.G0, *sorted(outs - {self.G0}))

    @cached_property
    def out_index(self) -> np.ndarray:
        """(T,) index of each type's output channels in `widths`."""
        return np.array([self.widths.index(t.out_channels) for t in self.types])

    @cached_property
    def type_params(self) -> np.ndarray:
        """(W, T) weights that a type adds to a network after each of `widths`.

        With its share of the layer that fuses all blocks.
        """
        return self._type_counts(lambda layer: layer.weights)

    @cached_property
    def type_multiply_adds(self) -> np.ndarray:
        """(W, T) the same of multiply-adds, for an HR image of 1280 x 720."""
        size = self._lr_size
        return self._type_counts(lambda layer: layer.multiply_adds(*size))

    @cached_property
    def frame_params(self) -> int:
        """Weights outside the blocks and their shares."""
        return sum(c.weights for c in frame_convolutions(0, self.G0, self.scale))

    @cached_property
    def frame_multiply_adds(self) -> int:
        """The same of multiply-adds."""
        layers = frame_convolutions(0, self.G0, self.scale)
        return sum(layer.multiply_adds(*self._lr_size) for layer in layers)

    @cached_property
    def sampler(self) -> 'Sampler':
        """Draws genomes that fit."""
        from .sampling import Sampler

        return Sampler(self)

    def blocks(self, genome: Genome) -> tuple[BlockType, ...]:
        """The network of a genome."""
        return tuple(self.types[t] for t in genome.network)

    def codes(self, genome: Genome) -> tuple[str, ...]:
        """The network of a genome as code strings."""
        return tuple(block.code for block in self.blocks(genome))

    def params(self, types: np.ndarray | Sequence[int]) -> np.ndarray:
        """Weights of networks, (..., blocks) of type indices -> (...)."""
        return self.frame_params + self._sums(types, self.type_params)

    def multiply_adds(self, types: np.ndarray | Sequence[int]) -> np.ndarray:
        """Multiply-adds of networks for an HR image of 1280 x 720; as `params`."""
        return self.frame_multiply_adds + self._sums(types, self.type_multiply_adds)

    def fits(self, types: np.ndarray | Sequence[int]) -> np.ndarray:
        """Whether networks, (..., blocks) of type indices, keep every limit -> (...).

        Latency aside, which only a measurement tells.
        """
        types = np.asarray(types)
        params = self.params(types)
        fits = (self.min_params <= params) & (params <= self.max_params)
        if self.max_multiply_adds is not None:
            fits &= self.multiply_adds(types) <= self.max_multiply_adds
        if not self.min_active <= types.shape[-1] <= self.node_num:
            fits &= False
        return fits

    @property
    def _lr_size(self) -> tuple[int, int]:
        return HR_SIZE[0] // self.scale, HR_SIZE[1] // self.scale

    def _type_counts(self, count) -> np.ndarray:
        shares = []
        for block in self.types:
            # Of the layer that fuses all blocks, which is the third of the frame.
            _, _, share, *_ = frame_convolutions(
                block.out_channels, self.G0, self.scale
            )
            shares.append(count(share))
        return np.array(
            [
                [
                    sum(map(count, block_convolutions(block, width))) + share
                    for block, share in zip(self.types, shares, strict=True)
                ]
                for width in self.widths
            ],
            np.int64,
        )

    def _sums(self, types: np.ndarray | Sequence[int], table: np.ndarray) -> np.ndarray:
        types = np.asarray(types)
        before = np.zeros_like(types)
        before[..., 1:] = self.out_index[types[..., :-1]]
        return table[before, types].sum(-1)
