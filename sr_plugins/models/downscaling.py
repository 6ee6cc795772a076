"""A network that downscales, on a whole image or in tiles."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .tiling import Tiling, Window, plan_windows


def downscale(
    network: nn.Module, x: Tensor, tile: Mapping[str, Any] | None = None
) -> Tensor:
    """Apply `network.downscale` in tiles, cut where they meet.

    Args:
        network: CAR, or like it: `scale`, `downscale`, and in `downscaler` the network
            that knows its `receptive_field` and `alignment`, in HR pixels.
        x: (N, C, H, W).
        tile: arguments of `Tiling`, in HR pixels; None for the whole image. Seams are
            exact whatever it says: the result is of 8 bits.

    Returns:
        (N, C, ceil(H / scale), ceil(W / scale)). With overlap 'auto' that of the whole
        image, but for pixels that rounding took to the next level.

    Raises:
        ValueError: when tiles are smaller than their overlap.
    """
    if tile is None:
        return network.downscale(x)
    scale, tiling, maker = network.scale, Tiling(**tile), network.downscaler
    overlap = tiling.overlap_of(maker)
    rows, columns = (
        plan_windows(side, tiling.size, overlap, getattr(maker, 'alignment', scale))
        for side in x.shape[2:]
    )
    output = None
    for row in rows:
        for column in columns:
            part = network.downscale(x[:, :, row.read(), column.read()].contiguous())
            if output is None:
                sides = (-(-side // scale) for side in x.shape[2:])
                output = part.new_empty(*part.shape[:2], *sides)
            places = _lr(row, scale), _lr(column, scale)
            output[:, :, places[0], places[1]] = part[
                :, :, _lr(row, scale, row.start), _lr(column, scale, column.start)
            ]
    return output


def _lr(window: Window, scale: int, origin: int = 0) -> slice:
    """LR pixels of what is kept of a window, counted from a multiple of the scale."""
    return slice((window.first - origin) // scale, -(-(window.last - origin) // scale))
