"""Reading a whole store back."""

import os
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ...preparation.pool import run_in_processes
from .files import DATA, MAKE, DamagedStoreError, digest
from .store import Store

_CHUNK = 16


@dataclass
class Verification:
    """What reading a store back has found; `str()` of it is for the user.

    Attributes:
        path: the store.
        images: how many it holds.
        damaged: key and reason of each image that is not what was written.
        notes: damage that belongs to no image.
    """

    path: Path
    images: int
    damaged: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not (self.damaged or self.notes)

    def __str__(self) -> str:
        if self:
            return f'{self.path}: all {self.images} images are as they were written.'
        lines = [f'Damaged: {key}: {reason}' for key, reason in self.damaged]
        lines += [f'Damaged: {note}' for note in self.notes]
        lines.append(
            f'{self.path}: {len(self.damaged)} of {self.images} images are damaged. '
            f'Make the store anew with `{MAKE} --overwrite`.'
        )
        return '\n'.join(lines)


def verify_store(path: 'str | os.PathLike', workers: int = 1) -> Verification:
    """Read every image of a store, and every byte of it where it has a digest.

    BasicSR's stores have no digest; their images are decoded.

    Args:
        path: of the store.
        workers: number of processes.

    Raises:
        StoreError: the store cannot be opened at all.
    """
    store = Store(path)
    found = Verification(store.path, len(store))
    data = store.path / DATA
    # Two at least, see below; the second is empty where there is but one image.
    size = max(1, min(_CHUNK, -(-len(store) // 2)))
    jobs = [
        _Chunk(store.path, start, max(start, min(start + size, len(store))))
        for start in range(0, max(2, len(store)), size)
    ]
    intact = store.manifest is None or digest(data) == store.manifest.data_sha256
    # LMDB may crash on a damaged tree: not in this process.
    workers = workers if intact else max(2, workers)
    name = store.path.name
    with tqdm(total=len(store), desc=name, unit='image', disable=None) as bar:
        for chunk, result in run_in_processes(_check, jobs, workers):
            try:
                found.damaged += result()
            except BrokenProcessPool:
                found.notes.append(f'{data}: reading it crashes.')
                break
            bar.update(chunk.stop - chunk.start)
    found.damaged.sort()
    if not (intact or found.damaged or found.notes):
        found.notes.append(f'{data}: bytes between the images have changed.')
    return found


class _Chunk(NamedTuple):
    """Positions of some images."""

    path: Path
    start: int
    stop: int


def _check(chunk: _Chunk) -> list[tuple[str, str]]:
    store = Store(chunk.path)
    failed = []
    for position in range(chunk.start, chunk.stop):
        try:
            store[position].copy()
        except DamagedStoreError as error:
            # What was found, without the remedy, which is named once.
            reason = str(error).partition(', but got ')[2].partition('. Check the')[0]
            failed.append((store.index.keys[position].decode(), reason))
    return failed
