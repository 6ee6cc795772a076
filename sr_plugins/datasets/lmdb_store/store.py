"""Reading images, or windows of them, from a store."""

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import lmdb
import numpy as np

from ...preparation.images import decode_rgb
from .files import (
    DATA,
    INDEX,
    MAKE,
    PARTIAL,
    DamagedStoreError,
    Index,
    StoreError,
    damaged,
    read_index,
    read_manifest,
)
from .raw import RawFile, RawImage

Reader = Callable[[slice, slice, bool], np.ndarray]
_SHOWN = 4
# Threads open one at a time, and no fork takes place meanwhile.
_OPENING = threading.Lock()
os.register_at_fork(
    before=_OPENING.acquire,
    after_in_parent=_OPENING.release,
    after_in_child=_OPENING.release,
)
_PNG_START = b'\x89PNG\r\n\x1a\n'


class StoredImage:
    """An image in a store, or a window of one, that is read when it is copied.

    `image[rows, columns]` gives a window and reads nothing; `copy()` reads. A network's
    crop so costs what the crop costs, not what the image does.

    Attributes:
        shape: (height, width, channels).
    """

    __slots__ = ('_columns', '_read', '_rows', 'shape')

    def __init__(
        self, read: Reader, rows: slice, columns: slice, channels: int
    ) -> None:
        self._read, self._rows, self._columns = read, rows, columns
        self.shape = (rows.stop - rows.start, columns.stop - columns.start, channels)

    def __getitem__(self, window: tuple) -> 'StoredImage':
        """Give the window of two slices without steps; they are cut to the image."""
        if isinstance(window, tuple) and window[2:] == (...,):
            window = window[:2]
        if not (
            isinstance(window, tuple)
            and len(window) == 2
            and all(isinstance(s, slice) and s.step in (None, 1) for s in window)
        ):
            raise TypeError(
                f'Expected two slices without steps, image[rows, columns], but got '
                f'{window!r}. `image.copy()` is an array that takes any index.'
            )
        rows, columns = (
            _within(part, whole)
            for part, whole in zip(window, (self._rows, self._columns), strict=True)
        )
        return StoredImage(self._read, rows, columns, self.shape[2])

    def copy(self) -> np.ndarray:
        """Give an array of one's own, (H, W, C) of uint8 RGB."""
        return self._read(self._rows, self._columns, True)

    def view(self) -> np.ndarray:
        """Give a read-only array: the memory map itself, where the layout is `raw`."""
        return self._read(self._rows, self._columns, False)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.view() if copy is False else self.copy(), dtype)


def _within(part: slice, whole: slice) -> slice:
    start, stop, _ = part.indices(whole.stop - whole.start)
    return slice(whole.start + start, whole.start + max(start, stop))


class Store:
    """A store of images by key, read-only.

    `data.mdb` is opened when the first image is read, once in each process, without a
    lock file: a store may lie on a read-only file system, and may be handed to forked
    and spawned processes at any time.

    Args:
        path: folder of the store; of our own, or of BasicSR.

    Attributes:
        layout: 'raw' or 'png'.
        index: keys and shapes.

    Raises:
        FileNotFoundError: there is no store, or one that is not finished.
        StoreError: it is of a newer format.
        DamagedStoreError: its parts do not belong together.
    """

    def __init__(self, path: 'str | os.PathLike') -> None:
        self.path = Path(path)
        _require_store(self.path)
        self.manifest = read_manifest(self.path)
        self.layout = 'png' if self.manifest is None else self.manifest.layout
        self.index: Index = read_index(self.path, self.layout)
        if self.manifest and self.manifest.images != len(self.index):
            raise damaged(
                self.path / INDEX[self.layout],
                f'{len(self.index)} images of {self.manifest.images}',
            )
        self._data = None

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[str]:
        """Give all keys in their order."""
        return iter(self.keys())

    def __contains__(self, key: str) -> bool:
        return self.index.find(key) is not None

    def keys(self) -> list[str]:
        """Give all keys in their order."""
        return self.index.names()

    def __getitem__(self, key: 'str | int') -> StoredImage:
        """Give the image of a key, or of a position among the sorted keys.

        Raises:
            StoreError: there is no such image.
            DamagedStoreError: it is not what was written.
        """
        position = self.index.find(key) if isinstance(key, str) else key
        if position is None or not 0 <= position < len(self):
            names = self.keys()
            if len(names) > _SHOWN:
                names[_SHOWN - 1 : -1] = ['...']
            raise StoreError(
                f'Expected the store {self.path} to hold {key!r}, but it holds '
                f'{len(self)} images, {", ".join(names)}. Point to another store, or '
                f'make this one anew with `{MAKE} --overwrite`.'
            )
        if self._data is None or self._data.process != os.getpid():
            self._data = self._open()
        key = self.index.keys[position].decode()
        height, width, channels = map(int, self.index.shapes[position])
        if self.layout == 'png':
            # BasicSR notes the channels of the file, which may be grey.
            channels = 3
        read = self._data.reader(
            key, (height, width, channels), int(self.index.offsets[position])
        )
        return StoredImage(read, slice(0, height), slice(0, width), channels)

    def close(self) -> None:
        """Let go of `data.mdb`; the next image opens it again."""
        self._data = None

    def __getstate__(self) -> dict:
        return {**vars(self), '_data': None}

    def _open(self) -> '_RawData | _PngData':
        path = self.path / DATA
        found = path.stat().st_size
        if self.manifest and self.manifest.data_bytes != found:
            raise damaged(path, f'{found} bytes instead of {self.manifest.data_bytes}')
        return _RawData(path) if self.layout == 'raw' else _PngData.shared(path)


class _RawData:
    """Images by their place in `data.mdb`."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self._file = RawFile(path)
        self._checked = set()

    def reader(self, key: str, shape: tuple[int, int, int], offset: int) -> Reader:
        image = RawImage(self._file, key, offset, shape)
        if offset not in self._checked:
            image.check_header()
            self._checked.add(offset)
        return image.read


class _PngData:
    """PNG files by key in an LMDB environment, as BasicSR writes them."""

    _open: ClassVar[WeakValueDictionary] = WeakValueDictionary()

    @classmethod
    def shared(cls, path: Path) -> '_PngData':
        """Give the one of this process: LMDB opens a file once in a process."""
        # By inode: a store may have been replaced by another at the same path.
        state = path.stat()
        place = state.st_dev, state.st_ino
        with _OPENING:
            data = cls._open.get(place)
            if data is not None and data.process != os.getpid():
                # Inherited by a fork, which LMDB warns of.
                data._environment.close()
                data = None
            if data is None:
                data = cls._open[place] = cls(path)
        return data

    def __init__(self, path: Path) -> None:
        self.path, self.process = path, os.getpid()
        try:
            self._environment = lmdb.open(
                str(path.parent), readonly=True, lock=False, create=False
            )
            pages = self._environment.info()['last_pgno'] + 1
            size = pages * self._environment.stat()['psize']
        except lmdb.Error as error:
            raise _lmdb_error(path, error) from error
        # Reading beyond the end of a file that is mapped kills the process.
        if size > path.stat().st_size:
            raise damaged(path, f'{path.stat().st_size} bytes instead of {size}')

    def reader(self, key: str, shape: tuple[int, int, int], offset: int) -> Reader:
        def read(rows: slice, columns: slice, copy: bool) -> np.ndarray:
            window = self._decode(key, shape)[rows, columns]
            if copy:
                return np.ascontiguousarray(window)
            window.flags.writeable = False
            return window

        return read

    def _decode(self, key: str, shape: tuple[int, int, int]) -> np.ndarray:
        if self.process != os.getpid():
            # The image was opened before a fork.
            return self.shared(self.path)._decode(key, shape)
        try:
            with self._environment.begin() as transaction:
                content = transaction.get(key.encode())
        except lmdb.Error as error:
            raise _lmdb_error(self.path.parent, error, key) from error
        if content is None:
            raise damaged(self.path.parent, 'nothing', key)
        try:
            _check_png(content)
            image = decode_rgb(content)
        except ValueError as error:
            raise damaged(self.path.parent, str(error), key) from error
        if image.shape[:2] != shape[:2]:
            raise damaged(self.path.parent, f'the shape {image.shape}', key)
        return image


def _check_png(content: bytes) -> None:
    """Raise ValueError where a chunk of a PNG file is not as its checksum says.

    Pillow does not look at the checksums of pixels.
    """
    view, start = memoryview(content), len(_PNG_START)
    if view[:start] != _PNG_START:
        return
    kind = b''
    while kind != b'IEND':
        size = int.from_bytes(view[start : start + 4], 'big')
        kind, end = view[start + 4 : start + 8], start + 8 + size
        found = zlib.crc32(view[start + 4 : end]).to_bytes(4, 'big')
        if found != view[end : end + 4]:
            raise ValueError(f'another checksum at byte {start} of the PNG file')
        start = end + 4


def _lmdb_error(path: Path, error: lmdb.Error, key: str | None = None) -> Exception:
    if 'already open in this process' in str(error):
        return StoreError(
            f'Expected {path} to be open once in this process, but something else '
            f'reads it, too. Read it through the same `Store`, or close the other.'
        )
    return damaged(path, str(error) or type(error).__name__, key)


def _require_store(path: Path) -> None:
    if (path / DATA).is_file():
        if any((path / name).is_file() for name in INDEX.values()):
            return
        raise DamagedStoreError(
            f'Expected the store {path} to hold {" or ".join(INDEX.values())} beside '
            f'{DATA}, but it does not. Make the store anew with `{MAKE} --overwrite`.'
        )
    partial = path.with_name(path.name + PARTIAL)
    if partial.is_dir():
        raise FileNotFoundError(
            f'Expected a finished store {path}, but there is only {partial}, whose '
            f'making was stopped. Call `{MAKE}` as before: it goes on where it was.'
        )
    raise FileNotFoundError(
        f'Expected a store {path} (from {Path.cwd()}), but there is none. Make it with '
        f'`{MAKE}`, or point `--data-root` to the data.'
    )
