"""Compile the kernels for the torch at hand: python -m sr_plugins.ops.build.

The compilers are called as they are. torch.utils.cpp_extension wants Python's headers
and ninja, which nothing here needs, and its builds break in a folder with a space.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from sr_plugins.fileio import atomic_path

from .library import SOURCES, library_path, state

__all__ = ['BuildError', 'build_cpu', 'build_cuda', 'main']

ARCHITECTURES = ('7.5', '8.0', '8.6', '8.9', '9.0', '10.0', '12.0')
# Of loops.cpp. Names are those of its namespaces; torch tells which to use.
INSTRUCTIONS = {
    'baseline': [],
    'avx2': ['-mavx2', '-mfma'],
    'avx512': [
        *('-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma'),
        '-mprefer-vector-width=512',
    ],
}
# No flag that changes results but for the fused multiply-add.
LOOP_FLAGS = [
    *('-std=c++17', '-O3', '-fPIC', '-ffp-contract=fast', '-fno-math-errno'),
    *('-fno-trapping-math', '-Wall', '-Wextra', '-Wno-psabi'),
]
NVCC_FLAGS = [
    *('-std=c++17', '-O3', '-Xcompiler', '-fPIC,-Wall,-Wextra'),
    *('-Werror', 'all-warnings'),
]
X86 = platform.machine() in ('x86_64', 'AMD64')


class BuildError(Exception):
    """What is missing or went wrong, and the remedy."""


def build_cpu() -> None:
    """Compile the kernels for CPUs.

    Raises:
        BuildError: without a compiler, on its errors, where a file cannot be written,
            and when the result does not work.
    """
    compiler = _cpp_compiler()
    binding = [*_binding_flags(), '-fopenmp', *(['-DSR_PLUGINS_X86'] if X86 else [])]
    with _new_library('cpu') as target, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = {'binding': [*binding, SOURCES / 'cpu/adaptive_grid_sample.cpp']}
        for isa, flags in INSTRUCTIONS.items():
            if X86 or not flags:
                defined = [*LOOP_FLAGS, *flags, f'-DSR_PLUGINS_ISA={isa}']
                jobs[isa] = [*defined, SOURCES / 'cpu/loops.cpp']
        commands = [
            [compiler, *flags, '-c', '-o', folder / f'{job}.o']
            for job, flags in jobs.items()
        ]
        _run_all(commands)
        # Not with -fopenmp: functions of OpenMP are to be those that torch brings.
        _link(compiler, folder, ['-ltorch_cpu', '-lc10'], target)


def build_cuda(architectures: Sequence[str] = ()) -> None:
    """Compile the kernels for GPUs, of which none has to be there.

    Under a torch without CUDA this only tells whether they compile.

    Args:
        architectures: compute capabilities such as '8.6'; by default those of the GPUs
            at hand, or all of `ARCHITECTURES` that nvcc knows.

    Raises:
        BuildError: without nvcc or one that fits torch, and as `build_cpu`.
    """
    nvcc = _nvcc()
    kernels = [nvcc, *NVCC_FLAGS, *_targets(nvcc, architectures), '--threads', '0']
    kernels += [SOURCES / 'cuda/kernels.cu', '-c', '-o']
    if not torch.version.cuda:
        with tempfile.TemporaryDirectory() as name:
            _run_all([[*kernels, Path(name) / 'kernels.o']])
        _say(
            f'torch {torch.__version__} is without CUDA: the kernels compile, and '
            f'there is nothing to link them to.'
        )
        return
    _check_cuda_version(nvcc)
    compiler, root = _cpp_compiler(), _toolkit(nvcc)
    binding = [compiler, *_binding_flags(), '-isystem', root / 'include']
    binding += [SOURCES / 'cuda/adaptive_grid_sample.cpp', '-c', '-o']
    libraries = [f'-L{root / "lib64"}', '-lcudart']
    libraries += ['-ltorch_cpu', '-ltorch_cuda', '-lc10', '-lc10_cuda']
    with _new_library('cuda') as target, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run_all([[*kernels, folder / 'kernels.o'], [*binding, folder / 'binding.o']])
        _link(compiler, folder, libraries, target)


def _cpp_compiler() -> str:
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['g++', 'c++']
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise BuildError(
        f'Expected a C++ compiler, but found no {" or ".join(names)}. Install one (apt '
        f'install g++), or name it in the environment (CXX=...).'
    )


def _nvcc() -> str:
    homes = [os.environ.get(name) for name in ('CUDA_HOME', 'CUDA_PATH')]
    places = [Path(home) / 'bin/nvcc' for home in homes if home]
    for place in [*places, 'nvcc', '/usr/local/cuda/bin/nvcc']:
        path = shutil.which(place)
        if path:
            return path
    raise BuildError(
        "Expected nvcc, but found none. Install NVIDIA's CUDA toolkit, or name its "
        'folder in the environment (CUDA_HOME=...).'
    )


def _toolkit(nvcc: str) -> Path:
    """The folder with CUDA's headers; `nvcc` may be a script that calls another."""
    for root in (Path(nvcc).resolve().parents[1], Path('/usr/local/cuda')):
        if (root / 'include/cuda_runtime_api.h').exists():
            return root
    raise BuildError(
        f"Expected CUDA's headers beside {nvcc}, but found none. Name the toolkit's "
        f'folder in the environment (CUDA_HOME=...).'
    )


def _check_cuda_version(nvcc: str) -> None:
    text = _output([nvcc, '--version'])
    found = re.search(r'release (\d+)\.(\d+)', text)
    if not found or found[1] != torch.version.cuda.partition('.')[0]:
        version = f'{found[1]}.{found[2]}' if found else text.strip()
        raise BuildError(
            f'Expected the nvcc of CUDA {torch.version.cuda}, for which torch '
            f'{torch.__version__} was built, or of the same major version, but '
            f'{nvcc} is of {version}. Name another one in the environment '
            f'(CUDA_HOME=...).'
        )


def _targets(nvcc: str, architectures: Sequence[str]) -> list[str]:
    known = re.findall(r'compute_(\d+)', _output([nvcc, '--list-gpu-arch']))
    if architectures:
        wanted = [name.replace('.', '') for name in architectures]
        for name, number in zip(architectures, wanted, strict=True):
            if number not in known:
                raise BuildError(
                    f'Expected `--arch` to be of {", ".join(map(_dotted, known))}, '
                    f'which {nvcc} knows, but got {name!r}.'
                )
    elif torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        wanted = sorted(
            {'{}{}'.format(*torch.cuda.get_device_capability(i)) for i in devices},
            key=int,
        )
    else:
        numbers = [name.replace('.', '') for name in ARCHITECTURES]
        wanted = [number for number in numbers if number in known]
    _say(f'architectures  {", ".join(map(_dotted, wanted))}')
    codes = [f'arch=compute_{number},code=sm_{number}' for number in wanted]
    # GPUs to come compile this form of the newest.
    newest = max(wanted, key=int)
    codes.append(f'arch=compute_{newest},code=compute_{newest}')
    return [word for code in codes for word in ('-gencode', code)]


def _dotted(number: str) -> str:
    return f'{number[:-1]}.{number[-1]}'


def _binding_flags() -> list[str | Path]:
    abi = int(torch.compiled_with_cxx11_abi())
    return [
        *('-std=c++20', '-O2', '-fPIC', '-Wall', '-Wextra'),
        f'-D_GLIBCXX_USE_CXX11_ABI={abi}',
        *('-isystem', Path(torch.__file__).parent / 'include'),
    ]


@contextmanager
def _new_library(kind: str) -> Iterator[Path]:
    """A file that becomes the library when the block succeeds and the file works."""
    target = library_path(kind)
    try:
        with atomic_path(target) as temporary:
            yield temporary
            _check(temporary, kind)
    except OSError as error:
        raise BuildError(
            f'Expected to write to {target.parent}, but: {error}. Build as a user who '
            f'may, or install the package where you may.'
        ) from error
    # Of older sources; those of another torch may serve another environment.
    same = f'{kind}-torch{torch.__version__}-{platform.machine()}-*.so'
    for path in target.parent.glob(same):
        if path != target:
            path.unlink(missing_ok=True)
    _say(f'output         {target}')


def _link(compiler: str, folder: Path, libraries: list[str], target: Path) -> None:
    objects = sorted(folder.glob('*.o'))
    torch_folder = Path(torch.__file__).parent / 'lib'
    flags = ['-shared', *objects, f'-L{torch_folder}', *libraries, '-o', target]
    _run_all([[compiler, *flags]])


def _check(path: Path, kind: str) -> None:
    """Hold the library against the reference, in a process that may crash."""
    code = (
        'import sys, torch\n'
        'from sr_plugins.ops import adaptive_grid_sample_reference as reference\n'
        'torch.ops.load_library(sys.argv[1])\n'
        'if sys.argv[2] == "cpu" or torch.cuda.is_available():\n'
        '    shapes = [(2, 3, 14, 18), *[(2, 49, 7, 9)] * 3]\n'
        '    inputs = [torch.rand(shape, device=sys.argv[2]) for shape in shapes]\n'
        '    output = torch.ops.sr_plugins.adaptive_grid_sample(*inputs, 2)\n'
        '    torch.testing.assert_close(output, reference(*inputs, 2))\n'
    )
    environment = os.environ | {'SR_PLUGINS_OPS': 'reference'}
    done = subprocess.run(
        [sys.executable, '-c', code, path, kind],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BuildError(
            f'Expected the new library to load and to give the results of torch, but '
            f'got status {done.returncode} and\n{done.stderr.strip()}\n'
            f'Try another compiler (CXX=g++).'
        )


def _run_all(commands: Sequence[Sequence[str | Path]]) -> None:
    """At a time as many as there are cores."""
    for command in commands:
        _say('command        ' + shlex.join(map(str, command)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(_run, commands):
            sys.stdout.write(done.stderr)
            if done.returncode:
                raise BuildError(
                    f'Expected {shlex.join(map(str, done.args))} to succeed, but got '
                    f'status {done.returncode}. Its messages stand above.'
                )


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def _output(command: Sequence[str]) -> str:
    done = _run(command)
    if done.returncode:
        raise BuildError(
            f'Expected {shlex.join(command)} to succeed, but got status '
            f'{done.returncode}: {done.stderr.strip()}'
        )
    return done.stdout


def _say(line: str) -> None:
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is asked for; return 1 where that fails, else 0."""
    parser = argparse.ArgumentParser(
        prog='python -m sr_plugins.ops.build', description=__doc__.partition('\n')[0]
    )
    parser.add_argument(
        '--cuda', action='store_true', help='for GPUs as well; needs nvcc, but no GPU'
    )
    parser.add_argument(
        '--arch',
        help='compute capabilities, separated by commas (those of the GPUs at hand, '
        'else all)',
    )
    parser.add_argument(
        '--force', action='store_true', help='also where the library is up to date'
    )
    args = parser.parse_args(argv)
    if args.arch and not args.cuda:
        parser.error('Expected `--cuda` with `--arch`.')
    for kind in ('cpu', 'cuda') if args.cuda else ('cpu',):
        start = time.perf_counter()
        _say(f'kernels        {kind}, for torch {torch.__version__}')
        wanted = args.force or (kind == 'cuda' and args.arch)
        try:
            if state(kind) == 'built' and not wanted:
                _say(f'up to date     {library_path(kind)}')
            elif kind == 'cpu':
                build_cpu()
            else:
                build_cuda(args.arch.split(',') if args.arch else ())
        except BuildError as error:
            sys.stderr.write(
                f'{error}\nNo kernels were built for {kind}: torch serves, slower.\n'
            )
            return 1
        _say(f'time           {time.perf_counter() - start:.0f} s\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
