"""Files of every kind are read exactly, or refused by name."""

import itertools
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from sr_plugins.inference import (
    Photograph,
    read_photograph,
    write_photograph,
)

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
# What a stored image looks like when it is displayed, by EXIF orientation.
DISPLAYED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def pixels(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(0).integers(0, top, shape, dtype=dtype)


def chunk(kind, data):
    body = kind + data
    return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))


def write_png(path, rows, size, depth, colour_type, extra=b''):
    """A PNG byte by byte, for what no library writes."""
    header = struct.pack('>IIBBBBB', *size, depth, colour_type, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + bytes(row) for row in rows))
    signature = b'\x89PNG\r\n\x1a\n'
    end = chunk(b'IDAT', data) + chunk(b'IEND', b'')
    path.write_bytes(signature + chunk(b'IHDR', header) + extra + end)
    return path


def write_deep_png(path, image, extra=b''):
    image = image if image.ndim == 3 else image[..., None]
    height, width, channels = image.shape
    rows = [row.astype('>u2').tobytes() for row in image]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return write_png(path, rows, (width, height), 16, colour_type, extra)


def exif_chunk(orientation):
    ifd = struct.pack('>HHHIHHI', 1, 0x0112, 3, 1, orientation, 0, 0)
    return chunk(b'eXIf', b'MM\0*' + struct.pack('>I', 8) + ifd)


def expect(photograph, rgb, alpha=None, is_grey=False, bits=8):
    """`rgb` and `alpha` in the numbers of the file."""
    peak = {8: 255, 16: 65535}[bits]
    rgb = rgb if rgb.ndim == 3 else np.stack([rgb] * 3, axis=2)
    assert photograph.rgb.dtype == np.float32
    np.testing.assert_array_equal(photograph.rgb, (rgb / np.float64(peak)).astype('f4'))
    if alpha is None:
        assert photograph.alpha is None
    else:
        alpha = (alpha / np.float64(peak)).astype('f4')
        np.testing.assert_array_equal(photograph.alpha, alpha)
    assert (photograph.is_grey, photograph.bits) == (is_grey, bits)


@pytest.mark.parametrize(
    ('mode', 'suffix'),
    [
        *itertools.product(['L', 'LA', 'RGB', 'RGBA'], ['png', 'tif']),
        ('L', 'bmp'),
        ('RGB', 'bmp'),
        ('RGB', 'webp'),
        ('RGBA', 'webp'),
    ],
)
def test_8_bits(tmp_path, mode, suffix):
    image = pixels(5, 7, len(mode))
    path = tmp_path / f'image.{suffix}'
    options = {'lossless': True, 'exact': True} if suffix == 'webp' else {}
    Image.fromarray(image.squeeze()).save(path, **options)
    alpha = image[..., -1] if 'A' in mode else None
    colour = image[..., :3] if 'RGB' in mode else image[..., 0]
    expect(read_photograph(path), colour, alpha, is_grey='L' in mode)


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (7, 1)])
def test_smallest_sizes(tmp_path, size):
    image = pixels(*size, 3)
    Image.fromarray(image).save(tmp_path / 'a.png')
    expect(read_photograph(tmp_path / 'a.png'), image)
    deep = pixels(*size, 3, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'b.tif'), deep[..., ::-1])
    expect(read_photograph(tmp_path / 'b.tif'), deep, bits=16)


@pytest.mark.parametrize('suffix', ['png', 'tif', 'bmp'])
def test_1_bit_becomes_grey(tmp_path, suffix):
    image = pixels(5, 11) > 127
    Image.fromarray(image).save(tmp_path / f'a.{suffix}')
    expect(read_photograph(tmp_path / f'a.{suffix}'), 255 * image, is_grey=True)


def test_palette(tmp_path):
    table, index = pixels(4, 3), pixels(3, 5) % 4
    palette = chunk(b'PLTE', table.tobytes())
    path = write_png(tmp_path / 'opaque.png', index, (5, 3), 8, 3, palette)
    expect(read_photograph(path), table[index])
    # Alpha for the first three entries; the fourth is opaque by default.
    alpha = np.array([7, 255, 0, 255])
    extra = palette + chunk(b'tRNS', alpha[:3].astype(np.uint8).tobytes())
    path = write_png(tmp_path / 'alpha.png', index, (5, 3), 8, 3, extra)
    expect(read_photograph(path), table[index], alpha[index])


def test_palette_of_gif_with_a_transparent_entry(tmp_path):
    image = Image.fromarray(pixels(3, 5) % 4, 'L').convert('P')
    image.putpalette(pixels(4, 3).tobytes())
    image.save(tmp_path / 'a.gif', transparency=2)
    photograph = read_photograph(tmp_path / 'a.gif')
    np.testing.assert_array_equal(photograph.alpha == 0, pixels(3, 5) % 4 == 2)


def test_transparent_colour(tmp_path):
    grey = pixels(3, 5)
    key = chunk(b'tRNS', struct.pack('>H', grey[1, 1]))
    path = write_png(tmp_path / 'grey.png', grey, (5, 3), 8, 0, key)
    alpha = np.where(grey == grey[1, 1], 0, 255)
    expect(read_photograph(path), grey, alpha, is_grey=True)

    rgb = pixels(3, 5, 3)
    key = chunk(b'tRNS', struct.pack('>HHH', *rgb[1, 1].tolist()))
    rows = [row.tobytes() for row in rgb]
    path = write_png(tmp_path / 'rgb.png', rows, (5, 3), 8, 2, key)
    alpha = np.where((rgb == rgb[1, 1]).all(axis=2), 0, 255)
    expect(read_photograph(path), rgb, alpha)


@pytest.mark.parametrize('channels', [1, 3])
def test_transparent_colour_of_16_bits(tmp_path, channels):
    image = pixels(3, 5, channels, dtype=np.uint16)
    # One neighbour shares the upper byte only.
    image[0, 0] = image[1, 1] ^ 1
    key = chunk(b'tRNS', image[1, 1].astype('>u2').tobytes())
    path = write_deep_png(tmp_path / 'a.png', image, key)
    alpha = np.where((image == image[1, 1]).all(axis=2), 0, 65535)
    colour = image if channels == 3 else image[..., 0]
    expect(read_photograph(path), colour, alpha, is_grey=channels == 1, bits=16)


def test_cmyk_jpeg(tmp_path):
    c, m, y, k = ink = 10, 200, 30, 40
    Image.new('CMYK', (16, 8), ink).save(
        tmp_path / 'a.jpg', quality=100, icc_profile=PROFILE
    )
    photograph = read_photograph(tmp_path / 'a.jpg')
    light = [(255 - ink) * (255 - k) / 255 for ink in (c, m, y)]
    assert photograph.rgb.shape == (8, 16, 3)
    np.testing.assert_allclose(255 * photograph.rgb[3, 5], light, atol=2)
    assert not photograph.is_grey
    assert photograph.alpha is None
    # It describes inks.
    assert photograph.icc_profile is None


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_16_bits(tmp_path, channels, suffix):
    image = pixels(5, 7, channels, dtype=np.uint16)
    path = tmp_path / f'a.{suffix}'
    if suffix == 'png':
        write_deep_png(path, image)
    else:
        options = {'extrasamples': ['unassalpha']} if channels == 4 else {}
        photometric = 'minisblack' if channels == 1 else 'rgb'
        data = image[..., 0] if channels == 1 else image
        tifffile.imwrite(path, data, photometric=photometric, **options)
    colour = image[..., 0] if channels == 1 else image[..., :3]
    alpha = image[..., 3] if channels == 4 else None
    expect(read_photograph(path), colour, alpha, is_grey=channels == 1, bits=16)


@pytest.mark.parametrize('options', [{'compression': 'zlib'}, {'byteorder': '>'}])
def test_kinds_of_16_bit_tiff(tmp_path, options):
    image = pixels(20, 33, 3, dtype=np.uint16)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, image, photometric='rgb', tile=(16, 16), **options)
    expect(read_photograph(path), image, bits=16)


def test_16_bit_grey_with_alpha(tmp_path):
    image = pixels(5, 7, 2, dtype=np.uint16)
    path = write_deep_png(tmp_path / 'a.png', image)
    expect(read_photograph(path), image[..., 0], image[..., 1], is_grey=True, bits=16)


def test_fourth_channel_that_is_no_alpha(tmp_path):
    image = pixels(5, 7, 4, dtype=np.uint16)
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, image, photometric='rgb', extrasamples=['unspecified'])
    expect(read_photograph(path), image[..., :3], bits=16)


@pytest.mark.parametrize('orientation', DISPLAYED)
def test_orientation(tmp_path, orientation):
    image, deep = pixels(2, 3, 3), pixels(2, 3, 3, dtype=np.uint16)
    show = DISPLAYED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    tag = (0x0112, 'H', 1, orientation, True)

    Image.fromarray(image).save(tmp_path / '8.png', exif=exif)
    expect(read_photograph(tmp_path / '8.png'), show(image))
    tifffile.imwrite(tmp_path / '8.tif', image, photometric='rgb', extratags=[tag])
    expect(read_photograph(tmp_path / '8.tif'), show(image))
    write_deep_png(tmp_path / '16.png', deep, exif_chunk(orientation))
    expect(read_photograph(tmp_path / '16.png'), show(deep), bits=16)
    tifffile.imwrite(tmp_path / '16.tif', deep, photometric='rgb', extratags=[tag])
    expect(read_photograph(tmp_path / '16.tif'), show(deep), bits=16)


def test_first_picture_of_a_phone(tmp_path):
    first, second = Image.new('L', (8, 8), 50), Image.new('L', (4, 4), 200)
    path = tmp_path / 'a.jpg'
    first.save(path, 'MPO', save_all=True, append_images=[second])
    expect(read_photograph(path), np.full((8, 8), 50), is_grey=True)


def float_grey(path):
    tifffile.imwrite(path, np.ones((4, 4), np.float32))


def float_rgb(path):
    tifffile.imwrite(path, np.ones((4, 4, 3), np.float32), photometric='rgb')


def int32(path):
    tifffile.imwrite(path, np.ones((4, 4), np.uint32))


def signed(path):
    tifffile.imwrite(path, np.ones((4, 4), np.int16))


def planes(path):
    image = pixels(3, 4, 4, dtype=np.uint16)
    tifffile.imwrite(path, image, photometric='rgb', planarconfig='separate')


def white_is_zero(path):
    tifffile.imwrite(path, pixels(4, 4, dtype=np.uint16), photometric='miniswhite')


def inks(path):
    image = pixels(4, 4, 4, dtype=np.uint16)
    tifffile.imwrite(path, image, photometric='separated')


def premultiplied(path):
    image = pixels(4, 4, 4, dtype=np.uint16)
    tifffile.imwrite(path, image, photometric='rgb', extrasamples=['assocalpha'])


def text(path):
    path.write_text('no image')


def empty(path):
    path.write_bytes(b'')


@pytest.mark.parametrize(
    'write',
    [
        float_grey,
        float_rgb,
        int32,
        signed,
        planes,
        white_is_zero,
        inks,
        premultiplied,
        text,
        empty,
    ],
)
def test_other_kinds_are_refused(tmp_path, write):
    path = tmp_path / 'strange.tif'
    write(path)
    with pytest.raises(ValueError, match=r'^Expected .*, but got .*strange\.tif'):
        read_photograph(path)


@pytest.mark.parametrize('suffix', ['gif', 'png', 'webp', 'tif'])
def test_several_frames_are_refused(tmp_path, suffix):
    path = tmp_path / f'moving.{suffix}'
    frames = [Image.new('L', (4, 4), value) for value in (0, 100, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(
        ValueError, match=rf'one image .*moving\.{suffix} with 3 frames'
    ):
        read_photograph(path)


@pytest.mark.parametrize(
    'name', ['a.png', 'a.jpg', 'a.tif', 'a.webp', 'a.bmp', '16.png']
)
def test_truncated_file_is_named(tmp_path, name):
    path = tmp_path / name
    if name == '16.png':
        write_deep_png(path, pixels(40, 40, 3, dtype=np.uint16))
    else:
        Image.fromarray(pixels(40, 40, 3)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf'whole image, but reading .*{name} failed'):
        read_photograph(path)


def test_absurd_size_is_refused(tmp_path, monkeypatch):
    Image.new('L', (5, 5)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    with pytest.raises(ValueError, match=r'reading .*a\.png failed: .*25 pixels'):
        read_photograph(tmp_path / 'a.png')


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.png'):
        read_photograph(tmp_path / 'absent.png')


VALUES = np.array(
    [[[-0.5, 0.1, 0.3], [0.25, 0.5, 0.9]], [[1.5, 1, 1], [0, 0, 0]]], 'f4'
)
ALPHA = np.array([[0, 0.25], [0.5, 1]], 'f4')


@pytest.mark.parametrize('with_alpha', [False, True])
@pytest.mark.parametrize('is_grey', [False, True])
@pytest.mark.parametrize('bits', [8, 16])
def test_writing(tmp_path, is_grey, with_alpha, bits):
    alpha = ALPHA if with_alpha else None
    path = tmp_path / 'out' / 'a.png'
    write_photograph(path, Photograph(VALUES, alpha, is_grey, bits, PROFILE))

    peak = {8: 255, 16: 65535}[bits]
    exact = VALUES.astype(np.float64)
    if is_grey:
        exact = np.stack([exact.mean(axis=2)] * 3, axis=2)
    exact = np.clip(exact, 0, 1) * peak
    read = read_photograph(path)
    assert (read.is_grey, read.bits) == (
        is_grey and (bits, with_alpha) != (16, True),
        bits,
    )
    assert read.icc_profile == PROFILE
    # Half a step, and the rounding of float32.
    np.testing.assert_allclose(read.rgb * peak, exact, atol=0.5 + 1e-2)
    with Image.open(path) as image:
        modes = {8: ('RGB', 'RGBA', 'L', 'LA'), 16: ('RGB', 'RGBA', 'I;16', 'RGBA')}
        assert image.format == 'PNG'
        assert image.mode == modes[bits][2 * is_grey + with_alpha]
        image.load()
    data = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert data.dtype == {8: np.uint8, 16: np.uint16}[bits]
    if with_alpha:
        np.testing.assert_allclose(data[..., 3], ALPHA * peak, atol=0.5)
    if is_grey and data.ndim == 3:
        assert (data[..., 0] == data[..., 1]).all()
        assert (data[..., 0] == data[..., 2]).all()


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_what_is_written_is_read(tmp_path, channels, bits):
    image = pixels(5, 7, channels, dtype={8: np.uint8, 16: np.uint16}[bits])
    if bits == 8:
        Image.fromarray(image.squeeze()).save(tmp_path / 'a.png')
    else:
        write_deep_png(tmp_path / 'a.png', image)
    first = read_photograph(tmp_path / 'a.png')
    write_photograph(tmp_path / 'b.png', first)
    second = read_photograph(tmp_path / 'b.png')
    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.alpha, second.alpha)


def test_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_photograph(path, Photograph(VALUES))
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('profile', [None, PROFILE])
def test_original_size(tmp_path, bits, profile):
    image = np.random.default_rng(0).random((3, 4, 3), np.float32)
    written = Photograph(image, None, False, bits, profile, (5, 8))
    write_photograph(tmp_path / 'a.png', written)
    read = read_photograph(tmp_path / 'a.png')
    assert read.original_size == (5, 8)
    assert (read.bits, read.icc_profile) == (bits, profile)
    np.testing.assert_allclose(read.rgb, image, atol=0.501 / (2**bits - 1))
    with Image.open(tmp_path / 'a.png') as file:
        assert file.info['sr_plugins.original_size'] == '8x5'
    Image.fromarray(pixels(3, 4, 3)).save(tmp_path / 'b.png')
    assert read_photograph(tmp_path / 'b.png').original_size is None


@pytest.mark.parametrize('note', ['', '8', '8x', '0x5', '-8x5', '8x5x3', '9' * 10_000])
def test_wrong_note_of_a_size(tmp_path, note):
    text = PngImagePlugin.PngInfo()
    text.add_text('sr_plugins.original_size', note)
    Image.fromarray(pixels(3, 4, 3)).save(tmp_path / 'a.png', pnginfo=text)
    with pytest.raises(
        ValueError, match=rf"a\.png to be like 640x480, but got '{note}"
    ):
        read_photograph(tmp_path / 'a.png')
