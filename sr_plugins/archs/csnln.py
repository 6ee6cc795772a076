"""CSNLN: cross-scale non-local attention with exhaustive self-exemplars mining.

Paper: Mei et al., CVPR 2020, https://arxiv.org/abs/2006.01424
Original code: https://github.com/SHI-Labs/Cross-Scale-Non-Local-Attention

Deviations from the original:
- Any input size of at least one pixel a side: the image is padded at its right and
  bottom edge by replication to a multiple of the attention's factor, and the output
  cropped. At sizes that need no padding the output is the original's.
- The width of both attentions follows `mid_channels` (the original fixes it at 128),
  and a batch is attended at once rather than image by image.
- Mean subtraction and the attention's `escape_NaN` are constants, so parameter counts
  are those of the original less its 24 frozen values.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import (
    check_image,
    check_scale,
    cross_scale_attention,
    image_mean,
    in_scale_attention,
)
from ..registry import MODELS


class _Resampling(NamedTuple):
    """Geometry of a strided (transposed) convolution."""

    kernel: int
    stride: int
    padding: int


# Per scale: the factor of one attention, how often it is applied, and the strided
# convolutions of each application.
_STAGES = {
    2: (2, (_Resampling(6, 2, 2),)),
    3: (3, (_Resampling(9, 3, 3),)),
    4: (2, (_Resampling(6, 2, 2), _Resampling(8, 4, 2))),
}


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.PReLU())


def _down(channels: int, geometry: _Resampling) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, *geometry), nn.PReLU())


def _up(channels: int, geometry: _Resampling) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(channels, channels, *geometry), nn.PReLU())


class InScaleAttention(nn.Module):
    """Non-local attention within one scale; (N, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = _conv(channels, channels // 2, 1)
        self.key = _conv(channels, channels // 2, 1)
        self.value = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return in_scale_attention(self.query(x), self.key(x), self.value(x))


class CrossScaleAttention(nn.Module):
    """Attention of (N, C, H, W) to its own downscaled self; enlarges by `factor`."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.query = _conv(channels, channels // 2, 1)
        self.key = _conv(channels, channels // 2, 1)
        self.value = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2] // self.factor, x.shape[3] // self.factor
        small = F.interpolate(x, (height, width), mode='bilinear', align_corners=False)
        return cross_scale_attention(
            self.query(x), self.key(small), self.value(x), self.factor
        )


class MultiSourceProjection(nn.Module):
    """In-scale and cross-scale attention, projected onto each other and fused."""

    def __init__(self, channels: int, factor: int, geometry: _Resampling) -> None:
        super().__init__()
        self.cross_scale = CrossScaleAttention(channels, factor)
        self.in_scale = InScaleAttention(channels)
        self.upsample = _up(channels, geometry)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        local = self.upsample(self.in_scale(x))
        difference = self.cross_scale(x) - local
        return local + difference + self.encoder(difference)


class Stage(nn.Module):
    """One enlargement of the cell, corrected by what its reduction misses."""

    def __init__(self, channels: int, factor: int, geometry: _Resampling) -> None:
        super().__init__()
        # The attention always enlarges by `factor`; error and reduction cover all the
        # way from the cell's input.
        step = _STAGES[factor][1][0]
        self.projection = MultiSourceProjection(channels, factor, step)
        self.down_error = _down(channels, geometry)
        self.error_encode = _up(channels, geometry)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Enlarge `x`; `source` is the cell's input, at LR size."""
        enlarged = self.projection(x)
        return enlarged + self.error_encode(source - self.down_error(enlarged))


class SelfExemplarsMining(nn.Module):
    """The recurrent cell: LR features -> (HR features, next LR features)."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        factor, geometries = _STAGES[scale]
        self.stages = nn.ModuleList(Stage(channels, factor, g) for g in geometries)
        self.down = _down(channels, geometries[-1])
        self.post_conv = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        enlarged = x
        for stage in self.stages:
            enlarged = stage(enlarged, x)
        return enlarged, self.post_conv(self.down(enlarged))


@MODELS.register_module()
class CSNLN(nn.Module):
    """CSNLN; the defaults are the published network.

    Args:
        scale: 2, 3 or 4.
        in_channels: of input and output; DIV2K's mean is subtracted when it is 3.
        mid_channels: width, even; attention matches at half of it.
        num_recurrences: how often the one cell is applied, `T` in the paper.

    Raises:
        ValueError: on another scale, an odd width or fewer than one recurrence.
    """

    def __init__(
        self,
        scale: int = 2,
        in_channels: int = 3,
        mid_channels: int = 128,
        num_recurrences: int = 12,
    ) -> None:
        super().__init__()
        check_scale('CSNLN', scale, tuple(_STAGES))
        if mid_channels < 2 or mid_channels % 2:
            raise ValueError(
                f'Expected `mid_channels` to be even, but got {mid_channels}.'
            )
        if num_recurrences < 1:
            raise ValueError(
                f'Expected `num_recurrences` to be at least 1, but got '
                f'{num_recurrences}.'
            )
        self.scale = scale
        self.in_channels = in_channels
        self.num_recurrences = num_recurrences
        self.register_buffer('mean', image_mean(in_channels), persistent=False)
        self.head = nn.Sequential(
            _conv(in_channels, mid_channels, 3), _conv(mid_channels, mid_channels, 3)
        )
        self.cell = SelfExemplarsMining(mid_channels, scale)
        self.tail = nn.Conv2d(mid_channels * num_recurrences, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, in_channels, scale * H, scale * W)."""
        check_image('CSNLN', x, self.in_channels)
        height, width = x.shape[2:]
        factor = _STAGES[self.scale][0]
        x = F.pad(x, (0, -width % factor, 0, -height % factor), mode='replicate')
        features = self.head(x - self.mean)
        enlarged = []
        for _ in range(self.num_recurrences):
            hr_features, features = self.cell(features)
            enlarged.append(hr_features)
        output = self.tail(torch.cat(enlarged, dim=1)) + self.mean
        return output[:, :, : height * self.scale, : width * self.scale]
