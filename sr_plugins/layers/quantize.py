"""Rounding to 8 bits that lets gradients through."""

import math

import torch
from torch import Tensor

_LEVELS = 255


def quantize(x: Tensor, soft_round_alpha: float = 0.0) -> Tensor:
    """Round an image to multiples of 1 / 255, as storing it does.

    The values are those of the rounded image always. Gradients are those of a smooth
    stand-in, and 0 where `x` is outside [0, 1] and so clamped. The stand-in is, in
    units of a level, v - alpha sin(2 pi v) / (2 pi), of slope 1 - alpha cos(2 pi v)
    (Nakanishi et al., Neural multi-scale image compression, 2018): with alpha 0 the
    identity, the straight-through estimator; with 1 flat at each level.

    Args:
        x: of any shape; values of [0, 1] are to be kept.
        soft_round_alpha: from 0 to 1.
    """
    clamped = x.clamp(0, 1)
    smooth = clamped
    if soft_round_alpha:
        turn = 2 * math.pi * _LEVELS
        smooth = clamped - soft_round_alpha / turn * torch.sin(turn * clamped)
    rounded = (clamped.detach() * _LEVELS).round() / _LEVELS
    # The difference is exactly 0 and only its gradient counts.
    return rounded + (smooth - smooth.detach())
