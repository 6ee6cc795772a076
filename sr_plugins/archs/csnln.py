"""CSNLN: cross-scale non-local attention with exhaustive self-exemplars mining.

Paper: Mei et al., CVPR 2020, https://arxiv.org/abs/2006.01424
Original code: https://github.com/SHI-Labs/Cross-Scale-Non-Local-Attention

Deviations from the original:
- Any input size of at least one pixel a side: the image is padded at its right and
  bottom edge by replication to a multiple of the attention's factor, and the output
  cropped. At sizes that need no padding the output is the original's.
- The width of both attentions follows `mid_channels` (the original fixes it at 128),
  and a batch is attended at once rather than image by image.
- Both attentions are computed in bands, without patches, and never hold a matrix of
  pixels by pixels (docs/csnln.md); results agree to rounding.
- The outputs of the recurrences go through the last convolution one by one and are
  summed, which equals the convolution of their concatenation.
- Mean subtraction and the attention's `escape_NaN` are constants, so parameter counts
  are those of the original less its 24 frozen values.
"""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import (
    check_budget,
    check_image,
    check_scale,
    cross_scale_attention,
    image_mean,
    in_scale_attention,
    recompute,
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

    def __init__(self, channels: int, memory_budget_mb: float | None = None) -> None:
        super().__init__()
        self.memory_budget_mb = memory_budget_mb
        self.query = _conv(channels, channels // 2, 1)
        self.key = _conv(channels, channels // 2, 1)
        self.value = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = recompute(self._embed, x)
        return in_scale_attention(query, key, value, self.memory_budget_mb)

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(x), self.value(x)


class CrossScaleAttention(nn.Module):
    """Attention of (N, C, H, W) to its own downscaled self; enlarges by `factor`."""

    def __init__(
        self, channels: int, factor: int, memory_budget_mb: float | None = None
    ) -> None:
        super().__init__()
        self.factor = factor
        self.memory_budget_mb = memory_budget_mb
        self.query = _conv(channels, channels // 2, 1)
        self.key = _conv(channels, channels // 2, 1)
        self.value = _conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = recompute(self._embed, x)
        return cross_scale_attention(
            query, key, value, self.factor, self.memory_budget_mb
        )

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = x.shape[2] // self.factor, x.shape[3] // self.factor
        small = F.interpolate(x, (height, width), mode='bilinear', align_corners=False)
        return self.query(x), self.key(small), self.value(x)


class MultiSourceProjection(nn.Module):
    """In-scale and cross-scale attention, projected onto each other and fused."""

    def __init__(
        self,
        channels: int,
        factor: int,
        geometry: _Resampling,
        memory_budget_mb: float | None,
    ) -> None:
        super().__init__()
        self.cross_scale = CrossScaleAttention(channels, factor, memory_budget_mb)
        self.in_scale = InScaleAttention(channels, memory_budget_mb)
        self.upsample = _up(channels, geometry)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        local = self.upsample(self.in_scale(x))
        difference = self.cross_scale(x) - local
        encoded = recompute(self.encoder[1:], self.encoder[0](difference))
        return local + difference + encoded


class Stage(nn.Module):
    """One enlargement of the cell, corrected by what its reduction misses."""

    def __init__(
        self,
        channels: int,
        factor: int,
        geometry: _Resampling,
        memory_budget_mb: float | None,
    ) -> None:
        super().__init__()
        # The attention always enlarges by `factor`; error and reduction cover all the
        # way from the cell's input.
        step = _STAGES[factor][1][0]
        self.projection = MultiSourceProjection(
            channels, factor, step, memory_budget_mb
        )
        self.down_error = _down(channels, geometry)
        self.error_encode = _up(channels, geometry)

    def forward(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarge `x`; `source` is the cell's input, at LR size.

        Returns:
            Two maps for `merge`, which is apart since the result need not be kept.
        """
        enlarged = self.projection(x)
        error = self.error_encode[0](source - self.down_error(enlarged))
        return enlarged, error

    def merge(self, enlarged: Tensor, error: Tensor) -> Tensor:
        return enlarged + self.error_encode[1](error)


class SelfExemplarsMining(nn.Module):
    """The recurrent cell."""

    def __init__(
        self, channels: int, scale: int, memory_budget_mb: float | None = None
    ) -> None:
        super().__init__()
        factor, geometries = _STAGES[scale]
        self.stages = nn.ModuleList(
            Stage(channels, factor, g, memory_budget_mb) for g in geometries
        )
        self.down = _down(channels, geometries[-1])
        self.post_conv = _conv(channels, channels, 3)

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """One recurrence.

        Args:
            x: LR features.
            weight: of the network's last convolution, for this recurrence.

        Returns:
            What it adds to the output, and the next LR features.
        """
        features = x
        for stage in self.stages[:-1]:
            features = stage.merge(*stage(features, x))
        maps = self.stages[-1](features, x)
        part, reduced = recompute(self._finish, *maps, weight)
        return part, self.post_conv(self.down[1](reduced))

    def _finish(
        self, enlarged: Tensor, error: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        merged = self.stages[-1].merge(enlarged, error)
        # In this order: `recompute` repeats all but the last convolution.
        return F.conv2d(merged, weight, padding=1), self.down[0](merged)


@MODELS.register_module()
class CSNLN(nn.Module):
    """CSNLN; the defaults are the published network.

    Args:
        scale: 2, 3 or 4.
        in_channels: of input and output; DIV2K's mean is subtracted when it is 3.
        mid_channels: width, even; attention matches at half of it.
        num_recurrences: how often the one cell is applied, `T` in the paper.
        with_checkpoint: keep of each recurrence no more than its input for the backward
            pass, which computes the rest again: less memory, a third more work.
        memory_budget_mb: MiB that each attention may take for scores and weights; None
            takes 64 on a CPU and 1024 elsewhere. Outputs do not depend on it.

    Attributes:
        receptive_field: None, as it looks at all of the image.
        alignment: the attention downscales squares of this side, counted from the
            corner of the image.

    Raises:
        ValueError: on another scale, an odd width, fewer than one recurrence or a
            budget that is not positive.
    """

    receptive_field = None

    def __init__(
        self,
        scale: int = 2,
        in_channels: int = 3,
        mid_channels: int = 128,
        num_recurrences: int = 12,
        with_checkpoint: bool = False,
        memory_budget_mb: float | None = None,
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
        check_budget(memory_budget_mb)
        self.scale = scale
        self.alignment = _STAGES[scale][0]
        self.in_channels = in_channels
        self.with_checkpoint = with_checkpoint
        self.num_recurrences = num_recurrences
        self.register_buffer('mean', image_mean(in_channels), persistent=False)
        self.head = nn.Sequential(
            _conv(in_channels, mid_channels, 3), _conv(mid_channels, mid_channels, 3)
        )
        self.cell = SelfExemplarsMining(mid_channels, scale, memory_budget_mb)
        self.tail = nn.Conv2d(mid_channels * num_recurrences, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, in_channels, scale * H, scale * W)."""
        check_image('CSNLN', x, self.in_channels)
        height, width = x.shape[2:]
        factor = _STAGES[self.scale][0]
        x = F.pad(x, (0, -width % factor, 0, -height % factor), mode='replicate')
        features = self.head(x - self.mean)
        output = self.mean + self.tail.bias.view(-1, 1, 1)
        for weight in self.tail.weight.chunk(self.num_recurrences, dim=1):
            if self.with_checkpoint and self.training:
                part, features = recompute(self.cell, features, weight)
            else:
                part, features = self.cell(features, weight)
            output = output + part
        return output[:, :, : height * self.scale, : width * self.scale]
