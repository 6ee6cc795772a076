"""A picture of the kernels and displaced taps with which CAR downscales."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from ..fileio import atomic_path
from ..preparation import read_rgb
from .rescaler import Rescaler

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = 'viridis'
_EDGE = 4  # LR pixels
_LARGEST = 90  # area of the heaviest tap, in square points


class Taps(NamedTuple):
    """How one LR pixel came about.

    Attributes:
        row: of the LR pixel.
        column: of the LR pixel.
        weights: (k, k), 1 in sum.
        places: (2, k, k), rows and columns in the HR image, whose first pixel has its
            centre at 0, 0. The image goes on by reflection outside.
        undisplaced: (2, k, k), where taps would be with offsets of 0.
    """

    row: int
    column: int
    weights: np.ndarray
    places: np.ndarray
    undisplaced: np.ndarray


def plot_kernels(
    rescaler: Rescaler,
    image: str | Path,
    out: str | Path,
    pixels: Sequence[tuple[int, int]] | None = None,
) -> None:
    """Draw how some pixels of the downscaled image came about.

    Args:
        rescaler: of CAR, or a network whose `resample` gives what CAR's does.
        image: file of the photograph, of 8 bits; transparency is ignored.
        out: file of the picture, a PNG.
        pixels: rows and columns in the downscaled image; None takes those of
            `choose_pixels`.

    Raises:
        ValueError: when the photograph cannot be read, or has no such pixel.
        OSError: when the picture cannot be written.
    """
    original = read_rgb(Path(image))
    lr, kernels, offsets_h, offsets_v = _resample(rescaler, original)
    if not pixels:
        pixels = choose_pixels(lr.transpose(1, 2, 0))
    height, width = lr.shape[1:]
    for row, column in pixels:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f'Expected pixels of the downscaled image, which has {height} x '
                f'{width} (height x width), but got {row},{column}.'
            )
    taps = [
        find_taps(kernels, offsets_h, offsets_v, *pixel, rescaler.scale)
        for pixel in pixels
    ]
    displacement = rescaler.scale * (kernels * np.hypot(offsets_h, offsets_v)).sum(0)
    _draw(out, original, displacement, taps, rescaler.scale)


def choose_pixels(lr: np.ndarray, count: int = 3) -> list[tuple[int, int]]:
    """Pixels with much contrast around them, apart from one another, and a flat one.

    Args:
        lr: the downscaled image, (h, w, 3) in [0, 1].
        count: how many; fewer where the image has no more.
    """
    luma = lr.mean(axis=2, dtype=np.float32)
    gradients = [cv2.Sobel(luma, cv2.CV_32F, dx, 1 - dx) for dx in (0, 1)]
    contrast = cv2.GaussianBlur(np.hypot(*gradients), (5, 5), 0)
    rows, columns = np.indices(luma.shape)
    # Near the border taps would be reflections; small images have nothing else.
    edge = min(_EDGE, (min(luma.shape) - 1) // 2)
    inside = np.minimum(rows, rows[::-1]) >= edge
    inside &= np.minimum(columns, columns[:, ::-1]) >= edge
    flattest = np.where(inside, contrast, np.inf).argmin()
    contrast[~inside] = 0
    apart = max(1, min(luma.shape) // 5)
    pixels: list[tuple[int, int]] = []
    while len(pixels) < count - 1 and contrast.max() > 0:
        row, column = np.unravel_index(int(contrast.argmax()), luma.shape)
        pixels.append((int(row), int(column)))
        contrast[np.hypot(rows - row, columns - column) < apart] = 0
    return [*pixels, divmod(int(flattest), luma.shape[1])]


def find_taps(
    kernels: np.ndarray,
    offsets_h: np.ndarray,
    offsets_v: np.ndarray,
    row: int,
    column: int,
    scale: int,
) -> Taps:
    """Weights and places of the taps of an LR pixel.

    Args:
        kernels: (k * k, h, w).
        offsets_h: (k * k, h, w), in LR pixels.
        offsets_v: (k * k, h, w), in LR pixels.
        row: of the LR pixel.
        column: of the LR pixel.
        scale: of the network.
    """
    side = 3 * scale + 1
    at = np.s_[:, row, column]
    grid = np.stack(np.indices((side, side))) - side // 2
    centre = (np.array([row, column]) + 0.5) * scale - 0.5
    undisplaced = grid + centre[:, None, None]
    offsets = np.stack([offsets_v[at], offsets_h[at]]).reshape(2, side, side)
    return Taps(
        row,
        column,
        kernels[at].reshape(side, side),
        undisplaced + scale * offsets,
        undisplaced,
    )


@torch.inference_mode()
def _resample(rescaler: Rescaler, rgb: np.ndarray) -> list[np.ndarray]:
    """LR image, (3, h, w) in [0, 1], kernels and offsets, (k * k, h, w)."""
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].to(rescaler.device) / 255
    lr, *maps = rescaler.network.resample(x)
    return [tensor[0].cpu().numpy() for tensor in (lr.clamp(0, 1), *maps)]


def _draw(
    out: str | Path,
    original: np.ndarray,
    displacement: np.ndarray,
    taps: list[Taps],
    scale: int,
) -> None:
    # The object interface: pyplot would choose a backend for the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 + 3 * len(taps), 6), dpi=110)
    figure.set_layout_engine('constrained')
    ratios = [1.4] + [1.0] * len(taps)
    grid = figure.add_gridspec(2, len(taps) + 1, width_ratios=ratios)
    whole, field = (figure.add_subplot(grid[row, 0]) for row in (0, 1))
    whole.imshow(original)
    whole.set_title('photograph', fontsize=9)
    shown = field.imshow(displacement, cmap='magma', vmin=0)
    field.set_title('mean displacement of taps, in HR pixels', fontsize=9)
    figure.colorbar(shown, ax=field, fraction=0.04)
    for axes in (whole, field):
        axes.set(xticks=[], yticks=[])
    for i, each in enumerate(taps, start=1):
        colour = f'C{i}'
        _mark(whole, each, colour)
        places, weights = (figure.add_subplot(grid[row, i]) for row in (0, 1))
        _draw_places(places, original, each, colour, scale)
        _draw_weights(weights, each, colour)
        figure.colorbar(weights.images[0], ax=weights, fraction=0.046)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format='png')


def _mark(axes: 'Axes', taps: Taps, colour: str) -> None:
    """Frame, in the photograph, what `_draw_places` shows of it."""
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = _window(taps)
    frame = {'fill': False, 'edgecolor': colour, 'linewidth': 1.5}
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, **frame))


def _draw_places(
    axes: 'Axes', original: np.ndarray, taps: Taps, colour: str, scale: int
) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(original, interpolation='nearest', alpha=0.75)
    # The square that the LR pixel covers.
    corner = taps.column * scale - 0.5, taps.row * scale - 0.5
    frame = {'fill': False, 'edgecolor': colour, 'linewidth': 2}
    axes.add_patch(Rectangle(corner, scale, scale, **frame))
    rows, columns = taps.places.reshape(2, -1)
    start = taps.undisplaced.reshape(2, -1)
    axes.plot(start[1], start[0], '+', color='white', markersize=4, zorder=2)
    axes.plot([start[1], columns], [start[0], rows], color='white', lw=0.8, zorder=2)
    weights = taps.weights.ravel()
    axes.scatter(
        columns,
        rows,
        s=_LARGEST * weights / weights.max(),
        c=weights,
        cmap=_COLOURS,
        edgecolors='black',
        linewidths=0.5,
        zorder=3,
    )
    (top, bottom), (left, right) = _window(taps)
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    title = f'LR pixel {taps.row},{taps.column}: places of its taps'
    axes.set_title(title, color=colour, fontsize=9)


def _draw_weights(axes: 'Axes', taps: Taps, colour: str) -> None:
    axes.imshow(taps.weights, cmap=_COLOURS, vmin=0)
    axes.set(xticks=[], yticks=[])
    axes.set_title('weights', fontsize=9)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.5)


def _window(taps: Taps) -> list[tuple[float, float]]:
    """Rows and columns of the HR image that taps may be in, and half a pixel."""
    margin = taps.weights.shape[0] // 3 + 0.5  # offsets are up to an LR pixel
    return [(axis.min() - margin, axis.max() + margin) for axis in taps.undisplaced]
