"""The contract of every registered network; a new one needs an entry in `NETWORKS`."""

import copy
import re
from collections.abc import Callable
from typing import NamedTuple

import golden
import pytest
import torch
from torch import nn

from sr_plugins import archs, checkpoints
from sr_plugins.registry import MODELS


def enlarged(height, width, scale):
    return [(3, height * scale, width * scale)]


def unchanged(height, width, scale):
    return [(3, height, width)]


def maps(height, width, scale):
    return [((3 * scale + 1) ** 2, height // scale, width // scale)] * 3


class Contract(NamedTuple):
    """What is known of one network."""

    scales: tuple
    tiny: dict  # arguments of a small one for quick checks
    published: list  # (arguments, parameters less frozen mean shifts)
    goldens: dict  # golden case -> arguments
    outputs: Callable = enlarged  # input size, scale -> shapes
    sizes: tuple = ((1, 1), (1, 7), (5, 1), (7, 10))  # among those it takes
    published_order: str = 'rgb'  # of the channels that the published code takes
    wrong_scales: tuple = (0, 5, 2.0, '2', None, True)
    idle: Callable = lambda key, scale: False  # weights that a scale has no use for


def _edsr_count(blocks, width, scale):
    up = {2: 4, 3: 9, 4: 8}[scale] * width * (9 * width + 1)
    return (2 * blocks + 1) * (9 * width**2 + width) + 28 * width + up + 27 * width + 3


BASELINE = {'mid_channels': 64, 'num_blocks': 16}
FULL = {'mid_channels': 256, 'num_blocks': 32, 'res_scale': 0.1}
# The list of 17 blocks that the authors give as an example.
ESRN_17 = tuple(golden.CASES['esrn_published_x2']['architecture'])

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
    'MDSR': Contract(
        scales=(2, 3, 4),
        tiny={'mid_channels': 8, 'num_blocks': 2},
        published=[({}, 3_227_227 - 24), ({'num_blocks': 80}, 7_954_011 - 24)],
        goldens={},  # of several scales in one file: tests/archs/test_mdsr.py
        wrong_scales=(0, 1, 5, 2.0, '2', True),
        idle=lambda key, scale: (
            re.match(rf'(pre_process|upsample)\.(?!{scale - 2}\.)', key) is not None
        ),
    ),
    'KGN': Contract(
        scales=(2, 4),
        tiny={'mid_channels': 8, 'num_blocks': 2},
        published=[({'scale': 2}, 10_645_663 - 12), ({'scale': 4}, 9_896_455 - 12)],
        goldens={'kgn_x2': {'scale': 2}, 'kgn_x4': {'scale': 4}},
        outputs=maps,
        sizes=((16, 16), (16, 32), (40, 24)),
    ),
    'USN': Contract(
        scales=(1, 2, 3, 4),
        tiny={'mid_channels': 8, 'num_blocks': 2},
        published=[({'scale': 2}, 40_729_627 - 24), ({'scale': 4}, 43_089_947 - 24)],
        goldens={'edsr_usn_x2': {'scale': 2}},
    ),
    'CAR': Contract(
        scales=(2, 4),
        tiny={
            'downscaler': {'mid_channels': 8, 'num_blocks': 2},
            'upscaler': {'mid_channels': 8, 'num_blocks': 2},
        },
        published=[({'scale': 2}, 51_375_254), ({'scale': 4}, 52_986_366)],
        goldens={},
        outputs=unchanged,
    ),
    'ESRN': Contract(
        scales=(2, 3, 4),
        tiny={
            'architecture': ('G_4_8_8', 'C_4_8_16', 'S_4_8_16', 'G_3_8_12'),
            'mid_channels': 8,
        },
        published=[
            ({'scale': 2, 'architecture': ESRN_17}, 516_488),
            ({'scale': 2, 'architecture': ESRN_17, 'bias': True}, 520_595),
            ({'scale': 4, 'architecture': ESRN_17}, 562_784),
        ],
        goldens={
            case: {key: golden.CASES[case][key] for key in ('architecture', 'scale')}
            for case in ('esrn_mix_x2', 'esrn_published_x2', 'esrn_mix_x4')
        },
        published_order='bgr',
    ),
}

EVERY_SCALE = [(name, s) for name, c in NETWORKS.items() for s in c.scales]
EVERY_COUNT = [(name, *entry) for name, c in NETWORKS.items() for entry in c.published]
EVERY_GOLDEN = [(n, g, kw) for n, c in NETWORKS.items() for g, kw in c.goldens.items()]
EVERY_SIZE = [(n, s, size) for n, s in EVERY_SCALE for size in NETWORKS[n].sizes]

EVERY_WRONG_SCALE = [(n, s) for n, c in NETWORKS.items() for s in c.wrong_scales]


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS.build({'type': f'sr_plugins.{name}', **kwargs})


def test_every_network_has_a_contract():
    networks = {n for n in archs.__all__ if issubclass(getattr(archs, n), nn.Module)}
    assert networks == set(NETWORKS)


def tensors(output):
    """Several outputs, or one, by name."""
    return output._asdict() if isinstance(output, tuple) else {'y': output}


@pytest.mark.parametrize(('name', 'scale', 'size'), EVERY_SIZE)
def test_any_size(name, scale, size):
    network = build(name, scale=scale, **NETWORKS[name].tiny).eval()
    x = torch.rand(2, 3, *size)
    before = x.clone()
    with torch.no_grad():
        outputs, alone = (tensors(network(part)) for part in (x, x[1:]))
    shapes = [(2, *shape) for shape in NETWORKS[name].outputs(*size, scale)]
    assert [y.shape for y in outputs.values()] == shapes
    assert torch.equal(x, before), 'forward changed its input'
    for key, y in outputs.items():
        assert y.isfinite().all()
        torch.testing.assert_close(y[1:], alone[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('name', 'scale'), EVERY_SCALE)
def test_gradients_reach_every_parameter(name, scale):
    network = build(name, scale=scale, **NETWORKS[name].tiny)
    x = torch.rand(1, 3, *NETWORKS[name].sizes[-1])
    sum(y.square().sum() for y in tensors(network(x)).values()).backward()
    for key, parameter in network.named_parameters():
        if NETWORKS[name].idle(key, scale):
            assert parameter.grad is None, key
            continue
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
    x = torch.rand(1, 3, *NETWORKS[name].sizes[-1])
    with torch.no_grad():
        outputs, copied = (tensors(n(x)) for n in (network, copy.deepcopy(network)))
    for key, y in outputs.items():
        assert torch.equal(y, copied[key]), key


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
    x = golden.image(case).to(dtype)
    is_bgr = NETWORKS[name].published_order == 'bgr'
    with torch.no_grad():
        outputs = tensors(network(x.flip(1) if is_bgr else x))
    targets = golden.expected(case)
    for key, y in outputs.items():
        if golden.CASES[case]['range'].startswith('[0,255]'):
            y = y * 255
        y = y.flip(1) if is_bgr else y
        assert golden.relative_error(y, targets[key]) < bound, key


@pytest.mark.parametrize(('name', 'scale'), EVERY_WRONG_SCALE)
def test_wrong_scale(name, scale):
    with pytest.raises(ValueError, match=f'Expected `scale` of {name} to be one of'):
        build(name, **{**NETWORKS[name].tiny, 'scale': scale})


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('shape', [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)])
def test_wrong_input(name, shape):
    network = build(name, scale=2, **NETWORKS[name].tiny)
    with pytest.raises(ValueError, match=rf'input of {name} to be \(N, 3, H, W\)'):
        network(torch.rand(*shape))


def test_typo_in_an_argument_fails():
    with pytest.raises(TypeError, match='num_block'):
        build('EDSR', scale=2, num_block=3)
