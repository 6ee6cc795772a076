"""A network that downscales, on a whole image or in tiles."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .tiling import Tiling, plan_windows


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
            cuts, places = zip(
                *(
                    (
                        _shrunk(side.first - side.start, side.last - side.start, scale),
                        _shrunk(side.first, side.last, scale),
                    )
                    for side in (row, column)
                ),
                strict=True,
            )
            if output is None:
                sides = (-(-side // scale) for side in x.shape[2:])
                output = part.new_empty(*part.shape[:2], *sides)
            output[:, :, places[0], places[1]] = part[:, :, cuts[0], cuts[1]]
    return output


def _shrunk(first: int, last: int, scale: int) -> slice:
    """LR pixels of HR ones that start at a multiple of the scale."""
    return slice(first // scale, -(-last // scale))
