"""CAR's penalty on offsets that change from pixel to pixel."""

from torch import Tensor, nn

from ..registry import MODELS


def partial_tv_loss(
    kernels: Tensor,
    offsets_h: Tensor,
    offsets_v: Tensor,
    detach_kernels: bool = False,
) -> Tensor:
    """Partial total variation of the offsets, weighed by the kernels.

    Vertical offsets of LR pixels side by side are compared, and horizontal ones of
    pixels on top of each other (Sun and Chen, TIP 2020): such
    differences bend straight edges. Absolute differences are weighed by the kernel of
    the left, or upper, pixel, summed over taps and pixels, and divided by the number of
    LR pixels.

    Args:
        kernels: (N, k * k, h, w), positive, 1 in sum over the taps.
        offsets_h: of the same shape, in LR pixels.
        offsets_v: of the same shape, in LR pixels.
        detach_kernels: let gradients reach the offsets only, so that a kernel does not
            learn to avoid taps that move. The MindSpore code lets them pass.

    Returns:
        A scalar that depends neither on the size of the image nor on k: the mean
        difference, as the kernels weigh it.

    Raises:
        ValueError: when the shapes differ.
    """
    if not kernels.shape == offsets_h.shape == offsets_v.shape:
        raise ValueError(
            f'Expected `kernels`, `offsets_h` and `offsets_v` to be of one shape, '
            f'(N, k * k, h, w), but got {tuple(kernels.shape)}, '
            f'{tuple(offsets_h.shape)} and {tuple(offsets_v.shape)}.'
        )
    if detach_kernels:
        kernels = kernels.detach()
    along_rows = offsets_v.diff(dim=3).abs() * kernels[:, :, :, :-1]
    along_columns = offsets_h.diff(dim=2).abs() * kernels[:, :, :-1]
    n, _, height, width = kernels.shape
    return (along_rows.sum() + along_columns.sum()) / (n * height * width)


@MODELS.register_module()
class PartialTVLoss(nn.Module):
    """`partial_tv_loss` with a weight.

    Args:
        loss_weight: the paper gives none. The MindSpore code has 0.005 and divides by
            the number of images only, of 48 x 48 LR pixels: 11.52 for each pixel.
        detach_kernels: as `partial_tv_loss`.
    """

    def __init__(
        self, loss_weight: float = 11.52, detach_kernels: bool = False
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.detach_kernels = detach_kernels

    def forward(self, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor) -> Tensor:
        loss = partial_tv_loss(kernels, offsets_h, offsets_v, self.detach_kernels)
        return self.loss_weight * loss
