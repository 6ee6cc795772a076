#!/usr/bin/env python
"""Is training with our runner as fast as with BasicSR's own loop?

Both train the network of configs/demo_edsr_x2.py on the same photographs, one after
the other and each in a fresh process: the same batch, patch, flips, Adam, L1 loss,
EMA of 0.999 and number of loader processes. Neither validates nor saves while the
clock runs, and the first iterations do not count.

Ours is what tools/train.py runs, with the config's hooks and logs; it keeps decoded
images in memory, as the config says, and a run that decodes every image every time,
as BasicSR does, is shown besides. BasicSR's is `basicsr.train.train_pipeline` with
its `PairedImageDataset` and `SRModel`.

Examples:
  python benchmarks/train_step.py
  python benchmarks/train_step.py --quick
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / 'configs' / 'demo_edsr_x2.py'
OURS, UNCACHED, BASICSR = 'ours', 'ours, images decoded each time', 'BasicSR'
FOLDERS = ('DIV2K/DIV2K_train_HR', 'DIV2K/DIV2K_train_LR_bicubic/X2')
WARM_UP = 20
# Rounds in which other programs kept more cores busy do not count, if others are left.
QUIET = 0.25


class Clock:
    """When each iteration began, left the network and ended, in seconds."""

    def __init__(self) -> None:
        self.begin: list[float] = []
        self.step: list[float] = []
        self.end: list[float] = []

    def summary(self) -> dict[str, float]:
        """Seconds per iteration after the warm-up, and what they were spent on."""
        last = len(self.begin) - 1
        count = last - WARM_UP
        step = sum(self.step[WARM_UP:last]) - sum(self.begin[WARM_UP:last])
        hooks = sum(self.end[WARM_UP:last]) - sum(self.step[WARM_UP:last])
        total = self.begin[last] - self.begin[WARM_UP]
        return {
            'iteration': total / count,
            'step': step / count,
            'hooks': hooks / count,
            'wait': (total - step - hooks) / count,
        }


def our_config(folder: Path, iterations: int, cache: bool):
    """The demo config without validation and checkpoints."""
    import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

    from sr_plugins.engine import load_config

    cfg = load_config(
        CONFIG,
        work_dir=str(folder / 'work'),
        data_root=str(folder / 'data'),
        cfg_options={
            'train_cfg.max_iters': iterations,
            'train_dataloader.dataset.pipeline.0.cache': cache,
        },
    )
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint = None
    return cfg


def train_ours(folder: Path, iterations: int, cache: bool) -> Clock:
    cfg = our_config(folder, iterations, cache)

    from mmengine.hooks import Hook

    from sr_plugins.engine import build_runner

    clock = Clock()

    class AfterStep(Hook):
        def after_train_iter(self, *args, **options) -> None:
            clock.step.append(time.perf_counter())

    class AfterHooks(Hook):
        def before_train_iter(self, *args, **options) -> None:
            clock.begin.append(time.perf_counter())

        def after_train_iter(self, *args, **options) -> None:
            clock.end.append(time.perf_counter())

    runner = build_runner(cfg)
    runner.register_hook(AfterStep(), priority='HIGHEST')
    runner.register_hook(AfterHooks(), priority='LOWEST')
    runner.train()
    return clock


def basicsr_options(folder: Path, iterations: int) -> dict:
    """The options file that says the same as our config."""
    cfg = our_config(folder, iterations, cache=True)
    loader = cfg.train_dataloader
    scale = loader.dataset.scale
    crop = next(t for t in loader.dataset.pipeline if 'lr_patch_size' in t)
    optimizer = cfg.optim_wrapper.optimizer.to_dict()
    hr, lr = (str(folder / 'data' / name) for name in FOLDERS)
    images = len(list(Path(hr).iterdir()))
    ema = next(h for h in cfg.custom_hooks if h['type'] == 'EMAHook')
    return {
        'name': 'edsr',
        'model_type': 'SRModel',
        'scale': scale,
        'num_gpu': 'auto',
        'manual_seed': 0,
        'datasets': {
            'train': {
                'name': 'demo',
                'type': 'PairedImageDataset',
                'dataroot_gt': hr,
                'dataroot_lq': lr,
                'filename_tmpl': f'{{}}x{scale}',
                'io_backend': {'type': 'disk'},
                'gt_size': crop.lr_patch_size * scale,
                'use_hflip': True,
                'use_rot': True,
                # As many as `build_runner` leaves of the config's.
                'num_worker_per_gpu': min(
                    loader.num_workers, len(os.sched_getaffinity(0))
                ),
                'batch_size_per_gpu': cfg.global_batch_size,
                # So large that no epoch ends: BasicSR restarts its loader there.
                'dataset_enlarge_ratio': 1
                + (iterations + 1) * cfg.global_batch_size // images,
            }
        },
        'network_g': {**cfg.model.generator.to_dict(), 'type': 'EDSR_sr_plugins'},
        'path': {'pretrain_network_g': None, 'resume_state': None},
        'train': {
            'ema_decay': 1 - ema['momentum'],
            'optim_g': {**optimizer, 'betas': list(optimizer['betas'])},
            'scheduler': {
                'type': 'CosineAnnealingRestartLR',
                'periods': [cfg.param_scheduler.T_max],
                'restart_weights': [1],
                'eta_min': cfg.param_scheduler.eta_min,
            },
            'total_iter': iterations,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'logger': {
            'print_freq': 100,
            'save_checkpoint_freq': 10**9,
            'use_tb_logger': False,
        },
    }


def train_basicsr(folder: Path, iterations: int) -> Clock:
    import yaml

    options = folder / 'options.yml'
    options.write_text(yaml.safe_dump(basicsr_options(folder, iterations)))

    from basicsr.models.sr_model import SRModel
    from basicsr.train import train_pipeline

    import sr_plugins.basicsr_plugin  # noqa: F401  (registers)

    clock = Clock()
    # The first and the last thing that BasicSR's loop does with a batch.
    stock_begin, stock_step = SRModel.update_learning_rate, SRModel.optimize_parameters

    def update_learning_rate(self, *args, **kwargs) -> None:
        clock.begin.append(time.perf_counter())
        stock_begin(self, *args, **kwargs)

    def optimize_parameters(self, *args, **kwargs) -> None:
        stock_step(self, *args, **kwargs)
        clock.step.append(time.perf_counter())
        clock.end.append(clock.step[-1])

    SRModel.update_learning_rate = update_learning_rate
    SRModel.optimize_parameters = optimize_parameters
    sys.argv = ['train.py', '-opt', str(options)]
    train_pipeline(str(folder))
    return clock


def run_side(side: str, folder: Path, iterations: int) -> None:
    """Train in this process, and leave the times in `<folder>/clock.json`."""
    if side == BASICSR:
        clock = train_basicsr(folder, iterations)
    else:
        clock = train_ours(folder, iterations, cache=side == OURS)
    (folder / 'clock.json').write_text(json.dumps(clock.summary()))


def cpu_seconds() -> tuple[float, float]:
    """CPU time of all programs of the machine, and of finished ones of ours."""
    user, nice, system = map(int, Path('/proc/stat').read_text().split()[1:4])
    ours = os.times()
    ticks = os.sysconf('SC_CLK_TCK')
    return (user + nice + system) / ticks, ours.children_user + ours.children_system


def measure(side: str, data: Path, iterations: int) -> dict[str, float]:
    """Train in a fresh process.

    `others` is how many cores other programs kept busy meanwhile.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'data').symlink_to(data)
        command = [sys.executable, __file__, '--side', side, '--folder', name]
        command += ['--iterations', str(iterations)]
        log = folder / 'log'
        start, (all_before, ours_before) = time.perf_counter(), cpu_seconds()
        with log.open('w') as file:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, check=False
            )
        seconds, (all_after, ours_after) = time.perf_counter() - start, cpu_seconds()
        if done.returncode:
            sys.exit(f'The side `{side}` failed:\n{log.read_text()[-3000:]}')
        others = all_after - all_before - (ours_after - ours_before)
        summary = json.loads((folder / 'clock.json').read_text())
        return {**summary, 'others': max(0.0, others / seconds)}


def copy_cropped(data_root: Path, out: Path) -> None:
    """Copy the photographs, HR cut to twice the LR size, which BasicSR asks for."""
    from PIL import Image

    hr_folder, lr_folder = (data_root / name for name in FOLDERS)
    if not (hr_folder.is_dir() and lr_folder.is_dir()):
        sys.exit(
            f'Expected folders {hr_folder} and {lr_folder}. Make them with `python '
            f'tools/prepare_data.py demo`, or name others with --data-root.'
        )
    shutil.copytree(lr_folder, out / FOLDERS[1])
    (out / FOLDERS[0]).mkdir(parents=True)
    for path in sorted(hr_folder.iterdir()):
        with Image.open(lr_folder / f'{path.stem}x2.png') as lr:
            width, height = lr.size
        with Image.open(path) as hr:
            hr.crop((0, 0, 2 * width, 2 * height)).save(out / FOLDERS[0] / path.name)


def busiest(measured: dict[str, dict[str, float]]) -> float:
    """How many cores other programs kept busy in the least quiet run of a round."""
    return max(run['others'] for run in measured.values())


def report(rounds: list[dict[str, dict[str, float]]]) -> None:
    columns = ('median s/iteration', 'fastest to slowest', 'step', 'hooks', 'wait')
    print(f'{"":32}' + ''.join(f'{name:>20}' for name in columns))
    medians = {}
    for side in rounds[0]:
        runs = [r[side] for r in rounds]
        times = [run['iteration'] for run in runs]
        medians[side] = statistics.median(times)
        parts = [
            f'{statistics.median(run[part] for run in runs):.4f}'
            for part in ('step', 'hooks', 'wait')
        ]
        cells = [f'{medians[side]:.4f}', f'{min(times):.4f} - {max(times):.4f}', *parts]
        print(f'{side:32}' + ''.join(f'{cell:>20}' for cell in cells))
    print(
        '\nstep: forward, backward, optimiser (BasicSR: and EMA). hooks: EMA, logs. '
        'wait: for data.'
    )
    if UNCACHED in medians:
        ratio = medians[BASICSR] / medians[UNCACHED]
        print(f'decoding every image each time, as BasicSR does: {ratio:.3f}')
    ratio = medians[BASICSR] / medians[OURS]
    print(f'claim: train_step_vs_basicsr {ratio:.3f} (target >= 1.0)')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='one short round')
    parser.add_argument('--rounds', type=int, help='of all sides, alternating (3)')
    parser.add_argument('--iterations', type=int, help='of each run')
    parser.add_argument(
        '--threads', type=int, help="of torch, both sides (torch's own)"
    )
    parser.add_argument(
        '--data-root', type=Path, default=REPOSITORY / 'data/demo', help='(data/demo)'
    )
    parser.add_argument('--side', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    iterations = args.iterations or (50 if args.quick else 120)
    if iterations < WARM_UP + 2:
        parser.error(f'--iterations: expected at least {WARM_UP + 2}')
    if args.side:
        run_side(args.side, args.folder, iterations)
        return

    if args.threads:
        os.environ['OMP_NUM_THREADS'] = str(args.threads)
    count = args.rounds or (1 if args.quick else 3)
    sides = (OURS, BASICSR) if args.quick else (OURS, BASICSR, UNCACHED)
    print(
        f'{CONFIG.stem}, {iterations} iterations, {len(os.sched_getaffinity(0))} '
        f'cores, load {os.getloadavg()[0]:.1f}'
    )
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, 'data')
        copy_cropped(args.data_root, data)
        for number in range(count):
            rounds.append({side: measure(side, data, iterations) for side in sides})
            times = ', '.join(
                f'{side} {run["iteration"]:.4f}' for side, run in rounds[-1].items()
            )
            print(
                f'round {number + 1} of {count}, s/iteration: {times} '
                f'(other programs: at most {busiest(rounds[-1]):.1f} cores)',
                flush=True,
            )
    quiet = [r for r in rounds if busiest(r) <= QUIET]
    print(f'{len(quiet)} of {count} rounds were quiet', end='')
    print('\n' if quiet else ': measure again on an idle machine\n')
    report(quiet or rounds)


if __name__ == '__main__':
    main()
