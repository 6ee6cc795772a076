"""Non-local attention of CSNLN, as published: plain, and quadratic in memory.

Mei et al., CVPR 2020, https://arxiv.org/abs/2006.01424. What `in_scale_attention` and
`cross_scale_attention` are held against in tests; networks use those.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .cross_scale import MIN_NORM, SOFTMAX_SCALE


def in_scale_attention_reference(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention of every pixel to every pixel, without scaling.

    Args:
        query: (N, C, H, W).
        key: (N, C, H, W).
        value: (N, D, H, W).

    Returns:
        (N, D, H, W). Holds an (N, HW, HW) matrix on the way.
    """
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    weights = scores.softmax(dim=2)
    output = value.flatten(2) @ weights.transpose(1, 2)
    return output.unflatten(2, value.shape[2:])


def cross_scale_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, factor: int
) -> Tensor:
    """Every 3x3 patch finds its like at `1 / factor` and copies what is there.

    Patches of `query` are matched with l2-normalised patches of the smaller `key`;
    the result is the weighted overlap of the `3 * factor` patches of `value` that lie
    where the keys lie, divided by 6.

    Args:
        query: (N, C, H, W), H and W divisible by `factor`.
        key: (N, C, H / factor, W / factor).
        value: (N, D, H, W).
        factor: how much larger the output is than the input.

    Returns:
        (N, D, factor * H, factor * W). Holds (N, HW / factor**2, HW) scores on the
        way, and value patches 9 times the size of `value`.
    """
    n, channels, height, width = query.shape
    keys = F.unfold(key, 3, padding=1).transpose(1, 2)
    keys = keys / torch.linalg.vector_norm(keys, dim=2, keepdim=True).clamp_min(
        MIN_NORM
    )
    cells = keys.shape[1]
    size = 3 * factor
    patches = F.unfold(value, size, padding=factor, stride=factor).transpose(1, 2)
    # One grouped convolution serves the batch: image i matches only its own keys.
    scores = F.conv2d(
        query.reshape(1, n * channels, height, width),
        keys.reshape(n * cells, channels, 3, 3),
        padding=1,
        groups=n,
    ).view(n, cells, height, width)
    weights = (scores * SOFTMAX_SCALE).softmax(dim=1)
    output = F.conv_transpose2d(
        weights.view(1, n * cells, height, width),
        patches.reshape(n * cells, value.shape[1], size, size),
        stride=factor,
        padding=factor,
        groups=n,
    )
    return output.view(n, value.shape[1], height * factor, width * factor) / 6
