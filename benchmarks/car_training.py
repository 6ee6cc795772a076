#!/usr/bin/env python
"""Does learned downscaling pay?

Trains a small CAR, and its upscaling network alone on bicubic LR images of the same
crops: the same photographs, seed, batches, iterations and learning rates, by the same
runner. Bicubic LR images are MATLAB's and of 8 bits, as CAR's are. Both then
reconstruct photographs that neither has seen.

Examples:
  python tools/prepare_data.py demo
  python benchmarks/car_training.py
  python benchmarks/car_training.py --quick --out results/car_training
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import numpy as np
import torch
from mmengine.config import Config

from sr_plugins.engine import build_runner, load_config
from sr_plugins.engine.hooks.learning_curve_hook import read_scalars
from sr_plugins.metrics import psnr
from sr_plugins.preparation.images import read_rgb

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = {'CAR': 'demo_car_x2.py', 'bicubic': 'demo_edsr_x2.py'}
SCALE = 2
# Neither is trained on; the first serves to choose the best weights in training.
UNSEEN = ('DIV2K/DIV2K_valid_{}', 'benchmark/Demo/{}')


def configure(side: str, data_root: Path, out: Path, args) -> Config:
    """The config of a side, with what differs between the two demos made equal."""
    cfg = load_config(
        REPOSITORY / 'configs' / CONFIGS[side],
        work_dir=str(out / side),
        data_root=str(data_root),
        seed=args.seed,
        cfg_options={
            'train_cfg.max_iters': args.iterations,
            'param_scheduler.T_max': args.iterations,
            'experiment_name': f'car_training_{side}_{args.seed}',
            'log_level': 'WARNING',
            'default_hooks.logger.interval': args.iterations // 20,
            'log_processor.window_size': args.iterations // 20,
            'train_dataloader.num_workers': 1,
        },
    )
    car = load_config(REPOSITORY / 'configs' / CONFIGS['CAR'])
    if side == 'bicubic':
        cfg.model.generator.update(car.model.generator.upscaler)
        cfg.optim_wrapper = car.optim_wrapper
        pipeline = cfg.train_dataloader.dataset.pipeline
        pipeline[:] = [t for t in pipeline if t['type'] != 'RandomTransposeHW']
    for name in ('batch_size', 'dataset.pipeline.1.lr_patch_size'):
        value = car.train_dataloader
        for key in name.split('.'):
            value = value[int(key) if key.isdigit() else key]
        cfg.merge_from_dict({f'train_dataloader.{name}': value})
    return cfg


def train(side: str, data_root: Path, out: Path, args) -> torch.nn.Module:
    """Train to the end; the network has the averaged weights."""
    cfg = configure(side, data_root, out, args)
    runner = build_runner(cfg)
    start = time.perf_counter()
    model = runner.train()
    seconds = time.perf_counter() - start
    scalars = read_scalars(out / side)
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f'\n{side}: {parameters:,} parameters, {seconds / args.iterations:.3f} '
        f's/iteration with validation'
    )
    names = [n for n in scalars if n.startswith('loss') or n.endswith('edsr_y/PSNR')]
    print(f'{"iteration":>10}' + ''.join(f'{name:>16}' for name in names))
    for step in sorted(scalars['loss']):
        cells = ''.join(f'{scalars[n].get(step, float("nan")):16.4f}' for n in names)
        print(f'{step:10}{cells}')
    weights = torch.load(out / side / 'best.pth', weights_only=True)['state_dict']
    model.load_state_dict(weights, strict=False)
    return model.generator.eval()


@torch.no_grad()
def reconstruct(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) of uint8 to the network's output, rounded."""
    x = torch.from_numpy(image.transpose(2, 0, 1).copy())[None] / 255
    y = network(x)[0].clamp(0, 1).mul(255).round().byte()
    return y.permute(1, 2, 0).numpy()


def compare(networks: dict[str, torch.nn.Module], data_root: Path) -> list[float]:
    """Print the PSNR of each photograph; give the gains of CAR in dB."""
    gains = []
    print(f'\n{"edsr_y PSNR":24}{"bicubic":>10}{"CAR":>10}{"gain":>10}')
    for folder in UNSEEN:
        for path in sorted((data_root / folder.format('HR')).glob('*.png')):
            lr_folder = data_root / folder.format(f'LR_bicubic/X{SCALE}')
            lr = read_rgb(lr_folder / f'{path.stem}x{SCALE}.png')
            hr = read_rgb(path)[: SCALE * lr.shape[0], : SCALE * lr.shape[1]]
            outputs = {
                'bicubic': reconstruct(networks['bicubic'], lr),
                'CAR': reconstruct(networks['CAR'], hr),
            }
            found = {k: psnr(v, hr, 'edsr_y', SCALE) for k, v in outputs.items()}
            gains.append(found['CAR'] - found['bicubic'])
            cells = (found['bicubic'], found['CAR'], gains[-1])
            name = f'{folder.split("/")[-2]} {path.stem}'
            print(f'{name:24}' + ''.join(f'{value:10.3f}' for value in cells))
    return gains


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='200 iterations')
    parser.add_argument('--iterations', type=int, help='of both (1000)')
    parser.add_argument('--seed', type=int, default=0, help='(0)')
    parser.add_argument(
        '--data-root', type=Path, default=REPOSITORY / 'data/demo', help='(data/demo)'
    )
    parser.add_argument('--out', type=Path, help='keep logs and weights there')
    args = parser.parse_args()
    args.iterations = args.iterations or (200 if args.quick else 1000)
    if not (args.data_root / 'DIV2K').is_dir():
        sys.exit(
            f'Expected demo photographs in {args.data_root}. Make them with `python '
            f'tools/prepare_data.py demo`, or name others with --data-root.'
        )
    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or Path(temporary)
        networks = {s: train(s, args.data_root, out, args) for s in CONFIGS}
        gains = compare(networks, args.data_root)
    print(f'\nclaim: car_demo_gain_db {statistics.mean(gains):.2f} (target >= 0.5)')


if __name__ == '__main__':
    main()
