"""The contract of every registered network; a new one needs an entry in `NETWORKS`."""

import copy
from typing import NamedTuple

import golden
import pytest
import torch
from torch import nn

from sr_plugins import archs, checkpoints
from sr_plugins.registry import MODELS


class Contract(NamedTuple):
    """What is known of one network."""

    scales: tuple
    tiny: dict  # arguments of a small one for quick checks
    published: list  # (arguments, parameters less frozen mean shifts)
    goldens: dict  # golden case -> arguments


def _edsr_count(blocks, width, scale):
    up = {2: 4, 3: 9, 4: 8}[scale] * width * (9 * width + 1)
    return (2 * blocks + 1) * (9 * width**2 + width) + 28 * width + up + 27 * width + 3


BASELINE = {'mid_channels': 64, 'num_blocks': 16}
FULL = {'mid_channels': 256, 'num_blocks': 32, 'res_scale': 0.1}

NETWORKS = {
    'EDSR': Contract(
        scales=(1, 2, 3, 4),
        tiny={'mid_channels': 8, 'num_blocks': 2},
        published=[
            ({'scale': 2, **BASELINE}, 1_369_859),
            ({'scale': 3, **BASELINE}, 1_554_499),
            ({'scale': 4, **BASELINE}, 1_517_571),
            ({'scale': 2, **FULL}, 40_729_603),
            ({'scale': 3, **FULL}, 43_680_003),
            ({'scale': 4, **FULL}, 43_089_923),
        ],
        goldens={
            'edsr_base_x2': {'scale': 2, **BASELINE},
            'edsr_base_x3': {'scale': 3, **BASELINE},
            'edsr_base_x4': {'scale': 4, **BASELINE},
            'edsr_usn_x2': {'scale': 2, **FULL},
        },
    ),
    'CSNLN': Contract(
        scales=(2, 3, 4),
        tiny={'mid_channels': 8, 'num_recurrences': 2},
        published=[
            ({'scale': 2}, 3_061_289 - 24),
            ({'scale': 3}, 6_010_409 - 24),
            ({'scale': 4}, 6_568_627 - 24),
        ],
        goldens={
            'csnln_x2_d2': {'scale': 2, 'num_recurrences': 2},
            'csnln_x3_d2': {'scale': 3, 'num_recurrences': 2},
            'csnln_x4_d2': {'scale': 4, 'num_recurrences': 2},
            'csnln_x2_d12': {'scale': 2, 'num_recurrences': 12},
            'csnln_x2_batch2': {'scale': 2, 'num_recurrences': 2},
        },
    ),
}

EVERY_SCALE = [(name, s) for name, c in NETWORKS.items() for s in c.scales]
EVERY_COUNT = [(name, *entry) for name, c in NETWORKS.items() for entry in c.published]
EVERY_GOLDEN = [(n, g, kw) for n, c in NETWORKS.items() for g, kw in c.goldens.items()]


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS.build({'type': f'sr_plugins.{name}', **kwargs})


def test_every_network_has_a_contract():
    networks = {n for n in archs.__all__ if issubclass(getattr(archs, n), nn.Module)}
    assert networks == set(NETWORKS)


@pytest.mark.parametrize(('name', 'scale'), EVERY_SCALE)
@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 1), (7, 10)])
def test_any_size(name, scale, size):
    network = build(name, scale=scale, **NETWORKS[name].tiny).eval()
    x = torch.rand(2, 3, *size)
    before = x.clone()
    with torch.no_grad():
        y = network(x)
        alone = network(x[1:])
    assert y.shape == (2, 3, size[0] * scale, size[1] * scale)
    assert y.isfinite().all()
    assert torch.equal(x, before), 'forward changed its input'
    torch.testing.assert_close(y[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('name', 'scale'), EVERY_SCALE)
def test_gradients_reach_every_parameter(name, scale):
    network = build(name, scale=scale, **NETWORKS[name].tiny)
    network(torch.rand(1, 3, 8, 9)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize('name', NETWORKS)
def test_state_dict_round_trip(name, tmp_path):
    contract = NETWORKS[name]
    network = build(name, scale=2, **contract.tiny)
    path = tmp_path / 'weights.pth'
    torch.save(network.state_dict(), path)
    other = build(name, scale=2, **contract.tiny)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    report = checkpoints.load(other, path)
    assert set(report.loaded) == set(network.state_dict())
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize('name', NETWORKS)
def test_copies_agree(name):
    network = build(name, scale=2, **NETWORKS[name].tiny).eval()
    x = torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        assert torch.equal(network(x), copy.deepcopy(network)(x))


@pytest.mark.parametrize(('name', 'kwargs', 'count'), EVERY_COUNT)
def test_published_parameter_count(name, kwargs, count):
    with torch.device('meta'):
        network = MODELS.get(f'sr_plugins.{name}')(**kwargs)
    assert sum(p.numel() for p in network.parameters()) == count


def test_edsr_count_follows_the_formula():
    with torch.device('meta'):
        network = archs.EDSR(scale=3, mid_channels=24, num_blocks=5)
    assert sum(p.numel() for p in network.parameters()) == _edsr_count(5, 24, 3)


@pytest.mark.parametrize(('name', 'case', 'kwargs'), EVERY_GOLDEN)
@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)
def test_golden_output(name, case, kwargs, dtype, bound):
    network = build(name, **kwargs).to(dtype).eval()
    report = checkpoints.load(network, golden.state_dict(case))
    assert report.dialect == 'published'
    with torch.no_grad():
        y = network(golden.image(case).to(dtype))
    target = golden.expected(case)['y']
    if golden.CASES[case]['range'].startswith('[0,255]'):
        y = y * 255
    assert golden.relative_error(y, target) < bound


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('scale', [0, 5, 2.0, '2', None, True])
def test_wrong_scale(name, scale):
    with pytest.raises(ValueError, match=f'Expected `scale` of {name} to be one of'):
        build(name, scale=scale)


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('shape', [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)])
def test_wrong_input(name, shape):
    network = build(name, scale=2, **NETWORKS[name].tiny)
    with pytest.raises(ValueError, match=rf'input of {name} to be \(N, 3, H, W\)'):
        network(torch.rand(*shape))


def test_typo_in_an_argument_fails():
    with pytest.raises(TypeError, match='num_block'):
        build('EDSR', scale=2, num_block=3)
