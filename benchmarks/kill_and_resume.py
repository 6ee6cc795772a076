#!/usr/bin/env python
"""Does a training that is killed again and again end as if nothing had happened?

Trains a small network once in one go and once with kills (SIGKILL, loader processes
too) at random moments, followed by `--resume`. Every other kill waits for a save and
falls into it. All that both runs have logged and saved must be equal, bit for bit:
losses, learning rates and scores of each iteration, repeated ones included, and the
weights, their average, the optimiser's and the schedulers' state and the best
checkpoint at the end. All checkpoints must be whole after every kill.

Examples:
  python benchmarks/kill_and_resume.py
  python benchmarks/kill_and_resume.py --kills 3 --seed 5
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import torch

from sr_plugins.checkpoints import find_resumable
from sr_plugins.fileio import torch_load

REPOSITORY = Path(__file__).resolve().parents[1]
SAVE_INTERVAL, VAL_INTERVAL = 5, 10
# Differ from run to run: clocks and memory.
NOT_COMPARED = {'time', 'data_time', 'memory', 'eta'}
# With a whole run, or with a moment that a kill waits for.
PATIENCE_S = 300
# A kill that is aimed at a save falls up to so long after its temporary file appears:
# into the writing, the renaming, the note of the checkpoint or the removal of an old.
SAVE_S = 0.003


@dataclass(frozen=True)
class Kill:
    """What a kill met, and what became of it.

    Attributes:
        iteration: the last one that was logged before it.
        save: files that were being saved, or had just been; mostly ''.
        interrupted: whether a save was left unfinished.
        resumed_from: iteration of the newest checkpoint after it; 0 when there is none.
    """

    iteration: int
    save: str
    interrupted: bool
    resumed_from: int

    def __str__(self) -> str:
        where = f'iteration {self.iteration}'
        if self.save:
            where += f', {"while" if self.interrupted else "after"} saving {self.save}'
        origin = f'iter_{self.resumed_from}.pth' if self.resumed_from else 'the start'
        return f'{where:40} goes on from {origin}'


@dataclass
class Outcome:
    """Kills and all differences from the run in one go, as sentences."""

    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


class Training:
    """One start of tools/train.py in a process group of its own."""

    def __init__(
        self, work_dir: Path, data_root: Path, iterations: int, resume: bool
    ) -> None:
        self.work_dir = work_dir
        self._before = set(work_dir.glob('*/vis_data/scalars.json'))
        self._log = work_dir.with_suffix('.log').open('a')
        self.process = subprocess.Popen(
            [
                *(sys.executable, REPOSITORY / 'tools' / 'train.py'),
                REPOSITORY / 'configs' / 'demo_edsr_x2.py',
                *('--work-dir', work_dir, '--data-root', data_root),
                *(['--resume'] if resume else []),
                '--cfg-options',
                *small_settings(iterations),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def iteration(self) -> int:
        """The last iteration that this start has logged; 0 before the first."""
        paths = set(self.work_dir.glob('*/vis_data/scalars.json')) - self._before
        steps = [step for path in paths for step, name, _ in read(path)]
        return max(steps, default=0)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool], poll_s: float = 0.005) -> bool:
        """Poll `condition`; False when the training ends or patience does."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if not self.is_running() or time.monotonic() > end:
                return False
            time.sleep(poll_s)
        return True

    def kill(self) -> None:
        """Kill the whole group, if any of it is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


@contextmanager
def training(*args, **kwargs) -> Iterator[Training]:
    """A training that does not outlive the block."""
    started = Training(*args, **kwargs)
    try:
        yield started
    finally:
        started.kill()


def small_settings(iterations: int) -> list[str]:
    """Options that make every iteration quick, and log and save often."""
    options = {
        'model.generator.mid_channels': 8,
        'model.generator.num_blocks': 2,
        'global_batch_size': 4,
        'train_dataloader.dataset.pipeline.1.lr_patch_size': 16,
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': VAL_INTERVAL,
        'param_scheduler.T_max': iterations,
        'default_hooks.checkpoint.interval': SAVE_INTERVAL,
        # What is logged are then the values of each iteration, no averages.
        'default_hooks.logger.interval': 1,
        'log_processor.window_size': 1,
    }
    return [f'{key}={value}' for key, value in options.items()]


def run(
    kills: int,
    seed: int,
    folder: Path,
    data_root: Path,
    iterations: int,
    report: Callable[[str], None] = print,
) -> Outcome:
    """Train in one go and with kills, and compare.

    Args:
        kills: how many; the second, fourth, ... are aimed at saves.
        seed: of the moments of the kills.
        folder: for the two work folders, `whole` and `killed`.
        data_root: with DIV2K's folders for x2 below it.
        iterations: of the training.
        report: called with a line after every start.

    Raises:
        RuntimeError: when a training stops or stalls by itself.
    """
    whole, killed = folder / 'whole', folder / 'killed'
    for work_dir in (whole, killed):
        work_dir.mkdir(parents=True)
    start = time.monotonic()
    finish(whole, data_root, iterations)
    report(f'in one go: {iterations} iterations, {time.monotonic() - start:.0f} s')

    outcome = Outcome()
    generator = random.Random(seed)
    # The last save is left out: a kill that waits for one more would wait in vain.
    last = iterations - VAL_INTERVAL
    moments = sorted(generator.uniform(0, last) for _ in range(kills))
    for number, moment in enumerate(moments, 1):
        kill = kill_once(killed, data_root, iterations, moment, number % 2 == 0)
        outcome.kills.append(kill)
        outcome.differences += damaged(killed)
        report(f'kill {number}: {kill}')
    finish(killed, data_root, iterations)
    outcome.differences += resumed_elsewhere(killed, outcome.kills)
    outcome.differences += compare_logs(whole, killed)
    outcome.differences += compare_checkpoints(whole, killed, iterations)
    return outcome


def finish(work_dir: Path, data_root: Path, iterations: int) -> None:
    """Train to the end, from the newest checkpoint if there is one."""
    resume = bool(find_resumable(work_dir))
    with training(work_dir, data_root, iterations, resume) as started:
        started.wait_until(lambda: not started.is_running())
        if started.process.poll() != 0:
            raise RuntimeError(failure(work_dir))


def kill_once(
    work_dir: Path, data_root: Path, iterations: int, moment: float, aimed: bool
) -> Kill:
    """Start, and kill at `moment` or, aimed, in the first save after it."""
    old = temporaries(work_dir)
    save: set[str] = set()

    def saves() -> bool:
        save.update(temporaries(work_dir) - old)
        return bool(save)

    # Where there is nothing yet, tools/train.py asks to be started without --resume.
    resume = bool(find_resumable(work_dir))
    with training(work_dir, data_root, iterations, resume) as started:
        step, part = divmod(moment, 1)
        ok = started.wait_until(lambda: started.iteration() >= step)
        if ok and aimed:
            ok = started.wait_until(saves, poll_s=0.0005)
            time.sleep(part * SAVE_S)
        elif ok:
            # About as long as an iteration takes, start-up being the first one.
            time.sleep(part * (0.02 if step else 4))
        if not (ok and started.is_running()):
            raise RuntimeError(failure(work_dir))
        started.kill()
    unfinished = temporaries(work_dir) - old
    return Kill(
        started.iteration(),
        save=', '.join(map(target, save | unfinished)),
        interrupted=bool(unfinished),
        resumed_from=max(map(step_of, find_resumable(work_dir)), default=0),
    )


def failure(work_dir: Path) -> str:
    log = work_dir.with_suffix('.log').read_text()
    return f'The training of {work_dir} stopped or stalled:\n{log[-3000:]}'


def temporaries(work_dir: Path) -> set[str]:
    """Names of unfinished files, `.<name>.<random>.tmp`."""
    names = (entry.name for entry in os.scandir(work_dir))
    return {name for name in names if name.startswith('.') and name.endswith('.tmp')}


def target(temporary: str) -> str:
    return temporary.removeprefix('.').rsplit('.', 2)[0]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix('iter_'))


def damaged(work_dir: Path) -> list[str]:
    """Checkpoints that cannot be read; a kill may leave none."""
    sentences = []
    for path in sorted(work_dir.glob('*.pth')):
        try:
            torch_load(path)
        except ValueError as error:
            sentences.append(f'{path.name} is damaged: {error}')
    return sentences


def read(path: Path) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of all that one start has logged."""
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return  # the last line before a kill
        for name, value in entry.items():
            if name not in NOT_COMPARED and isinstance(value, int | float):
                yield entry['step'], name, value


def starts(work_dir: Path) -> list[list[tuple[int, str, float]]]:
    """What was logged by every start that came to its first iteration, in order."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [log for log in map(list, map(read, paths)) if log]


def resumed_elsewhere(work_dir: Path, kills: list[Kill]) -> list[str]:
    """Starts that did not go on from the newest checkpoint."""
    firsts = [log[0][0] for log in starts(work_dir)]
    expected = [0, *(kill.resumed_from for kill in kills)]
    # A start that was killed before its first iteration has logged nothing.
    reached = [True] * len(expected)
    for i, kill in enumerate(kills):
        reached[i] = kill.iteration > 0
    expected = [
        step + 1 for step, logged in zip(expected, reached, strict=True) if logged
    ]
    if firsts == expected:
        return []
    return [f'starts went on with iterations {firsts}, not {expected}']


def compare_logs(whole: Path, killed: Path) -> list[str]:
    """Values that a killed run has logged otherwise, or not at all."""
    [reference] = starts(whole)
    expected = {(step, name): value for step, name, value in reference}
    missing = set(expected)
    sentences = []
    for log in starts(killed):
        for step, name, value in log:
            missing.discard((step, name))
            wanted = expected.get((step, name))
            if value != wanted:
                sentences.append(f'iteration {step}: {name} {value}, not {wanted}')
    sentences += [f'iteration {step}: no {name}' for step, name in sorted(missing)]
    return sentences


def compare_checkpoints(whole: Path, killed: Path, iterations: int) -> list[str]:
    last = f'iter_{iterations}.pth'
    parts = {
        last: ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'),
        'best.pth': ('state_dict', 'ema_state_dict'),
    }
    sentences = []
    for name, keys in parts.items():
        a, b = (torch_load(folder / name) for folder in (whole, killed))
        for key in keys:
            sentences += [f'{name}: {d}' for d in differences(a[key], b[key], key)]
        for key in ('iter', 'best_score'):
            values = [c['message_hub']['runtime_info'][key] for c in (a, b)]
            sentences += [f'{name}: {d}' for d in differences(*values, key)]
    return sentences


def differences(a: object, b: object, name: str) -> Iterator[str]:
    """Where two parts of checkpoints are not the same bits."""
    if type(a) is not type(b):
        yield f'{name} is a {type(b).__name__}, not a {type(a).__name__}'
    elif isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.numpy().tobytes() != b.numpy().tobytes():
            yield f'{name} differs'
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield f'{name} has other keys: {sorted(map(str, a.keys() ^ b.keys()))}'
        for key in a.keys() & b.keys():
            yield from differences(a[key], b[key], f'{name}.{key}')
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            yield f'{name} has {len(b)} items, not {len(a)}'
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f'{name}.{i}')
    elif a != b:
        yield f'{name} is {b}, not {a}'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='three kills')
    parser.add_argument('--kills', type=int, help='how many (10)')
    parser.add_argument('--seed', type=int, default=0, help='of their moments (0)')
    parser.add_argument('--iterations', type=int, help='of the training (20 per kill)')
    parser.add_argument(
        '--data-root', type=Path, default=REPOSITORY / 'data/demo', help='(data/demo)'
    )
    args = parser.parse_args()
    kills = args.kills or (3 if args.quick else 10)
    folder = Path(tempfile.mkdtemp(prefix='kill_and_resume_'))
    iterations = args.iterations or 20 * kills
    outcome = run(kills, args.seed, folder, args.data_root.resolve(), iterations)
    saves = sum(kill.interrupted for kill in outcome.kills)
    print(f'\n{saves} of {kills} kills interrupted a save.')
    for sentence in outcome.differences[:20]:
        print(sentence)
    if outcome.differences:
        print(f'{len(outcome.differences)} differences; both runs are in {folder}')
    else:
        shutil.rmtree(folder)
    identical = 0 if outcome.differences else kills
    print(
        f'claim: kill_and_resume_identical {identical}/{kills} '
        f'(target >= {kills}/{kills})'
    )
    sys.exit(bool(outcome.differences))


if __name__ == '__main__':
    main()
