"""Files that are written whole or not at all, and pickles that cannot run code.

The lowest level of the package: every other module saves and loads through it.
"""

import errno
import os
import pickle
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ._unpickler import PICKLE_MODULE, RefusedError

__all__ = [
    'DamagedFileError',
    'UnsafeFileError',
    'atomic_path',
    'move_aside',
    'remove_leftovers',
    'torch_load',
    'torch_save',
    'write_bytes',
    'write_text',
]

ACCEPTED = (
    'tensors, numbers, strings, plain containers, numpy arrays and scalars, '
    "and mmengine's HistoryBuffer"
)


class UnsafeFileError(ValueError):
    """A file asks for objects that could run code while they are loaded."""


class DamagedFileError(ValueError):
    """A file is truncated, empty, changed, or was not written by `torch.save`."""


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds.

    The temporary file is `.<name>.<random>.tmp` in the folder of `path`, which is
    created where missing: a rename is atomic only within one file system. If the
    block raises, the temporary file is removed and `path` is what it was. A process
    that is killed leaves the temporary file behind, never a torn `path`.

    Raises:
        OSError: The folder cannot be written, or `path` is one; the message names path
            and remedy.
    """
    path = Path(path).expanduser()
    # Through a symbolic link, the file it names is replaced, as open() would do.
    target = path.resolve() if path.is_symlink() else path
    if target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR,
            'Expected `path` to be that of a file, but got a folder. Name a file in it',
            str(path),
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(target)
    except OSError as error:
        raise type(error)(
            error.errno,
            f'Expected the folder of `path` to be writable, but got '
            f'{error.strerror!r}. Change its permissions, free some space or '
            f'choose another folder',
            str(path),
        ) from error
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    # The rename itself is durable only once the folder is on the disk.
    _fsync(target.parent)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what killed writers left behind in `folder`; none may still be at work."""
    for path in Path(folder).glob('.*.????????.tmp'):
        path.unlink(missing_ok=True)


def move_aside(folder: str | os.PathLike, paths: Iterable[Path]) -> Path:
    """Move files or folders into a new folder `earlier_<time>` of `folder`.

    Those that are not there are passed over.

    Returns:
        The new folder.
    """
    name = time.strftime('earlier_%Y%m%d_%H%M%S')
    for number in count(1):
        aside = Path(folder, name if number == 1 else f'{name}_{number}')
        with suppress(FileExistsError):
            aside.mkdir()
            break
    for path in paths:
        if path.exists():
            path.rename(aside / path.name)
    return aside


def _new_file(target: Path) -> Path:
    """Create an empty hidden file beside `target`.

    `tempfile.mkstemp` would give mode 0600; a file that replaces another should be
    as readable as open() makes it, so the umask decides, and an existing file's
    permission bits are kept.
    """
    random_names = tempfile._RandomNameSequence()
    while True:
        temporary = target.with_name(f'.{target.name}.{next(random_names)}.tmp')
        try:
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        break
    try:
        with suppress(FileNotFoundError, PermissionError):
            os.fchmod(handle, target.stat().st_mode & 0o777)
    finally:
        os.close(handle)
    return temporary


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode('utf-8'))


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write `data`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def torch_save(obj: object, path: str | os.PathLike) -> None:
    """Write `obj` with `torch.save`, atomically."""
    with atomic_path(path) as temporary:
        torch.save(obj, temporary)


def torch_load(
    source: str | os.PathLike | BinaryIO,
    map_location: str | torch.device | dict | Callable | None = 'cpu',
) -> Any:
    """Load a file of `torch.save`, in its zip or its older format, running no code.

    `torch.load` with a pickle module of our own is used for both formats, because
    `weights_only=True` differs between torch versions and cannot read what mmengine
    saves under numpy 2 without allowing the real `getattr`.

    Args:
        source: A path, or a seekable binary file at its start.
        map_location: As for `torch.load`.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeFileError: The file holds anything but tensors, numbers, strings, plain
            containers, numpy arrays and scalars, and mmengine's HistoryBuffer.
        DamagedFileError: The file is truncated, empty, changed or not of `torch.save`.
            Files of the older format have no checksums, so that changed numbers pass.
    """
    if hasattr(source, 'read'):
        name = str(getattr(source, 'name', '<buffer>'))
        return _load(source, name, map_location)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'Expected `path` to be an existing file, but got {str(path)!r}. Check '
            f'the spelling and the folder the program runs in'
        )
    # One open file serves the checks and the load, so nothing changes in between.
    with path.open('rb') as file:
        return _load(file, str(path), map_location)


def _load(file: BinaryIO, name: str, map_location: Any) -> Any:
    try:
        _refuse_foreign_formats(file)
        _check_sums(file)
        return torch.load(
            file,
            map_location=map_location,
            pickle_module=PICKLE_MODULE,
            weights_only=False,
            mmap=False,
            # Python 2 pickles hold numpy's bytes as strings; only latin1 keeps them.
            encoding='latin1',
        )
    except RefusedError as refused:
        raise UnsafeFileError(
            f'Expected {name!r} to hold only {ACCEPTED}, but got {refused}. If you '
            f'trust its source, load it where it was made and save plain values '
            f'there: torch.save(model.state_dict(), path)'
        ) from None
    except torch.cuda.OutOfMemoryError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if 'Attempting to deserialize' in str(error) or 'pickle_module' in str(error):
            # A missing device, or TORCH_FORCE_WEIGHTS_ONLY_LOAD: not the file.
            raise
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            # The disk; EINVAL is torch seeking before the start of a short file.
            raise
        raise DamagedFileError(
            f'Expected {name!r} to be a whole file of torch.save, but got: '
            f'{_reason(file, error)}. Copy or download it again, or go back to an '
            f'earlier checkpoint'
        ) from error


def _reason(file: BinaryIO, error: Exception) -> str:
    """What is wrong with a file, where readers that took it for a pickle say little."""
    file.seek(0)
    start = file.read(16)
    if not start:
        return 'an empty file'
    # Pickles of torch's older format begin with their protocol.
    if not start.startswith((b'PK', b'\x80')):
        return f'a file of another format, which begins with {start!r}'
    if isinstance(error, OSError):
        return 'a file that ends early'
    return str(error).partition('\n')[0] or type(error).__name__


def _refuse_foreign_formats(file: BinaryIO) -> None:
    """Refuse what `torch.load` would hand to readers other than the unpickler."""
    start = file.read(4)
    file.seek(0)
    if start == b'PK\x03\x04':
        # The very reader of torch.load: another one could see other members.
        records = torch._C.PyTorchFileReader(file).get_all_records()
        file.seek(0)
        if 'constants.pkl' in records:
            raise RefusedError('a TorchScript archive, which is a program')
        return
    try:
        tarfile.open(fileobj=file, mode='r:').close()
    except tarfile.TarError:
        file.seek(0)
        return
    raise RefusedError('a tar archive')


def _check_sums(file: BinaryIO) -> None:
    """Check in a zip file what `torch.load` does not look at."""
    if file.read(4) == b'PK\x03\x04':
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            # What is marked as a folder torch takes for empty, and leaves the memory
            # of its tensors as it is.
            damaged = next(
                (m.filename for m in members if m.external_attr & 0x10), None
            )
            # torch.serialization.set_crc32_options(False) leaves all of them 0.
            if damaged is None and any(member.CRC for member in members):
                damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f'{damaged} was changed after it was written')
    file.seek(0)
