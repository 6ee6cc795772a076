#!/usr/bin/env python
"""How fast do EDSR and ESRN enlarge an image, in how much memory, by which switch?

EDSR baseline x2 has the same weights in BasicSR's `EDSR`, in mmagic's `EDSRNet` and in
ours; ESRN x2, as published, is in ours only. Weights are random, and images are made of
photographs. The sides:

  BasicSR, mmagic  as they come
  plain            ours, weights as torch makes them
  channels last    ours, weights channels last, as the tools have them for EDSR
  compile          as the tools with `--compile`
  bf16             as the tools with `--amp bf16`
  onnxruntime      the file of tools/export.py
  int8             the file of tools/quantize.py, at its defaults

The largest image, of 12 megapixels, goes through EDSR in tiles of 256, as with `--tile
256`: whole, it would take tens of GiB. What a side gives is compared with what the
plain one gives: a difference above 1e-4 in float32 ends the run with status 1, for
others the table says how far they are.

Every measurement has a process of its own, one after the other. Times are medians over
rounds in which the sides alternate, after a small image that does not count; for
`compile` it is one of the same size. `CPU s` is the time of all threads together, which
with `--threads 1` is that by the clock of an idle machine. Memory is the peak of the
resident set above what the process holds before that, with input and weights; `in all`
is the peak as it is, with torch and all packages.

Examples:
  python benchmarks/inference.py
  python benchmarks/inference.py --quick
  python benchmarks/inference.py --sizes 720x1280 --networks EDSR --rounds 5
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from sr_plugins import checkpoints
from sr_plugins.models import ImageForward, arrange_weights
from sr_plugins.models.tiling import plan_windows
from sr_plugins.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CPU = torch.device('cpu')
EDSR, ESRN = 'EDSR', 'ESRN'
NETWORKS = {EDSR: 'edsr_baseline_x2', ESRN: 'esrn_x2'}
BASICSR, MMAGIC, PLAIN, LAST = 'BasicSR', 'mmagic', 'plain', 'channels last'
COMPILE, BF16, ONNX, INT8 = 'compile', 'bf16', 'onnxruntime', 'int8'
THEIRS = (BASICSR, MMAGIC)
SIDES = (*THEIRS, PLAIN, LAST, COMPILE, BF16, ONNX, INT8)
COARSE = (BF16, INT8)
TILED, TILE = '3000x4000', 256
SIZES = ('256x256', '720x1280', TILED)
WARM_UP = '64x64'
TOLERANCE = 1e-4
# A side is called again until it has taken so many seconds.
ENOUGH = 4.0
# Seconds that a process may take, its compiler included.
PATIENCE = 1800
# Of an output, enough to compare.
SAMPLES = 1_000_000


def sides_of(network: str, size: str) -> list[str]:
    """What can take an image of that size."""
    left_out = set(THEIRS) if network == ESRN else set()
    if size == TILED:
        # Theirs would take all memory; a compiled tile is as fast as any.
        left_out = {*THEIRS, COMPILE}
    return [side for side in SIDES if side not in left_out]


def image(size: str) -> np.ndarray:
    """(1, 3, H, W) in [0, 1], of photographs side by side."""
    from skimage import data

    height, width = map(int, size.split('x'))
    row = np.concatenate([data.astronaut()[:300], data.chelsea()], axis=1)
    repeats = -(-height // row.shape[0]), -(-width // row.shape[1]), 1
    x = np.tile(row, repeats)[:height, :width]
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None]) / np.float32(255)


# What runs in processes of their own.


def their_network(side: str) -> nn.Module:
    """EDSR baseline x2, as BasicSR and mmagic have it."""
    if side == BASICSR:
        from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

        return BasicSREDSR(3, 3, num_feat=64, num_block=16, upscale=2)
    from mmagic.models.editors import EDSRNet

    return EDSRNet(3, 3, mid_channels=64, num_blocks=16, upscale_factor=2)


def our_network(name: str) -> nn.Module:
    config = Config.fromfile(CONFIGS / f'{NETWORKS[name]}.py')
    return MODELS.build(config.model.generator)


def prepare(name: str, sides: str, folder: Path) -> None:
    """Leave the weights of a network in `folder`, and its ONNX files if asked for."""
    torch.manual_seed(0)
    network = our_network(name)
    if name == EDSR:
        theirs = their_network(BASICSR)
        torch.save(theirs.state_dict(), folder / f'{BASICSR}.pth')
        # Of another range; converted as anybody's.
        checkpoints.load(network, {'params': theirs.state_dict()})
    torch.save(network.state_dict(), folder / 'ours.pth')
    if ONNX in sides or INT8 in sides:
        from sr_plugins.export import export_onnx, quantize_onnx

        export_onnx(network, folder / f'{ONNX}.onnx')
        x = torch.from_numpy(image('256x512'))
        parts = [part for row in x.split(64, dim=2) for part in row.split(64, dim=3)]
        if INT8 in sides:
            quantize_onnx(folder / f'{ONNX}.onnx', folder / f'{INT8}.onnx', parts)


def build(
    name: str, side: str, size: str, folder: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """The function that enlarges (1, 3, H, W) as that side does."""
    if side in THEIRS:
        network = their_network(side)
        # Names are ours, which are mmagic's.
        file = f'{BASICSR}.pth' if side == BASICSR else 'ours.pth'
        network.load_state_dict(torch.load(folder / file, weights_only=True))
    elif side in (ONNX, INT8):
        from sr_plugins.export import OnnxNetwork

        network = OnnxNetwork(folder / f'{side}.onnx')
    else:
        network = our_network(name)
        checkpoints.load(network, folder / 'ours.pth')
    network.eval()
    if side == LAST:
        network.to(memory_format=torch.channels_last)
    elif side in (COMPILE, BF16):
        arrange_weights(network, CPU)
    if side == COMPILE:
        network.compile()
    if size == TILED or side == BF16:
        tile = {'size': TILE} if size == TILED else None
        forward = ImageForward(network, tile=tile, amp='bf16' if side == BF16 else None)
        return lambda x: forward(x, CPU)
    return torch.inference_mode()(lambda x: network(torch.from_numpy(x)).numpy())


def run_side(name: str, side: str, size: str, folder: Path) -> dict[str, float]:
    """Seconds of each call, and MiB at the peak of all."""
    work, x = build(name, side, size, folder), image(size)
    small = WARM_UP
    if size == TILED:
        # One of its tiles.
        reach = our_network(name).receptive_field
        tiles = [plan_windows(side, TILE, reach)[0] for side in x.shape[2:]]
        small = 'x'.join(str(tile.stop - tile.start) for tile in tiles)
    elif side == COMPILE:
        small = size
    before = memory_mb('VmRSS')
    start = time.perf_counter()
    work(image(small))
    first = time.perf_counter() - start
    seconds: list[float] = []
    cpu_seconds = []
    while not seconds or (sum(seconds) < ENOUGH and len(seconds) < 9):
        start, cpu_start = time.perf_counter(), time.process_time()
        y = work(x)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    peak = memory_mb('VmHWM')
    y = y.ravel()
    np.save(folder / f'{side}.npy', y[:: max(1, y.size // SAMPLES)])
    return {
        'seconds': seconds,
        'cpu': cpu_seconds,
        'first': first,
        'mb': peak - before,
        'in all': peak,
    }


def memory_mb(name: str) -> float:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    sys.exit(f'Expected {name} in /proc/self/status: measure on Linux.')


# What starts them.


def call(*job: str | Path) -> dict | None:
    """In a fresh process; None when it ran out of memory or time."""
    command = [sys.executable, __file__, '--run', json.dumps([str(j) for j in job])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode == -9 or "can't allocate memory" in done.stderr:
        return None
    sys.exit(f'{", ".join(map(str, job))} failed:\n{done.stderr[-3000:]}')


def measure(
    name: str, size: str, sides: list[str], rounds: int, folder: Path
) -> dict[str, dict]:
    """Medians of each side that got through, and how far its output is off."""
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            # What has failed once will fail again, and took long enough.
            if len(runs[side]) < number:
                continue
            found = call('side', name, side, size, folder)
            text = 'does not fit, or takes too long'
            if found is not None:
                runs[side].append(found)
                text = f'{statistics.median(found["seconds"]):.3f} s'
            progress = f'{name} {size}, round {number + 1} of {rounds}, {side}: {text}'
            print(progress, file=sys.stderr, flush=True)
    if not runs[PLAIN]:
        sys.exit(f'Expected {size} to fit, but the side {PLAIN} did not end.')
    medians = {}
    for side, found in runs.items():
        if not found:
            continue
        seconds = [t for run in found for t in run['seconds']]
        medians[side] = {
            'seconds': statistics.median(seconds),
            'spread': f'{min(seconds):.3f} - {max(seconds):.3f}',
            'cpu': statistics.median(t for run in found for t in run['cpu']),
            'first': found[0]['first'],
            'mb': statistics.median(run['mb'] for run in found),
            'in all': statistics.median(run['in all'] for run in found),
            'error': difference(folder, side),
        }
    return medians


def difference(folder: Path, side: str) -> float:
    """Largest one from the plain side; of coarse sides the PSNR against it, in dB."""
    reference, output = (np.load(folder / f'{each}.npy') for each in (PLAIN, side))
    if side in COARSE:
        return float(-10 * np.log10(np.mean((reference - output) ** 2)))
    largest = float(np.abs(reference - output).max())
    if not largest <= TOLERANCE:
        sys.exit(
            f'Expected {side} to give what {PLAIN} gives to {TOLERANCE}, but got a '
            f'difference of {largest:.2e}: the networks are not the same.'
        )
    return largest


def report(name: str, size: str, medians: dict[str, dict]) -> None:
    """Print a table in Markdown."""
    print(f'\n{NETWORKS[name]}, {size}\n')
    header = ['', 'seconds', 'fastest to slowest', 'times plain', 'CPU s']
    header += ['by CPU', 'first call', 'MiB', 'in all', 'against plain']
    rows = [header]
    for side, found in medians.items():
        error = found['error']
        rows.append(
            [
                side,
                f'{found["seconds"]:.3f}',
                found['spread'],
                f'{medians[PLAIN]["seconds"] / found["seconds"]:.2f}',
                f'{found["cpu"]:.3f}',
                f'{medians[PLAIN]["cpu"] / found["cpu"]:.2f}',
                f'{found["first"]:.1f}',
                f'{found["mb"]:.0f}',
                f'{found["in all"]:.0f}',
                f'{error:.1f} dB' if side in COARSE else f'{error:.1e}',
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ['-' * width for width in widths])
    for row in rows:
        cells = [cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
        print(f'| {" | ".join(cells)} |')
    print(flush=True)


def claims_of(size: str, medians: dict[str, dict]) -> list[str]:
    """Of EDSR: speed against the others and itself, memory of the largest image."""
    if size == TILED:
        found = medians.get(LAST, medians[PLAIN])
        return [f'edsr_12_megapixels_mb {found["in all"]:.0f} (target <= 2048)']
    times = {side: found['seconds'] for side, found in medians.items()}
    ours = min(times[side] for side in (PLAIN, LAST, COMPILE) if side in times)
    claims = [
        f'edsr_{size}_float32_vs_{side.lower()} {times[side] / ours:.2f} (target >= 1)'
        for side in THEIRS
        if side in times
    ]
    switches = [times[side] for side in (COMPILE, BF16, ONNX) if side in times]
    theirs = [times[side] for side in THEIRS if side in times]
    if switches and theirs:
        ratio = min(theirs) / min(switches)
        claims.append(f'edsr_{size}_switch_vs_both {ratio:.2f} (target >= 1.5)')
    if INT8 in times:
        ratio = times[PLAIN] / times[INT8]
        claims.append(f'edsr_{size}_int8_vs_plain {ratio:.2f} (target >= 1.5)')
    return claims


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--quick', action='store_true', help='256x256, one round, no compiler'
    )
    parser.add_argument('--rounds', type=int, help='of all sides, alternating (3)')
    parser.add_argument('--sizes', nargs='+', choices=SIZES, help='height x width')
    parser.add_argument('--networks', nargs='+', choices=list(NETWORKS))
    parser.add_argument('--sides', nargs='+', choices=SIDES, help='plain is needed')
    parser.add_argument('--threads', type=int, help="of each side (torch's own)")
    parser.add_argument('--run', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        what, name, *rest, folder = json.loads(args.run)
        work = run_side if what == 'side' else prepare
        print(json.dumps(work(name, *rest, Path(folder))))
        return

    if args.threads:
        os.environ['OMP_NUM_THREADS'] = str(args.threads)
        torch.set_num_threads(args.threads)
    sizes = args.sizes or SIZES[: 1 if args.quick else None]
    chosen = args.sides or [side for side in SIDES if side != COMPILE or not args.quick]
    rounds = args.rounds or (1 if args.quick else 3)
    print(
        f'torch {torch.__version__}, {torch.get_num_threads()} threads, '
        f'load {os.getloadavg()[0]:.1f}',
        flush=True,
    )
    claims = []
    for name in args.networks or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            # What one process compiles, the next one finds.
            os.environ['TORCHINDUCTOR_CACHE_DIR'] = f'{folder}/compiled'
            call('prepare', name, ' '.join(chosen), folder)
            for size in sizes:
                if size == TILED and name == ESRN:
                    continue
                sides = [
                    side
                    for side in sides_of(name, size)
                    if side in chosen or side == PLAIN
                ]
                # One of the largest takes as long as many others.
                number = 1 if size == TILED else rounds
                medians = measure(name, size, sides, number, Path(folder))
                report(name, size, medians)
                if name == EDSR:
                    claims += claims_of(size, medians)
    for claim in claims:
        print(f'claim: {claim}')


if __name__ == '__main__':
    main()
