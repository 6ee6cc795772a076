"""Counts against published figures, formulas worked out by hand, and operands."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sr_plugins.archs import CAR, CSNLN, EDSR, ESRN, MDSR
from sr_plugins.complexity import format_costs, measure, multiply_adds_of, summary
from sr_plugins.nas import count_multiply_adds, count_params, parse_architecture

ROOT = Path(__file__).parents[1]
ESRN_17 = (
    'G_8_16_24 C_8_16_16 G_4_16_24 G_8_16_16 S_4_24_32 C_8_16_48 S_4_16_24 G_6_16_24 '
    'G_8_16_16 C_8_16_24 S_8_16_16 S_8_16_24 S_8_16_32 S_6_16_16 G_6_16_64 G_8_16_16 '
    'S_8_16_32'
)


def total(network, *shape):
    return measure(network, *shape)[0]


@pytest.mark.parametrize(('scale', 'published'), [(2, 316.3), (3, 160.2), (4, 114.0)])
def test_edsr_baseline_as_papers_state_it(scale, published):
    """Rounded figures; at x3 1280 is no multiple of the scale."""
    with torch.device('meta'):
        network = EDSR(scale)
    assert total(network).multiply_adds / 1e9 == pytest.approx(published, rel=3e-3)


@pytest.mark.parametrize(
    ('scale', 'upsampler'),
    [(2, 256 * 64 * 9), (3, 576 * 64 * 9), (4, 256 * 64 * 9 * (1 + 4))],
)
def test_mdsr_pays_for_one_scale(scale, upsampler):
    """By hand, for each LR pixel; weights are those of all scales."""
    with torch.device('meta'):
        network = MDSR(scale=scale)
    head, pre_process, body = 3 * 64 * 9, 4 * 64 * 64 * 25, 33 * 64 * 64 * 9
    pixel = head + pre_process + body + upsampler + 64 * 3 * 9 * scale**2
    cost = total(network)
    assert cost.params == 3_227_203
    assert cost.multiply_adds == (720 // scale) * (1280 // scale) * pixel


def test_esrn_of_17_blocks():
    """111.62 G at 1280 x 720 (worked out layer by layer elsewhere)."""
    cost = total(ESRN(ESRN_17))
    assert cost.params == 516_488
    assert round(cost.multiply_adds / 1e9, 2) == 111.62


@pytest.mark.parametrize(
    ('scale', 'factor', 'stages'), [(2, 2, 1), (3, 3, 1), (4, 2, 2)]
)
def test_attention_of_csnln(scale, factor, stages):
    """By hand, on 24 x 36 pixels, which 2 and 3 divide, and their doubles for x4."""
    height, width, channels, recurrences = 24, 36, 8, 2
    network = CSNLN(scale, mid_channels=channels, num_recurrences=recurrences)
    costs = {c.name: c for c in measure(network, (3, scale * height, scale * width))}
    for stage in range(stages):
        pixels = height * width * 4**stage
        cells = pixels // factor**2
        projection = costs[f'cell.stages.{stage}.projection.cross_scale']
        matching, pasting = channels // 2, channels * factor**2
        attention = pixels * cells * (matching + pasting)
        # Query and value see all pixels, the key the cells; all are 1x1.
        embedding = channels * (matching + channels) * pixels
        embedding += channels * matching * cells
        assert projection.multiply_adds == recurrences * (attention + embedding)
        local = costs[f'cell.stages.{stage}.projection.in_scale']
        attention = pixels**2 * (matching + channels)
        embedding = channels * (2 * matching + channels) * pixels
        assert local.multiply_adds == recurrences * (attention + embedding)


def test_car_takes_the_hr_image():
    """All there is beyond both networks are 49 samples of four pixels for LR pixels."""
    tiny = {'mid_channels': 8, 'num_blocks': 1}
    costs = {c.name: c for c in measure(CAR(2, tiny, tiny), (3, 32, 48))}
    networks = costs['downscaler'].multiply_adds + costs['upscaler'].multiply_adds
    assert costs[''].multiply_adds - networks == 16 * 24 * 3 * 49 * 4
    assert costs['downscaler.conv_first'].multiply_adds == 32 * 48 * 3 * 25 * 4
    assert costs['upscaler.conv_first'].multiply_adds == 16 * 24 * 3 * 9 * 8


def test_every_module_of_a_small_network():
    """Grouped, strided, transposed and repeated convolutions, and a product."""

    class Net(nn.Module):
        scale, in_channels = 2, 4

        def __init__(self):
            super().__init__()
            self.grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2)
            self.strided = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
            self.up = nn.ModuleList([nn.ConvTranspose2d(8, 4, 4, 4)])
            self.idle = nn.Linear(5, 5)

        def forward(self, x):
            x = self.grouped(x)
            for _ in range(2):
                same = self.strided[0](x)
            flat = same.flatten(2)
            mixed = flat @ flat.transpose(1, 2) @ flat
            return self.up[0](mixed.view_as(same))

    costs = {c.name: c for c in measure(Net(), (4, 16, 20))}
    half = 8 * 10 // 4
    strided = 2 * half * 8 * 8 * 9
    up = half * 8 * 4 * 16
    products = 2 * 8 * 8 * half
    grouped = 80 * 8 * (4 // 2) * 9
    counts = {name: c.multiply_adds for name, c in costs.items()}
    assert counts == {
        '': grouped + strided + up + products,
        'grouped': grouped,
        'strided': strided,
        'strided.0': strided,
        'strided.1': 0,
        'up': up,
        'up.0': up,
        'idle': 0,
    }
    assert costs['strided'].params == 8 * 8 * 9 + 8
    assert costs[''].params == sum(p.numel() for p in Net().parameters())
    table = format_costs(list(costs.values()), depth=1)
    assert 'strided ' in table
    assert 'strided.0' not in table


def test_measuring_leaves_the_network_alone():
    network = EDSR(2, mid_channels=8, num_blocks=1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    measure(network, (3, 16, 16))
    assert network.training
    assert type(network.conv_first.weight) is nn.Parameter
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    network(torch.rand(1, 3, 4, 4)).sum().backward()


def test_a_formula_for_an_op():
    name = 'sr_plugins_test::double'
    torch.library.define(name, '(Tensor x, int times) -> Tensor')
    torch.library.impl(name, 'CompositeExplicitAutograd')(lambda x, times: x * 2)
    torch.library.register_fake(name)(lambda x, times: torch.empty_like(x))

    @multiply_adds_of(torch.ops.sr_plugins_test.double)
    def _(x, times):
        return x[2] * x[3] * times

    class Net(nn.Module):
        scale = 1

        def forward(self, x):
            return torch.ops.sr_plugins_test.double(x, 7)

    assert total(Net(), (3, 5, 6)).multiply_adds == 5 * 6 * 7


@pytest.mark.parametrize('shape', [(1, 720, 1280), (3, 1, 1280), (3, 720)])
def test_wrong_shape(shape):
    with pytest.raises(
        ValueError, match='Expected the shape of the HR image to be 3 ch'
    ):
        measure(EDSR(2, mid_channels=8, num_blocks=1), shape)


def run_and_count(network, height, width):
    """Multiply-adds of all convolutions, by what goes through them."""
    counted = []

    def hook(conv, inputs, output):
        per_value = conv.in_channels // conv.groups * conv.kernel_size[0] ** 2
        counted.append(output.numel() * per_value)

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(hook)
    with torch.no_grad():
        network.to_empty(device='cpu')(torch.empty(1, 3, height, width))
    return sum(counted)


def test_counts_of_a_thousand_architectures():
    """What the search counts is what the built network has and does."""
    rng = np.random.default_rng(0)
    for i in range(1000):
        # A chain as long as the search makes them now and then: it only repeats.
        length = int(rng.integers(1, 3)) if i % 50 else int(rng.integers(16, 21))
        codes = [
            f'{rng.choice(list("SGC"))}_{rng.integers(1, 7)}'
            f'_{8 * rng.integers(1, 5)}_{rng.integers(1, 65)}'
            for _ in range(length)
        ]
        scale, width = int(rng.choice([2, 3, 4])), int(rng.choice([8, 20, 32]))
        bias = bool(rng.integers(2))
        blocks = parse_architecture(codes)
        with torch.device('meta'):
            network = ESRN(codes, scale, mid_channels=width, bias=bias)
        params = sum(p.numel() for p in network.parameters())
        assert count_params(blocks, width, scale, bias) == params, codes
        # Odd sides of the LR image, too.
        lr_size = int(rng.integers(1, 8)), int(rng.integers(1, 8))
        hr_size = tuple(scale * side for side in lr_size)
        counted = count_multiply_adds(blocks, width, scale, hr_size)
        assert counted == run_and_count(network, *lr_size), codes
        if i % 100 == 1:
            assert counted == total(network, (3, *hr_size)).multiply_adds, codes


def test_tool(monkeypatch, capsys):
    config = str(ROOT / 'configs/esrn_x4.py')
    options = ['--shape', '3', '32', '48', '--depth', '1']
    options += ['--cfg-options', 'model.generator.architecture=[S_4_8_16,C_8_24_24]']
    monkeypatch.setattr(sys, 'argv', ['complexity.py', config, *options])
    runpy.run_path(str(ROOT / 'tools/complexity.py'), run_name='__main__')
    printed = capsys.readouterr().out
    network = ESRN(['S_4_8_16', 'C_8_24_24'], 4)
    cost = total(network, (3, 32, 48))
    assert summary(network, (3, 32, 48)) in printed
    assert '48 x 32 from 12 x 8 pixels' in printed
    row = re.search(r'total +\| ESRN +\| +([\d,]+) \| +([\d.]+) G', printed)
    assert int(row[1].replace(',', '')) == cost.params
    assert float(row[2]) == pytest.approx(cost.multiply_adds / 1e9, abs=1e-3)
