"""An image in layout `raw`: header, checksums, and rows of uint8 pixels.

The rows lie in strips, 256 pixels wide and one after the other, so that the rows of a
crop lie together; in rows as long as the image, each would be in a page of its own. A
crop within a strip is a slice of the memory map.

Every tile of 32 x 32 pixels has a checksum, and a crop is checked by looking at the
tiles it touches and at no more. A checksum is the sum of a tile's 64-bit words. It
finds any change within one word, and other damage but for one case in 2**64, unless
whole words of a tile change places; that, and damage between the images, is found by
the digest of the whole file.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files import damaged

TILE = 32
STRIP = 256
MAGIC = b'SRPIXELS'
VERSION = 1
# Magic, version, CRC of the key, height, width, channels, dtype, CRC of all before.
_FIELDS = struct.Struct('<8s5I8s')
_CRC = struct.Struct('<I')
HEADER_BYTES = 64
_DTYPE = b'uint8'.ljust(8, b'\0')


class Geometry(NamedTuple):
    """Sizes that follow from an image's shape; width and height are padded to tiles."""

    rows: int
    row_bytes: int
    tile_bytes: int
    tile_rows: int
    tile_columns: int
    pixels_at: int
    total_bytes: int


def geometry(height: int, width: int, channels: int) -> Geometry:
    """Work out where the parts of an image lie."""
    tile_rows, tile_columns = -(-height // TILE), -(-width // TILE)
    rows, tile_bytes = tile_rows * TILE, TILE * channels
    row_bytes = tile_columns * tile_bytes
    pixels_at = HEADER_BYTES + 8 * tile_rows * tile_columns
    return Geometry(
        rows,
        row_bytes,
        tile_bytes,
        tile_rows,
        tile_columns,
        pixels_at,
        pixels_at + rows * row_bytes,
    )


def encode(key: str, image: np.ndarray) -> bytearray:
    """Give what the store holds for an image, (H, W, C) of uint8."""
    height, width, channels = image.shape
    sizes = geometry(*image.shape)
    buffer = bytearray(sizes.total_bytes)
    fields = _FIELDS.pack(
        MAGIC, VERSION, zlib.crc32(key.encode()), height, width, channels, _DTYPE
    )
    header = fields + _CRC.pack(zlib.crc32(fields))
    buffer[: len(header)] = header
    shape = sizes.tile_rows, sizes.tile_columns
    sums = np.ndarray(shape, '<u8', buffer, HEADER_BYTES)
    for start in range(0, width, STRIP):
        pixels = image[:, start : start + STRIP].reshape(height, -1)
        strip_at, row_bytes = strip_place(sizes, start)
        strip = np.ndarray((sizes.rows, row_bytes), np.uint8, buffer, strip_at)
        strip[:height, : pixels.shape[1]] = pixels
        found = _add_up(strip, sizes.tile_bytes)
        sums[:, start // TILE : start // TILE + found.shape[1]] = found
    return buffer


class RawFile:
    """The `data.mdb` of a store.

    LMDB's Python binding touches every page of a value that it hands out, so its `get`
    reads the whole image for a crop. `images.txt` has the offsets instead.

    Args:
        path: of the file.

    Attributes:
        name: of the store, for messages.
        size: bytes in the file.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path.parent)
        self._file = path.open('rb', buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, shape: tuple[int, int], dtype: str, offset: int) -> np.ndarray:
        """Copy an array out of the file.

        It is not copied out of the map: to map pages takes longer, and they would
        count as memory of the process.
        """
        array = np.empty(shape, dtype)
        if os.preadv(self._file.fileno(), [array], offset) < array.nbytes:
            raise damaged(self.name, 'the end of the file')
        return array

    def view(self, shape: tuple[int, int], dtype: str, offset: int) -> np.ndarray:
        """Give an array that is the memory map."""
        return np.ndarray(shape, dtype, self._map, offset)


class RawImage:
    """An image in a file.

    Args:
        file: which holds the image.
        key: of the image.
        offset: where the image starts.
        shape: (H, W, C).

    Raises:
        DamagedStoreError: the file ends before the image does.
    """

    __slots__ = ('_file', '_offset', '_sizes', 'key', 'shape')

    def __init__(
        self, file: RawFile, key: str, offset: int, shape: tuple[int, int, int]
    ) -> None:
        self.key, self.shape = key, shape
        self._file, self._offset, self._sizes = file, offset, geometry(*shape)
        if offset + self._sizes.total_bytes > file.size:
            raise damaged(file.name, 'the end of the file', key)

    def check_header(self) -> None:
        """Raise DamagedStoreError when the header is not that of this image."""
        store, key = self._file.name, self.key
        header = self._file.read((1, HEADER_BYTES), '|u1', self._offset).tobytes()
        fields = header[: _FIELDS.size]
        magic, version, key_crc, *found, dtype = _FIELDS.unpack(fields)
        # The rest of the header is zeros.
        end = _CRC.pack(zlib.crc32(fields)).ljust(HEADER_BYTES - _FIELDS.size, b'\0')
        if magic != MAGIC or header[_FIELDS.size :] != end:
            raise damaged(store, 'no header of an image', key)
        if version > VERSION or dtype != _DTYPE:
            raise damaged(store, f'version {version}, dtype {dtype!r}', key)
        if key_crc != zlib.crc32(key.encode()) or tuple(found) != tuple(self.shape):
            raise damaged(store, 'the header of another image', key)

    def read(self, rows: slice, columns: slice, copy: bool) -> np.ndarray:
        """Give the pixels of a window, (H, W, C).

        Args:
            rows: start and stop, within the image.
            columns: as `rows`.
            copy: give an array of one's own. Otherwise it is read-only, and the memory
                map itself for a window within one strip.

        Raises:
            DamagedStoreError: a tile of the window has another checksum.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        channels = self.shape[2]
        if not height or not width:
            return np.empty((height, width, channels), np.uint8)
        first = columns.start - columns.start % STRIP
        if not copy and columns.stop <= first + STRIP:
            window = self._read_strip(first, rows, columns, self._file.view)
        else:
            window = np.empty((height, width * channels), np.uint8)
            for start in range(first, columns.stop, STRIP):
                left = max(columns.start, start)
                right = min(columns.stop, start + STRIP)
                window[
                    :,
                    (left - columns.start) * channels : (right - columns.start)
                    * channels,
                ] = self._read_strip(start, rows, slice(left, right), self._file.read)
        window.flags.writeable = copy
        # Splits the last axis of a view, which needs no copy.
        return window.reshape(height, width, channels)

    def _read_strip(
        self, start: int, rows: slice, columns: slice, access: Callable
    ) -> np.ndarray:
        """Give the bytes of a window of the strip that starts at column `start`."""
        sizes, channels = self._sizes, self.shape[2]
        top, bottom = rows.start // TILE, -(-rows.stop // TILE)
        left, right = columns.start // TILE, -(-columns.stop // TILE)
        # In bytes from the start of the strip.
        edge = (left * TILE - start) * channels
        strip_at, row_bytes = strip_place(sizes, start)
        tiles = access(
            ((bottom - top) * TILE, row_bytes),
            '|u1',
            self._offset + strip_at + top * TILE * row_bytes,
        )[:, edge : edge + (right - left) * sizes.tile_bytes]
        found = _add_up(tiles, sizes.tile_bytes)
        expected = access(
            (bottom - top, sizes.tile_columns),
            '<u8',
            self._offset + HEADER_BYTES + 8 * top * sizes.tile_columns,
        )[:, left:right]
        if not (found == expected).all():
            row, column = np.argwhere(found != expected)[0]
            place = f'row {(top + row) * TILE}, column {(left + column) * TILE}'
            raise damaged(self._file.name, f'other pixels near {place}', self.key)
        inset = (columns.start - left * TILE) * channels
        return tiles[
            rows.start - top * TILE : rows.stop - top * TILE,
            inset : inset + (columns.stop - columns.start) * channels,
        ]


def strip_place(sizes: Geometry, start: int) -> tuple[int, int]:
    """Give where the strip from column `start` lies in the image, and a row's bytes."""
    tiles = min(STRIP // TILE, sizes.tile_columns - start // TILE)
    before = start // TILE * sizes.tile_bytes * sizes.rows
    return sizes.pixels_at + before, tiles * sizes.tile_bytes


def _add_up(tiles: np.ndarray, tile_bytes: int) -> np.ndarray:
    """Give the checksums of tiles, (tiles down, tiles across)."""
    words = tiles.view('<u8')
    # Down the rows first: the inner loop then runs over words that lie together.
    columns = np.add.reduce(words.reshape(-1, TILE, words.shape[1]), axis=1)
    return np.add.reduce(columns.reshape(len(columns), -1, tile_bytes // 8), axis=2)
