"""Unpacking zips of images that somebody else made: only what belongs, or nothing.

All members are checked before the first is written. Each appears under its name when
its checksum was right, so that an unpacking which was killed goes on.
"""

import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from .images import _replacing, remove_parts

CHUNK = 1 << 18
# PNGs hardly shrink in a zip. Small ones may, as their headers do.
MAX_RATIO = 20
_SMALL = 1024
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unpack_images(archive: Path, root: Path, folder: str) -> tuple[list[str], int]:
    """Write the images of a zip to `root`/`folder`; those that are there stay.

    Args:
        archive: The zip. Its members are PNGs and their names start with `folder`.
        root: Where `folder` goes.
        folder: One or more names with slashes between them.

    Returns:
        The names of all images inside `folder`, and how many of them were written.

    Raises:
        ValueError: The zip is damaged, or has a member that does not belong there;
            the latter is found before anything is written.
        OSError: The disk is too small, or writing failed.
    """
    target = root / folder
    with _naming_damage(archive), _open(archive) as file:
        images = _check(archive, file.infolist(), folder)
        with tqdm(
            total=sum(info.file_size for info in images),
            desc=f'unpacking {archive.stem}',
            unit='B',
            unit_scale=True,
            disable=None,
        ) as bar:
            missing = []
            for info in images:
                if _is_there(target / _name(info), info):
                    bar.update(info.file_size)
                else:
                    missing.append(info)
            check_space(target, sum(info.file_size for info in missing))
            target.mkdir(parents=True, exist_ok=True)
            remove_parts(target)
            for info in missing:
                _write(file, info, target / _name(info))
                bar.update(info.file_size)
    return sorted(map(_name, images)), len(missing)


def check_space(folder: Path, needed: int) -> None:
    """Raise OSError where the disk of `folder` has less than `needed` free bytes."""
    folder = folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OSError(
            f'Expected {show_bytes(needed)} of free disk space for {folder}, but got '
            f'{show_bytes(free)}. Make room, or choose another disk with `--out`, and '
            'run the command again.'
        )


def show_bytes(count: int) -> str:
    """Give a number of bytes as people write it."""
    for unit, size in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
        if count >= size:
            return f'{count / size:.1f} {unit}'
    return f'{count} bytes'


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    # What zipfile makes of offsets and names that are no offsets and names.
    except (ValueError, OverflowError) as error:
        raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def _naming_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        struct.error,
        UnicodeDecodeError,
    ) as error:
        raise ValueError(
            f'Expected {archive} to be a whole zip file, but got: '
            f'{str(error) or "it ends too early"}. Delete it and run the same command '
            'again.'
        ) from error


def _check(
    archive: Path, members: list[zipfile.ZipInfo], folder: str
) -> list[zipfile.ZipInfo]:
    """Give the images among `members`, all of which must belong to `folder`.

    Raises:
        ValueError: One does not belong, could be written elsewhere or is a bomb.
    """
    path = PurePosixPath(folder)
    folders = {f'{parent}/' for parent in (path, *path.parents)}
    # Nothing but these characters: neither absolute paths, drives, backslashes nor
    # dots can be in a name.
    pattern = re.compile(f'{re.escape(folder)}/[A-Za-z0-9_-]+[.]png')
    images = []
    seen = set()
    fault = None
    size = archive.stat().st_size
    for info in members:
        if not 0 <= info.header_offset < size:
            raise zipfile.BadZipFile(f'{info.filename!r} starts beyond its end')
        # As it is in the file; `filename` was cleaned on some systems.
        name = info.orig_filename
        is_folder = name in folders
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not (is_folder or pattern.fullmatch(name)):
            fault = 'does not belong there'
        elif kind not in (0, stat.S_IFDIR if is_folder else stat.S_IFREG):
            fault = 'is a link or a special file'
        elif info.flag_bits & _ENCRYPTED:
            fault = 'is encrypted'
        elif info.compress_type not in _METHODS:
            fault = f'is compressed by the unusual method {info.compress_type}'
        elif name.casefold() in seen:
            fault = 'is there twice, perhaps in capitals'
        elif info.file_size > MAX_RATIO * max(info.compress_size, _SMALL):
            fault = (
                f'would unpack from {show_bytes(info.compress_size)} to '
                f'{show_bytes(info.file_size)}'
            )
        if fault:
            break
        seen.add(name.casefold())
        if not is_folder:
            images.append(info)
    if not fault and sum(info.compress_size for info in images) > size:
        info = max(images, key=lambda info: info.compress_size)
        fault = 'shares its bytes with others'
    if fault:
        raise ValueError(
            f'Expected {archive} to hold images such as {folder}/0001.png and nothing '
            f'else, but got the member {info.orig_filename!r}, which {fault}. Nothing '
            'was unpacked. Delete the archive, and fetch it from a source that you '
            'trust.'
        )
    if not images:
        raise ValueError(
            f'Expected {archive} to hold images such as {folder}/0001.png, but got '
            'none. Delete it and run the same command again.'
        )
    return images


def _name(info: zipfile.ZipInfo) -> str:
    return PurePosixPath(info.filename).name


def _is_there(path: Path, info: zipfile.ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    crc = 0
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == info.CRC


def _write(file: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with _replacing(path) as part:
        left = info.file_size
        # Reading the last bytes of a member checks its CRC.
        with file.open(info) as source, open(part, 'wb') as out:
            while chunk := source.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                out.write(chunk)
        if left:
            raise zipfile.BadZipFile(
                f'{info.filename} does not have its {info.file_size} bytes'
            )
