"""Making a store of a folder of images."""

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ...preparation.images import encode_png, read_rgb
from ...preparation.pool import run_in_processes
from . import raw
from .files import (
    DATA,
    INDEX,
    MANIFEST,
    PNG_LEVEL,
    SOURCES,
    StoreError,
    read_manifest,
)
from .plan import Cut, StorePlan, require_room
from .writer import EncodedImage, Source, StoreWriter, read_sources, tidy

_SHOWN = 3


@dataclass
class StoreReport:
    """What became of a plan; `str()` of it is for the user."""

    plan: StorePlan
    made: int = 0
    kept: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    is_new: bool = False

    def __str__(self) -> str:
        lines = [f'Failed: {path.name}: {reason}' for path, reason in self.failed]
        if self.failed:
            lines.append(
                f'{self.plan.path} is not made, since {len(self.failed)} images '
                f'failed. Mend or remove them and call again: the others are kept.'
            )
        elif self.is_new:
            lines.append(
                f'{self.plan.path}: {self.made} images written, {self.kept} were '
                f'there already.'
            )
        else:
            lines.append(f'{self.plan.path}: nothing to do, it is there already.')
        return '\n'.join(lines)


def create_store(
    plan: StorePlan, workers: int = 1, overwrite: bool = False
) -> StoreReport:
    """Make the store of a plan, with a progress bar; go on with what is there of it.

    Memory holds a few images for each process, whatever their number.

    Args:
        plan: from `plan_store`.
        workers: number of processes.
        overwrite: a store of other images, or a damaged one, is replaced; not before
            the new one is whole.

    Raises:
        StoreError: there is such a store and `overwrite` is not set, or another
            process writes it.
        OSError: the disk is too small, or full.
        KeyboardInterrupt: after what is in progress is written.
    """
    if workers < 1:
        raise ValueError(f'Expected `workers` to be at least 1, but got {workers}.')
    stamps = {path.name: Source.of(path, plan.cut) for path in plan.sources.values()}
    if plan.path.exists():
        _require_own_store(plan.path)
        difference = None if overwrite else _difference(plan, stamps)
        if difference is not None:
            raise StoreError(
                f'Expected the store {plan.path} to be one of the images in '
                f'{plan.folder} in layout {plan.layout!r}, but {difference}. Call '
                f'with `--overwrite` to replace it.'
            )
        if not overwrite:
            tidy(plan.path)
            return StoreReport(plan, kept=len(stamps))
    require_room([plan])
    report = StoreReport(plan)
    with StoreWriter(plan.path, plan.layout, anew=overwrite) as writer:
        jobs = [
            _Job(path, key, plan.layout, plan.cut)
            for key, path in plan.sources.items()
            if not _is_done(writer.done.get(path.name), stamps[path.name])
        ]
        report.kept = len(stamps) - len(jobs)
        # disable=None: no bar where the output is no terminal.
        with tqdm(
            total=len(stamps),
            initial=report.kept,
            desc=plan.path.name,
            unit='image',
            disable=None,
        ) as bar:
            for job, result in run_in_processes(_encode, jobs, workers):
                try:
                    source, images = result()
                except (ValueError, OSError, MemoryError, BrokenProcessPool) as error:
                    report.failed.append((job.path, str(error) or repr(error)))
                else:
                    writer.add(source, images)
                    report.made += 1
                bar.update()
        report.failed.sort()
        if not report.failed:
            writer.finish(list(stamps))
            report.is_new = True
    return report


class _Job(NamedTuple):
    """One file to read and to encode."""

    path: Path
    key: str
    layout: str
    cut: Cut | None


def _encode(job: _Job) -> tuple[Source, list[EncodedImage]]:
    # Taken first: a file that changes meanwhile is then written anew next time.
    source = Source.of(job.path, job.cut)
    image = read_rgb(job.path)
    return source, [
        EncodedImage(
            key,
            part.shape,
            raw.encode(key, part)
            if job.layout == 'raw'
            else encode_png(part, PNG_LEVEL),
        )
        for key, part in _parts(job.key, image, job.cut)
    ]


def _parts(
    key: str, image: np.ndarray, cut: Cut | None
) -> Iterator[tuple[str, np.ndarray]]:
    if cut is None:
        yield key, image
        return
    for number, window in enumerate(cut.windows(*image.shape[:2]), 1):
        # BasicSR's names of sub-images.
        yield f'{key}_s{number:03d}', image[window]


def _is_done(done: Source | None, now: Source) -> bool:
    return done is not None and done.matches(now)


def _require_own_store(path: Path) -> None:
    """Refuse to replace what is no store of ours; one may lack a file."""
    ours = any((path / name).is_file() for name in (MANIFEST, SOURCES))
    if not (ours and any((path / n).is_file() for n in (DATA, *INDEX.values()))):
        raise StoreError(
            f'Expected {path} to be a store of sr_plugins or not to exist, but it is '
            f'something else. Move it away, or choose another `--out`.'
        )


def _difference(plan: StorePlan, stamps: dict[str, Source]) -> str | None:
    """Say how the store that is there differs from the plan, None if it does not."""
    manifest = read_manifest(plan.path)
    if manifest is None:
        return f'its {MANIFEST} is missing'
    if manifest.layout != plan.layout:
        return f'it is of layout {manifest.layout!r}'
    if not (plan.path / INDEX[plan.layout]).is_file():
        return f'its {INDEX[plan.layout]} is missing'
    data = plan.path / DATA
    if not data.is_file() or data.stat().st_size != manifest.data_bytes:
        return f'its {DATA} is not whole'
    done = read_sources(plan.path)
    names = sorted(done.keys() ^ stamps.keys())
    if names:
        return f'it has other images, {_list(names)}'
    if any(done[name].cut != stamps[name].cut for name in stamps):
        return 'it has other sub-images'
    for key, path in plan.sources.items():
        first = done[path.name].images[0][0]
        if first not in (key, f'{key}_s001'):
            return f'it calls {path.name} {first!r} rather than {key!r}'
    changed = [n for n in sorted(stamps) if not done[n].matches(stamps[n])]
    if changed:
        return f'files have changed since, {_list(changed)}'
    return None


def _list(names: Sequence[str]) -> str:
    more = ', ...' if len(names) > _SHOWN else ''
    return f'{len(names)} of them: {", ".join(names[:_SHOWN])}{more}'
