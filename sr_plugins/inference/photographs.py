"""Image files of any kind in and out, without losing depth, greyness or alpha.

8 bits go through Pillow, 16 bits through OpenCV: Pillow keeps 8 of 16 bits of colour,
OpenCV knows neither palettes with partial alpha nor CMYK nor grey with alpha.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..fileio import write_bytes

_ORIENTATION = 0x0112  # EXIF tag
# The PNG text field of `Photograph.original_size`, such as 640x480: width first, as
# image programs show it.
_SIZE_KEY = 'sr_plugins.original_size'
_PNG_HEADER = 33  # bytes of the signature and IHDR, which everything else follows


@dataclass(frozen=True)
class Photograph:
    """An image as networks take it, and what its file had besides.

    Attributes:
        rgb: (H, W, 3), float32 in [0, 1]; of a grey image three equal channels.
        alpha: (H, W), float32 in [0, 1], or None.
        is_grey: whether the file had one colour channel. An RGB or palette image
            that shows only greys is colour.
        bits: 8 or 16 per channel.
        icc_profile: what the numbers of `rgb` mean, or None for sRGB.
        original_size: (height, width) of the image that this one was downscaled from,
            as its file notes, or None.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    is_grey: bool = False
    bits: int = 8
    icc_profile: bytes | None = None
    original_size: tuple[int, int] | None = None


def read_photograph(path: str | Path) -> Photograph:
    """Read an 8- or 16-bit image: grey, RGB, palette or CMYK, with or without alpha.

    - 1-bit images become 8-bit grey ones, palettes and CMYK become 8-bit RGB.
    - A transparent colour or palette entry becomes alpha. The colours below
      transparent pixels stay what they are.
    - 16 bits are read from PNG and TIFF.
    - The orientation that a camera noted is applied.
    - The colour profile is kept, except that of CMYK; other metadata are not.
    - Of the several pictures in a phone's JPEG (MPO) the first is taken.

    Raises:
        ValueError: when the file is no image, damaged, animated or of several pages,
            or has another kind of pixel, such as floating point.
        OSError: when the file cannot be opened.
    """
    with open(path, 'rb') as file:
        try:
            with Image.open(file) as image:
                return _read(image, path)
        except UnidentifiedImageError as error:
            raise ValueError(
                f'Expected an image of 8 or 16 bits per channel, but got {path}, '
                f'which Pillow cannot read.'
            ) from error
        # Pillow reports damage with SyntaxError (PNG), struct.error and OSError, and
        # a size that only an attack would have with DecompressionBombError.
        except (
            OSError,
            SyntaxError,
            EOFError,
            struct.error,
            Image.DecompressionBombError,
        ) as error:
            raise ValueError(
                f'Expected a whole image, but reading {path} failed: {error}.'
            ) from error


def _read(image: Image.Image, path: str | Path) -> Photograph:
    pages = getattr(image, 'n_frames', 1)
    if pages > 1 and image.format != 'MPO':
        raise ValueError(
            f'Expected one image a file, but got {path} with {pages} frames or pages. '
            f'Save each as a file of its own first.'
        )
    is_deep = _is_deep(image)  # known before decoding only
    image.load()  # decodes all of it, so that damage shows
    if is_deep:
        return _read_deep(image, path)
    is_grey = image.mode in ('1', 'L', 'LA')
    has_alpha = image.has_transparency_data
    # It would describe inks, not what they are converted to.
    converted = image.mode in ('CMYK', 'LAB')
    profile = None if converted else image.info.get('icc_profile')
    size = _original_size(image, path)
    image = ImageOps.exif_transpose(image)
    image = image.convert('RGBA' if has_alpha else 'RGB')
    values = np.asarray(image).astype(np.float32) / 255
    alpha = values[..., 3] if has_alpha else None
    return Photograph(values[..., :3], alpha, is_grey, 8, profile, size)


def _original_size(image: Image.Image, path: str | Path) -> tuple[int, int] | None:
    note = image.info.get(_SIZE_KEY)
    if note is None:
        return None
    size = re.fullmatch(r'([1-9]\d{0,8})x([1-9]\d{0,8})', note)
    if size is None:
        raise ValueError(
            f'Expected the text field `{_SIZE_KEY}` of {path} to be like 640x480, but '
            f'got {note!r}. Save the image without it.'
        )
    return int(size[2]), int(size[1])


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds more than 8 bits per channel.

    Pillow opens 16-bit colour as plain RGB; the raw mode of its decoder tells, or,
    for TIFF of separate planes, a tag.
    """
    raw_modes = [str(tile[3]) for tile in getattr(image, 'tile', ())]
    tags = getattr(image, 'tag_v2', {})
    return (
        image.mode[0] in 'IF'
        or any(';16' in mode for mode in raw_modes)
        or max(tags.get(258, (1,))) > 8  # BitsPerSample
    )


def _read_deep(image: Image.Image, path: str | Path) -> Photograph:
    """16 bits by OpenCV; `image` is Pillow's view of the same file, decoded."""
    pixels = None
    # OpenCV misreads the other kinds of TIFF without a word, and does not scale the
    # 10 or 12 bits of other formats.
    if image.format == 'PNG' or (image.format == 'TIFF' and _is_plain_tiff(image)):
        data = np.fromfile(path, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(
            f'Expected 8 bits per channel, or a PNG or TIFF of 16 bits (grey, RGB or '
            f'RGBA, interleaved), but got {path} with another kind of pixel. Convert '
            f'it to a 16-bit PNG first.'
        )
    # Neither applies to TIFF: both libraries have turned that already.
    turns = image.getexif().get(_ORIENTATION, 1) if image.format == 'PNG' else 1
    pixels = _oriented(pixels, turns)
    values = pixels.astype(np.float32) / 65535
    profile = image.info.get('icc_profile')
    size = _original_size(image, path)
    alpha = None
    if values.ndim == 2:
        # OpenCV knows the transparent colour of RGB only.
        if 'transparency' in image.info:
            alpha = (pixels != image.info['transparency']).astype(np.float32)
        rgb = np.repeat(values[..., None], 3, axis=2)
        return Photograph(rgb, alpha, True, 16, profile, size)
    # A fourth channel of TIFF may be something else.
    if values.shape[2] == 4 and image.has_transparency_data:
        alpha = values[..., 3]
    rgb = np.ascontiguousarray(values[..., 2::-1])
    return Photograph(rgb, alpha, _is_grey_png(path), 16, profile, size)


def _is_plain_tiff(image: Image.Image) -> bool:
    """Whether OpenCV reads the pixels of a 16-bit TIFF as they are meant."""
    tags = image.tag_v2
    return (
        tags.get(262) in (1, 2)  # PhotometricInterpretation: grey from black, RGB
        and tags.get(284, 1) == 1  # PlanarConfiguration: interleaved
        and 1 not in tags.get(338, ())  # ExtraSamples: colours multiplied by alpha
    )


def _is_grey_png(path: str | Path) -> bool:
    """Whether the colour type of a PNG is grey with alpha, which Pillow does not tell.

    Pillow opens it as RGBA when it has 16 bits.
    """
    with open(path, 'rb') as file:
        header = file.read(26)
    return header.startswith(b'\x89PNG') and header[25] == 4


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror as the EXIF orientation (1 to 8) asks for."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def write_photograph(path: str | Path, photograph: Photograph) -> None:
    """Write a PNG of the photograph's depth, grey if it is grey, with its alpha.

    The value of a grey pixel is the mean of its three channels, which come out of a
    network nearly equal. 16-bit grey with alpha is written as RGBA with three equal
    channels, since OpenCV writes no PNG of two.
    """
    pixels = _rounded(photograph)
    encode = _encode_8 if photograph.bits == 8 else _encode_16
    data = encode(pixels, photograph.icc_profile)
    if photograph.original_size is not None:
        height, width = photograph.original_size
        data = _insert_chunk(data, b'tEXt', f'{_SIZE_KEY}\0{width}x{height}'.encode())
    write_bytes(path, data)


def _rounded(photograph: Photograph) -> np.ndarray:
    """(H, W, channels) of its depth, some rows at a time: copies may be gigabytes."""
    peak, dtype = (255, np.uint8) if photograph.bits == 8 else (65535, np.uint16)
    channels = 1 if photograph.is_grey else 3
    if photograph.alpha is not None:
        channels += 1
    pixels = np.empty((*photograph.rgb.shape[:2], channels), dtype)
    for top in range(0, len(pixels), 256):
        rows = slice(top, top + 256)
        colour = photograph.rgb[rows]
        if photograph.is_grey:
            colour = colour.mean(axis=2, keepdims=True)
        if photograph.alpha is not None:
            colour = np.concatenate([colour, photograph.alpha[rows, :, None]], axis=2)
        pixels[rows] = (colour.clip(0, 1) * np.float32(peak)).round()
    return pixels


def _encode_8(pixels: np.ndarray, profile: bytes | None) -> bytes:
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG', icc_profile=profile, compress_level=4)
    return buffer.getvalue()


def _encode_16(pixels: np.ndarray, profile: bytes | None) -> bytes:
    # Channels in OpenCV's order.
    order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
    _, encoded = cv2.imencode('.png', pixels[..., order[pixels.shape[2]]])
    data = encoded.tobytes()
    if profile is None:
        return data
    return _insert_chunk(data, b'iCCP', b'ICC Profile\0\0' + zlib.compress(profile))


def _insert_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Put a chunk where any may be, right behind the header."""
    check = zlib.crc32(kind + content)
    chunk = struct.pack('>I', len(content)) + kind + content + struct.pack('>I', check)
    return png[:_PNG_HEADER] + chunk + png[_PNG_HEADER:]
