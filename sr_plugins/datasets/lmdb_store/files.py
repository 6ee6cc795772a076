"""The files of a store: what they are called and what they say.

A store is a folder:

    data.mdb        an LMDB environment, image by key
    images.txt      layout `raw`: a line `key.png (h,w,c) raw OFFSET` for each image
    meta_info.txt   layout `png`: a line `key.png (h,w,c) LEVEL`, as BasicSR has it
    store.json      format version, layout, number of images, digest of data.mdb
    sources.jsonl   of which files, of which size and time, the images were made

BasicSR's stores have `data.mdb` and `meta_info.txt` only.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...preparation.images import write_text

DATA = 'data.mdb'
MANIFEST = 'store.json'
SOURCES = 'sources.jsonl'
INDEX = {'raw': 'images.txt', 'png': 'meta_info.txt'}
LAYOUTS = tuple(INDEX)
PARTIAL = '.partial'
SUFFIX = '.lmdb'
FORMAT = 'sr_plugins image store'
FORMAT_VERSION = 1
PNG_LEVEL = 1
"""Compression of PNG images: BasicSR's own, for fast decoding."""

MAKE = 'python tools/create_lmdb.py'

_LINE = re.compile(r'(?P<key>.+)\.\w+ \((\d+),(\d+),(\d+)\) (?P<level>\w+)( (\d+))?')


class StoreError(ValueError):
    """A store cannot be used as it is."""


class DamagedStoreError(StoreError):
    """What a store holds is not what was written."""


@dataclass(frozen=True)
class Manifest:
    """What `store.json` says; `version` is of the format."""

    layout: str
    images: int
    data_bytes: int
    data_sha256: str
    version: int = FORMAT_VERSION
    format: str = FORMAT

    def write(self, folder: Path) -> None:
        write_text(folder / MANIFEST, json.dumps(asdict(self), indent=2) + '\n')


def read_manifest(folder: Path) -> Manifest | None:
    """Give the manifest of a store, None where there is none (BasicSR's stores).

    Raises:
        DamagedStoreError: it cannot be read.
        StoreError: it is of a newer format.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        version = content['version']
        if content['format'] != FORMAT or not isinstance(version, int):
            raise ValueError(f'format {content["format"]!r}, version {version!r}')
        if version > FORMAT_VERSION:
            raise StoreError(
                f'Expected the store {folder} to be of format version '
                f'{FORMAT_VERSION} or older, but got version {version}, which a newer '
                f'sr_plugins wrote. Upgrade sr_plugins, or make the store anew with '
                f'`{MAKE} --overwrite`.'
            )
        manifest = Manifest(**content)
        if manifest.layout not in LAYOUTS:
            raise ValueError(f'layout {manifest.layout!r}')
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f'{type(error).__name__}: {error}') from error
    return manifest


class Index:
    """Key, shape and place of every image, sorted by key, in some 40 bytes for each.

    Attributes:
        keys: bytes, (n,).
        shapes: height, width and channels, (n, 3).
        offsets: where an image of layout `raw` starts in `data.mdb`, (n,).
    """

    def __init__(
        self, entries: Iterable[tuple[str, tuple[int, int, int], int]]
    ) -> None:
        entries = sorted((key.encode(), shape, at) for key, shape, at in entries)
        self.keys = np.array([key for key, _, _ in entries], dtype=np.bytes_)
        self.shapes = np.array([s for _, s, _ in entries], np.int64).reshape(-1, 3)
        self.offsets = np.array([at for _, _, at in entries], np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: str) -> int | None:
        """Give the position of `key`, None where it is not."""
        encoded = key.encode()
        position = int(np.searchsorted(self.keys, encoded))
        if position < len(self) and self.keys[position] == encoded:
            return position
        return None

    def names(self) -> list[str]:
        """Give all keys."""
        return [key.decode() for key in self.keys.tolist()]

    def write(self, folder: Path, layout: str) -> None:
        lines = []
        for key, shape, at in zip(self.names(), self.shapes, self.offsets, strict=True):
            size = ','.join(map(str, shape))
            end = f'raw {at}' if layout == 'raw' else str(PNG_LEVEL)
            lines.append(f'{key}.png ({size}) {end}\n')
        write_text(folder / INDEX[layout], ''.join(lines))


def read_index(folder: Path, layout: str) -> Index:
    """Read what `Index.write`, or BasicSR, wrote.

    Raises:
        DamagedStoreError: a line is not of the form, or a key is there twice.
    """
    path = folder / INDEX[layout]
    entries = []
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or (layout == 'raw') != bool(match[7]):
            raise damaged(path, f'{line[:80]!r} in line {number}')
        shape = int(match[2]), int(match[3]), int(match[4])
        entries.append((match['key'], shape, int(match[7] or 0)))
    try:
        index = Index(entries)
    except OverflowError as error:
        raise damaged(path, str(error)) from error
    if len(set(index.keys.tolist())) < len(index):
        raise damaged(path, 'a key that is there twice')
    return index


def store_path(folder: Path) -> Path:
    """Give the store that is made of a folder of images, or the store that it is."""
    return folder if folder.suffix == SUFFIX else Path(f'{folder}{SUFFIX}')


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    result = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            result.update(chunk)
    return result.hexdigest()


def damaged(path: 'Path | str', what: str, key: str | None = None) -> DamagedStoreError:
    """Word the error for a damaged file or image."""
    name = f'the image {key!r} of {path}' if key is not None else str(path)
    return DamagedStoreError(
        f'Expected {name} to be what was written, but got {what}. Check the whole '
        f'store with `{MAKE} --verify`, and make it anew with `{MAKE} --overwrite`.'
    )
