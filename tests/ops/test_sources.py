"""The C++ and CUDA sources by themselves, apart from torch."""

import ctypes
import subprocess
from pathlib import Path

import pytest
import torch
from ops.cases import agree, make

from sr_plugins.ops import adaptive_grid_sample_reference as reference
from sr_plugins.ops import build, library

HERE = Path(__file__).parent


def compiler(find):
    try:
        return find()
    except build.BuildError as error:
        return pytest.skip(str(error))


def compile_here(*flags):
    command = [compiler(build._cpp_compiler), f'-I{library.SOURCES}', *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_loops_stay_within_their_buffers(tmp_path):
    """Under AddressSanitizer: borders, huge offsets, and such that are not finite."""
    program = tmp_path / 'loops'
    sanitizers = 'address,undefined,float-cast-overflow'
    compile_here(
        *build.LOOP_FLAGS,
        *('-O1', '-g', f'-fsanitize={sanitizers}', '-fno-sanitize-recover=all'),
        *('-DSR_PLUGINS_ISA=baseline', '-o', program),
        *(HERE / 'loops_sanitized.cpp', library.SOURCES / 'cpu/loops.cpp'),
    )
    done = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, 'done\n'), done.stdout + done.stderr


def test_loops_leave_nothing_to_mix_up(tmp_path):
    """The linker keeps one of each name: none may occur in two sets of instructions."""
    names = []
    for isa in ('baseline', 'avx2'):
        flags = build.INSTRUCTIONS[isa] if build.X86 else []
        found = tmp_path / f'{isa}.o'
        compile_here(
            *(*build.LOOP_FLAGS, '-O0', *flags, f'-DSR_PLUGINS_ISA={isa}', '-c'),
            *(library.SOURCES / 'cpu/loops.cpp', '-o', found),
        )
        text = subprocess.run(
            ['nm', '--defined-only', '--extern-only', found],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        names.append({line.split()[-1] for line in text.splitlines()})
    assert names[0]
    assert not names[0] & names[1]


@pytest.fixture(scope='module')
def threads(tmp_path_factory):
    """The code of a GPU's threads, run one after the other on the CPU."""
    path = tmp_path_factory.mktemp('threads') / 'threads.so'
    compile_here(
        *('-std=c++17', '-O1', '-Wall', '-Wextra', '-shared', '-fPIC'),
        *(HERE / 'threads_on_host.cpp', '-o', path),
    )
    return ctypes.CDLL(path)


def run_threads(threads, inputs, grad, scale, unit=0.0):
    n, channels = inputs[0].shape[:2]
    outputs = [torch.zeros_like(tensor) for tensor in (grad, *inputs[1:], inputs[0])]
    # At one channel at a time, or three, as far as they go.
    run = threads.run_three if channels % 3 == 0 else threads.run_one
    run(
        (ctypes.c_int64 * 5)(n, channels, *grad.shape[2:], scale),
        (ctypes.c_void_p * 5)(*(tensor.data_ptr() for tensor in (*inputs, grad))),
        (ctypes.c_void_p * 5)(*(tensor.data_ptr() for tensor in outputs)),
        ctypes.c_double(unit),
    )
    output, *maps, d_img = outputs
    return [output, d_img, *maps]


def expected_of(inputs, grad, scale):
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = reference(*leaves, scale)
    return [output, *torch.autograd.grad(output, leaves, grad)]


THREAD_CASES = [
    (1, 1, 1, 3, 5, 1.0),
    (2, 2, 3, 4, 5, 9.0),
    (3, 1, 2, 3, 4, 1e3),
    (4, 1, 6, 2, 7, 1.0),
]


@pytest.mark.parametrize('case', THREAD_CASES, ids=str)
def test_threads_of_a_gpu(threads, case):
    inputs = make(*case)
    grad = torch.rand(*case[1:5], dtype=torch.float64) - 0.5
    found = run_threads(threads, inputs, grad, case[0])
    agree(found, expected_of(inputs, grad, case[0]), 1e-12)


def test_fixed_point_of_a_gpu(threads):
    """Sums in whole units, at which a GPU arrives in any order."""
    inputs = make(2, 2, 3, 4, 5, 9.0)
    grad = torch.rand(2, 3, 4, 5, dtype=torch.float64) - 0.5
    bound = grad.abs().max() * inputs[1].abs().max()
    unit = float(bound) * inputs[1][0].numel() * 2.0**-62
    found = run_threads(threads, inputs, grad, 2, unit)
    agree(found, expected_of(inputs, grad, 2), 1e-12)


def test_offsets_that_are_not_finite_on_a_gpu(threads):
    """They give NaN where they are, and read nothing outside the image."""
    inputs = make(2, 1, 3, 4, 5, 1.0)
    bad = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e308])
    inputs[2][0, 7, 0, :4] = inputs[3][0, 9, 2, :4] = bad
    output = run_threads(threads, inputs, torch.ones(1, 3, 4, 5).double(), 2)[0]
    wrong = torch.zeros(4, 5, dtype=torch.bool)
    wrong[0, :4] = wrong[2, :4] = True
    assert torch.equal(output.isnan()[0], wrong.expand(3, -1, -1))


def test_cuda_compiles_without_warnings(capsys, monkeypatch):
    """For all architectures at once; warnings are errors."""
    compiler(build._nvcc)
    # Without linking, which needs a torch with CUDA.
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    build.build_cuda()
    text = capsys.readouterr().out
    assert 'the kernels compile' in text
    for number in ('75', '80', '86', '89', '90'):
        assert f'code=sm_{number}' in text
