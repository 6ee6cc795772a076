"""One photograph and the files of a data set that are made of it.

What is right already is recognised: a low-resolution image notes the name, the size
and the time of the source that it was made of, and a copy has the size and the time
of its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .images import copy_file, is_rgb_png, read_origin, read_rgb, write_png
from .imresize import downscale

# Part of the note in every file; a new number makes all files anew.
FORMAT = 1


@dataclass(frozen=True)
class Job:
    """One photograph and the files to make of it.

    Attributes:
        source: The photograph.
        hr: Where its RGB copy goes. It may be the source itself, which is left as
            it is.
        lr: Where its low-resolution partners go, by scale.
    """

    source: Path
    hr: Path
    lr: dict[int, Path]


def run_job(job: Job) -> None:
    """Make all files of `job`.

    Raises:
        ValueError: The source cannot be read, or is smaller than a scale.
    """
    # Taken first: a source that changes meanwhile is then made anew next time.
    origins = {scale: _origin(job.source, scale) for scale in (1, *job.lr)}
    image = read_rgb(job.source)
    # All are computed before the first is written: a source that is too small for
    # one scale leaves nothing at all.
    try:
        shrunk = {scale: downscale(image, scale) for scale in job.lr}
    except ValueError as error:
        raise ValueError(f'{error} The image is {job.source}.') from error
    if not (job.hr.exists() and job.hr.samefile(job.source)):
        if is_rgb_png(job.source):
            copy_file(job.source, job.hr)
        else:
            write_png(job.hr, image, origins[1])
    for scale, path in job.lr.items():
        write_png(path, shrunk[scale], origins[scale])


def is_done(job: Job) -> bool:
    """Tell whether all files of `job` are there and made of the present source."""
    if not (job.source.exists() and job.hr.exists()):
        return False
    source, hr = job.source.stat(), job.hr.stat()
    is_copy = (source.st_size, source.st_mtime_ns) == (hr.st_size, hr.st_mtime_ns)
    if not is_copy and read_origin(job.hr) != _origin(job.source, 1):
        return False
    return all(
        read_origin(path) == _origin(job.source, scale)
        for scale, path in job.lr.items()
    )


def output_folders(jobs: Sequence[Job]) -> list[Path]:
    """Give the folders that the files of `jobs` go to."""
    return sorted({path.parent for path in _outputs(jobs)})


def find_strangers(jobs: Sequence[Job]) -> list[Path]:
    """Give the PNGs in the folders of `jobs` that none of `jobs` makes."""
    present = {path for folder in output_folders(jobs) for path in folder.glob('*.png')}
    return sorted(present - _outputs(jobs))


def _outputs(jobs: Sequence[Job]) -> set[Path]:
    return {path for job in jobs for path in (job.hr, *job.lr.values())}


def _origin(source: Path, scale: int) -> str:
    stat = source.stat()
    return f'{FORMAT} x{scale} {stat.st_size} {stat.st_mtime_ns} {source.name}'
