"""The residual block of EDSR and MDSR: convolutions alone, without normalisation."""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, scaled and added to the input.

    (N, channels, H, W) -> (N, channels, H, W).

    Args:
        channels: of input, output and between.
        res_scale: factor of what is added to the input.
        kernel_size: of both convolutions, odd.
    """

    def __init__(
        self, channels: int, res_scale: float = 1.0, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.res_scale = res_scale
        padding = kernel_size // 2
        self.conv1 = nn.Conv2d(channels, channels, kernel_size, padding=padding)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(self.relu(self.conv1(x)))
        if self.res_scale == 1:
            return x + residual
        return x.add(residual, alpha=self.res_scale)
