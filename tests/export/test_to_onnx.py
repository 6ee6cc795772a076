"""ONNX files of every family against the networks in torch, at sizes never traced."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export.small import NETWORKS, TINY, make, make_car, random_image
from torch import nn

from sr_plugins.archs import EDSR, KGN
from sr_plugins.export import Interface, OnnxNetwork, export_onnx
from sr_plugins.export.decompositions import Decomposed
from sr_plugins.layers import cross_scale_attention, in_scale_attention
from sr_plugins.layers.attention_reference import (
    cross_scale_attention_reference,
    in_scale_attention_reference,
)
from sr_plugins.ops import adaptive_grid_sample
from sr_plugins.ops.adaptive_grid_sample import adaptive_grid_sample_reference

STANDARD = {'', 'ai.onnx'}


def run(path, image):
    """By onnxruntime alone."""
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {'input': image})[0]


@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_networks(name, tmp_path):
    network = make(name)
    (exported,) = export_onnx(network, tmp_path / 'net.onnx')
    model = onnx.load(exported.path)
    assert {node.domain for node in model.graph.node} <= STANDARD
    assert model.opset_import[0].version == 18
    assert model.producer_name == 'sr_plugins'
    rng = np.random.default_rng()
    channels = network.in_channels
    for _ in range(3):
        n, height, width = rng.integers(1, 4), *rng.integers(1, 40, 2)
        x = random_image(rng, n, channels, height, width)
        y = run(exported.path, x.numpy())
        np.testing.assert_allclose(y, network(x).numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize('scale', [2, 4])
@torch.no_grad()
def test_car(scale, tmp_path):
    car = make_car(scale)
    halves = export_onnx(car, tmp_path / 'car.onnx')
    assert [half.path.name for half in halves] == [
        'car_downscale.onnx',
        'car_upscale.onnx',
    ]
    for half in halves:
        nodes = onnx.load(half.path).graph.node
        assert {node.domain for node in nodes} <= STANDARD
        assert len(nodes) < 1000  # not one copy for each of the taps
    rng = np.random.default_rng()
    for size in ((1, 1), (16, 24), rng.integers(1, 60, 2)):
        x = random_image(rng, 2, 3, *size)
        lr = run(halves[0].path, x.numpy())
        expected = car.resample(x).lr.numpy()
        np.testing.assert_allclose(lr, expected, atol=1e-5, rtol=0)
        y = run(halves[1].path, lr)
        expected = car.upscaler(torch.from_numpy(lr)).numpy()
        np.testing.assert_allclose(y, expected, atol=1e-5, rtol=0)


def test_decompositions():
    """By the definitions that the operators themselves are held against."""
    rng = torch.Generator().manual_seed(0)
    query, value = (torch.randn(2, c, 6, 9, generator=rng) for c in (4, 5))
    key = torch.randn(2, 4, 2, 3, generator=rng)
    with Decomposed():
        cross = cross_scale_attention(query, key, value, 3)
        in_scale = in_scale_attention(query, query, value)
    expected = cross_scale_attention_reference(query, key, value, 3)
    torch.testing.assert_close(cross, expected, atol=1e-5, rtol=0)
    expected = in_scale_attention_reference(query, query, value)
    torch.testing.assert_close(in_scale, expected, atol=1e-5, rtol=0)

    # Far beyond all borders.
    image = torch.rand(2, 3, 8, 12, generator=rng)
    kernels = torch.rand(2, 49, 4, 6, generator=rng)
    offsets = 9 * torch.randn(2, 2, 49, 4, 6, generator=rng)
    with Decomposed():
        samples = adaptive_grid_sample(image, kernels, *offsets, 2)
    expected = adaptive_grid_sample_reference(image, kernels, *offsets, 2)
    torch.testing.assert_close(samples, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
@pytest.mark.parametrize('layout', ['NCHW', 'NHWC', 'HWC'])
@torch.no_grad()
def test_interfaces(layout, order, tmp_path):
    """Images as they are in memory, turned by hand."""
    network = EDSR(2, **TINY).eval()
    rng = np.random.default_rng(1)
    n = 1 if layout == 'HWC' else 2
    levels = rng.integers(0, 256, (n, 3, 5, 9)).astype(np.uint8)
    y = network(torch.from_numpy(levels).float() / 255).numpy()

    def arranged(x):
        x = x[:, [2, 1, 0]] if order == 'BGR' else x
        x = x if layout == 'NCHW' else np.moveaxis(x, 1, -1)
        return np.ascontiguousarray(x[0] if layout == 'HWC' else x)

    path = tmp_path / 'net.onnx'
    export_onnx(network, path, Interface('uint8', layout, order))
    output = run(path, arranged(levels))
    assert output.dtype == np.uint8
    exact = arranged(y.clip(0, 1) * 255)
    assert np.abs(output - exact).max() <= 0.5 + 1e-3
    assert (output != 0).any()

    x = torch.from_numpy(levels).float() / 255
    np.testing.assert_allclose(
        OnnxNetwork(path)(x).numpy(), np.round(y.clip(0, 1) * 255) / 255, atol=1.1 / 255
    )

    export_onnx(network, path, Interface('float32', layout, order, 255))
    output = run(path, arranged(levels).astype(np.float32))
    np.testing.assert_allclose(output, arranged(y * 255), atol=1e-3)
    np.testing.assert_allclose(OnnxNetwork(path)(x).numpy(), y, atol=1e-5)


def test_uint8_takes_no_more_than_8_bits(tmp_path):
    export_onnx(EDSR(2, **TINY), tmp_path / 'net.onnx', Interface('uint8'))
    network = OnnxNetwork(tmp_path / 'net.onnx')
    with pytest.raises(ValueError, match='8 bits'):
        network(torch.full((1, 3, 4, 4), 1000 / 65535))


def test_wrong_interfaces():
    for options in (
        {'dtype': 'int8'},
        {'layout': 'CHW'},
        {'channel_order': 'GBR'},
        {'value_range': 2},
        {'value_range': True},
        {'dtype': 'uint8', 'value_range': 1},
    ):
        with pytest.raises(ValueError, match='Expected `'):
            Interface(**options)
    with pytest.raises(ValueError, match='3 channels'):
        export_onnx(EDSR(2, 1, 1, **TINY), 'x.onnx', Interface(channel_order='BGR'))


def test_the_network_is_left_alone(tmp_path):
    network = EDSR(2, **TINY).double().train()
    export_onnx(network, tmp_path / 'net')
    assert network.training
    assert network.conv_first.weight.dtype == torch.float64
    assert sorted(p.name for p in tmp_path.iterdir()) == ['net.onnx', 'net.onnx.json']


def test_report(tmp_path):
    (exported,) = export_onnx(make('mdsr x4'), tmp_path / 'net.onnx')
    report = json.loads((tmp_path / 'net.onnx.json').read_text())
    assert report['bytes'] == exported.path.stat().st_size
    assert (report['network'], report['scale']) == ('MDSR', 4)
    assert report['receptive_field'] == make('mdsr x4').receptive_field
    assert len(report['compared']) == 3
    assert max(c['largest_difference'] for c in report['compared']) < 1e-5
    sides = [side for c in report['compared'] for side in c['input'][1:]]
    assert any(side % 2 for side in sides)
    assert len({c['input'][0] for c in report['compared']}) > 1
    assert exported.table().count('\n') == 4


class Moody(nn.Module):
    """Decides by size, which a trace holds as a constant."""

    scale = 1
    in_channels = 3

    def forward(self, x):
        return x * (1.001 if x.shape[2] % 2 else 1)


def test_a_graph_that_differs_is_not_written(tmp_path):
    with pytest.raises(ValueError, match='to give what torch does to 1e-04'):
        export_onnx(Moody(), tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())


class Cropped(Moody):
    """Gives other sizes than those of the trace."""

    def forward(self, x):
        return x if x.shape[2] == 24 else x[:, :, 1:]


def test_a_graph_of_other_sizes_is_not_written(tmp_path):
    with pytest.raises(ValueError, match='cannot be exported'):
        export_onnx(Cropped(), tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path):
    network = make('edsr x3')
    with torch.no_grad():
        network.conv_last.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r'infinite values are in conv_last\.bias\.'):
        export_onnx(network, tmp_path / 'net.onnx')
    with pytest.raises(TypeError, match='KGN'):
        export_onnx(KGN(2, **TINY), tmp_path / 'net.onnx')
    with pytest.raises(TypeError, match='Conv2d'):
        export_onnx(nn.Conv2d(3, 3, 1), tmp_path / 'net.onnx')
    assert not list(tmp_path.iterdir())
