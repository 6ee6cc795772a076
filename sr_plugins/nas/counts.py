"""Weights and multiply-adds of ESRN, counted layer by layer without building it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .blocks import BlockType, dense_groups

HR_SIZE = (720, 1280)
"""Height and width of the HR image for which papers count multiply-adds."""

_IMAGE_CHANNELS = 3


class Convolution(NamedTuple):
    """One convolution of a network; kernels are square.

    Attributes:
        in_channels: of its input.
        out_channels: of its output.
        kernel_size: 1 or 3.
        groups: of its channels.
        upscale: its size is that of the LR image times this,
        stride: divided by this and rounded up.
        times: how often its weights are applied.
    """

    in_channels: int
    out_channels: int
    kernel_size: int
    groups: int = 1
    upscale: int = 1
    stride: int = 1
    times: int = 1

    @property
    def weights(self) -> int:
        """Without bias."""
        fan_in = self.kernel_size**2 * self.in_channels // self.groups
        return fan_in * self.out_channels

    def multiply_adds(self, height: int, width: int) -> int:
        """For an LR image of that size; a bias adds none."""
        rows, columns = (-(-n * self.upscale // self.stride) for n in (height, width))
        return self.weights * rows * columns * self.times


def shuffled_channels(mid_channels: int, scale: int) -> int:
    """Channels after the last pixel shuffle, before the convolution to RGB.

    x2 and x3 widen to `scale**2` times as many first. As published that is three times
    `mid_channels`; where pixel shuffle cannot divide this, the next width it can. x4
    shuffles by 2 twice and keeps `mid_channels`.
    """
    if scale == 4:
        return mid_channels
    return -(-3 * mid_channels // scale**2)


def block_convolutions(block: BlockType, in_channels: int) -> Iterator[Convolution]:
    """The convolutions of one block in their order.

    A 'C' block works at half the size, rounded up; its last convolution, after the
    pixel shuffle and the cut to the size of the input, at the full one.
    """
    growth, out = block.growth_rate, block.out_channels
    if in_channels != growth:
        yield Convolution(in_channels, growth, 1)
    if block.kind == 'G':
        for layer in range(block.conv_num):
            width = (layer + 1) * growth
            yield Convolution(width, growth, 3, groups=dense_groups(layer))
        yield Convolution(block.dense_channels, out, 1)
    else:
        stride, times = (2, 3) if block.kind == 'C' else (1, 1)
        for layer in range(block.conv_num):
            yield Convolution(growth, growth, 3, stride=stride, times=times)
            if layer < block.conv_num - 1:
                yield Convolution((layer + 2) * growth, growth, 1, stride=stride)
        dense = block.dense_channels
        yield Convolution(dense // 4 if block.kind == 'C' else dense, out, 1)
    if out not in (in_channels, growth):
        yield Convolution(in_channels, out, 1)


def frame_convolutions(
    out_channels: int, mid_channels: int, scale: int
) -> Iterator[Convolution]:
    """The convolutions around the blocks in their order.

    Args:
        out_channels: of all blocks together.
        mid_channels: `G0`.
        scale: 2, 3 or 4.
    """
    yield Convolution(_IMAGE_CHANNELS, mid_channels, 3)
    yield Convolution(mid_channels, mid_channels, 3)
    yield Convolution(out_channels, mid_channels, 1)
    yield Convolution(mid_channels, mid_channels, 3)
    if scale == 4:
        yield Convolution(mid_channels, 4 * mid_channels, 3)
        yield Convolution(mid_channels, 4 * mid_channels, 3, upscale=2)
        yield Convolution(mid_channels, _IMAGE_CHANNELS, 3, upscale=4)
    else:
        width = shuffled_channels(mid_channels, scale)
        yield Convolution(mid_channels, scale**2 * width, 3)
        yield Convolution(width, _IMAGE_CHANNELS, 3, upscale=scale)


def convolutions(
    blocks: Sequence[BlockType], mid_channels: int = 32, scale: int = 2
) -> Iterator[Convolution]:
    """All convolutions of a network, those around the blocks first."""
    total = sum(block.out_channels for block in blocks)
    yield from frame_convolutions(total, mid_channels, scale)
    in_channels = mid_channels
    for block in blocks:
        yield from block_convolutions(block, in_channels)
        in_channels = block.out_channels


def count_params(
    blocks: Sequence[BlockType],
    mid_channels: int = 32,
    scale: int = 2,
    bias: bool = False,
) -> int:
    """Learnable numbers of the network of these blocks."""
    return sum(
        layer.weights + (layer.out_channels if bias else 0)
        for layer in convolutions(blocks, mid_channels, scale)
    )


def count_multiply_adds(
    blocks: Sequence[BlockType],
    mid_channels: int = 32,
    scale: int = 2,
    hr_size: tuple[int, int] = HR_SIZE,
) -> int:
    """Multiply-adds of the network of these blocks for one image.

    Convolutions only, as papers count; without additions, pooling and activations.

    Args:
        blocks: of the network.
        mid_channels: `G0`.
        scale: 2, 3 or 4.
        hr_size: height and width of the output; the input's are divided by the scale
            and rounded down.
    """
    height, width = (n // scale for n in hr_size)
    return sum(
        layer.multiply_adds(height, width)
        for layer in convolutions(blocks, mid_channels, scale)
    )
