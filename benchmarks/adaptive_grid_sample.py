#!/usr/bin/env python
"""Are the compiled kernels of CAR's resampler as fast as they should be?

Three forms on the same inputs: `reference` is torch's operators under autograd,
`operator` is what serves where nothing is compiled (torch's operators forwards, and
backwards tap after tap), `compiled` are the kernels of sr_plugins.ops.build.
`forward` is without gradients; `training` adds those of kernels and offsets, which is
what CAR trains; `image` adds that of the image, too.

`moving` is the time in which memory could move the bytes that have to be read and
written, at the rate of a large copy. Every measurement has a process of its own; times
are medians over rounds in which the forms alternate. Memory is the peak of the forward
pass above what the process held before it made its inputs, so with inputs and outputs.

Examples:
  python benchmarks/adaptive_grid_sample.py
  python benchmarks/adaptive_grid_sample.py --quick
  python benchmarks/adaptive_grid_sample.py --device cuda
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

from sr_plugins.ops import adaptive_grid_sample, adaptive_grid_sample_reference, library

FORMS = REFERENCE, OPERATOR, COMPILED = 'reference', 'operator', 'compiled'


class Case(NamedTuple):
    """One thing to measure.

    Attributes:
        what: 'forward', 'training' or 'image'.
        scale: of the resampler.
        height: of the HR image.
        width: of the HR image.
        threads: of torch.
    """

    what: str
    scale: int
    height: int
    width: int
    threads: int

    def __str__(self) -> str:
        return (
            f'{self.what} x{self.scale}, {self.height} x {self.width}, '
            f'{self.threads} threads'
        )


SIZES = ((1024, 1024), (1356, 2040))


def cases(quick: bool, threads: list[int]) -> list[Case]:
    if quick:
        return [
            Case(what, 4, *SIZES[0], threads[-1]) for what in ('forward', 'training')
        ]
    return [
        Case(what, scale, *size, number)
        for size in SIZES
        for scale in (2, 4)
        for what in ('forward', 'training', 'image')
        for number in threads
    ]


def make_inputs(case: Case, device: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    rows, columns = case.height // case.scale, case.width // case.scale
    shape = (1, (3 * case.scale + 1) ** 2, rows, columns)
    img = torch.rand(1, 3, case.height, case.width, device=device)
    kernels = torch.rand(shape, device=device)
    kernels.div_(kernels.sum(1, keepdim=True))
    offsets = [torch.empty(shape, device=device).uniform_(-1, 1) for _ in range(2)]
    needed = case.what != 'forward'
    img.requires_grad_(case.what == 'image')
    return [img, *(tensor.requires_grad_(needed) for tensor in (kernels, *offsets))]


def bytes_to_move(case: Case, inputs: list[torch.Tensor]) -> int:
    """Everything once; gradients of a pass backwards are as large as its inputs."""
    img, *maps = (4 * tensor.numel() for tensor in inputs)
    output = img // case.scale**2
    forward = img + sum(maps) + output
    if case.what == 'forward':
        return forward
    backward = output + img + 2 * sum(maps)
    # The image itself is not needed for its own gradient, but the maps are once more.
    extra = output + sum(maps) + img if case.what == 'image' else 0
    return forward + backward + extra


def run_form(case: Case, form: str, device: str, repeats: int) -> dict:
    """Seconds of calls after the first, and bytes at the peak."""
    on_gpu = device.startswith('cuda')
    torch.set_num_threads(case.threads)
    function = adaptive_grid_sample
    if form == REFERENCE:
        function = adaptive_grid_sample_reference
    warm_up(function, device)
    before = held(on_gpu)
    inputs = make_inputs(case, device)
    leaves = [tensor for tensor in inputs if tensor.requires_grad]
    grad = torch.rand(1, 3, *inputs[1].shape[2:], device=device)

    def work() -> None:
        output = function(*inputs, case.scale)
        if leaves:
            torch.autograd.grad(output, leaves, grad)

    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    result = {'seconds': seconds[1:] or seconds, 'peak': peak(on_gpu) - before}
    moved = bytes_to_move(case, inputs)
    return result | {'bytes': moved, 'moving': moved / copy_rate(device, on_gpu)}


def warm_up(function, device: str) -> None:
    """Whatever is set up at the first call."""
    shapes = ((1, 3, 16, 16), *[(1, 169, 4, 4)] * 3)
    small = [torch.rand(shape, device=device, requires_grad=True) for shape in shapes]
    function(*small, 4).sum().backward()


def copy_rate(device: str, on_gpu: bool) -> float:
    """Bytes read and written in a second."""
    source = torch.rand(2**26, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        target.copy_(source)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * 4 * source.numel() / min(seconds[1:])


def held(on_gpu: bool) -> int:
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def peak(on_gpu: bool) -> int:
    if on_gpu:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(case: Case, form: str, device: str, repeats: int) -> dict | None:
    """In a fresh process; None when it ran out of memory."""
    command = [sys.executable, __file__, '--device', device, '--run']
    command.append(json.dumps([list(case), form, repeats]))
    environment = os.environ | {'OMP_NUM_THREADS': str(case.threads)}
    environment.pop('SR_PLUGINS_OPS', None)
    if form != COMPILED:
        environment['SR_PLUGINS_OPS'] = 'reference'
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    failure = done.stderr + done.stdout
    if done.returncode == -9 or 'OutOfMemory' in failure or 'allocate' in failure:
        return None
    sys.exit(f'{case}, {form}, failed:\n{done.stderr[-3000:]}')


def compare(case: Case, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of all forms, printed as a row."""
    runs = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form in FORMS:
            slow = form != COMPILED and not device.startswith('cuda')
            repeats = 10 if not slow else 2 if case.what == 'forward' else 0
            runs[form].append(measure(case, form, device, repeats))
    medians = {}
    for form, found in runs.items():
        if None not in found:
            seconds = [t for run in found for t in run['seconds']]
            medians[form] = {
                'seconds': statistics.median(seconds),
                'peak': statistics.median(run['peak'] for run in found),
                'bytes': found[0]['bytes'],
                'moving': min(run['moving'] for run in found),
            }
    cells = [
        f'{1000 * medians[form]["seconds"]:9.1f} ms'
        if form in medians
        else ' does not fit'
        for form in FORMS
    ]
    if COMPILED in medians:
        ours = medians[COMPILED]
        cells.append(f'{1000 * ours["moving"]:8.1f} ms')
        cells.append(f'{ours["peak"] / 2**20:7.0f} MiB')
        cells += [
            f'{medians[form]["seconds"] / ours["seconds"]:8.1f}'
            for form in (REFERENCE, OPERATOR)
            if form in medians
        ]
    print(f'{case!s:38}' + ''.join(cells), flush=True)
    return medians


def print_claims(found: dict[Case, dict], threads: list[int]) -> None:
    def claim(name: str, ratio: float, target: float) -> None:
        print(f'claim: adaptive_grid_sample_{name} {ratio:.2f} (target >= {target})')

    def forms(what: str, number: int) -> dict:
        return found.get(Case(what, 4, *SIZES[0], number), {})

    most = threads[-1]
    for what, target in (('forward', 12.0), ('training', 40.0)):
        sides = forms(what, most)
        if {REFERENCE, COMPILED} <= sides.keys():
            ratio = sides[REFERENCE]['seconds'] / sides[COMPILED]['seconds']
            claim(f'{what}_speed', ratio, target)
    for what in ('forward', 'training'):
        one, two = (forms(what, number).get(COMPILED) for number in (1, 2))
        if one and two:
            claim(f'{what}_threads', one['seconds'] / two['seconds'], 1.7)
    ours = forms('forward', most).get(COMPILED)
    if ours:
        # Inputs and outputs are half of the peak, or more.
        claim('forward_memory', ours['bytes'] / ours['peak'], 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='two cases, one round')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, ... (cpu)')
    parser.add_argument(
        '--threads', type=int, nargs='+', default=[1, 2], help='of torch (1 2)'
    )
    parser.add_argument('--rounds', type=int, help='of all forms, alternating (3)')
    parser.add_argument('--run', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        fields, form, repeats = json.loads(args.run)
        print(json.dumps(run_form(Case(*fields), form, args.device, repeats)))
        return

    on_gpu = args.device.startswith('cuda')
    kind = 'cuda' if on_gpu else 'cpu'
    if library.state(kind) != 'built':
        option = ' --cuda' if on_gpu else ''
        sys.exit(f'Expected compiled kernels. Build them: {library.BUILD}{option}')
    threads = [1] if on_gpu else sorted(args.threads)
    print(
        f'{args.device}, float32, torch {torch.__version__}, '
        f'{torch.backends.cpu.get_cpu_capability()}, load {os.getloadavg()[0]:.1f}'
    )
    header = ''.join(f'{name:>12}' for name in (*FORMS, 'moving', 'memory'))
    print(f'{"":38}{header}   faster than both')
    rounds = args.rounds or (1 if args.quick else 3)
    found = {
        case: compare(case, args.device, rounds) for case in cases(args.quick, threads)
    }
    print()
    print_claims(found, threads)


if __name__ == '__main__':
    main()
