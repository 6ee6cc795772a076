"""Layout `raw`: what is read is what was written, or an error."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from sr_plugins.datasets.lmdb_store import DamagedStoreError
from sr_plugins.datasets.lmdb_store.raw import RawFile, RawImage, encode

# As an image lies in LMDB: behind the header of a page.
START = 4096 + 16
WIDTHS = (1, 31, 32, 33, 63, 255, 256, 257, 511, 512, 513)


def noise(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def open_image(buffer, shape, key='key', start=START):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'my store', 'data.mdb')
        path.parent.mkdir()
        path.write_bytes(buffer)
        file = RawFile(path)
    image = RawImage(file, key, start, shape)
    image.check_header()
    return image


def stored(image, key='key'):
    return bytearray(START) + encode(key, image)


def read(image, rows, columns, copy=True):
    return image.read(slice(*rows), slice(*columns), copy)


def windows(height, width):
    """Give windows at the edges of tiles and strips, empty ones, and random ones."""
    generator = np.random.default_rng([height, width])
    yield (0, height), (0, width)
    yield (height, height), (0, width)
    yield (0, height), (width // 2, width // 2)
    for edge in (31, 32, 33, 255, 256, 257, 511, 512):
        if edge < width:
            yield (0, height), (edge, width)
            yield (0, height), (edge - 1, edge + 1)
            yield (height // 2, height), (0, edge)
    for _ in range(6):
        yield (
            sorted(generator.integers(0, height + 1, 2).tolist()),
            sorted(generator.integers(0, width + 1, 2).tolist()),
        )


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('height', [1, 32, 71])
@pytest.mark.parametrize('width', WIDTHS)
def test_windows_are_those_of_numpy(height, width, channels):
    pixels = noise(height, width, channels)
    image = open_image(stored(pixels), pixels.shape)
    for rows, columns in windows(height, width):
        expected = pixels[slice(*rows), slice(*columns)]
        for copy in (True, False):
            window = read(image, rows, columns, copy)
            assert window.dtype == np.uint8
            np.testing.assert_array_equal(window, expected)


def test_bytes_by_hand():
    """Pixel by pixel, and a checksum as Python adds, after the module's docstring."""
    height, width, channels = 35, 300, 3
    pixels = noise(height, width, channels)
    found = encode('key', pixels)
    # 35 rows make two rows of tiles, and 300 pixels make ten: 8 and 2 in strips.
    assert len(found) == 64 + 2 * 10 * 8 + 64 * 320 * 3
    body = found[64 + 2 * 10 * 8 :]
    tiles = {}
    for row in range(64):
        for column in range(320):
            strip, inside = divmod(column, 256)
            strip_width = 256 if strip == 0 else 64
            at = strip * 64 * 256 * 3 + (row * strip_width + inside) * 3
            within = row < height and column < width
            expected = pixels[row, column].tobytes() if within else b'\0\0\0'
            assert body[at : at + 3] == expected
            tiles.setdefault((row // 32, column // 32), bytearray()).extend(expected)
    for number, place in enumerate(sorted(tiles)):
        # A row of a tile has 96 bytes, twelve words.
        tile = tiles[place]
        words = [tile[at : at + 8] for at in range(0, len(tile), 8)]
        total = sum(int.from_bytes(word, 'little') for word in words) % 2**64
        assert int.from_bytes(found[64 + 8 * number :][:8], 'little') == total


@pytest.fixture
def mapped(tmp_path):
    """An image in the memory map of a file."""
    pixels = noise(70, 600, 3)
    (tmp_path / 'data.mdb').write_bytes(stored(pixels))
    file = RawFile(tmp_path / 'data.mdb')
    memory = file.view((1, file.size), '|u1', 0)
    return RawImage(file, 'key', START, pixels.shape), pixels, memory


@pytest.mark.parametrize('columns', [(0, 256), (1, 40), (256, 512), (513, 600)])
def test_a_view_within_a_strip_is_the_map(mapped, columns):
    image, pixels, memory = mapped
    window = read(image, (5, 66), columns, copy=False)
    assert np.shares_memory(window, memory)
    assert not window.flags.writeable
    with pytest.raises(ValueError, match='read-only'):
        window[0, 0] = 1
    with pytest.raises(ValueError, match='WRITEABLE'):
        window.flags.writeable = True
    np.testing.assert_array_equal(window, pixels[5:66, slice(*columns)])


def test_a_view_across_strips_is_read_only_too(mapped):
    image, pixels, memory = mapped
    window = read(image, (0, 70), (255, 257), copy=False)
    assert not window.flags.writeable
    assert not np.shares_memory(window, memory)
    np.testing.assert_array_equal(window, pixels[:, 255:257])


@pytest.mark.parametrize('columns', [(0, 256), (7, 8), (0, 600), (255, 513)])
def test_a_copy_is_ones_own(mapped, columns):
    image, pixels, memory = mapped
    window = read(image, (3, 50), columns)
    assert window.flags.c_contiguous
    assert window.flags.writeable
    assert not np.shares_memory(window, memory)
    window[:] = 0
    again = read(image, (3, 50), columns)
    np.testing.assert_array_equal(again, pixels[3:50, slice(*columns)])


@pytest.mark.parametrize('shape', [(20, 40, 3), (5, 33, 1), (1, 1, 3)])
def test_every_flipped_byte_is_found(shape):
    pixels = noise(*shape)
    buffer = stored(pixels)
    for position in range(START, len(buffer)):
        kept = buffer[position]
        buffer[position] ^= 1 << position % 8
        with pytest.raises(DamagedStoreError):
            read(open_image(buffer, shape), (0, shape[0]), (0, shape[1]))
        buffer[position] = kept
    whole = read(open_image(buffer, shape), (0, shape[0]), (0, shape[1]))
    np.testing.assert_array_equal(whole, pixels)


def test_damage_is_found_by_the_windows_that_touch_its_tile_and_by_no_others():
    pixels = noise(70, 300, 3)
    buffer = stored(pixels)
    # Row 40, column 270: second row of tiles, first tile of the second strip.
    sums = 64 + 3 * 10 * 8
    buffer[START + sums + 96 * 256 * 3 + (40 * 64 + 14) * 3] ^= 0x80
    image = open_image(buffer, pixels.shape)
    for copy in (True, False):
        for rows, columns in (
            ((32, 33), (256, 257)),
            ((63, 70), (287, 300)),
            ((0, 70), (0, 300)),
            ((40, 41), (200, 257)),
        ):
            match = r"'key' of .*my store.*pixels near row 32, column 256.*--verify"
            with pytest.raises(DamagedStoreError, match=match):
                read(image, rows, columns, copy)
        for rows, columns in (
            ((0, 32), (0, 300)),
            ((64, 70), (0, 300)),
            ((0, 70), (0, 256)),
            ((0, 70), (288, 300)),
        ):
            expected = pixels[slice(*rows), slice(*columns)]
            window = read(image, rows, columns, copy)
            np.testing.assert_array_equal(window, expected)


def test_the_header_is_that_of_this_image():
    pixels = noise(20, 40, 3)
    buffer = stored(pixels)
    for key, shape in (
        ('other', (20, 40, 3)),
        ('key', (20, 39, 3)),
        ('key', (1, 1, 1)),
    ):
        with pytest.raises(DamagedStoreError, match='the header of another image'):
            open_image(buffer, shape, key)
    with pytest.raises(DamagedStoreError, match='no header'):
        open_image(buffer, (20, 40, 3), start=START - 16)


@pytest.mark.parametrize('missing', [1, 6000, 6200, 6240])
def test_the_end_of_the_file_is_named(missing):
    buffer = stored(noise(20, 40, 3))[:-missing]
    match = r"the image 'key' of .*my store to be what .* got the end of the file"
    with pytest.raises(DamagedStoreError, match=match):
        open_image(buffer, (20, 40, 3))
