"""The folder layouts of DIV2K and of the benchmark sets."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .images import list_images, write_text
from .jobs import Job
from .runner import Report, run_jobs

# DIV2K's own numbers of its validation images.
VALID_NUMBERS = range(801, 901)
FIRST_VALID_NUMBER = VALID_NUMBERS[0]


def prepare_div2k(
    hr: Path,
    out: Path,
    valid_hr: Path | None = None,
    scales: Sequence[int] = (2, 3, 4),
    workers: int = 1,
) -> Report:
    """Lay out a training and a validation set as `out`/DIV2K.

    Images that are named by four digits, as DIV2K's are, keep their names. Others
    are numbered in the order of their names, training from 0001 and validation
    from 0801, and a table `DIV2K/<set>_names.csv` tells which is which.

    Args:
        hr: Folder of high-resolution images.
        out: Where the folder `DIV2K` goes.
        valid_hr: Folder of validation images; without it the images 0801 to 0900
            of `hr` are validation.
        scales: The integer factors to shrink by.
        workers: Number of processes.

    Raises:
        ValueError: A folder is missing or empty, or a scale is no integer above 1.
    """
    train, valid = list_images(hr), []
    if valid_hr is not None:
        valid = list_images(valid_hr)
    elif _are_numbers(train):
        valid = [path for path in train if int(path.stem) in VALID_NUMBERS]
        train = [path for path in train if int(path.stem) not in VALID_NUMBERS]
    root = out / 'DIV2K'
    jobs = []
    notes = []
    for split, sources, first in (
        ('train', train, 1),
        ('valid', valid, FIRST_VALID_NUMBER),
    ):
        names = _numbered(sources, first)
        jobs += div2k_jobs(root, split, zip(names, sources, strict=True), scales)
        if sources and not _are_numbers(sources):
            table = root / f'{split}_names.csv'
            _write_names(table, names, sources)
            notes.append(f'The images were numbered; {table} has their names.')
        if not sources:
            notes.append(
                f'There are no images for {split}. Without a folder of validation '
                'images 0801 to 0900 are validation and all others are training.'
            )
    report = run_jobs(jobs, workers, 'DIV2K')
    report.notes[:0] = [
        *notes,
        f'{len(train)} training and {len(valid)} validation images in {root}.',
    ]
    return report


def prepare_benchmark(
    hr: Path,
    name: str,
    out: Path,
    scales: Sequence[int] = (2, 3, 4),
    workers: int = 1,
) -> Report:
    """Lay out a test set as `out`/benchmark/`name`.

    Args:
        hr: Folder of high-resolution images.
        name: The name of the set, such as Set5.
        out: Where the folder `benchmark` goes.
        scales: The integer factors to shrink by.
        workers: Number of processes.

    Raises:
        ValueError: The folder is missing or empty, two images differ in their
            suffix only, `name` is no name of a folder, or a scale is no integer
            above 1.
    """
    if not name or Path(name).name != name:
        raise ValueError(
            f'Expected `name` to be the name of a folder, but got {name!r}.'
        )
    root = out / 'benchmark' / name
    sources = list_images(hr)
    jobs = benchmark_jobs(root, ((path.stem, path) for path in sources), scales)
    report = run_jobs(jobs, workers, name)
    report.notes.insert(0, f'{len(jobs)} test images in {root}.')
    return report


def div2k_jobs(
    root: Path,
    split: str,
    named_sources: Iterable[tuple[str, Path]],
    scales: Sequence[int],
) -> list[Job]:
    """Give the jobs of DIV2K's training or validation images."""
    hr = root / f'DIV2K_{split}_HR'
    lr = root / f'DIV2K_{split}_LR_bicubic'
    return _jobs(hr, lr, named_sources, scales)


def benchmark_jobs(
    root: Path, named_sources: Iterable[tuple[str, Path]], scales: Sequence[int]
) -> list[Job]:
    """Give the jobs of a test set."""
    return _jobs(root / 'HR', root / 'LR_bicubic', named_sources, scales)


def _jobs(
    hr: Path,
    lr: Path,
    named_sources: Iterable[tuple[str, Path]],
    scales: Sequence[int],
) -> list[Job]:
    for scale in scales:
        if not isinstance(scale, int) or scale < 2:
            raise ValueError(
                f'Expected `scales` to be integers above 1, but got {scale}.'
            )
    jobs: dict[str, Job] = {}
    for name, source in named_sources:
        if name in jobs:
            raise ValueError(
                'Expected images of different names, but got '
                f'{jobs[name].source.name} and {source.name} in {source.parent}.'
            )
        jobs[name] = Job(
            source=source.absolute(),
            hr=(hr / f'{name}.png').absolute(),
            lr={s: (lr / f'X{s}' / f'{name}x{s}.png').absolute() for s in scales},
        )
    return list(jobs.values())


def _are_numbers(paths: Sequence[Path]) -> bool:
    return all(re.fullmatch('[0-9]{4}', path.stem) for path in paths)


def _numbered(paths: Sequence[Path], first: int) -> list[str]:
    if _are_numbers(paths):
        return [path.stem for path in paths]
    return [f'{number:04d}' for number in range(first, first + len(paths))]


def _write_names(table: Path, names: Sequence[str], sources: Sequence[Path]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['name', 'source'])
    writer.writerows((n, s.name) for n, s in zip(names, sources, strict=True))
    write_text(table, text.getvalue())
