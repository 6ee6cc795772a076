#!/usr/bin/env python
"""Is CSNLN in bands faster and smaller than as published?

Both sides have the same weights and inputs. The published side is the authors' way:
images one by one, 3x3 patches of keys matched by a convolution, 3s x 3s patches of
values pasted by a transposed one, whole matrices of pixels by pixels, and the outputs
of all recurrences kept and concatenated. Networks otherwise share their code.

Every measurement has a process of its own. Memory is the peak above what the process
holds before the first call, with inputs and weights: of the resident set on a CPU, of
torch's allocator on a GPU. Times are medians over rounds in which the sides alternate.

Examples:
  python benchmarks/csnln.py
  python benchmarks/csnln.py --quick
  python benchmarks/csnln.py --device cuda --huge
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sr_plugins.archs import csnln
from sr_plugins.layers import cross_scale_attention

OURS, PUBLISHED = 'ours', 'published'
SIDES = (OURS, PUBLISHED)


class Case(NamedTuple):
    """One thing to measure.

    Attributes:
        what: 'attention' (cross-scale, alone), 'network' or 'training' (a step).
        height: of the LR image.
        width: of the LR image.
        batch: number of images.
        scale: of the network.
        sides: which forms can take it.
    """

    what: str
    height: int
    width: int
    batch: int = 1
    scale: int = 2
    sides: tuple[str, ...] = SIDES

    def __str__(self) -> str:
        images = f', batch {self.batch}' if self.batch > 1 else ''
        return f'{self.what} x{self.scale}, {self.height} x {self.width}{images}'


class Claim(NamedTuple):
    name: str
    case: Case
    quantity: str
    target: float


ATTENTION, NETWORK = Case('attention', 128, 128), Case('network', 128, 128)
TRAINING = Case('training', 48, 48, batch=4)
CLAIMS = (
    Claim('csnln_attention_speed', ATTENTION, 'seconds', 6.0),
    Claim('csnln_network_speed', NETWORK, 'seconds', 2.5),
    Claim('csnln_network_memory', NETWORK, 'mb', 3.0),
    Claim('csnln_training_speed', TRAINING, 'seconds', 1.3),
    Claim('csnln_training_memory', TRAINING, 'mb', 2.0),
)
CASES = (
    *(Case('attention', side, side) for side in (48, 96)),
    ATTENTION,
    *(Case('network', side, side) for side in (48, 96)),
    NETWORK,
    TRAINING,
    Case('network', 256, 256, sides=(OURS,)),
    # DIV2K at x4.
    Case('network', 339, 510, sides=(OURS,)),
)
QUICK = (ATTENTION, Case('network', 48, 48), TRAINING)
# DIV2K at x2.
HUGE = Case('network', 678, 1020, sides=(OURS,))


def published_in_scale(
    query: Tensor, key: Tensor, value: Tensor, memory_budget_mb: float | None
) -> Tensor:
    scores = query.flatten(2).transpose(1, 2) @ key.flatten(2)
    output = scores.softmax(dim=2) @ value.flatten(2).transpose(1, 2)
    return output.transpose(1, 2).reshape(value.shape)


def published_cross_scale(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    factor: int,
    memory_budget_mb: float | None = None,
) -> Tensor:
    """Image by image, of patches, as the authors' `attention.py`."""
    outputs = []
    for q, k, v in zip(query.split(1), key.split(1), value.split(1), strict=True):
        size, channels = 3 * factor, value.shape[1]
        patches = F.unfold(v, size, padding=factor, stride=factor)
        patches = patches.view(channels, size, size, -1).permute(3, 0, 1, 2)
        keys = F.unfold(k, 3, padding=1)
        keys = keys.view(key.shape[1], 3, 3, -1).permute(3, 0, 1, 2)
        norms = keys.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-4)
        weights = (F.conv2d(q, keys / norms, padding=1) * 10).softmax(dim=1)
        outputs.append(
            F.conv_transpose2d(weights, patches, stride=factor, padding=factor) / 6
        )
    return torch.cat(outputs)


class PublishedCSNLN(csnln.CSNLN):
    """Keeps the outputs of all recurrences for one convolution."""

    def forward(self, x: Tensor) -> Tensor:
        features, enlarged = self.head(x - self.mean), []
        for _ in range(self.num_recurrences):
            hr = features
            for stage in self.cell.stages:
                hr = stage.merge(*stage(hr, features))
            enlarged.append(hr)
            features = self.cell.post_conv(self.cell.down(hr))
        return self.tail(torch.cat(enlarged, dim=1)) + self.mean


def build(case: Case, side: str, device: str):
    """A function without arguments that does the work once."""
    torch.manual_seed(0)
    n, s = case.batch, case.scale
    if case.what == 'attention':
        query = torch.randn(n, 64, case.height, case.width, device=device)
        key = torch.randn(n, 64, case.height // s, case.width // s, device=device)
        value = torch.randn(n, 128, case.height, case.width, device=device)
        attend = cross_scale_attention if side == OURS else published_cross_scale
        return torch.no_grad()(lambda: attend(query, key, value, s))
    if side == PUBLISHED:
        csnln.cross_scale_attention = published_cross_scale
        csnln.in_scale_attention = published_in_scale
        csnln.recompute = lambda function, *inputs: function(*inputs)
    network = (csnln.CSNLN if side == OURS else PublishedCSNLN)(s).to(device)
    x = torch.rand(n, 3, case.height, case.width, device=device)
    if case.what == 'network':
        return torch.no_grad()(lambda: network(x))
    target = torch.rand(n, 3, case.height * s, case.width * s, device=device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.l1_loss(network(x), target).backward()
        optimizer.step()

    return step


def run_side(case: Case, side: str, device: str, repeats: int) -> dict:
    """Seconds of each call after the first, and MiB at the peak of all."""
    work = build(case, side, device)
    on_gpu = device.startswith('cuda')
    before = held_mb(on_gpu)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    # Of slow calls the first is as good as any.
    return {'seconds': seconds[1:] or seconds, 'mb': peak_mb(on_gpu) - before}


def held_mb(on_gpu: bool) -> float:
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def peak_mb(on_gpu: bool) -> float:
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: Case, side: str, device: str, repeats: int) -> dict | None:
    """In a fresh process; None when it ran out of memory."""
    command = [sys.executable, __file__, '--device', device, '--run']
    command.append(json.dumps([case._asdict(), side, repeats]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode == -9 or "can't allocate memory" in done.stderr + done.stdout:
        return None
    if 'OutOfMemoryError' in done.stderr:
        return None
    sys.exit(f'{case}, {side}, failed:\n{done.stderr[-3000:]}')


def compare(case: Case, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of both sides, printed as a row."""
    runs = {side: [] for side in case.sides}
    for _ in range(rounds if len(case.sides) > 1 else 1):
        for side in case.sides:
            repeats = (
                0 if len(case.sides) == 1 else 5 if case.what == 'attention' else 1
            )
            runs[side].append(measure(case, side, device, repeats))
    medians = {}
    for side, found in runs.items():
        if None not in found:
            seconds = [t for run in found for t in run['seconds']]
            medians[side] = {
                'seconds': statistics.median(seconds),
                'mb': statistics.median(run['mb'] for run in found),
            }
    cells = []
    for side in SIDES:
        value = medians.get(side)
        text = 'does not fit' if side in case.sides else 'not run'
        if value:
            text = f'{value["seconds"]:.3f} s {value["mb"]:6.0f} MiB'
        cells.append(f'{text:>24}')
    if len(medians) == 2:
        a, b = medians[PUBLISHED], medians[OURS]
        cells += [f'{a[key] / b[key]:8.2f}' for key in ('seconds', 'mb')]
    print(f'{case!s:32}' + ''.join(cells), flush=True)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='fewer cases, one round')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, ... (cpu)')
    parser.add_argument('--threads', type=int, help="of torch (torch's own number)")
    parser.add_argument('--rounds', type=int, help='of both sides, alternating (3)')
    parser.add_argument(
        '--huge', action='store_true', help='add 1020 x 678, for a GPU (hours on a CPU)'
    )
    parser.add_argument('--run', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        fields, side, repeats = json.loads(args.run)
        print(json.dumps(run_side(Case(**fields), side, args.device, repeats)))
        return

    if args.threads:
        torch.set_num_threads(args.threads)
        os.environ['OMP_NUM_THREADS'] = str(args.threads)
    cases = [*(QUICK if args.quick else CASES), *([HUGE] if args.huge else [])]
    print(
        f'{args.device}, float32, torch {torch.__version__}, '
        f'{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}'
    )
    header = ''.join(f'{name:>24}' for name in SIDES)
    print(f'{"":32}{header}  faster smaller')
    rounds = args.rounds or (1 if args.quick else 3)
    found = {case: compare(case, args.device, rounds) for case in cases}
    print()
    for claim in CLAIMS:
        sides = found.get(claim.case, {})
        if len(sides) == 2:
            ratio = sides[PUBLISHED][claim.quantity] / sides[OURS][claim.quantity]
            print(f'claim: {claim.name} {ratio:.2f} (target >= {claim.target})')


if __name__ == '__main__':
    main()
