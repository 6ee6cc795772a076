"""CAR's penalty on taps that are displaced far, the outer ones above all."""

import math

import torch
from torch import Tensor, nn

from ..registry import MODELS

# Of a squared length: the root has no finite slope at 0.
_SMOOTH = 1e-12


def offset_loss(offsets_h: Tensor, offsets_v: Tensor, eta: float = 0.0) -> Tensor:
    """Mean over LR pixels of the sum over taps of (eta + w) * length of the offset.

    w is the distance of the tap from the centre of the kernel over k / sqrt(2), as
    in the paper (Sun and Chen, TIP 2020).

    Deviations. The paper prints `eta + length * w`, in which eta = 1 adds a constant
    without a gradient: that is `eta=0` here. Named a regulator of the distance weight,
    it may have been meant as the default of the taps near the centre: that is `eta=1`.
    The centre is the middle tap, (k - 1) / 2, where the paper has k / 2 and so weighs
    left and right differently.

    Args:
        offsets_h: (N, k * k, h, w), in LR pixels.
        offsets_v: (N, k * k, h, w), in LR pixels.
        eta: weight of the middle tap.

    Returns:
        A scalar. It does not depend on the size of the image, but grows with k * k.

    Raises:
        ValueError: when the shapes differ, or the taps are no square.
    """
    side = math.isqrt(offsets_h.shape[1])
    if offsets_h.shape != offsets_v.shape or side**2 != offsets_h.shape[1]:
        raise ValueError(
            f'Expected `offsets_h` and `offsets_v` to be (N, k * k, h, w), but got '
            f'{tuple(offsets_h.shape)} and {tuple(offsets_v.shape)}.'
        )
    steps = torch.arange(side, device=offsets_h.device) - (side - 1) / 2
    steps = steps.to(offsets_h.dtype)
    distances = (steps.square() + steps.unsqueeze(1).square()).sqrt()
    weights = eta + distances.flatten() / (side / math.sqrt(2))
    # Minus the root's value at 0, so that no offset is no loss.
    lengths = (offsets_h.square() + offsets_v.square() + _SMOOTH).sqrt()
    lengths = lengths - math.sqrt(_SMOOTH)
    return (lengths * weights.view(1, -1, 1, 1)).sum(1).mean()


@MODELS.register_module()
class OffsetLoss(nn.Module):
    """`offset_loss` with a weight.

    Args:
        loss_weight: the paper gives none. The default is that of the MindSpore code,
            0.001, whose distances are over k rather than k / sqrt(2).
        eta: weight of the middle tap.
    """

    def __init__(
        self, loss_weight: float = 0.001 / math.sqrt(2), eta: float = 0.0
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eta = eta

    def forward(self, offsets_h: Tensor, offsets_v: Tensor) -> Tensor:
        return self.loss_weight * offset_loss(offsets_h, offsets_v, self.eta)
