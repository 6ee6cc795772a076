"""CAR: downscaling that is learned together with the upscaling that follows it.

Paper: Sun and Chen, Learned image downscaling for upscaling using content adaptive
resampler, TIP 2020, https://arxiv.org/abs/1907.12904
Original code: https://github.com/sunwj/CAR (inference only)

Where paper and code differ, this follows the code, whose weights are published: a 5x5
convolution first, 1x1 ones after each pixel-unshuffle, ReLU in the branches, and
(3 scale + 1)^2 taps.

Deviations from the original:
- Mean subtraction is a buffer rather than a frozen 1x1 convolution, so parameter
  counts are those of the original less 12 (KGN) and 24 (USN) frozen values.
- Images of any size are padded inside `CAR`, where the original crops them to
  multiples of 8. At such sizes, of 16 pixels or more, nothing is padded.
- Gradients pass the resampler and the rounding, so that both networks can be trained.
- Weights of taps outside [1e-6, 1] get those gradients that lead back. Clamped as
  published they get none, and one tap after the other is lost for good.
- KGN starts as a blur without offsets, from He's weights with flat heads: at torch's
  defaults hardly anything of the image reaches the end of so many layers.

Unlike other networks this one imports another: its upscaling network is EDSR.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import check_image, check_scale, image_mean, quantize
from ..ops import adaptive_grid_sample
from ..registry import MODELS
from .edsr import EDSR

_SCALES = (2, 4)
# KGN reduces by 8, and its reflecting convolutions need two pixels there.
_MULTIPLE, _SMALLEST = 8, 16
_WEAKEST = 1e-6
# At the start: heads' weights over He's, and the blur's deviation in LR pixels.
_FLAT, _BLUR = 1e-4, 0.35


class SamplingMaps(NamedTuple):
    """For each LR pixel the weights and displacements of its k * k taps.

    Each (N, k * k, H / scale, W / scale), k = 3 scale + 1, tap `k * row + column`.

    Attributes:
        kernels: positive, 1 in sum over the taps.
        offsets_h: to the right, in LR pixels, from -1 to 1.
        offsets_v: downwards, in LR pixels, from -1 to 1.
    """

    kernels: Tensor
    offsets_h: Tensor
    offsets_v: Tensor


class Resampled(NamedTuple):
    """A downscaled image before clamping and rounding, and the maps that made it."""

    lr: Tensor
    kernels: Tensor
    offsets_h: Tensor
    offsets_v: Tensor


def _conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode='reflect')


class ResidualBlock(nn.Module):
    """3x3 convolution, LeakyReLU, 3x3 convolution, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, channels)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)
        self.conv2 = _conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.lrelu(self.conv1(x)))


class Trunk(nn.Module):
    """From features at 1 / 8 of the HR image to features of the LR image's size.

    (N, channels, h, w) -> (N, channels, factor * h, factor * w).
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        layers = []
        for _ in range(3):
            layers += [_conv3x3(channels, channels), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.upsample = nn.Sequential(
            nn.Conv2d(channels, channels * factor**2, 1), nn.PixelShuffle(factor)
        )
        self.conv_last = _conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv_last(self.upsample(self.body(x))))


class _ClampTowards(torch.autograd.Function):
    """Clamp; gradients outside the range pass where they lead back to it."""

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.range
        # A step goes against the gradient.
        passes = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * passes, None, None


class Head(nn.Module):
    """From a trunk's features to one value for each tap."""

    def __init__(self, channels: int, num_taps: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, channels)
        self.conv2 = _conv3x3(channels, num_taps)

    def forward(self, x: Tensor) -> Tensor:
        """At least float32: positions in an image need more than half precision."""
        y = self.conv2(F.relu(self.conv1(x)))
        return y.to(torch.promote_types(y.dtype, torch.float32))


@MODELS.register_module()
class KGN(nn.Module):
    """The network that decides how an image is downscaled; DSN in the published code.

    Args:
        scale: 2 or 4.
        in_channels: of the image; DIV2K's mean is subtracted when it is 3.
        mid_channels: width of the body, even; half of it before, twice after it.
        num_blocks: residual blocks of the body.

    Attributes:
        receptive_field: HR pixels that squares of `alignment` pixels depend on, beyond
            their own to each side.
        alignment: pixels are seen in squares of 8, counted from the image's corner.

    Raises:
        ValueError: on another scale, or an odd width.
    """

    takes_hr = True
    alignment = _MULTIPLE

    def __init__(
        self,
        scale: int = 2,
        in_channels: int = 3,
        mid_channels: int = 128,
        num_blocks: int = 5,
    ) -> None:
        super().__init__()
        check_scale('KGN', scale, _SCALES)
        if mid_channels < 2 or mid_channels % 2:
            raise ValueError(
                f'Expected `mid_channels` of KGN to be even and positive, since the '
                f'first layer has half as many, but got {mid_channels}.'
            )
        self.scale = scale
        self.in_channels = in_channels
        # Heads and the end of a trunk see 3 LR pixels, its body 3 of the smallest ones,
        # blocks 2 each of twice those, and the first layer 2 of the image's.
        self.receptive_field = -(-3 * scale // _MULTIPLE) * _MULTIPLE
        self.receptive_field += 3 * _MULTIPLE + 2 * num_blocks * _MULTIPLE // 2 + 2
        half, wide, num_taps = mid_channels // 2, mid_channels * 2, (3 * scale + 1) ** 2
        self.register_buffer('in_mean', image_mean(in_channels), persistent=False)
        self.conv_first = nn.Conv2d(
            in_channels, half, 5, padding=2, padding_mode='reflect'
        )
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)
        self.unshuffle = nn.PixelUnshuffle(2)
        self.down_2 = nn.Conv2d(4 * half, mid_channels, 1)
        self.down_4 = nn.Conv2d(4 * mid_channels, mid_channels, 1)
        self.body = nn.Sequential(
            *(ResidualBlock(mid_channels) for _ in range(num_blocks))
        )
        self.down_8 = nn.Conv2d(4 * mid_channels, wide, 1)
        self.kernels_trunk = Trunk(wide, _MULTIPLE // scale)
        self.kernels_head = Head(wide, num_taps)
        self.offsets_trunk = Trunk(wide, _MULTIPLE // scale)
        self.offsets_h_head = Head(wide, num_taps)
        self.offsets_v_head = Head(wide, num_taps)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.body:
            block.conv2.weight.mul_(0.1)
        for head in (self.kernels_head, self.offsets_h_head, self.offsets_v_head):
            head.conv2.weight.mul_(_FLAT)
        side = 3 * self.scale + 1
        steps = torch.arange(side) - side // 2
        blur = torch.exp(-0.5 * (steps / (_BLUR * self.scale)) ** 2)
        self.kernels_head.conv2.bias.copy_((blur * blur.unsqueeze(1)).flatten() / 2)

    def forward(self, x: Tensor) -> SamplingMaps:
        """Give the maps for (N, in_channels, H, W), float32 at least.

        Raises:
            ValueError: when a side is no multiple of 8, or below 16.
        """
        check_image('KGN', x, self.in_channels)
        height, width = x.shape[2:]
        if height % _MULTIPLE or width % _MULTIPLE or min(height, width) < _SMALLEST:
            raise ValueError(
                f'Expected the sides of the input of KGN to be multiples of '
                f'{_MULTIPLE} and at least {_SMALLEST}, but got {height} x {width} '
                f'(height x width). Pad it, or use CAR, which does.'
            )
        features = self.lrelu(self.conv_first(x - self.in_mean))
        features = self.down_2(self.unshuffle(features))
        features = self.down_4(self.unshuffle(features))
        features = features + self.body(features)
        features = self.down_8(self.unshuffle(features))
        weights = self.kernels_head(self.kernels_trunk(features))
        weights = _ClampTowards.apply(weights, _WEAKEST, 1.0)
        offsets = self.offsets_trunk(features)
        return SamplingMaps(
            weights / weights.sum(1, keepdim=True),
            self.offsets_h_head(offsets).tanh(),
            self.offsets_v_head(offsets).tanh(),
        )


@MODELS.register_module()
class USN(EDSR):
    """The upscaling network: EDSR, by default as published, 32 x 256.

    Weights of EDSR load into it whoever wrote them.

    Args:
        scale: as EDSR.
        in_channels: as EDSR.
        out_channels: as EDSR.
        mid_channels: as EDSR.
        num_blocks: as EDSR.
        res_scale: as EDSR.
    """

    def __init__(
        self,
        scale: int = 2,
        in_channels: int = 3,
        out_channels: int = 3,
        mid_channels: int = 256,
        num_blocks: int = 32,
        res_scale: float = 0.1,
    ) -> None:
        super().__init__(
            scale, in_channels, out_channels, mid_channels, num_blocks, res_scale
        )


@MODELS.register_module()
class CAR(nn.Module):
    """Downscaling, rounding to 8 bits and upscaling, to be trained as one.

    Args:
        scale: 2 or 4.
        downscaler: arguments of KGN, without the scale.
        upscaler: arguments of USN, without the scale.
        quantization: what rounding is taken for in the backward pass: the identity
            ('straight_through') or a soft rounding ('soft_round'). In the forward
            pass images are rounded in either case.
        soft_round_alpha: how far soft rounding departs from the identity, above 0 and
            at most 1. The paper does not say; the MindSpore code has 1.

    Raises:
        ValueError: on another scale, quantization or alpha.
    """

    takes_hr = True

    def __init__(
        self,
        scale: int = 2,
        downscaler: Mapping[str, Any] | None = None,
        upscaler: Mapping[str, Any] | None = None,
        quantization: Literal['straight_through', 'soft_round'] = 'straight_through',
        soft_round_alpha: float = 1.0,
    ) -> None:
        super().__init__()
        check_scale('CAR', scale, _SCALES)
        if quantization not in ('straight_through', 'soft_round'):
            raise ValueError(
                f"Expected `quantization` to be 'straight_through' or 'soft_round', "
                f'but got {quantization!r}.'
            )
        if not 0 < soft_round_alpha <= 1:
            raise ValueError(
                f'Expected `soft_round_alpha` to be above 0 and at most 1, but got '
                f"{soft_round_alpha}. For the identity there is 'straight_through'."
            )
        self.scale = scale
        self.alpha = soft_round_alpha if quantization == 'soft_round' else 0.0
        self.downscaler = KGN(scale, **(downscaler or {}))
        self.upscaler = USN(scale, **(upscaler or {}))

    def resample(self, hr: Tensor) -> Resampled:
        """Downscale without clamping and rounding.

        The image is padded at its bottom and right, by its last row and column, to
        multiples of 8 and at least 16 pixels; what lies in the padding is cut off.

        Args:
            hr: (N, C, H, W), any size.

        Returns:
            Maps and LR image of ceil(H / scale) x ceil(W / scale), float32 at least.
        """
        check_image('CAR', hr, self.downscaler.in_channels)
        height, width = hr.shape[2:]
        bottom, right = (_padding(side) for side in (height, width))
        if bottom or right:
            hr = F.pad(hr, (0, right, 0, bottom), mode='replicate')
        maps = self.downscaler(hr)
        lr = adaptive_grid_sample(hr.to(maps.kernels.dtype), *maps, self.scale)
        rows, columns = -(-height // self.scale), -(-width // self.scale)
        return Resampled(*(x[:, :, :rows, :columns] for x in (lr, *maps)))

    def quantize(self, lr: Tensor) -> Tensor:
        """Clamp to [0, 1] and round to 8 bits, with the chosen gradient."""
        return quantize(lr, self.alpha)

    def downscale(self, hr: Tensor) -> Tensor:
        """(N, C, H, W) -> the 8-bit image (N, C, ceil(H / scale), ceil(W / scale))."""
        return self.quantize(self.resample(hr).lr)

    def upscale(self, lr: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, scale * h, scale * w)."""
        # Of a network in half precision `downscale` gives float32 all the same.
        return self.upscaler(lr.to(self.upscaler.conv_first.weight.dtype))

    def forward(
        self, hr: Tensor, return_resampled: bool = False
    ) -> Tensor | tuple[Tensor, Resampled]:
        """Downscale, round and upscale (N, C, H, W), which may be of any size.

        Returns:
            The reconstruction, of the size of `hr`; with `return_resampled` and what
            `resample` gives.
        """
        height, width = hr.shape[-2:]
        resampled = self.resample(hr)
        output = self.upscale(self.quantize(resampled.lr))[:, :, :height, :width]
        return (output, resampled) if return_resampled else output


def _padding(side: int) -> int:
    """Pixels from `side` to the next size that KGN takes."""
    return max(-side % _MULTIPLE, _SMALLEST - side)
