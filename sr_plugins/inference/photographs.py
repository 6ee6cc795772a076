"""Image files of any kind in and out, without losing depth, greyness or alpha."""

import glob
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..fileio import atomic_path
from ..preparation.images import SUFFIXES


@dataclass(frozen=True)
class Photograph:
    """An image as networks take it, and what its file had besides.

    Attributes:
        rgb: (H, W, 3), float32 in [0, 1]; of a grey image three equal channels.
        alpha: (H, W), float32 in [0, 1], or None.
        is_grey: whether the file had one colour channel.
        bits: 8 or 16 per channel.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    is_grey: bool = False
    bits: int = 8


def find_images(pattern: str | Path) -> list[Path]:
    """Files that a path, folder or glob pattern names, sorted.

    Raises:
        FileNotFoundError: when there is no image.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    candidates = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path)))
    found = sorted(p for p in candidates if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f'Expected an image, a folder of images or a pattern that matches some '
            f'({" ".join(SUFFIXES)}), but found none at {pattern} (from {Path.cwd()}).'
        )
    return found


def read_photograph(path: str | Path) -> Photograph:
    """Read an 8- or 16-bit image: grey, RGB, palette or CMYK, with or without alpha.

    The orientation that a camera noted is applied.

    Raises:
        ValueError: when the file is no image, or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()  # decodes all of it, so that damage shows
            # Pillow keeps 8 of the 16 bits of colour; its raw mode tells.
            deep = any(';16' in str(tile[3]) for tile in getattr(image, 'tile', ()))
            if deep or image.mode.startswith('I'):
                return _read_deep(path)
            image = ImageOps.exif_transpose(image)
            has_alpha = 'A' in image.getbands() or 'transparency' in image.info
            is_grey = image.mode in ('1', 'L', 'LA')
            pixels = np.asarray(image.convert('RGBA' if has_alpha else 'RGB'))
    except UnidentifiedImageError as error:
        raise ValueError(f'Expected an image, but cannot read {path}.') from error
    # Pillow reports damage with SyntaxError (PNG) and OSError (the others).
    except (OSError, SyntaxError, EOFError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(
            f'Expected a whole image, but reading {path} failed: {error}.'
        ) from error
    values = pixels.astype(np.float32) / 255
    alpha = values[..., 3] if has_alpha else None
    return Photograph(values[..., :3], alpha, is_grey)


def _read_deep(path: str | Path) -> Photograph:
    """16 bits by OpenCV, which Pillow reads in grey only."""
    data = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(
            f'Expected 8 or 16 bits per channel, but {path} has another kind of pixel. '
            f'Convert it to 16 bits first.'
        )
    values = pixels.astype(np.float32) / 65535
    if values.ndim == 2:
        return Photograph(np.repeat(values[..., None], 3, axis=2), None, True, 16)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    return Photograph(np.ascontiguousarray(values[..., 2::-1]), alpha, False, 16)


def write_photograph(path: str | Path, photograph: Photograph) -> None:
    """Write a PNG of the photograph's depth, grey if it is grey, with its alpha."""
    peak = 255 if photograph.bits == 8 else 65535
    bgr = photograph.rgb[..., ::-1]
    if photograph.is_grey and photograph.alpha is None:
        # The three channels of a grey input come out nearly equal.
        bgr = bgr.mean(axis=2, keepdims=True)
    if photograph.alpha is not None:
        bgr = np.concatenate([bgr, photograph.alpha[..., None]], axis=2)
    pixels = (bgr.clip(0, 1) * peak).round()
    pixels = pixels.astype(np.uint8 if photograph.bits == 8 else np.uint16)
    _, data = cv2.imencode('.png', pixels)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
