"""Triton's kernels against the plain form.

On a GPU where there is one. Elsewhere `test_in_the_interpreter` runs this file again,
in a process of its own since all of Triton is interpreted then.
"""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from sr_plugins.layers import cross_scale_attention, shift_sum

TRITON = importlib.util.find_spec('triton') is not None
CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cuda' if CUDA and not INTERPRETED else 'cpu'

here = pytest.mark.skipif(
    not TRITON or not (CUDA or INTERPRETED),
    reason='needs Triton, and a GPU or TRITON_INTERPRET=1',
)

# Images, rows, width; rows and columns of cells; cells in a block.
CASES = [
    (1, 1, 1, 1, 1, 4),
    (2, 1, 5, 1, 7, 4),
    (1, 3, 1, 6, 1, 512),
    (2, 3, 5, 3, 5, 8),
    (2, 3, 5, 3, 5, 32),
    # Wider than a program goes along.
    (1, 2, 18, 2, 3, 4),
    # Cells in several spans of blocks, the last one short.
    (1, 1, 3, 9, 11, 16),
]
# Type, and whether in a window of larger buffers.
KINDS = [(torch.float32, True), (torch.float64, False)]


@pytest.mark.skipif(
    CUDA or INTERPRETED, reason='run on the GPU, or interpreted already'
)
@pytest.mark.skipif(not TRITON, reason='Triton is not installed (no part of CPU torch)')
def test_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__],
        env=os.environ | {'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r'(\d+) passed', done.stdout)[1]) > 35, done.stdout


@pytest.fixture
def kernels(monkeypatch):
    """The kernels; the functions of `shift_sum` are the plain form meanwhile."""
    from sr_plugins.layers import shift_sum_triton

    # Several spans and groups in small matrices.
    monkeypatch.setattr(shift_sum_triton, '_SPAN', 2)
    monkeypatch.setattr(shift_sum_triton, '_GROUP', 6)
    monkeypatch.setattr(shift_sum_triton, '_BLOCK', 4)
    monkeypatch.setattr(shift_sum, 'KERNEL_DEVICES', set())
    return shift_sum_triton


def random(*shape, dtype=torch.float32, strided=False, seed=0):
    """With columns of padding; as a window of larger buffers."""
    rng = torch.Generator().manual_seed(seed)
    images, rows, width, *_ = shape
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    x = F.pad(x, (0, 1)).flatten(3).to(DEVICE, dtype)
    if not strided:
        return x
    buffer = x.new_full((images + 1, rows + 3, width + 2, x.shape[3]), torch.nan)
    buffer[1:, 1 : rows + 1, 2:] = x
    return buffer[1:, 1 : rows + 1, 2:]


def case(size, dtype, strided=False):
    """Products, gain, stride, and what is filled, as `match` takes them."""
    images, rows, width, *cells = size
    products = random(images, rows + 2, width, *cells, dtype=dtype, strided=strided)
    gain = random(images, 1, 1, *cells, dtype=dtype, seed=1).abs()
    filled = [
        random(*size, dtype=dtype, strided=strided).fill_(torch.nan) for _ in range(3)
    ]
    return products, gain, cells[1] + 1, filled


def assert_same(found, expected, size=1.0):
    bound = {torch.float32: 1e-5, torch.float64: 1e-13}[found.dtype] * size
    torch.testing.assert_close(found, expected, rtol=bound, atol=bound)


def inside(matrix, stride):
    return matrix.unflatten(-1, (-1, stride))[..., :-1]


@here
@pytest.mark.parametrize('sizes', CASES)
@pytest.mark.parametrize(('dtype', 'strided'), KINDS)
def test_shift_sum(kernels, sizes, dtype, strided):
    *size, kernels._BLOCK = sizes
    matrix, _, stride, (scratch, expected, found) = case(size, dtype, strided)
    shift_sum.shift_sum(matrix, stride, scratch, expected)
    kernels.shift_sum(matrix, stride, scratch, found)
    assert torch.equal(inside(found, stride), inside(expected, stride))
    assert found.isfinite().all()


@here
@pytest.mark.parametrize('sizes', CASES)
@pytest.mark.parametrize(('dtype', 'strided'), KINDS)
def test_match_and_back(kernels, sizes, dtype, strided):
    *size, kernels._BLOCK = sizes
    products, gain, stride, filled = case(size, dtype, strided)
    scratch, sums, weights = filled
    shift_sum.match(products, gain, stride, scratch, sums, weights)
    found_sums, found = (x.clone().fill_(torch.nan) for x in (sums, weights))
    kernels.match(products, gain, stride, scratch, found_sums, found)
    assert_same(found, weights)
    assert torch.equal(inside(found_sums, stride), inside(sums, stride))
    assert not found.unflatten(-1, (-1, stride))[..., -1].any()

    grad = random(*size, dtype=dtype, strided=strided, seed=2)
    out, found = (torch.full_like(x, torch.nan) for x in (grad, weights))
    found_gain = kernels.match_backward(grad, weights, sums, gain, found)
    expected_gain = shift_sum.match_backward(grad, weights, sums, gain, out)
    assert_same(found, out)
    assert_same(found_gain, expected_gain, size=10)


@here
@pytest.mark.parametrize('block', [4, 32])
def test_scores_that_overflow(kernels, block):
    """Exponentials of the scores are infinite, or all zero."""
    kernels._BLOCK = block
    for offset in (-1e4, 1e4):
        products, gain, stride, filled = case((1, 2, 3, 4, 5), torch.float32)
        scratch, sums, expected = filled
        inside(products, stride).mul_(100).add_(offset)
        shift_sum.match(products, gain, stride, scratch, sums, expected)
        found = torch.full_like(expected, torch.nan)
        kernels.match(products, gain, stride, scratch, sums, found)
        assert_same(found, expected)
        assert_same(found.sum(-1), torch.ones_like(found.sum(-1)))


@here
def test_not_a_number_is_kept(kernels):
    products, gain, stride, filled = case((1, 2, 3, 2, 2), torch.float32)
    scratch, sums, expected = filled
    products[0, 2, 1, 0] = torch.nan
    shift_sum.match(products, gain, stride, scratch, sums, expected)
    found = torch.zeros_like(expected)
    kernels.match(products, gain, stride, scratch, sums, found)
    assert torch.equal(inside(found, stride).isnan(), inside(expected, stride).isnan())


@here
def test_same_result_each_time(kernels):
    results = []
    for _ in range(2):
        products, gain, stride, (scratch, sums, out) = case(
            (2, 2, 3, 3, 5), torch.float32
        )
        kernels.match(products, gain, stride, scratch, sums, out)
        d_sums = torch.empty_like(out)
        d_gain = kernels.match_backward(sums, out, sums, gain, d_sums)
        results.append((out, d_sums, d_gain))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@here
@pytest.mark.parametrize(
    ('factor', 'budget', 'dtype'),
    [(2, 1e-6, torch.float32), (3, None, torch.float32), (2, None, torch.float64)],
)
def test_attention_through_the_kernels(monkeypatch, factor, budget, dtype):
    """Forward and backward, by the way that a GPU's tensors take."""
    from sr_plugins.layers import shift_sum_triton

    rng = torch.Generator().manual_seed(0)
    shapes = (2, 6, 2 * factor, 3 * factor), (2, 6, 2, 3)
    shapes = *shapes, (2, 4, 2 * factor, 3 * factor)
    inputs = [
        torch.randn(shape, generator=rng).to(DEVICE, dtype).requires_grad_()
        for shape in shapes
    ]
    used = []
    for name in ('shift_sum', 'match', 'match_backward'):
        kernel = getattr(shift_sum_triton, name)
        monkeypatch.setattr(
            shift_sum_triton,
            name,
            lambda *args, name=name, kernel=kernel: used.append(name) or kernel(*args),
        )
    results = []
    for devices in (set(), {DEVICE}):
        monkeypatch.setattr(shift_sum, 'KERNEL_DEVICES', devices)
        output = cross_scale_attention(*inputs, factor, budget)
        weights = torch.linspace(-1, 1, output.numel()).to(output).view_as(output)
        results.append([output, *torch.autograd.grad(output, inputs, weights)])
        assert len(set(used)) == 3 * len(devices)
    for expected, found in zip(*results, strict=True):
        assert_same(found, expected, size=10 * float(expected.detach().abs().max()))


def test_switched_off(monkeypatch):
    """By the environment, whatever is installed."""
    monkeypatch.setattr(shift_sum, 'KERNEL_DEVICES', {'cpu'})
    shift_sum._usable.cache_clear()
    monkeypatch.setenv('SR_PLUGINS_TRITON', '0')
    assert shift_sum._kernels(torch.ones(1)) is None
    shift_sum._usable.cache_clear()


def test_not_installed(monkeypatch):
    monkeypatch.setattr(shift_sum, 'KERNEL_DEVICES', {'cpu'})
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    shift_sum._usable.cache_clear()
    assert shift_sum._kernels(torch.ones(1)) is None
    shift_sum._usable.cache_clear()


@pytest.mark.parametrize('fault', ['raises', 'differs'])
def test_kernels_that_do_not_work_are_left_out(monkeypatch, fault):
    def agree(device):
        if fault == 'raises':
            raise RuntimeError('no C compiler')
        return False

    monkeypatch.setattr(shift_sum, 'KERNEL_DEVICES', {'cpu'})
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
    monkeypatch.setattr(shift_sum, '_agree', agree)
    shift_sum._usable.cache_clear()
    match = 'no C compiler' if fault == 'raises' else 'other results'
    with pytest.warns(UserWarning, match=f'{match}.*SR_PLUGINS_TRITON=0'):
        assert shift_sum._kernels(torch.ones(1)) is None
    shift_sum._usable.cache_clear()


@here
def test_kernels_agree_before_they_are_used():
    assert shift_sum._agree(torch.device(DEVICE))


def test_a_cpu_takes_the_plain_form():
    assert shift_sum._kernels(torch.ones(1)) is None
