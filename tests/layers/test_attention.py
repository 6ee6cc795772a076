"""Both attentions against the authors' outputs, loops over pixels, the plain form."""

import golden
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sr_plugins.archs.csnln import CrossScaleAttention
from sr_plugins.layers import (
    cross_scale_attention,
    cross_scale_attention_reference,
    in_scale_attention,
    in_scale_attention_reference,
)
from sr_plugins.layers.in_scale import fused_attention
from sr_plugins.layers.shift_sum import shift_sum

NAMES = {'conv_match_1': 'query', 'conv_match_2': 'key', 'conv_assembly': 'value'}


@pytest.mark.parametrize('factor', [2, 3])
@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)
def test_cross_scale_golden(factor, dtype, bound):
    case = f'cross_scale_s{factor}'
    info = golden.CASES[case]
    module = CrossScaleAttention(128, factor)
    state = {}
    for key, value in golden.state_dict(case).items():
        head, _, rest = key.partition('.')
        if head in NAMES:
            state[f'{NAMES[head]}.{rest}'] = value
    module.load_state_dict(state)
    module.to(dtype)
    rng = np.random.default_rng(info['seed'])
    x = rng.standard_normal((1, 128, info['h'], info['w'])).astype(np.float32)
    with torch.no_grad():
        y = module(torch.from_numpy(x).to(dtype))
    assert golden.relative_error(y, golden.expected(case)['y']) < bound


@pytest.mark.parametrize(
    'attend', [cross_scale_attention, cross_scale_attention_reference]
)
def test_cross_scale_against_loops(attend):
    """Scores and overlap written out pixel by pixel, batch of two."""
    torch.manual_seed(0)
    factor, height, width = 2, 4, 6
    query = torch.randn(2, 3, height, width, dtype=torch.float64)
    key = torch.randn(2, 3, height // factor, width // factor, dtype=torch.float64)
    value = torch.randn(2, 2, height, width, dtype=torch.float64)
    target = torch.stack([_loops(query[n], key[n], value[n], factor) for n in range(2)])
    output = attend(query, key, value, factor)
    torch.testing.assert_close(output, target, rtol=1e-12, atol=1e-12)


def _loops(query, key, value, factor):
    height, width = query.shape[1:]
    rows, columns = key.shape[1:]
    padded_query, padded_key = F.pad(query, (1,) * 4), F.pad(key, (1,) * 4)
    padded_value = F.pad(value, (factor,) * 4)
    margin = factor
    canvas = torch.zeros(
        value.shape[0], height * factor + 2 * margin, width * factor + 2 * margin
    ).double()
    for i in range(height):
        for j in range(width):
            patch = padded_query[:, i : i + 3, j : j + 3]
            scores, patches = [], []
            for k in range(rows):
                for m in range(columns):
                    match = padded_key[:, k : k + 3, m : m + 3]
                    norm = match.square().sum().sqrt().clamp_min(1e-4)
                    scores.append((patch * match).sum() / norm)
                    top, left = k * factor, m * factor
                    size = 3 * factor
                    patches.append(
                        padded_value[:, top : top + size, left : left + size]
                    )
            weights = (10 * torch.stack(scores)).softmax(0)
            mix = (weights.view(-1, 1, 1, 1) * torch.stack(patches)).sum(0)
            top, left = i * factor, j * factor
            canvas[:, top : top + 3 * factor, left : left + 3 * factor] += mix
    inside = canvas[:, margin:-margin, margin:-margin]
    return inside / 6


def _fused(query, key, value):
    output = fused_attention(*(x.flatten(2) for x in (query, key, value)))
    return output.unflatten(2, value.shape[2:])


@pytest.mark.parametrize(
    'attend', [in_scale_attention, in_scale_attention_reference, _fused]
)
def test_in_scale_against_loops(attend):
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 4, 3, 5, dtype=torch.float64)
    value = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    output = attend(query, key, value)
    for n in range(2):
        for p in range(15):
            scores = [
                query[n].flatten(1)[:, p] @ key[n].flatten(1)[:, q] for q in range(15)
            ]
            weights = torch.stack(scores).softmax(0)
            target = (weights * value[n].flatten(1)).sum(1)
            torch.testing.assert_close(output[n].flatten(1)[:, p], target)


# Key grids of one cell, one row, one column, odd and even sides.
GRIDS = [(1, 1), (2, 1), (1, 5), (3, 5), (4, 4), (7, 6)]
# MiB: less than a row, a few rows, all.
BUDGETS = [1e-6, 0.02, None]
BOUNDS = {torch.float32: 1e-4, torch.float64: 1e-9}


def cross_scale_inputs(grid, factor, n=2, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    size = [side * factor for side in grid]
    shapes = [(n, 6, *size), (n, 6, *grid), (n, 5, *size)]
    return [torch.randn(s, generator=rng, dtype=dtype) for s in shapes]


def in_scale_inputs(size, n=2, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(n, c, *size, generator=rng, dtype=dtype) for c in (3, 3, 5)]


def results(function, inputs):
    """Output, and the gradients of a sum with random weights."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*inputs)
    rng = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=rng).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, inputs, weights)]


def assert_same(found, expected, bound):
    for a, b in zip(found, expected, strict=True):
        # What should be zero is held against 1.
        size = max(float(b.abs().max()), 1.0)
        assert float((a.double() - b.double()).abs().max()) <= bound * size


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('factor', [2, 3])
@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('dtype', BOUNDS)
def test_cross_scale_is_the_plain_form(grid, factor, dtype, budget):
    inputs = cross_scale_inputs(grid, factor, dtype=dtype)
    expected = results(
        lambda *x: cross_scale_attention_reference(*x, factor),
        [x.double() for x in inputs],
    )
    found = results(lambda *x: cross_scale_attention(*x, factor, budget), inputs)
    assert found[0].dtype == dtype
    assert_same(found, expected, BOUNDS[dtype])


@pytest.mark.parametrize('size', [(1, 1), (1, 6), (5, 7)])
@pytest.mark.parametrize('budget', BUDGETS)
@pytest.mark.parametrize('dtype', BOUNDS)
def test_in_scale_is_the_plain_form(size, dtype, budget):
    inputs = in_scale_inputs(size, dtype=dtype)
    expected = results(in_scale_attention_reference, [x.double() for x in inputs])
    found = results(lambda *x: in_scale_attention(*x, budget), inputs)
    assert_same(found, expected, BOUNDS[dtype])


@pytest.mark.parametrize('factor', [2, 3])
def test_gradients_against_differences(factor):
    inputs = [
        x.requires_grad_()
        for x in cross_scale_inputs((2, 5 - factor), factor, n=1, seed=2)
    ]
    assert torch.autograd.gradcheck(
        lambda *x: cross_scale_attention(*x, factor, 1e-6), inputs, fast_mode=True
    )
    inputs = [x.requires_grad_() for x in in_scale_inputs((2, 3))]
    assert torch.autograd.gradcheck(
        lambda *x: in_scale_attention(*x, 1e-6), inputs, fast_mode=True
    )


def test_strided_inputs():
    """As channels_last and slices of larger maps give them."""
    inputs = cross_scale_inputs((3, 4), 2)
    expected = results(lambda *x: cross_scale_attention(*x, 2), inputs)
    strided = [x.to(memory_format=torch.channels_last) for x in inputs]
    assert_same(
        results(lambda *x: cross_scale_attention(*x, 2), strided), expected, 1e-12
    )
    inputs = in_scale_inputs((3, 4))
    strided = [F.pad(x, (1, 1))[..., 1:-1] for x in inputs]
    expected = results(in_scale_attention, inputs)
    assert_same(results(in_scale_attention, strided), expected, 1e-12)


def both(inputs, budget=None):
    cross, own = inputs
    return [
        *results(lambda *x: cross_scale_attention(*x, 2, budget), cross),
        *results(lambda *x: in_scale_attention(*x, budget), own),
    ]


def test_results_do_not_depend_on_how_they_are_computed():
    """Budget, threads and company in the batch, at the width of the network."""
    torch.manual_seed(0)
    query, own_key = torch.randn(2, 3, 64, 16, 18)
    key, value = torch.randn(3, 64, 8, 9), torch.randn(3, 128, 16, 18)
    inputs = [query, key, value], [query, own_key, value]
    expected = both(inputs)
    assert_same(both(inputs), expected, 0)
    for budget in (1e-6, 0.5, 2, 1e6):
        assert_same(both(inputs, budget), expected, 1e-6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert_same(both(inputs), expected, 1e-6)
    finally:
        torch.set_num_threads(threads)
    query, key, value = (x[1:2] for x in inputs[0])
    alone = cross_scale_attention(query, key, value, 2)
    assert_same([alone], [expected[0][1:2]], 1e-6)
    alone = in_scale_attention(query, own_key[1:2], value)
    assert_same([alone], [expected[4][1:2]], 1e-6)


def test_keys_of_zero():
    """Patches without content weigh alike, and have finite gradients."""
    query, key, value = cross_scale_inputs((3, 3), 2)
    for keys in (torch.zeros_like(key), key * 1e-7):
        inputs = [query, keys, value]
        found = results(lambda *x: cross_scale_attention(*x, 2), inputs)
        expected = results(lambda *x: cross_scale_attention_reference(*x, 2), inputs)
        assert all(x.isfinite().all() for x in found)
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[3], expected[3])


@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.bfloat16, 0.02), (torch.float16, 0.003)]
)
@pytest.mark.parametrize('size', [1, 1000])
def test_low_precision(dtype, bound, size):
    """Scores beyond 65504 do not overflow, inside autocast nor outside."""
    torch.manual_seed(0)
    query, own_key = (size * torch.randn(2, 1, 64, 6, 8)).to(dtype)
    key, value = torch.randn(1, 64, 3, 4).to(dtype), torch.randn(1, 9, 6, 8).to(dtype)
    key = size * key
    inputs = [query, key, value], [query, own_key, value]
    assert size == 1 or (query.double() * own_key.double()).sum(1).max() > 65504
    expected = [
        cross_scale_attention_reference(*(x.double() for x in inputs[0]), 2),
        in_scale_attention_reference(*(x.double() for x in inputs[1])),
    ]
    for enabled in (True, False):
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            found = both(inputs)
        assert all(x.isfinite().all() and x.dtype == dtype for x in found)
        assert_same([found[0], found[4]], expected, bound)


def test_shift_sum_against_loops():
    """All nine shifts of both indices, where both pixel and cell exist."""
    rows, width, cell_rows, cell_columns = 3, 4, 2, 5
    torch.manual_seed(0)
    matrix = torch.randn(1, rows + 2, width, cell_rows, cell_columns)
    expected = torch.zeros(1, rows, width, cell_rows, cell_columns)
    for i, j, k, m in np.ndindex(expected.shape[1:]):
        for a, b in np.ndindex(3, 3):
            pixel, cell = (i + a, j + b - 1), (k + a - 1, m + b - 1)
            if not 0 <= pixel[1] < width:
                continue
            if 0 <= cell[0] < cell_rows and 0 <= cell[1] < cell_columns:
                expected[0, i, j, k, m] += matrix[(0, *pixel, *cell)]
    padded = F.pad(matrix, (0, 1)).flatten(3)
    out = torch.full_like(padded[:, 1:-1], torch.nan)
    shift_sum(padded, cell_columns + 1, torch.full_like(out, torch.nan), out)
    assert out.isfinite().all()
    out = out.unflatten(3, (cell_rows, cell_columns + 1))[..., :-1]
    torch.testing.assert_close(out, expected)


def test_operators_keep_their_promises():
    """Schema, fake kernel and autograd agree, for torch.compile."""
    ops = torch.ops.sr_plugins
    query, key, value = cross_scale_inputs((2, 3), 2)
    inputs = [query, key, torch.rand(2, 1, 2, 3).double(), value]
    for x in inputs:
        x.requires_grad_()
    torch.library.opcheck(ops.cross_scale_attention.default, (*inputs, 2, None))
    inputs = [x.flatten(2).requires_grad_() for x in in_scale_inputs((2, 3))]
    torch.library.opcheck(ops.in_scale_attention.default, (*inputs, 1e-6))


@pytest.mark.parametrize('budget', [0, -1.0, float('nan')])
def test_wrong_budget(budget):
    message = 'Expected `memory_budget_mb` to be positive or None'
    with pytest.raises(ValueError, match=message):
        cross_scale_attention(*cross_scale_inputs((1, 1), 2), 2, budget)
    with pytest.raises(ValueError, match=message):
        in_scale_attention(*in_scale_inputs((1, 1)), budget)


def test_wrong_sizes():
    query, key, value = cross_scale_inputs((2, 3), 2)
    for wrong in (
        (query[..., :-1], key, value[..., :-1]),
        (query, key[..., :-1], value),
        (query, key, value[:1]),
    ):
        with pytest.raises(ValueError, match=r'Expected `query` to be \(N, C, H, W\)'):
            cross_scale_attention(*wrong, 2)
