"""The blocks of ESRN by their code strings."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = {'S': 'shrink', 'G': 'group', 'C': 'contextual'}
"""Residual dense blocks: with shrinking 1x1, with grouped, with pooled convolutions."""

_GRAMMAR = (
    'KIND_CONVS_GROWTH_OUT with the kind S, G or C, the number of dense layers, their '
    "width and the output channels, such as 'G_8_16_24'"
)
_CODE = re.compile(r'([SGC])_([1-9]\d{0,5})_([1-9]\d{0,5})_([1-9]\d{0,5})')


def dense_groups(layer: int) -> int:
    """Groups of the 3x3 convolution in dense layer 0, 1, ... of a 'G' block.

    1, 2, 2, 4, 4, ...: a power of two up to 4 that does not exceed the pieces the layer
    sees.
    """
    return min(4, 1 << (layer + 1).bit_length() - 1)


@dataclass(frozen=True, slots=True)
class BlockType:
    """One kind of block with its sizes; its input is as wide as what precedes it.

    Attributes:
        kind: 'S' (shrink), 'G' (group) or 'C' (contextual).
        conv_num: dense layers.
        growth_rate: channels inside, and those that each layer adds.
        out_channels: of the block.

    Raises:
        ValueError: on another kind, on sizes below 1 and on sizes that the kind's
            convolutions or its pixel shuffle cannot divide.
    """

    kind: str
    conv_num: int
    growth_rate: int
    out_channels: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f'Expected `kind` of a block to be S, G or C, but got {self.kind!r}.'
            )
        for name in ('conv_num', 'growth_rate', 'out_channels'):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'Expected `{name}` of a block to be an integer of at least 1, but '
                    f'got {value!r}.'
                )
        if self.kind == 'G':
            divisor = dense_groups(self.conv_num - 1)
            if self.growth_rate % divisor:
                raise ValueError(
                    f'Expected `growth_rate` of {self.code} to be a multiple of '
                    f'{divisor}, the groups of its last layer, but got '
                    f'{self.growth_rate}.'
                )
        elif self.kind == 'C' and self.dense_channels % 4:
            raise ValueError(
                f'Expected (conv_num + 1) * growth_rate of {self.code} to be a '
                f'multiple of 4, as they go through a pixel shuffle by 2, but got '
                f'{self.dense_channels}.'
            )

    @property
    def code(self) -> str:
        """As in `parse`."""
        return f'{self.kind}_{self.conv_num}_{self.growth_rate}_{self.out_channels}'

    @property
    def dense_channels(self) -> int:
        """Channels of the block's input and all its layers together."""
        return (self.conv_num + 1) * self.growth_rate

    @classmethod
    def parse(cls, code: str) -> 'BlockType':
        """Read a code such as 'G_8_16_24'.

        Raises:
            ValueError: when it is none, or its sizes do not fit together.
        """
        match = _CODE.fullmatch(code) if isinstance(code, str) else None
        if match is None:
            raise ValueError(f'Expected a block to be {_GRAMMAR}, but got {code!r}.')
        return cls(match[1], *(int(size) for size in match.groups()[1:]))


def parse_architecture(codes: str | Iterable[str | BlockType]) -> tuple[BlockType, ...]:
    """Read the blocks of a network.

    Args:
        codes: of the blocks in their order, or one string of them with spaces, line
            breaks or commas between.

    Raises:
        ValueError: on no block at all, and on a malformed one with its position.
    """
    if isinstance(codes, str):
        codes = codes.replace(',', ' ').split()
    codes = list(codes)
    if not codes:
        raise ValueError(
            'Expected an architecture to have at least one block, but got none.'
        )
    blocks = []
    for number, code in enumerate(codes, 1):
        try:
            block = code if isinstance(code, BlockType) else BlockType.parse(code)
        except ValueError as error:
            raise ValueError(
                f'{error} It is block {number} of {len(codes)}.'
            ) from error
        blocks.append(block)
    return tuple(blocks)
