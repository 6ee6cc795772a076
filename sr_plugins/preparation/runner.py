"""Running the jobs of a data set, and telling what became of them."""

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .images import remove_parts
from .jobs import Job, find_strangers, is_done, output_folders, run_job
from .pool import run_in_processes

_SHOWN_STRANGERS = 3


@dataclass
class Report:
    """What became of the jobs; `str()` of it is for the user.

    Attributes:
        made: How many images were made, or made anew.
        kept: How many were right already.
        failed: Source and reason of those that could not be made.
        strangers: Images among the results that belong to no source. Training and
            testing would use them.
        notes: Further lines for the user.
    """

    made: int = 0
    kept: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    strangers: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = list(self.notes)
        if self.strangers:
            shown = ', '.join(map(str, self.strangers[:_SHOWN_STRANGERS]))
            more = ' ...' if len(self.strangers) > _SHOWN_STRANGERS else ''
            lines.append(
                f'Warning: {len(self.strangers)} files belong to none of the source '
                f'images; remove them if they are left-overs: {shown}{more}'
            )
        for source, reason in self.failed:
            lines.append(f'Failed: {source.name}: {reason}')
        if self.made or self.failed:
            lines.append(
                f'{self.made} images made, {self.kept} kept as they were, '
                f'{len(self.failed)} failed.'
            )
        else:
            lines.append(f'Nothing to do: all {self.kept} images are there already.')
        return '\n'.join(lines)


def run_jobs(jobs: Sequence[Job], workers: int, title: str) -> Report:
    """Make what is missing of `jobs`, with a progress bar.

    Args:
        jobs: All images of the data set.
        workers: Number of processes; 1 works in this one.
        title: Stands before the progress bar.

    Returns:
        The outcome. An image that fails is noted there and stops no other.

    Raises:
        ValueError: `workers` is below 1.
        KeyboardInterrupt: After the images in progress are finished.
    """
    if workers < 1:
        raise ValueError(f'Expected `workers` to be at least 1, but got {workers}.')
    for folder in output_folders(jobs):
        folder.mkdir(parents=True, exist_ok=True)
        remove_parts(folder)
    pending = [job for job in jobs if not is_done(job)]
    report = Report(kept=len(jobs) - len(pending), strangers=find_strangers(jobs))
    # disable=None: no bar where the output is no terminal.
    with tqdm(total=len(pending), desc=title, unit='image', disable=None) as bar:

        def record(job: Job, result: Callable[[], None]) -> None:
            try:
                result()
            except BrokenProcessPool:
                report.failed.append(
                    (job.source, 'A worker process died, perhaps for lack of memory.')
                )
            except (ValueError, OSError, MemoryError) as error:
                report.failed.append((job.source, str(error) or repr(error)))
            else:
                report.made += 1
            bar.update()

        for job, result in run_in_processes(run_job, pending, workers):
            record(job, result)
    report.failed.sort()
    return report
