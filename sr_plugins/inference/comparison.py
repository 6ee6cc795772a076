"""A picture that compares methods on one photograph."""

from pathlib import Path

import cv2
import numpy as np

from ..fileio import atomic_path
from ..metrics import psnr, ssim
from ..preparation import crop_to_multiple, downscale, imresize, read_rgb
from .photographs import Photograph
from .rescaler import Rescaler
from .upscaler import Upscaler

_PROTOCOL = 'edsr_y'


def compare(
    scaler: Upscaler | Rescaler, image: str | Path, out: str | Path, label: str
) -> None:
    """Reduce a photograph, enlarge it by bicubic and by a network, draw all three.

    Args:
        scaler: the network; one that downscales enlarges its own reduction, any other
            that of bicubic.
        image: file of the photograph, of 8 bits; transparency is ignored.
        out: file of the picture, a PNG.
        label: name of the network in the picture.

    Raises:
        ValueError: when the photograph cannot be read, or is too small to score.
        OSError: when the picture cannot be written.
    """
    scale = scaler.scale
    photograph = read_rgb(Path(image))
    small = downscale(photograph, scale)  # crops as well
    original = crop_to_multiple(photograph, scale)
    if isinstance(scaler, Rescaler):
        enlarged = scaler(Photograph(original.astype(np.float32) / 255)).rgb
    else:
        enlarged = scaler.upscale(small.astype(np.float32) / 255)
    outputs = {
        'bicubic': imresize(small, scale),
        label: (enlarged * 255).round().astype(np.uint8),
    }
    save_comparison(out, original, outputs, scale)


def hardest_windows(
    original: np.ndarray, baseline: np.ndarray, size: int, count: int
) -> list[tuple[int, int]]:
    """Top left corners of the windows where `baseline` errs most, none overlapping.

    Chosen without looking at the network's output, so that they do not flatter it.

    Args:
        original: (H, W, 3), uint8.
        baseline: of the original's shape.
        size: side of the windows, at most the shorter side of the image.
        count: how many; fewer where no more fit beside those chosen before.
    """
    difference = np.abs(original.astype(np.float32) - baseline).mean(axis=2)
    error = cv2.boxFilter(difference, -1, (size, size), anchor=(0, 0))
    height, width = difference.shape
    error = error[: height - size + 1, : width - size + 1].copy()
    corners = []
    while len(corners) < count and error.max() > -np.inf:
        top, left = np.unravel_index(int(error.argmax()), error.shape)
        corners.append((int(top), int(left)))
        rows = slice(max(0, top - size + 1), top + size)
        error[rows, max(0, left - size + 1) : left + size] = -np.inf
    return corners


def save_comparison(
    path: str | Path,
    original: np.ndarray,
    outputs: dict[str, np.ndarray],
    scale: int,
    crop_size: int = 72,
    num_crops: int = 2,
) -> None:
    """Draw the original with zoomed crops of each output and of the original.

    Args:
        path: of the PNG.
        original: (H, W, 3), uint8 RGB.
        outputs: by label, of the original's shape; the first is the baseline, whose
            worst windows are shown.
        scale: for the border of PSNR and SSIM.
        crop_size: side of the crops, in pixels.
        num_crops: how many at most, one row each.
    """
    # The object interface: pyplot would choose a backend for the whole process.
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = min(crop_size, *original.shape[:2])
    corners = hardest_windows(original, next(iter(outputs.values())), size, num_crops)
    images = {**outputs, 'original': original}
    rows, columns = len(corners), len(images)
    figure = Figure(figsize=(4.2 + 2.4 * columns, 2.5 * rows + 0.4), dpi=110)
    figure.set_layout_engine('constrained')
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[1.8] + [1.0] * columns)
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(original)
    whole.set_title('original', fontsize=9)
    for row, (top, left) in enumerate(corners):
        colour = f'C{row + 1}'
        frame = {'edgecolor': colour, 'facecolor': 'none', 'linewidth': 1.5}
        whole.add_patch(Rectangle((left, top), size, size, **frame))
        for column, (label, image) in enumerate(images.items(), start=1):
            axes = figure.add_subplot(grid[row, column])
            crop = image[top : top + size, left : left + size]
            axes.imshow(crop, interpolation='nearest')
            for spine in axes.spines.values():
                spine.set(color=colour, linewidth=1.5)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(_title(label, image, original, scale), fontsize=9)
    whole.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png')


def _title(label: str, image: np.ndarray, original: np.ndarray, scale: int) -> str:
    if image is original:
        return label
    pair = (image, original, _PROTOCOL, scale)
    return f'{label}\n{psnr(*pair):.2f} dB / {ssim(*pair):.4f} ({_PROTOCOL})'
