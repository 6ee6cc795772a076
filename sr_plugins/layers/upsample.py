"""Sub-pixel upsampling (Shi et al., CVPR 2016, https://arxiv.org/abs/1609.05158)."""

from torch import Tensor, nn
from torch.nn import functional as F


class PixelShuffleUpsample(nn.Module):
    """3x3 convolution to `channels * factor**2`, then pixel shuffle.

    (N, channels, H, W) -> (N, channels, factor * H, factor * W).
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.upsample_conv = nn.Conv2d(channels, channels * factor**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.upsample_conv(x), self.factor)


def make_upsampler(channels: int, scale: int) -> nn.Sequential:
    """Upsampler of EDSR: x2 and x3 in one step, x4 in two steps of 2, x1 in none."""
    factors = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}[scale]
    return nn.Sequential(*(PixelShuffleUpsample(channels, f) for f in factors))
