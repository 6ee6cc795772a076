"""EDSR: enhanced deep residual networks for single image super-resolution.

Paper: Lim et al., CVPR workshops 2017, https://arxiv.org/abs/1707.02921
Original code: https://github.com/sanghyun-son/EDSR-PyTorch

Deviations from the original:
- Images are RGB in [0, 1], as in mmagic, where the original takes [0, 255]; weights
  are converted between the two by `sr_plugins.checkpoints`.
- Mean subtraction is a buffer rather than a frozen 1x1 convolution, so parameter
  counts are those of the original less its 24 frozen values.
- `scale=1` (no upsampler) serves restoration at the same size.
"""

from torch import Tensor, nn

from ..layers import (
    ResidualBlock,
    check_image,
    check_scale,
    image_mean,
    make_upsampler,
)
from ..registry import MODELS


@MODELS.register_module()
class EDSR(nn.Module):
    """EDSR; the defaults are the baseline, 32 x 256 with `res_scale=0.1` the full one.

    Args:
        scale: 1, 2, 3 or 4.
        in_channels: of the input; DIV2K's mean is subtracted when it is 3.
        out_channels: of the output; DIV2K's mean is added when it is 3.
        mid_channels: width of the body, `F` in the paper.
        num_blocks: residual blocks in the body, `B` in the paper.
        res_scale: factor of each block's residual branch.

    Attributes:
        receptive_field: LR pixels that an output pixel depends on, beyond its own to
            each side.
        prefers_channels_last: faster on a CPU when its weights lie so.

    Raises:
        ValueError: on another scale.
    """

    prefers_channels_last = True

    def __init__(
        self,
        scale: int = 2,
        in_channels: int = 3,
        out_channels: int = 3,
        mid_channels: int = 64,
        num_blocks: int = 16,
        res_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_scale(type(self).__name__, scale, (1, 2, 3, 4))
        self.scale = scale
        self.in_channels = in_channels
        # One for each 3x3 convolution at LR size, and one for all of the larger sizes.
        self.receptive_field = 2 * num_blocks + (3 if scale == 1 else 4)
        self.register_buffer('in_mean', image_mean(in_channels), persistent=False)
        self.register_buffer('out_mean', image_mean(out_channels), persistent=False)
        self.conv_first = nn.Conv2d(in_channels, mid_channels, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(mid_channels, res_scale) for _ in range(num_blocks))
        )
        self.conv_after_body = nn.Conv2d(mid_channels, mid_channels, 3, padding=1)
        self.upsample = make_upsampler(mid_channels, scale)
        self.conv_last = nn.Conv2d(mid_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, scale * H, scale * W)."""
        check_image(type(self).__name__, x, self.in_channels)
        features = self.conv_first(x - self.in_mean)
        features = features + self.conv_after_body(self.body(features))
        return self.conv_last(self.upsample(features)) + self.out_mean
