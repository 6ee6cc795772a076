"""Both attentions against the authors' outputs and against loops over pixels."""

import golden
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sr_plugins.archs.csnln import CrossScaleAttention
from sr_plugins.layers import cross_scale_attention, in_scale_attention

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


def test_cross_scale_against_loops():
    """Scores and overlap written out pixel by pixel, batch of two."""
    torch.manual_seed(0)
    factor, height, width = 2, 4, 6
    query = torch.randn(2, 3, height, width, dtype=torch.float64)
    key = torch.randn(2, 3, height // factor, width // factor, dtype=torch.float64)
    value = torch.randn(2, 2, height, width, dtype=torch.float64)
    target = torch.stack([_loops(query[n], key[n], value[n], factor) for n in range(2)])
    output = cross_scale_attention(query, key, value, factor)
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


def test_in_scale_against_loops():
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 4, 3, 5, dtype=torch.float64)
    value = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    output = in_scale_attention(query, key, value)
    for n in range(2):
        for p in range(15):
            scores = [
                query[n].flatten(1)[:, p] @ key[n].flatten(1)[:, q] for q in range(15)
            ]
            weights = torch.stack(scores).softmax(0)
            target = (weights * value[n].flatten(1)).sum(1)
            torch.testing.assert_close(output[n].flatten(1)[:, p], target)
