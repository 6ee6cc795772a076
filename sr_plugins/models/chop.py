"""Inference in four overlapping quarters, as the published test code does it."""

from collections.abc import Callable

from torch import Tensor


def chop_forward(
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    scale: int,
    shave: int = 10,
    min_size: int = 3600,
) -> Tensor:
    """Enlarge an image quarter by quarter, each quartered again while it is large.

    As in CSNLN's test code, where quarters reach `shave` pixels beyond the middle and
    one to `scale` further, so that `scale` divides their sides. Every image is split
    at least once. Deviation: a side that is too short for that is left whole, where
    the original goes wrong.

    Args:
        network: gives (N, C, scale * h, scale * w) for (N, C, h, w).
        x: (N, C, H, W).
        scale: of the network.
        shave: overlap in LR pixels; seams show when it is small.
        min_size: quarters of fewer LR pixels than this are not split.

    Returns:
        (N, C, scale * H, scale * W). For networks that look further than `shave`,
        another image than `network(x)`.
    """
    rows, columns = (_halves(side, scale, shave) for side in x.shape[2:])
    height, width = rows[0][0].stop, columns[0][0].stop
    whole = (height, width) == x.shape[2:]
    output = None
    for row, row_kept, row_target in rows:
        for column, column_kept, column_target in columns:
            part = x[:, :, row, column]
            if whole or height * width < min_size:
                enlarged = network(part)
            else:
                enlarged = chop_forward(network, part, scale, shave, min_size)
            if output is None:
                sides = [side * scale for side in x.shape[2:]]
                output = enlarged.new_empty(*enlarged.shape[:2], *sides)
            output[:, :, row_target, column_target] = enlarged[
                :, :, row_kept, column_kept
            ]
    return output


def _halves(side: int, scale: int, shave: int) -> list[tuple[slice, slice, slice]]:
    """For each half: LR pixels to read, HR pixels of those to keep, their place."""
    half = side // 2
    size = half + shave
    size += scale - size % scale
    if size >= side:
        return [(slice(0, side), slice(None), slice(None))]
    rest = side - half
    return [
        (slice(0, size), slice(0, half * scale), slice(0, half * scale)),
        (
            slice(side - size, side),
            slice((size - rest) * scale, size * scale),
            slice(half * scale, side * scale),
        ),
    ]
