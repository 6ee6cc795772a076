"""Reading photographs of any kind, and writing files that are whole or absent."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
PART_SUFFIX = '.part'
# The PNG text field in which a file says what it was made of.
ORIGIN_KEY = 'sr_plugins'


def list_images(folder: Path) -> list[Path]:
    """Give the images right inside `folder`, sorted by name; hidden files not.

    Raises:
        ValueError: `folder` does not exist, is no folder, or holds no images.
    """
    if not folder.is_dir():
        state = 'is a file' if folder.exists() else 'does not exist'
        raise ValueError(
            f'Expected a folder with images, but got {folder}, which {state}.'
        )
    entries = sorted(entry for entry in folder.iterdir() if entry.name[0] != '.')
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not images:
        folders = [entry.name for entry in entries if entry.is_dir()]
        hint = f' It holds the folders {", ".join(folders[:5])}.' if folders else ''
        raise ValueError(
            f'Expected images ({" ".join(SUFFIXES)}) in {folder}, but got '
            f'{len(entries)} other entries.{hint}'
        )
    return images


def read_rgb(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) `uint8` RGB.

    Grey and palette images become RGB, CMYK is converted, the orientation that a
    camera noted is applied, and transparency is dropped (the colours below it
    stay), all as OpenCV does, with which training reads images.

    Raises:
        ValueError: The file is no image, broken, or has over 8 bits per channel.
    """
    return _read_rgb(path, str(path))


def decode_rgb(content: bytes) -> np.ndarray:
    """Read what a file holds as `read_rgb` reads the file."""
    return _read_rgb(io.BytesIO(content), 'it')


def encode_png(image: np.ndarray, level: int) -> bytes:
    """Give (H, W, 3) RGB as the content of a PNG file, compressed by `level`, 0-9."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG', compress_level=level)
    return file.getvalue()


def read_size(path: Path) -> tuple[int, int]:
    """Give the sides of an image from its header, height first.

    An orientation that exchanges them is not looked for: Pillow reads the whole of a
    PNG file to find one.

    Raises:
        ValueError: The file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'Expected an image, but cannot read {path}.') from error


def _read_rgb(source: 'Path | io.BytesIO', name: str) -> np.ndarray:
    try:
        with Image.open(source) as image:
            if _is_deep(image):
                raise ValueError(
                    f'Expected 8 bits per channel, but got mode {image.mode} with '
                    f'more in {name}. Convert the image to 8 bits first.'
                )
            # A copy, since Pillow's own memory is read-only.
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    except UnidentifiedImageError as error:
        raise ValueError(f'Expected an image, but cannot read {name}.') from error
    # Pillow reports broken files with SyntaxError (PNG) and OSError (the others).
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f'Expected a whole image, but reading {name} failed: {error}.'
        ) from error


def write_png(path: Path, image: np.ndarray, origin: str) -> None:
    """Write (H, W, 3) RGB to `path` together with what it was made of."""
    note = PngImagePlugin.PngInfo()
    note.add_text(ORIGIN_KEY, origin)
    with _replacing(path) as part:
        Image.fromarray(image).save(part, 'PNG', pnginfo=note, compress_level=4)


def read_origin(path: Path) -> str | None:
    """Give the `origin` of a file of `write_png`, None for any other or no file."""
    try:
        with Image.open(path) as image:
            return image.info.get(ORIGIN_KEY)
    except (OSError, SyntaxError):
        return None


def copy_file(source: Path, path: Path) -> None:
    """Copy `source` with its time of modification."""
    with _replacing(path) as part:
        shutil.copy2(source, part)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as part:
        part.write_text(text, encoding='utf-8')


def remove_parts(folder: Path) -> None:
    """Remove what an interrupted run left half-written in `folder`."""
    for part in folder.glob(f'.*{PART_SUFFIX}'):
        part.unlink(missing_ok=True)


def is_rgb_png(path: Path) -> bool:
    """Tell whether `path` is a PNG of 8-bit RGB, which can be copied as it is."""
    try:
        with Image.open(path) as image:
            return image.format == 'PNG' and image.mode == 'RGB' and not _is_deep(image)
    except (OSError, SyntaxError):
        return False


def _is_deep(image: Image.Image) -> bool:
    """Tell whether the file holds over 8 bits per channel.

    Pillow opens 16-bit colour as plain RGB and drops the lower bytes; only the
    raw mode of its decoder ('RGB;16B') shows what the file holds.
    """
    raw_modes = [str(tile[3]) for tile in getattr(image, 'tile', [])]
    return image.mode[0] in 'IF' or any(';16' in mode for mode in raw_modes)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `path` when all went well."""
    part = path.with_name(f'.{path.name}.{os.getpid()}{PART_SUFFIX}')
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
