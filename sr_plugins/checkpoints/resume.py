"""Which checkpoint of a work folder to go on from after any kind of stop."""

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mmengine.logging import print_log

from ..fileio import move_aside, torch_load


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
    return first_readable(
        find_resumable(work_dir), torch_load, f'iter_*.pth in {work_dir}'
    )


def first_readable(
    paths: Iterable[Path], read: Callable[[Path], object], wanted: str
) -> Path:
    """The first of several files that can be read.

    Args:
        paths: of the files. Those before the first are named in the log.
        read: raises ValueError or OSError for a file that cannot be read.
        wanted: what `--resume` looks for, and where.

    Raises:
        FileNotFoundError: when there is none.
    """
    damaged = []
    for path in paths:
        try:
            read(path)
        except (ValueError, OSError) as error:
            damaged.append(path.name)
            print_log(
                f'Passing over a damaged checkpoint: {error}',
                'current',
                logging.WARNING,
            )
            continue
        if damaged:
            print_log(
                f'Resuming from {path}, the newest readable checkpoint.',
                'current',
                logging.WARNING,
            )
        return path
    detail = f' but damaged files ({", ".join(damaged)})' if damaged else ''
    raise FileNotFoundError(
        f'Expected `--resume` to find {wanted}, but there is nothing{detail}. Start '
        f'without `--resume`, or name a file: `--resume PATH`.'
    )


def require_resumable(path: str | Path) -> None:
    """Raise unless `path` holds the state of a training, not only its weights.

    Raises:
        ValueError: when it does not, or is damaged.
        FileNotFoundError: when there is no such file.
    """
    content = torch_load(path)
    missing = {'optimizer', 'message_hub', 'meta'} - set(content)
    if missing:
        raise ValueError(
            f'Expected `--resume` to name a training checkpoint (iter_N.pth), but got '
            f'{path}, which has no {", ".join(sorted(missing))}. To start a new '
            f'training from its weights: `--cfg-options load_from={path}`.'
        )


def set_aside(work_dir: str | Path) -> None:
    """Move checkpoints of an earlier training out of the way of a new one.

    Else `--resume` could go on from them, being further on.
    """
    work_dir = Path(work_dir)
    if not find_resumable(work_dir):
        return
    paths = [*work_dir.glob('*.pth'), work_dir / 'last_checkpoint']
    folder = move_aside(work_dir, paths)
    print_log(
        f'Checkpoints of an earlier training in {work_dir} are now in {folder.name}. '
        f'To go on with that one instead: `--resume {folder}/iter_N.pth`.',
        'current',
        logging.WARNING,
    )
