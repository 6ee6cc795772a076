"""Graphs in int8, held against the weights and values that they come from."""

import json
import re

import numpy as np
import onnx
import pytest
import torch
from export.small import make, make_car
from onnx import numpy_helper
from skimage import data as photographs

from sr_plugins.archs import EDSR
from sr_plugins.export import (
    Interface,
    OnnxNetwork,
    export_onnx,
    onnx_network,
    quantize_exported,
    quantize_onnx,
)


def parts(*size):
    """Three parts of a photograph, one a bit wider."""
    photo = torch.from_numpy(photographs.astronaut()).permute(2, 0, 1)[None] / 255
    height, width = size
    return [
        photo[:, :, i : i + height, i + 90 : i + 90 + width + i // 90]
        for i in (0, 50, 90)
    ]


def edsr():
    torch.manual_seed(0)
    return EDSR(2, mid_channels=8, num_blocks=2).eval()


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    return export_onnx(edsr(), tmp_path_factory.mktemp('float') / 'net.onnx')[0].path


class Graph:
    """Convolutions of a file, by the name of their module in EDSR."""

    def __init__(self, path):
        self.graph = onnx.load(path).graph
        tensors = self.graph.initializer
        self.values = {t.name: numpy_helper.to_array(t) for t in tensors}
        self.producers = {out: node for node in self.graph.node for out in node.output}
        self.convolutions = {}
        for node in self.graph.node:
            if node.op_type == 'Conv':
                # /network/body/body.0/conv1/Conv
                name = re.sub(r'(\w+)/\1\.', r'\1.', node.name)
                name = name.removeprefix('/network/').removesuffix('/Conv')
                self.convolutions[name.replace('/', '.')] = node

    def rounding(self, name, which):
        """Levels, scale and zero of an input of a convolution, None in float32."""
        node = self.producers.get(self.convolutions[name].input[which])
        if node is None or node.op_type != 'DequantizeLinear':
            return None
        return tuple(self.values.get(key) for key in node.input)

    def in_int8(self):
        return {name for name in self.convolutions if self.rounding(name, 0)}


@pytest.mark.parametrize('reduce_range', [False, True])
def test_weights(exported, tmp_path, reduce_range):
    """Within half a step of the network's, with steps of their own a channel."""
    path = tmp_path / 'int8'
    quantized = quantize_onnx(exported, path, parts(30, 40), reduce_range=reduce_range)
    graph = Graph(quantized.path)
    ends = {'conv_first', 'conv_last'}
    assert graph.in_int8() == set(graph.convolutions) - ends
    assert quantized.layers == (6, 8)
    modules = dict(edsr().named_modules())
    for name in graph.in_int8():
        weight = modules[name].weight.detach().numpy()
        levels, scale, zero = graph.rounding(name, 1)
        assert levels.dtype == np.int8
        assert np.abs(levels).max() == (64 if reduce_range else 127)
        assert not zero.any()
        steps = scale.reshape(len(weight), 1, 1, 1)
        assert (np.abs(levels * steps - weight) <= 0.501 * steps).all()


@pytest.mark.parametrize('method', ['percentile', 'minmax'])
@torch.no_grad()
def test_ranges_are_those_of_the_images(exported, tmp_path, method):
    """Of what goes into each convolution in torch, within what a histogram tells."""
    seen = {}
    network, images = edsr(), parts(30, 40)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda _, x, __, name=name: seen.setdefault(name, []).append(
                    x[0].flatten().clone()
                )
            )
    for image in images:
        network(image)
    path = quantize_onnx(
        exported, tmp_path / 'int8', images, method=method, percentile=95
    ).path
    graph = Graph(path)
    for name in graph.in_int8():
        values = torch.cat(seen[name]).double()
        low, high = values.min(), values.max()
        if method == 'percentile':
            low, high = values.quantile(0.025), values.quantile(0.975)
        bin_width = 2 * values.abs().max() / 2048
        low, high = min(low, 0), max(high, 0)
        scale, zero = (float(value) for value in graph.rounding(name, 0)[1:])
        # A level more or less: zero is a whole one.
        slack = 2 * bin_width + 1.01 * scale
        assert abs(-zero * scale - low) <= slack, name
        assert abs((255 - zero) * scale - high) <= slack, name


def test_sums_stay_float(exported, tmp_path):
    """What a block adds to is what the block before gave, not its 8 bits."""
    graph = Graph(quantize_onnx(exported, tmp_path / 'int8', parts(30, 40)).path)
    (first,) = (n for n in graph.graph.node if n.name == '/network/body/body.0/Add')
    (second,) = (n for n in graph.graph.node if n.name == '/network/body/body.1/Add')
    assert graph.producers[first.input[0]].name == '/network/conv_first/Conv'
    assert graph.producers[second.input[0]] == first
    assert graph.producers[second.input[1]].op_type == 'DequantizeLinear'


@pytest.mark.parametrize('name', ['mdsr x4', 'esrn x3', 'csnln x3', 'edsr x4, grey'])
def test_families(name, tmp_path):
    (exported,) = export_onnx(make(name), tmp_path / 'net.onnx')
    images = parts(12, 15)
    if exported.description.channels == 1:
        images = [image[:, :1] for image in images]
    (quantized,) = quantize_exported([exported], images)
    assert quantized.path.name == 'net_int8.onnx'
    count, total = quantized.layers
    assert count == total - 2
    network, original = OnnxNetwork(quantized.path), OnnxNetwork(exported.path)
    assert network.description.precision == 'int8'
    assert network.receptive_field == original.receptive_field
    x = images[1]
    error = (network(x) - original(x)).abs().max()
    assert 0 < error < 0.03
    report = json.loads((tmp_path / 'net_int8.onnx.json').read_text())
    assert report['layers'] == [count, total]
    assert report['bytes'] == quantized.path.stat().st_size


@torch.no_grad()
def test_car(tmp_path):
    """Halves of a CAR; the one that enlarges knows 8-bit images of the other."""
    car = make_car(2)
    exported = export_onnx(car, tmp_path / 'car.onnx')
    quantized = quantize_exported(exported, parts(33, 26), all_layers=True)
    names = ['car_downscale_int8.onnx', 'car_upscale_int8.onnx']
    assert [file.path.name for file in quantized] == names
    assert all(file.layers[0] == file.layers[1] for file in quantized)
    network = onnx_network([file.path for file in quantized])
    x = parts(33, 26)[2]
    lr = network.downscale(x)
    assert lr.shape == (1, 3, 17, 14)
    assert (lr - car.downscale(x)).abs().mean() < 0.02
    assert (network.upscale(lr) - car.upscale(lr)).abs().max() < 0.05


def test_all_layers_and_uint8(exported, tmp_path):
    (file,) = export_onnx(edsr(), tmp_path / 'net', Interface('uint8', 'HWC', 'BGR'))
    path = tmp_path / 'int8'
    quantized = quantize_onnx(file.path, path, parts(30, 40), all_layers=True)
    assert quantized.layers == (8, 8)
    assert len(Graph(quantized.path).in_int8()) == 8
    x = parts(30, 40)[0]
    network = OnnxNetwork(quantized.path)
    assert network.description.interface == Interface('uint8', 'HWC', 'BGR')
    difference = (network(x) - OnnxNetwork(exported)(x).clamp(0, 1)).abs()
    assert 0 < difference.max() < 0.05


def test_entropy(exported, tmp_path):
    quantized = quantize_onnx(exported, tmp_path / 'q', parts(30, 40), method='entropy')
    assert quantized.psnr > 35


def test_quiet(exported, tmp_path, capfd, caplog):
    """onnxruntime prints and warns for each image."""
    quantize_onnx(exported, tmp_path / 'q', parts(20, 20))
    assert capfd.readouterr() == ('', '')
    assert not caplog.records


def test_what_is_refused(exported, tmp_path):
    images = parts(20, 20)
    for options, message in (
        ({'method': 'kl'}, "one of percentile, entropy, minmax, but got 'kl'"),
        ({'percentile': 50}, 'above 50 and at most 100, but got 50'),
        ({'percentile': 100.5}, 'at most 100'),
    ):
        with pytest.raises(ValueError, match=message):
            quantize_onnx(exported, tmp_path / 'q', images, **options)
    with pytest.raises(ValueError, match='but got none'):
        quantize_onnx(exported, tmp_path / 'q', [])
    with pytest.raises(FileNotFoundError, match='there is no'):
        quantize_onnx(tmp_path / 'none.onnx', tmp_path / 'q', images)
    path = quantize_onnx(exported, tmp_path / 'q', images).path
    with pytest.raises(ValueError, match='is of int8'):
        quantize_onnx(path, tmp_path / 'again', images)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['q.onnx', 'q.onnx.json']


def test_images_of_other_channels(exported, tmp_path):
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\)'):
        quantize_onnx(exported, tmp_path / 'q', [torch.zeros(1, 1, 9, 9)])
