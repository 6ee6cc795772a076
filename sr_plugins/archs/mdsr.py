"""MDSR: one network for several scales, which share all but their ends.

Paper: Lim et al., CVPR workshops 2017, https://arxiv.org/abs/1707.02921
Original code: https://github.com/sanghyun-son/EDSR-PyTorch

Deviations from the original:
- The scale is an argument of `forward` rather than a state that is set before it.
- Images are RGB in [0, 1], where the original takes [0, 255]; weights are converted
  between the two by `sr_plugins.checkpoints`.
- Mean subtraction is a buffer rather than a frozen 1x1 convolution, so parameter
  counts are those of the original less its 24 frozen values.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ..layers import (
    ResidualBlock,
    check_image,
    check_scale,
    image_mean,
    make_upsampler,
)
from ..registry import MODELS

_SCALES = (2, 3, 4)


@MODELS.register_module()
class MDSR(nn.Module):
    """MDSR; the defaults are the baseline, `num_blocks=80` is the full one.

    Two 5x5 residual blocks and the upsampler belong to one scale, all else to all.
    A training step at one scale leaves the other scales' weights without gradients:
    distributed runs need `find_unused_parameters=True`.

    Args:
        scales: different ones of 2, 3 and 4. Their order is that of the weights;
            published ones have (2, 3, 4).
        mid_channels: width of the body.
        num_blocks: residual blocks in the body.
        in_channels: of the input; DIV2K's mean is subtracted when it is 3.
        out_channels: of the output; DIV2K's mean is added when it is 3.
        scale: what `forward` takes when it is given none, one of `scales`; None for
            the first of them. The attribute of that name may be set at any time.

    Attributes:
        receptive_field: LR pixels that an output pixel depends on, beyond its own to
            each side.
        prefers_channels_last: faster on a CPU when its weights lie so.

    Raises:
        ValueError: on other scales.
    """

    prefers_channels_last = True

    def __init__(
        self,
        scales: Sequence[int] = (2, 3, 4),
        mid_channels: int = 64,
        num_blocks: int = 16,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int | None = None,
    ) -> None:
        super().__init__()
        self.scales = _check_scales(scales)
        self.scale = self.scales[0] if scale is None else scale
        check_scale('MDSR', self.scale, self.scales)
        self.in_channels = in_channels
        # One for each 3x3 convolution at LR size, two for each of the four 5x5, and
        # one for all of the larger sizes.
        self.receptive_field = 2 * num_blocks + 12
        self.register_buffer('in_mean', image_mean(in_channels), persistent=False)
        self.register_buffer('out_mean', image_mean(out_channels), persistent=False)
        self.conv_first = nn.Conv2d(in_channels, mid_channels, 3, padding=1)
        self.pre_process = nn.ModuleList(
            nn.Sequential(
                *(ResidualBlock(mid_channels, kernel_size=5) for _ in range(2))
            )
            for _ in self.scales
        )
        self.body = nn.Sequential(
            *(ResidualBlock(mid_channels) for _ in range(num_blocks))
        )
        self.conv_after_body = nn.Conv2d(mid_channels, mid_channels, 3, padding=1)
        self.upsample = nn.ModuleList(
            make_upsampler(mid_channels, each) for each in self.scales
        )
        self.conv_last = nn.Conv2d(mid_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, scale: int | None = None) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, scale * H, scale * W).

        Args:
            x: images in [0, 1].
            scale: one of `scales`; None for the attribute `scale`.

        Raises:
            ValueError: on another scale or number of channels.
        """
        if scale is None:
            scale = self.scale
        check_scale('MDSR', scale, self.scales)
        check_image('MDSR', x, self.in_channels)
        branch = self.scales.index(scale)
        features = self.pre_process[branch](self.conv_first(x - self.in_mean))
        features = features + self.conv_after_body(self.body(features))
        return self.conv_last(self.upsample[branch](features)) + self.out_mean


def _check_scales(scales: Sequence[int]) -> tuple[int, ...]:
    """The scales as a tuple, if they are what MDSR is defined for."""
    is_sequence = isinstance(scales, Sequence) and not isinstance(scales, str)
    if not is_sequence or not scales or len(set(scales)) < len(scales):
        raise ValueError(
            f'Expected `scales` of MDSR to be different ones of '
            f'{", ".join(map(str, _SCALES))}, but got {scales!r}.'
        )
    for each in scales:
        check_scale('MDSR', each, _SCALES)
    return tuple(scales)
