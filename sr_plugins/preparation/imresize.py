"""Bicubic resizing with the result of MATLAB's `imresize`, to the last bit.

The low-resolution images of every public super-resolution benchmark come from
MATLAB. A network trained on the output of another bicubic filter and tested on
theirs (or the reverse) loses up to 2 dB, so the rounding counts as well: MATLAB
resizes the height first and rounds to `uint8` after each of the two passes.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix

KERNEL_WIDTH = 4


def imresize(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize as MATLAB's `imresize(image, scale)`: bicubic, antialiased.

    Args:
        image: `uint8` or floating point, (H, W) or (H, W, C).
        scale: Factor of both sides, such as `1 / 2` to shrink or `2` to enlarge.

    Returns:
        (ceil(H * scale), ceil(W * scale)) with the channels and the dtype of
        `image`. `uint8` is rounded after each pass; floating point is neither
        rounded nor clipped, so values may leave the range of the input.

    Raises:
        TypeError: `image` has another dtype.
        ValueError: `image` has another number of axes, or no pixels, or `scale`
            is not a positive number.
    """
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            'Expected `image` to be of dtype uint8 or floating point, but got '
            f'{image.dtype}.'
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            'Expected `image` to have the shape (H, W) or (H, W, C) and at least '
            f'one pixel, but got the shape {image.shape}.'
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f'Expected `scale` to be a number above 0, but got {scale}.')
    resized = _resize_rows(image, float(scale))
    resized = _resize_rows(resized.swapaxes(0, 1), float(scale))
    return np.ascontiguousarray(resized.swapaxes(0, 1))


def crop_to_multiple(image: np.ndarray, factor: int) -> np.ndarray:
    """Cut the right and the lower edge so that `factor` divides both sides."""
    height, width = (side - side % factor for side in image.shape[:2])
    return image[:height, :width]


def downscale(image: np.ndarray, factor: int) -> np.ndarray:
    """Make the low-resolution partner of `image`, as the benchmarks do.

    Args:
        image: `uint8` or floating point, (H, W) or (H, W, C).
        factor: The integer scale, such as 2, 3 or 4.

    Returns:
        (floor(H / factor), floor(W / factor)): `image` is cropped to a multiple
        of `factor` before it is resized.

    Raises:
        ValueError: A side of `image` is shorter than `factor`.
    """
    if min(image.shape[:2]) < factor:
        raise ValueError(
            f'Expected both sides of the image to be at least the scale {factor}, '
            f'but got {image.shape[0]} x {image.shape[1]} pixels (height x width).'
        )
    return imresize(crop_to_multiple(image, factor), 1 / factor)


def _resize_rows(image: np.ndarray, scale: float) -> np.ndarray:
    """Resize the first axis of `image`."""
    matrix = _weight_matrix(image.shape[0], scale)
    # A sparse product adds the taps of a pixel in their order, as MATLAB does;
    # a dense product (BLAS) may add in any order and would round differently.
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    out = matrix @ flat.astype(np.float64)
    if image.dtype == np.uint8:
        # MATLAB rounds halves up, numpy's round would take them to even.
        np.floor(np.add(out, 0.5, out=out), out=out)
        np.clip(out, 0, 255, out=out)
    return out.astype(image.dtype).reshape(-1, *image.shape[1:])


@lru_cache(maxsize=64)
def _weight_matrix(length: int, scale: float) -> csr_matrix:
    """Give the (output length, `length`) matrix that resizes one axis."""
    # As MATLAB has it: 1.1 * 50 is 55.000000000000007 and becomes 56 pixels. Scales
    # 1 / n up to n = 74 never meet this.
    out_length = math.ceil(length * scale)
    # Shrinking widens the kernel by 1 / scale, which is the antialiasing.
    stretch = min(scale, 1.0)
    width = KERNEL_WIDTH / stretch

    # Pixel centres, counted from 1 as in MATLAB to round the same way.
    centers = np.arange(1, out_length + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centers - width / 2)
    taps = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * _cubic(stretch * (centers[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)

    # Beyond the border the image is mirrored with its edge pixel repeated.
    mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    columns = mirror[(taps.astype(np.int64) - 1) % (2 * length)]
    starts = np.arange(out_length + 1) * taps.shape[1]
    matrix = csr_matrix(
        (weights.ravel(), columns.ravel(), starts), shape=(out_length, length)
    )
    matrix.eliminate_zeros()
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Give Keys' cubic convolution kernel (a = -1/2), zero beyond 2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
