"""Our operators in terms that ONNX has, for the time of an export.

torch's exporter knows no operators of others. These hold whole matrices of pixels by
cells, and all taps of all pixels: in ONNX there are no buffers to fill.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# The published divisor of up to 9 overlapping patches.
_OVERLAP = 6


def in_scale_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Tensor:
    """As the operator of that name: (N, C, P), (N, C, P), (N, D, P) -> (N, D, P)."""
    weights = (query.transpose(1, 2) @ key).softmax(2)
    return value @ weights.transpose(1, 2)


def cross_scale_attention(
    query: Tensor, key: Tensor, gain: Tensor, value: Tensor, factor: int, *_: Any
) -> Tensor:
    """As the operator of that name; holds (N, H W, H W / factor**2) a few times."""
    n, _, height, width = query.shape
    size = n, height, width, *key.shape[2:]
    products = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    scores = _shift_sum(products.reshape(size)).reshape(products.shape)
    weights = (scores * gain.flatten(2)).softmax(2)
    mixed = _shift_sum(weights.reshape(size)).reshape(products.shape)
    blocks = F.pixel_unshuffle(value / _OVERLAP, factor).flatten(2)
    output = blocks @ mixed.transpose(1, 2)
    return F.pixel_shuffle(output.unflatten(2, (height, width)), factor)


def _shift_sum(matrix: Tensor) -> Tensor:
    """Of (N, H, W, h, w), where pixels and cells shift together: rows, then columns."""
    for pixels, cells, margins in (
        (1, 3, (0, 0, 1, 1, 0, 0, 1, 1)),
        (2, 4, (1, 1, 0, 0, 1, 1, 0, 0)),
    ):
        size = matrix.shape[pixels], matrix.shape[cells]
        padded = F.pad(matrix, margins)
        shifts = (
            padded.narrow(pixels, i, size[0]).narrow(cells, i, size[1])
            for i in range(3)
        )
        matrix = sum(shifts)
    return matrix


def adaptive_grid_sample(
    img: Tensor, kernels: Tensor, offsets_h: Tensor, offsets_v: Tensor, scale: int
) -> Tensor:
    """As the operator of that name; holds the samples of all taps.

    Places are fractions of the whole image, as GridSample takes them, so that samples
    are displaced by up to 1e-7 of its side.
    """
    side = 3 * scale + 1
    pad = side // 2
    img = F.pad(img, (pad, pad, pad, pad), mode='reflect')
    taps = torch.arange(side)
    places = []
    for offsets, tap, dim in (
        (offsets_h, taps.repeat(side), 3),
        (offsets_v, taps.repeat_interleave(side), 2),
    ):
        steps = torch.arange(offsets.shape[dim]) * scale
        steps = steps.view(1, 1, -1) if dim == 3 else steps.view(1, -1, 1)
        starts = (tap.view(-1, 1, 1) + steps).to(offsets.dtype)
        displacements = offsets * scale + (scale - 1) / 2
        floor = displacements.floor()
        # Only the pixel is held inside, its fraction stays.
        place = (floor + starts).clamp_min(0) + (displacements - floor)
        places.append((2 * place + 1) / img.shape[dim] - 1)
    samples = F.grid_sample(
        img,
        torch.stack(places, -1).flatten(1, 2),
        mode='bilinear',
        padding_mode='border',
        align_corners=False,
    )
    return (samples.unflatten(2, (side**2, -1)) * kernels.unsqueeze(1)).sum(2)


def _avg_pool2d(
    x: Tensor, kernel_size: int, *args: Any, divisor_override: int | None = None, **kw
) -> Tensor:
    """The exporter takes no notice of `divisor_override`."""
    y = F.avg_pool2d(x, kernel_size, *args, **kw)
    return y if divisor_override is None else y * (kernel_size**2 / divisor_override)


_OPS: dict[str, Callable] = {
    'sr_plugins::in_scale_attention': in_scale_attention,
    'sr_plugins::cross_scale_attention': cross_scale_attention,
    'sr_plugins::adaptive_grid_sample': adaptive_grid_sample,
}


class Decomposed(TorchFunctionMode):
    """While it is active, our operators are computed by those of ONNX."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.avg_pool2d:
            return _avg_pool2d(*args, **kwargs)
        name = getattr(function, '_qualified_op_name', '')
        return _OPS.get(name, function)(*args, **kwargs)
