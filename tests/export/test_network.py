"""Files that are not what they should be, and what tiles and poses make of those."""

import sys

import numpy as np
import onnx
import pytest
import torch
from export.small import TINY, make, make_car, random_image
from onnx import TensorProto, helper

from sr_plugins.archs import EDSR
from sr_plugins.export import OnnxCAR, OnnxNetwork, export_onnx, onnx_network
from sr_plugins.models import ImageForward


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('my graphs')
    export_onnx(make('edsr x3'), folder / 'edsr.onnx')
    export_onnx(make('esrn x2'), folder / 'esrn.onnx')
    export_onnx(make_car(2), folder / 'car.onnx')
    return folder


@pytest.fixture
def model(folder):
    return onnx.load(folder / 'edsr.onnx')


@pytest.mark.parametrize('self_ensemble', [False, True])
@pytest.mark.parametrize('name', ['edsr x3', 'esrn x2'])
@torch.no_grad()
def test_in_tiles_and_poses(name, self_ensemble, folder):
    """It says how far it sees, so that the whole image comes out."""
    network = OnnxNetwork(folder / f'{name[:4]}.onnx')
    expected = make(name)
    assert network.receptive_field == expected.receptive_field
    assert network.alignment == getattr(expected, 'alignment', 1)
    side = 3 * network.receptive_field + 7
    x = random_image(np.random.default_rng(), 1, 3, side, side - 11).numpy()
    tile = {'size': network.receptive_field}
    whole = ImageForward(expected, self_ensemble=self_ensemble)
    parts = ImageForward(network, tile=tile, self_ensemble=self_ensemble)
    assert len(parts._windows(side)) > 1
    device = torch.device('cpu')
    np.testing.assert_allclose(parts(x, device), whole(x, device), atol=1e-5)


@torch.no_grad()
def test_car(folder):
    car = make_car(2)
    files = [folder / 'car_upscale.onnx', folder / 'car_downscale.onnx']
    network = onnx_network(files)
    assert isinstance(network, OnnxCAR)
    assert network.modes == ('downscale', 'upscale', 'both')
    hr = random_image(np.random.default_rng(), 2, 3, 33, 18)
    lr = network.downscale(hr)
    assert lr.shape == (2, 3, 17, 9)
    torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-4, rtol=0)
    exact = car.resample(hr).lr
    assert (lr - exact).abs().max() <= 0.5 / 255 + 1e-5
    torch.testing.assert_close(network.upscaler(lr), car.upscaler(lr))

    half = onnx_network(files[1:])
    assert half.modes == ('downscale',)
    with pytest.raises(ValueError, match='that can upscale'):
        half.upscaler(lr)
    for wrong in (
        [files[0], files[0]],
        [files[0], folder / 'edsr.onnx'],
        [folder / 'edsr.onnx'] * 2,
    ):
        with pytest.raises(ValueError, match='two halves of CAR'):
            onnx_network(wrong)


def test_halves_of_other_scales(folder, tmp_path):
    export_onnx(make_car(4), tmp_path / 'car.onnx')
    with pytest.raises(ValueError, match=r'scales \[2, 4\]'):
        onnx_network([tmp_path / 'car_downscale.onnx', folder / 'car_upscale.onnx'])
    with pytest.raises(ValueError, match='0 of scales'):
        OnnxCAR()


def test_number_of_channels(folder):
    network = OnnxNetwork(folder / 'edsr.onnx')
    with pytest.raises(ValueError, match=r'edsr\.onnx to be \(N, 3, H, W\)'):
        network(torch.zeros(1, 1, 4, 4))


def test_threads(folder):
    network = OnnxNetwork(folder / 'edsr.onnx', threads=1)
    assert network.session.get_session_options().intra_op_num_threads == 1
    network = OnnxNetwork(folder / 'edsr.onnx')
    threads = network.session.get_session_options().intra_op_num_threads
    assert threads == torch.get_num_threads()


def test_every_truncated_file_is_refused(folder, tmp_path):
    data = (folder / 'edsr.onnx').read_bytes()
    sizes = np.random.default_rng().integers(0, len(data), 50)
    for size in (0, 1, 100, len(data) - 1, *sizes):
        path = tmp_path / 'short.onnx'
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r'^Expected .*short\.onnx'):
            OnnxNetwork(path)


def test_other_files(tmp_path):
    for content in (b'\x89PNG' * 100, b'PK\x03\x04' + bytes(99), b'hello', bytes(64)):
        path = tmp_path / 'other.onnx'
        path.write_bytes(content)
        with pytest.raises(ValueError, match='whole ONNX file'):
            OnnxNetwork(path)
    with pytest.raises(FileNotFoundError, match='there is no'):
        OnnxNetwork(tmp_path / 'none.onnx')
    with pytest.raises(FileNotFoundError, match='there is no'):
        OnnxNetwork(tmp_path)


def test_a_graph_of_others(tmp_path):
    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 3, 'h', 'w'])
    output = helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, 3, 'h', 'w'])
    node = helper.make_node('Relu', ['x'], ['y'])
    graph = helper.make_graph([node], 'g', [value], [output])
    onnx.save(helper.make_model(graph, producer_name='pytorch'), tmp_path / 'x.onnx')
    with pytest.raises(ValueError, match='pytorch made'):
        OnnxNetwork(tmp_path / 'x.onnx')


def test_changed_weights(model, tmp_path):
    weights = model.graph.initializer[0]
    changed = bytearray(weights.raw_data)
    changed[5] ^= 1
    weights.raw_data = bytes(changed)
    onnx.save(model, tmp_path / 'changed.onnx')
    with pytest.raises(ValueError, match=r'changed\.onnx have changed'):
        OnnxNetwork(tmp_path / 'changed.onnx')


@pytest.mark.parametrize('location', ['../secret', '/etc/passwd', 'weights.bin'])
@pytest.mark.parametrize('place', ['initializer', 'constant', 'subgraph'])
def test_weights_elsewhere_are_refused(model, place, location, tmp_path):
    folder = tmp_path / 'graphs'
    folder.mkdir()
    for path in (tmp_path / 'secret', folder / 'weights.bin'):
        path.write_bytes(bytes(10000))
    tensor = TensorProto(name='t', data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=location)
    node = helper.make_node('Constant', [], ['c'], value=tensor)
    if place == 'initializer':
        model.graph.initializer.append(tensor)
    elif place == 'constant':
        model.graph.node.append(node)
    else:
        graph = helper.make_graph([node], 'inner', [], [])
        model.graph.node.append(
            helper.make_node('If', ['b'], [], then_branch=graph, else_branch=graph)
        )
    path = folder / 'net.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match='refers to other files'):
        OnnxNetwork(path)


@pytest.mark.parametrize(
    ('key', 'value'),
    [('scale', '0'), ('scale', 'x'), ('layout', 'CHW'), ('part', 'side')],
)
def test_metadata_of_another_version(model, key, value, tmp_path):
    (entry,) = (e for e in model.metadata_props if e.key == key)
    entry.value = value
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(ValueError, match='to be those of this version'):
        OnnxNetwork(tmp_path / 'net.onnx')


def test_a_graph_that_cannot_run(model, tmp_path):
    model.graph.node[1].op_type = 'Convolve'
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(ValueError, match='onnxruntime can run'):
        OnnxNetwork(tmp_path / 'net.onnx')


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[onnx\]'"):
        export_onnx(EDSR(2, **TINY), 'x.onnx')
