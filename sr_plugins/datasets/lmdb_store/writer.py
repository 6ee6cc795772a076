"""Writing a store that can be stopped at any moment and gone on with.

A store is written as `<name>.partial` and renamed when it is whole. Images go to LMDB
in transactions; a transaction that was committed is noted in `sources.jsonl`. What is
noted is there, then, and what is not noted is written again.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import lmdb
import numpy as np

from ...preparation.archives import show_bytes
from ...preparation.images import remove_parts, write_text
from .files import (
    DATA,
    PARTIAL,
    SOURCES,
    Index,
    Manifest,
    StoreError,
    damaged,
    digest,
)

# Held in memory before it is committed, which waits for the disk.
COMMIT_BYTES = 64 << 20
FIRST_MAP_BYTES = 1 << 30
# Images whose places are found while they are mapped.
_MAPPED = 16
_LOCK = 'lock'
# A name that nobody gives to a copy of their own.
_REPLACED = '.replaced'
# EIO: what LMDB makes of a write of which the disk took a part only.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class EncodedImage(NamedTuple):
    """An image as the store holds it."""

    key: str
    shape: tuple[int, int, int]
    content: 'bytes | bytearray'


@dataclass(frozen=True)
class Source:
    """The file that images were made of, and how.

    Attributes:
        name: of the file, without its folder.
        bytes: its size.
        mtime_ns: when it was changed last.
        cut: size, step and unit of sub-images; None for whole images.
        images: their keys and shapes.
    """

    name: str
    bytes: int
    mtime_ns: int
    cut: tuple[int, int, int] | None
    images: tuple[tuple[str, tuple[int, int, int]], ...] = ()

    @classmethod
    def of(cls, path: Path, cut: tuple[int, int, int] | None) -> 'Source':
        """Describe the file as it is now."""
        state = path.stat()
        return cls(path.name, state.st_size, state.st_mtime_ns, cut)

    def matches(self, other: 'Source') -> bool:
        """Tell whether both would give the same images."""
        return (self.name, self.bytes, self.mtime_ns, self.cut) == (
            other.name,
            other.bytes,
            other.mtime_ns,
            other.cut,
        )


def read_sources(folder: Path) -> dict[str, Source]:
    """Give what `sources.jsonl` notes, by name; none where it is not there.

    The last note on a file counts. A note that was cut off by a kill does not.
    """
    path = folder / SOURCES
    found = {}
    lines = path.read_bytes().split(b'\n') if path.exists() else []
    for line in lines[:-1]:
        try:
            fields = json.loads(line)
            cut = fields.pop('cut')
            images = tuple((key, tuple(shape)) for key, shape in fields.pop('images'))
            source = Source(**fields, cut=cut and tuple(cut), images=images)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, f'{line[:80]!r}') from error
        found[source.name] = source
    return found


class StoreWriter:
    """Writes `path`, going on with what an earlier call left.

    Use it as a context: what was added is committed at the end, also when Ctrl-C or an
    error ends it. `finish` makes the store.

    Args:
        path: folder of the store.
        layout: 'raw' or 'png'.
        anew: drop what an earlier call left, where it cannot be gone on with.

    Attributes:
        done: the sources whose images are committed, by name.

    Raises:
        StoreError: another process writes it, or it was begun in the other layout.
        DamagedStoreError: what an earlier call left cannot be read.
        OSError: the disk is full.
    """

    def __init__(self, path: Path, layout: str, anew: bool = False) -> None:
        self.path, self.layout = path, layout
        self.partial = path.with_name(path.name + PARTIAL)
        self._pending: list[tuple[Source, Sequence[EncodedImage]]] = []
        self._pending_bytes = 0
        self._environment: lmdb.Environment | None = None
        self._lock = _take_lock(self.partial)
        try:
            try:
                self._begin()
            except StoreError:
                if not anew:
                    raise
                # Still locked, so that nobody else goes on with it.
                shutil.rmtree(self.partial)
                self._close()
                self._lock = _take_lock(self.partial)
                self._begin()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> 'StoreWriter':
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            # After a full disk there is nothing more to write.
            if not isinstance(error, OSError):
                self._commit()
        finally:
            self._close()

    def add(self, source: Source, images: Sequence[EncodedImage]) -> None:
        """Add the images of a source, in place of those it had."""
        self._pending.append((source, images))
        self._pending_bytes += sum(len(image.content) for image in images)
        if self._pending_bytes >= COMMIT_BYTES:
            self._commit()

    def finish(self, names: Sequence[str]) -> Manifest:
        """Put the store in place, with the images of these sources and no others."""
        self._commit()
        sources = [self.done[name] for name in names]
        shapes = {key: shape for source in sources for key, shape in source.images}
        self._remove_others(set(shapes))
        self._environment.close()
        data = self.partial / DATA
        offsets = _find_offsets(self.partial, shapes) if self.layout == 'raw' else {}
        entries = ((key, shape, offsets.get(key, 0)) for key, shape in shapes.items())
        index = Index(entries)
        manifest = Manifest(self.layout, len(index), data.stat().st_size, digest(data))
        lines = (json.dumps(asdict(source)) + '\n' for source in sources)
        with self._naming_full_disk():
            index.write(self.partial, self.layout)
            write_text(self.partial / SOURCES, ''.join(lines))
            manifest.write(self.partial)
        _put_in_place(self.partial, self.path)
        return manifest

    def _close(self) -> None:
        if self._environment is not None:
            self._environment.close()
        self._lock.close()

    def _begin(self) -> None:
        """Open what is there, or begin."""
        begun = self._lock.read()
        if begun not in ('', self.layout):
            raise StoreError(
                f'Expected {self.partial} to be of layout {self.layout!r}, but an '
                f'earlier call began it in layout {begun!r}. Finish that call, or '
                f'begin anew with `--overwrite`.'
            )
        if not begun:
            with self._naming_full_disk():
                # Without a buffer, of which closing would write the rest.
                os.write(self._lock.fileno(), self.layout.encode())
        remove_parts(self.partial)
        self.done = read_sources(self.partial)
        _cut_off_torn_note(self.partial / SOURCES)
        if not self.done:
            # It holds nothing that counts, and a full disk may have left half a page.
            (self.partial / DATA).unlink(missing_ok=True)
        try:
            # The lock of ours keeps others away; LMDB's own would stay behind.
            self._environment = lmdb.open(
                str(self.partial), map_size=FIRST_MAP_BYTES, lock=False
            )
            self._require_noted()
        except lmdb.Error as error:
            raise self._failure(error) from error

    def _require_noted(self) -> None:
        """Raise DamagedStoreError where an image that was noted is not there."""
        with self._environment.begin() as transaction:
            present = set(transaction.cursor().iternext(values=False))
        for source in self.done.values():
            for key, _ in source.images:
                if key.encode() not in present:
                    raise damaged(self.partial / DATA, f'no image {key!r}')

    def _commit(self) -> None:
        """Write what is pending, and then note it."""
        if not self._pending:
            return
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    self._put_all(transaction)
                break
            except lmdb.MapFullError:
                # Only addresses: the file grows by what is written.
                size = self._environment.info()['map_size']
                self._environment.set_mapsize(2 * size)
            except lmdb.Error as error:
                raise self._failure(error) from error
        notes = [
            replace(source, images=tuple((i.key, i.shape) for i in images))
            for source, images in self._pending
        ]
        with (
            self._naming_full_disk(),
            (self.partial / SOURCES).open('a', encoding='utf-8') as file,
        ):
            file.writelines(json.dumps(asdict(note)) + '\n' for note in notes)
            file.flush()
            os.fsync(file.fileno())
        self.done.update((note.name, note) for note in notes)
        # Last: after Ctrl-C before it, all is written once more.
        self._pending, self._pending_bytes = [], 0

    def _put_all(self, transaction: lmdb.Transaction) -> None:
        for _, images in self._pending:
            for image in images:
                transaction.put(image.key.encode(), image.content)

    def _failure(self, error: lmdb.Error) -> Exception:
        text = str(error)
        if any(os.strerror(number) in text for number in _FULL):
            return self._full_disk(text)
        return damaged(self.partial / DATA, text)

    @contextmanager
    def _naming_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise self._full_disk(error.strerror) from error

    def _full_disk(self, text: str) -> OSError:
        free = shutil.disk_usage(self.partial).free
        return OSError(
            errno.ENOSPC,
            f'Expected room on the disk for what is still to be written, but got '
            f'{text!r} with {show_bytes(free)} free. Make room and call again: what is '
            f'written is kept',
            str(self.partial),
        )

    def _remove_others(self, keys: set[str]) -> None:
        """Remove images of sources that have changed or gone since."""
        try:
            with self._environment.begin(write=True) as transaction:
                present = list(transaction.cursor().iternext(values=False))
                for key in present:
                    if key.decode() not in keys:
                        transaction.delete(key)
        except lmdb.Error as error:
            raise self._failure(error) from error
        missing = keys - {key.decode() for key in present}
        if missing:
            raise damaged(self.partial / DATA, f'no image {min(missing)!r}')


def _take_lock(folder: Path) -> TextIO:
    """Keep other writers away; what the file says is the layout that was begun."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _LOCK).open('a+', encoding='utf-8')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Opened while the other was about to finish, it is not there any more.
        if not os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
            raise FileNotFoundError
    except OSError as error:
        lock.close()
        raise StoreError(
            f'Expected {folder} to be written by one process, but another is at it. '
            f'Wait for it, or stop it.'
        ) from error
    lock.seek(0)
    return lock


def _cut_off_torn_note(path: Path) -> None:
    """Remove what a kill left of a line, so that the next begins a line."""
    content = path.read_bytes() if path.exists() else b''
    whole = content.rfind(b'\n') + 1
    if whole < len(content):
        os.truncate(path, whole)


def _find_offsets(folder: Path, keys: Iterable[str]) -> dict[str, int]:
    """Give the place in `data.mdb` of every image.

    LMDB keeps a value of this size in one piece and does not move it, but tells no
    place; it follows from the address at which the value is mapped.
    """
    offsets = {}
    waiting = iter(keys)
    while group := list(islice(waiting, _MAPPED)):
        # Closed after some, since LMDB reads whole values and what is mapped counts as
        # memory.
        environment = lmdb.open(str(folder), readonly=True, lock=False)
        try:
            start = _map_address(folder / DATA)
            with environment.begin(buffers=True) as transaction:
                for key in group:
                    value = np.frombuffer(transaction.get(key.encode()), np.uint8)
                    offsets[key] = value.ctypes.data - start
        finally:
            environment.close()
    return offsets


def _map_address(path: Path) -> int:
    """Give the address at which this process maps the start of a file."""
    # Both: an inode is of one disk only, and a name may be that of a deleted file.
    wanted = str(path.stat().st_ino), str(path.resolve())
    for line in Path('/proc/self/maps').read_text().splitlines():
        addresses, _, offset, _, *found = line.split(maxsplit=5)
        if tuple(found) == wanted and int(offset, 16) == 0:
            return int(addresses.partition('-')[0], 16)
    raise AssertionError(f'{path} is not mapped')


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename a whole store to its name, durably, in place of an older one."""
    for file in (*partial.iterdir(), partial):
        _sync(file)
    if path.exists():
        replaced = path.with_name(path.name + _REPLACED)
        shutil.rmtree(replaced, ignore_errors=True)
        path.rename(replaced)
    partial.rename(path)
    _sync(path.parent)
    tidy(path)


def tidy(path: Path) -> None:
    """Remove what is of no use once a store is in place, also after a kill."""
    with suppress(OSError):
        # Not before: it keeps others away until the store has its name.
        (path / _LOCK).unlink(missing_ok=True)
    shutil.rmtree(path.with_name(path.name + _REPLACED), ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
