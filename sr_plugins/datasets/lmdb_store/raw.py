"""An image in layout `raw`: header, checksums, and rows of uint8 pixels.

The rows lie in strips, 256 pixels wide and one after the other, so that the rows of a
crop lie in few pages of memory; in rows as long as the image, each would be in a page
of its own. A crop within a strip is a slice of the memory map.

Every tile of 32 x 32 pixels has a checksum, and a crop is checked by looking at the
tiles it touches and at no more. A checksum is the sum of a tile's 64-bit words. It
finds any change within one word, and other damage but for one case in 2**64, unless
whole words of a tile change places; that, and damage between the images, is found by
the digest of the whole file.
"""

import struct
import zlib
from mmap import mmap
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
# With a page that is read, the kernel maps others around it, up to so many bytes.
AROUND = 1 << 20
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
    sums = _sums_of(buffer, 0, sizes)
    for start in range(0, width, STRIP):
        pixels = image[:, start : start + STRIP].reshape(height, -1)
        strip = _strip(buffer, 0, sizes, start)
        strip[:height, : pixels.shape[1]] = pixels
        found = _add_up(strip, sizes.tile_bytes)
        sums[:, start // TILE : start // TILE + found.shape[1]] = found
    return buffer


class RawImage:
    """An image in the memory map of a store.

    Args:
        store: name of the store, for messages.
        key: of the image.
        buffer: the map of the whole file.
        offset: where the image starts.
        shape: (H, W, C).

    Raises:
        DamagedStoreError: the header is not that of this image.
    """

    __slots__ = ('_buffer', '_offset', '_sizes', '_sums', 'key', 'shape', 'store')

    def __init__(
        self,
        store: str,
        key: str,
        buffer: 'mmap | bytearray',
        offset: int,
        shape: tuple[int, int, int],
    ) -> None:
        self.store, self.key, self.shape = store, key, shape
        self._buffer, self._offset, self._sizes = buffer, offset, geometry(*shape)
        if offset + self._sizes.total_bytes > len(buffer):
            raise damaged(store, 'the end of the file', key)
        _check_header(store, key, buffer, offset, shape)
        self._sums = _sums_of(buffer, offset, self._sizes)

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
        if not height or not width:
            return np.empty((height, width, self.shape[2]), np.uint8)
        first = columns.start - columns.start % STRIP
        parts = [
            self._read_strip(
                start,
                rows,
                slice(max(columns.start, start), min(columns.stop, start + STRIP)),
                copy,
            )
            for start in range(first, columns.stop, STRIP)
        ]
        window = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if copy:
            window = np.ascontiguousarray(window)
        else:
            window.flags.writeable = False
        # Splits the last axis of a view, which needs no copy.
        return window.reshape(height, width, self.shape[2])

    def touches(self, rows: slice, columns: slice) -> int:
        """Give about how many bytes of the file become memory with a window."""
        strips = -(-columns.stop // STRIP) - columns.start // STRIP
        row_bytes = min(STRIP * self.shape[2], self._sizes.row_bytes)
        # The header lies apart.
        return strips * (row_bytes * (rows.stop - rows.start) + AROUND) + AROUND

    def _read_strip(
        self, start: int, rows: slice, columns: slice, copy: bool
    ) -> np.ndarray:
        channels, tile_bytes = self.shape[2], self._sizes.tile_bytes
        top, bottom = rows.start // TILE, -(-rows.stop // TILE)
        left, right = columns.start // TILE, -(-columns.stop // TILE)
        # In bytes from the start of the strip.
        edge = (left * TILE - start) * channels
        strip = _strip(self._buffer, self._offset, self._sizes, start)
        tiles = strip[
            top * TILE : bottom * TILE, edge : edge + (right - left) * tile_bytes
        ]
        if copy:
            # Before they are summed: numpy sums rows that are far apart slowly.
            tiles = tiles.copy()
        found = _add_up(tiles, tile_bytes)
        expected = self._sums[top:bottom, left:right]
        if not (found == expected).all():
            row, column = np.argwhere(found != expected)[0]
            place = f'row {(top + row) * TILE}, column {(left + column) * TILE}'
            raise damaged(self.store, f'other pixels near {place}', self.key)
        inset = (columns.start - left * TILE) * channels
        return tiles[
            rows.start - top * TILE : rows.stop - top * TILE,
            inset : inset + (columns.stop - columns.start) * channels,
        ]


def _check_header(
    store: str,
    key: str,
    buffer: 'mmap | bytearray',
    offset: int,
    shape: tuple[int, int, int],
) -> None:
    header = bytes(buffer[offset : offset + HEADER_BYTES])
    fields = header[: _FIELDS.size]
    try:
        magic, version, key_crc, *found, dtype = _FIELDS.unpack(fields)
    except struct.error as error:
        raise damaged(store, 'the end of the file', key) from error
    # The rest of the header is zeros.
    end = _CRC.pack(zlib.crc32(fields)).ljust(HEADER_BYTES - _FIELDS.size, b'\0')
    if magic != MAGIC or header[_FIELDS.size :] != end:
        raise damaged(store, 'no header of an image', key)
    if version > VERSION or dtype != _DTYPE:
        raise damaged(store, f'version {version}, dtype {dtype!r}', key)
    if key_crc != zlib.crc32(key.encode()) or tuple(found) != tuple(shape):
        raise damaged(store, 'the header of another image', key)


def _sums_of(buffer: 'mmap | bytearray', offset: int, sizes: Geometry) -> np.ndarray:
    """View the checksums, (tiles down, tiles across)."""
    shape = sizes.tile_rows, sizes.tile_columns
    return np.ndarray(shape, '<u8', buffer, offset + HEADER_BYTES)


def _strip(
    buffer: 'mmap | bytearray', offset: int, sizes: Geometry, start: int
) -> np.ndarray:
    """View the strip that starts at column `start`, (rows, bytes of a row)."""
    tiles = min(STRIP // TILE, sizes.tile_columns - start // TILE)
    before = start // TILE * sizes.tile_bytes * sizes.rows
    shape = sizes.rows, tiles * sizes.tile_bytes
    return np.ndarray(shape, np.uint8, buffer, offset + sizes.pixels_at + before)


def _add_up(tiles: np.ndarray, tile_bytes: int) -> np.ndarray:
    """Give the checksums of tiles, (tiles down, tiles across)."""
    words = tiles.view('<u8')
    # Down the rows first: the inner loop then runs over words that lie together.
    columns = np.add.reduce(words.reshape(-1, TILE, words.shape[1]), axis=1)
    return np.add.reduce(columns.reshape(len(columns), -1, tile_bytes // 8), axis=2)
