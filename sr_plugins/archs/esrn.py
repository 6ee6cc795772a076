"""ESRN: efficient residual dense blocks whose kinds and widths are searched for.

Paper: Song et al., AAAI 2020, https://arxiv.org/abs/1909.11409
Original code: https://github.com/huawei-noah/vega (ESR-EA)

Deviations from the original:
- Images are RGB in [0, 1], where the original takes BGR in [0, 255]; weights are
  converted between the two by `sr_plugins.checkpoints`.
- Any input size of at least one pixel a side. Blocks of kind C work at half size: of an
  odd side the last row or column is averaged with itself, and the block's output
  cropped. The original takes even sides only.
- x3 works. The original widens to `3 * mid_channels`, 96, which a pixel shuffle by 3
  cannot take; here it is the next width that it can, 99. x2 and x4 are as published.
- `bias`, `mean_shift` and `global_skip` are options; without them, the default, the
  network is the original.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, cat, nn
from torch.nn import functional as F

from ..layers import check_image, check_scale, image_mean
from ..nas import dense_groups, parse_architecture, shuffled_channels
from ..registry import MODELS


class DenseBlock(nn.Module):
    """What the three kinds share: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Args:
        in_channels: of the input.
        width: at which the block works, and by which each of its layers grows.
        out_channels: of the output.
        bias: of every convolution.
    """

    alignment = 1

    def __init__(
        self, in_channels: int, width: int, out_channels: int, bias: bool
    ) -> None:
        super().__init__()
        self.skips_input = out_channels == in_channels
        self.in_conv, self.out_conv = nn.Identity(), nn.Identity()
        if width != in_channels:
            self.in_conv = nn.Conv2d(in_channels, width, 1, bias=bias)
        if out_channels not in (in_channels, width):
            self.out_conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
            self.skips_input = True

    def forward(self, x: Tensor) -> Tensor:
        features = self.in_conv(x)
        residual = self.out_conv(x) if self.skips_input else features
        return residual + self.grow(features)

    @staticmethod
    def reach(num_layers: int) -> int:
        """How many pixels further than one the block sees, to each side."""
        return num_layers

    def grow(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, out_channels, H, W)."""
        raise NotImplementedError


class GroupBlock(DenseBlock):
    """Kind G: grouped convolutions of shuffled channels.

    Layer i sees i + 1 pieces of `width` channels, in 1, 2, 2 and then 4 groups.
    """

    def __init__(
        self,
        in_channels: int,
        num_layers: int,
        width: int,
        out_channels: int,
        bias: bool,
    ) -> None:
        super().__init__(in_channels, width, out_channels, bias)
        self.width = width
        self.convs = nn.ModuleList(
            nn.Conv2d(
                (layer + 1) * width,
                width,
                3,
                padding=1,
                groups=dense_groups(layer),
                bias=bias,
            )
            for layer in range(num_layers)
        )
        self.fuse = nn.Conv2d((num_layers + 1) * width, out_channels, 1, bias=bias)

    def grow(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            # Every group sees some channels of every piece.
            mixed = x.unflatten(1, (-1, self.width)).transpose(1, 2).flatten(1, 2)
            x = cat([x, F.relu(conv(mixed))], dim=1)
        return self.fuse(x)


class ShrinkBlock(DenseBlock):
    """Kind S: all that came before is shrunk to `width` channels for each layer."""

    def __init__(
        self,
        in_channels: int,
        num_layers: int,
        width: int,
        out_channels: int,
        bias: bool,
    ) -> None:
        super().__init__(in_channels, width, out_channels, bias)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(num_layers)
        )
        self.shrinks = nn.ModuleList(
            nn.Conv2d((i + 2) * width, width, 1, bias=bias)
            for i in range(num_layers - 1)
        )
        self.shrinks.append(
            nn.Conv2d(
                self.fused_channels(num_layers, width), out_channels, 1, bias=bias
            )
        )

    @staticmethod
    def fused_channels(num_layers: int, width: int) -> int:
        """Width that the last 1x1 convolution sees."""
        return (num_layers + 1) * width

    def grow(self, x: Tensor) -> Tensor:
        return self.shrinks[-1](self.collect(x, repeats=1))

    def collect(self, x: Tensor, repeats: int) -> Tensor:
        """Concatenate `x` and the output of each layer, applied `repeats` times."""
        current, collected = x, x
        for i, conv in enumerate(self.convs):
            if i > 0:
                current = self.shrinks[i - 1](collected)
            for _ in range(repeats):
                current = F.relu(conv(current))
            collected = cat([collected, current], dim=1)
        return collected


class ContextualBlock(ShrinkBlock):
    """Kind C: as S, at half size, with each layer applied three times."""

    alignment = 2

    @staticmethod
    def reach(num_layers: int) -> int:
        """Three for each layer, of 2 pixels, and the other one of its own 2."""
        return 6 * num_layers + 1

    @staticmethod
    def fused_channels(num_layers: int, width: int) -> int:
        """Width after the pixel shuffle that goes back to full size."""
        return (num_layers + 1) * width // 4

    def grow(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # Only what is there is averaged: as if an odd side were padded by replication.
        half = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        collected = F.pixel_shuffle(self.collect(half, repeats=3), 2)
        return self.shrinks[-1](collected[:, :, :height, :width])


_KINDS = {'G': GroupBlock, 'S': ShrinkBlock, 'C': ContextualBlock}


@MODELS.register_module()
class ESRN(nn.Module):
    """A chain of searched blocks; the defaults are as published.

    Args:
        architecture: code of every block, 'G_8_16_24' for kind G (group), S (shrink)
            or C (contextual), 8 layers, 16 channels inside and 24 out, in a list or
            in one string; or the path of a JSON file (`.json`) with such a list or one
            under `architecture`, as the search writes to `best.json`.
        scale: 2, 3 or 4.
        in_channels: of input and output.
        mid_channels: width outside the blocks, `G0` of the search.
        bias: of every convolution.
        mean_shift: subtract DIV2K's mean and add it again (of RGB only).
        global_skip: add the bicubic enlargement of the input to the output.

    Attributes:
        receptive_field: LR pixels that an output pixel depends on, beyond its own to
            each side, at most.
        alignment: blocks of kind C see pixels in squares of 2, counted from the corner
            of the image.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: on another scale, or a code that is malformed; the message has its
            position and the grammar.
    """

    def __init__(
        self,
        architecture: Sequence[str] | str | Path,
        scale: int = 2,
        in_channels: int = 3,
        mid_channels: int = 32,
        bias: bool = False,
        mean_shift: bool = False,
        global_skip: bool = False,
    ) -> None:
        super().__init__()
        check_scale('ESRN', scale, (2, 3, 4))
        self.scale = scale
        self.in_channels = in_channels
        self.global_skip = global_skip
        mean = image_mean(in_channels if mean_shift else 1)  # that of one channel is 0
        self.register_buffer('mean', mean, persistent=False)
        self.conv_first = nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=bias)
        self.conv_second = nn.Conv2d(
            mid_channels, mid_channels, 3, padding=1, bias=bias
        )
        self.blocks = nn.ModuleList()
        self.receptive_field, self.alignment = 5, 1
        width, total = mid_channels, 0
        for block in parse_architecture(_read_codes(architecture)):
            kind = _KINDS[block.kind]
            sizes = block.conv_num, block.growth_rate, block.out_channels
            self.blocks.append(kind(width, *sizes, bias))
            width = block.out_channels
            total += width
            self.receptive_field += kind.reach(block.conv_num)
            self.alignment = max(self.alignment, kind.alignment)
        self.fuse = nn.Sequential(
            nn.Conv2d(total, mid_channels, 1, bias=bias),
            nn.Conv2d(mid_channels, mid_channels, 3, padding=1, bias=bias),
        )
        self.upsample, width = _make_upsampler(mid_channels, scale, bias)
        self.conv_last = nn.Conv2d(width, in_channels, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, in_channels, scale * H, scale * W)."""
        check_image('ESRN', x, self.in_channels)
        x = x - self.mean
        shallow = self.conv_first(x)
        features, outputs = self.conv_second(shallow), []
        for block in self.blocks:
            features = block(features)
            outputs.append(features)
        features = shallow + self.fuse(cat(outputs, dim=1))
        output = self.conv_last(self.upsample(features))
        if self.global_skip:
            output = output + F.interpolate(
                x, scale_factor=self.scale, mode='bicubic', align_corners=False
            )
        return output + self.mean


def _make_upsampler(channels: int, scale: int, bias: bool) -> tuple[nn.Sequential, int]:
    """Pixel shuffles, and the channels that they leave."""
    width = shuffled_channels(channels, scale)
    steps = []
    for factor in (2, 2) if scale == 4 else (scale,):
        steps.append(nn.Conv2d(channels, width * factor**2, 3, padding=1, bias=bias))
        steps.append(nn.PixelShuffle(factor))
    return nn.Sequential(*steps), width


def _read_codes(architecture: Sequence[str] | str | Path) -> Sequence[str] | str:
    is_text = isinstance(architecture, str) and not architecture.endswith('.json')
    if is_text or not isinstance(architecture, str | Path):
        return architecture
    path = Path(architecture).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'Expected `architecture` to be codes or a JSON file with them, such as '
            f'best.json of a search, but there is no {path} (from {Path.cwd()}).'
        )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'Expected {path} to be JSON, but got: {error}.') from error
    codes = content.get('architecture') if isinstance(content, dict) else content
    if not isinstance(codes, list):
        raise ValueError(
            f'Expected {path} to hold a list of codes, or one under `architecture`, '
            f'but got {str(content)[:60]!r}.'
        )
    return codes
