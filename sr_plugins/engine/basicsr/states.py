"""Which state of a training by BasicSR to go on from, and what becomes of others."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume, get_root_logger

from ...checkpoints import first_readable
from ...fileio import move_aside, remove_leftovers, torch_load

_PARTS = {'epoch', 'iter', 'optimizers', 'schedulers'}
MADE = ('models', 'training_states', 'visualization')


def find_states(work_dir: str | Path) -> list[Path]:
    """Training states in `work_dir`, the furthest first."""
    found = {
        int(path.stem): path
        for path in Path(work_dir, 'training_states').glob('*.state')
        if re.fullmatch(r'\d+', path.stem)
    }
    return [found[step] for step in sorted(found, reverse=True)]


def last_readable(work_dir: str | Path) -> Path:
    """The furthest state of `work_dir` that can be read in full, networks included.

    Raises:
        FileNotFoundError: when there is nothing to resume from.
    """
    states = Path(work_dir, 'training_states')
    return first_readable(find_states(work_dir), read_state, f'N.state in {states}')


def read_state(path: str | Path) -> dict[str, Any]:
    """Read a state, and make sure that its networks can be read.

    Raises:
        FileNotFoundError: when the state or a network is missing.
        ValueError: when one is damaged, or the file is no state.
    """
    state = torch_load(path)
    missing = _PARTS - set(state if isinstance(state, Mapping) else ())
    if missing:
        raise ValueError(
            f'Expected `--resume` to name a training state (N.state), but got {path}, '
            f'which has no {", ".join(sorted(missing))}. To start a new training from '
            f'its weights: `--init-from {path}`.'
        )
    networks = list(_networks(path, state['iter']))
    if not networks:
        raise FileNotFoundError(
            f'Expected net_g_{state["iter"]}.pth in {_models(path)}, whose training '
            f'{path} is the state of, but there is none.'
        )
    for network in networks:
        torch_load(network)
    return state


def require_schedule(state: Mapping[str, Any], total: int) -> None:
    """Raise unless the schedule in a state, which is the one that counts, lasts.

    Raises:
        ValueError: when a cosine of it ends before iteration `total`.
    """
    for scheduler in state['schedulers']:
        periods = scheduler.get('cumulative_period', [total])
        if periods[-1] < total - 1:
            raise ValueError(
                f'Expected a schedule for {total} iterations, but that of the training '
                f'to resume ends after {periods[-1]}. Set `train.total_iter` to that, '
                f'or start anew from its weights with `--init-from`.'
            )


def point_to_networks(options: dict[str, Any], path: Path, step: int) -> None:
    """Let BasicSR load, at first, the networks that belong to the state at `path`."""
    paths = options['path']
    models = paths['models']
    paths.update(resume_state=str(path), models=str(_models(path)))
    check_resume(options, step)
    paths['models'] = models


def _models(state: str | Path) -> Path:
    return Path(state).absolute().parents[1] / 'models'


def _networks(state: str | Path, step: int) -> Iterator[Path]:
    yield from sorted(_models(state).glob(f'net_*_{step}.pth'))


def set_aside(work_dir: str | Path) -> None:
    """Move what an earlier training left out of the way of a new one.

    Else `--resume` could go on from it, being further on.
    """
    work_dir = Path(work_dir)
    remove_leftovers(work_dir / 'models')
    remove_leftovers(work_dir / 'training_states')
    if not any(work_dir.glob('models/*')) and not find_states(work_dir):
        return
    folder = move_aside(work_dir, [work_dir / name for name in MADE])
    get_root_logger().warning(
        f'Weights and states of an earlier training in {work_dir} are now in '
        f'{folder.name}. To go on with that one instead: `--resume '
        f'{folder}/training_states/N.state`.'
    )
