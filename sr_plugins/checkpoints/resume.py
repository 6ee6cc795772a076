"""Which checkpoint of a work folder to go on from after any kind of stop."""

import re
from pathlib import Path

from mmengine.logging import print_log

from ..fileio import torch_load


def find_resumable(work_dir: str | Path) -> list[Path]:
    """Training checkpoints in `work_dir`, the furthest first.

    `best.pth` is no candidate: it holds no optimiser state.
    """
    found = {
        int(match[1]): path
        for path in Path(work_dir).glob('iter_*.pth')
        if (match := re.fullmatch(r'iter_(\d+)\.pth', path.name))
    }
    return [found[step] for step in sorted(found, reverse=True)]


def last_readable(work_dir: str | Path) -> Path:
    """The furthest checkpoint of `work_dir` that can be read in full.

    Files that cannot are named in the log and left alone. What `last_checkpoint` says
    does not matter: a kill may fall between a checkpoint and that note of it.

    Raises:
        FileNotFoundError: when there is nothing to resume from.
    """
    damaged = []
    for path in find_resumable(work_dir):
        try:
            torch_load(path)
        except (ValueError, OSError) as error:
            damaged.append(path.name)
            print_log(f'Passing over a damaged checkpoint: {error}', 'current', 30)
            continue
        if damaged:
            print_log(
                f'Resuming from {path}, the newest readable checkpoint.', 'current', 30
            )
        return path
    detail = f' but damaged files ({", ".join(damaged)})' if damaged else ''
    raise FileNotFoundError(
        f'Expected `--resume` to find iter_*.pth in {work_dir}, but there is '
        f'nothing{detail}. Start without `--resume`, or name a file: `--resume PATH`.'
    )
