"""What files of weights are said to be, and the networks that are built from them."""

import json
import os

import golden
import pytest
import torch

from sr_plugins.archs import CAR, CSNLN, EDSR, ESRN, MDSR, USN
from sr_plugins.checkpoints import CheckpointMismatchError, build, inspect, load
from sr_plugins.fileio import DamagedFileError, UnsafeFileError, torch_save

TINY = {'mid_channels': 8, 'num_blocks': 3}
CODES = ['S_4_8_16', 'G_6_16_24', 'C_4_16_24']


@pytest.mark.parametrize(
    ('case', 'network', 'options', 'parameters', 'images'),
    [
        (
            'edsr_base_x4',
            'EDSR',
            {'scale': 4, 'mid_channels': 64, 'num_blocks': 16, 'in_channels': 3},
            1_517_571,
            ('RGB', 255),
        ),
        (
            'mdsr_base',
            'MDSR',
            {'scales': (2, 3, 4), 'mid_channels': 64, 'num_blocks': 16},
            3_227_203,
            ('RGB', 255),
        ),
        (
            'csnln_x3_d2',
            'CSNLN',
            {'scale': 3, 'mid_channels': 128, 'num_recurrences': 2},
            5_975_825,
            ('RGB', 1),
        ),
        (
            'kgn_x4',
            'KGN',
            {'scale': 4, 'mid_channels': 128, 'num_blocks': 5},
            9_896_443,
            ('RGB', 1),
        ),
        (
            'esrn_mix_x4',
            'ESRN',
            {
                'scale': 4,
                'mid_channels': 32,
                'bias': False,
                'architecture': golden.CASES['esrn_mix_x4']['architecture'],
            },
            golden.CASES['esrn_mix_x4']['params'],
            ('BGR', 255),
        ),
    ],
)
def test_published(case, network, options, parameters, images):
    found = inspect(golden.state_dict(case))
    assert found.network == network
    assert {key: found.options[key] for key in options} == options
    assert found.parameters == parameters
    assert (found.colours, found.value_range) == images
    assert found.dialect == 'published'
    assert found.is_sound
    json.dumps(found.as_dict())


NETWORKS = {
    'EDSR x1': lambda: EDSR(1, **TINY),
    'EDSR grey': lambda: EDSR(4, 1, 1, **TINY),
    'MDSR': lambda: MDSR((3, 2), 8, 2),
    'CSNLN x4': lambda: CSNLN(4, mid_channels=8, num_recurrences=3),
    'CAR': lambda: CAR(4, {'mid_channels': 16, 'num_blocks': 2}, TINY),
    'ESRN x3': lambda: ESRN(CODES, 3, mid_channels=16, bias=True),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_build_gives_the_network(name):
    """Of any size: the same class, weights and images."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    usual = inspect(network.state_dict()).assumed
    # What weights do not show.
    options = {'upscaler': {'res_scale': 0.1}} if name == 'CAR' else {}
    found = build(network.state_dict(), options)
    assert type(found) is type(network)
    assert not found.training
    channels = 1 if 'grey' in name else 3
    x = torch.rand(1, channels, 16, 24)
    with torch.no_grad():
        assert torch.equal(found(x), network(x))
    assert usual.keys() <= {'res_scale', 'upscaler', 'mean_shift', 'global_skip'}


@pytest.mark.parametrize('case', ['edsr_base_x3', 'esrn_mix_x2'])
def test_build_from_published_weights(case):
    """Through range and colours: the images of the authors' network."""
    network = build(golden.state_dict(case)).double()
    with torch.no_grad():
        y = network(golden.image(case).double())
    target = golden.expected(case)['y']
    if golden.CASES[case]['arch'] == 'EDSR':
        assert golden.relative_error(255 * y, target) < 1e-6
    else:
        # The case was fed with RGB in [0, 1], as is; without biases range does not
        # matter.
        x = golden.image(case).double().flip(1)
        with torch.no_grad():
            y = network(x).flip(1)
        assert golden.relative_error(y, target) < 1e-6


def test_res_scale_is_assumed_as_published():
    full = EDSR(2, mid_channels=256, num_blocks=1).state_dict()
    assert inspect(full).assumed == {'res_scale': 0.1}
    assert inspect(EDSR(2, **TINY).state_dict()).assumed == {'res_scale': 1.0}
    assert build(full).body[0].res_scale == 0.1
    assert build(full, {'res_scale': 0.3}).body[0].res_scale == 0.3


@pytest.mark.parametrize(
    ('generator', 'res_scale'),
    [
        ("dict(type='sr_plugins.EDSR', res_scale=0.2, num_blocks=3)", 0.2),
        ("dict(type='EDSRNet', in_channels=3, res_scale=0.3)", 0.3),
        ("dict(type='sr_plugins.EDSR', mid_channels=256)", 1.0),
        ("dict(type='sr_plugins.USN', mid_channels=256)", 0.1),
    ],
)
def test_config_in_the_file_tells(generator, res_scale):
    state = EDSR(2, mid_channels=256, num_blocks=1).state_dict()
    config = f'scale = 2\nmodel = dict(\n    generator={generator},\n)\n'
    checkpoint = {'state_dict': state, 'meta': {'cfg': config}}
    found = inspect(checkpoint)
    assert not found.assumed
    assert found.options['res_scale'] == res_scale
    assert f'config      res_scale {res_scale}' in found.text()
    assert build(checkpoint).body[0].res_scale == res_scale


@pytest.mark.parametrize(
    'config',
    [
        'model = dict(generator=dict(type="CSNLN", res_scale=0.2))',
        'model = dict(generator=dict(type=open("x").read(), res_scale=0.2))',
        'model = dict(generator=dict(type="EDSR", res_scale="much"))',
        'model = dict(generator=dict(type="EDSR", res_scale=1 / scale))',
        '(' * 10_000,
        'a = (',
        'x' * 2_000_000,
        b'model = 1',
        None,
        {'model': 1},
    ],
)
def test_config_that_tells_nothing(config):
    state = EDSR(2, **TINY).state_dict()
    found = inspect({'state_dict': state, 'meta': {'cfg': config}})
    assert found.assumed == {'res_scale': 1.0}


def test_config_of_car_tells_of_its_upscaler():
    network = CAR(2, {'mid_channels': 16, 'num_blocks': 2}, TINY)
    config = (
        "model = dict(generator=dict(type='sr_plugins.CAR', scale=2, "
        'upscaler=dict(mid_channels=8, res_scale=0.7)))'
    )
    found = inspect({'state_dict': network.state_dict(), 'meta': {'cfg': config}})
    assert found.options['upscaler']['res_scale'] == 0.7
    assert found.options['upscaler']['num_blocks'] == 3
    config = "model = dict(generator=dict(type='CAR', upscaler=['USN']))"
    found = inspect({'state_dict': network.state_dict(), 'meta': {'cfg': config}})
    assert found.assumed == {'upscaler': {'res_scale': 1.0}}


def test_kinds_of_files(tmp_path):
    state = USN(2, **TINY).state_dict()
    plain = inspect(state)
    assert (plain.container, plain.is_average, plain.is_resumable) == (
        'plain',
        False,
        False,
    )
    path = tmp_path / 'iter_300.pth'
    training = {
        'state_dict': {f'generator.{key}': value for key, value in state.items()},
        'ema_state_dict': {},
        'meta': {'iter': 300, 'epoch': 2},
        'optimizer': {},
    }
    torch_save(training, path)
    found = inspect(path)
    assert (found.container, found.is_average, found.is_resumable) == (
        'mmengine',
        True,
        True,
    )
    assert (found.iteration, found.epoch) == (300, 2)
    assert 'training checkpoint of mmengine, iteration 300, averaged' in found.text()
    renamed = {key.replace('.upsample_conv', ''): v for key, v in state.items()}
    basicsr = inspect({'params': state, 'params_ema': renamed})
    assert (basicsr.container, basicsr.is_average) == ('BasicSR', True)
    assert (basicsr.dialect, basicsr.value_range) == ('BasicSR', 255)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(value):
    """Inspection says so; whoever would make images of them is told."""
    network = EDSR(2, **TINY)
    state = network.state_dict()
    state['body.1.conv1.weight'] = torch.full_like(state['body.1.conv1.weight'], value)
    found = inspect(state)
    assert found.non_finite == ('body.1.conv1.weight',)
    assert not found.is_sound
    assert 'not finite' in found.text()
    before = {key: each.clone() for key, each in network.state_dict().items()}
    for use in (build, lambda source: load(network, source)):
        with pytest.raises(
            ValueError, match=r'NaN or infinite.*body\.1\.conv1\.weight'
        ):
            use(state)
    for key, each in network.state_dict().items():
        assert torch.equal(each, before[key])


def test_incomplete_weights():
    state = EDSR(2, **TINY).state_dict()
    del state['body.0.conv1.bias']
    found = inspect(state)
    assert found.missing == ('body.0.conv1.bias',)
    assert not found.is_sound
    with pytest.raises(CheckpointMismatchError, match=r'missing: body\.0\.conv1\.bias'):
        build(state)


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        ({'features.0.weight': torch.ones(1)}, r'of EDSR, MDSR.*got other names: feat'),
        ({'conv_first.weight': torch.ones(8)}, 'other names: conv_first'),
        (
            {
                'conv_first.weight': torch.ones(8),
                'conv_after_body.weight': torch.ones(1),
            },
            "EDSR weights without 'conv_last.weight'",
        ),
        (
            EDSR(2, **TINY).state_dict() | {'conv_first.weight': torch.ones(8)},
            'impossible shapes',
        ),
        (
            EDSR(2, **TINY).state_dict()
            | {'upsample.0.upsample_conv.weight': torch.ones(200, 8, 3, 3)},
            'a network that there is, but got EDSR x5',
        ),
        ({'a': torch.eye(2).to_sparse()}, 'plain tensors.*sparse'),
        ({'a': torch.ones(2, dtype=torch.complex64)}, 'plain tensors.*complex'),
    ],
)
def test_other_weights(state, message):
    with pytest.raises(CheckpointMismatchError, match=message):
        inspect(state)


class _Attack:
    def __reduce__(self):
        return os.system, ('touch owned',)


def test_damaged_and_malicious_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a.pth'
    state = EDSR(2, **TINY).state_dict()
    torch.save({'state_dict': state, 'x': _Attack()}, path)
    with pytest.raises(UnsafeFileError, match=r'system'):
        inspect(path)
    assert not (tmp_path / 'owned').exists()
    torch.save(state, path)
    data = path.read_bytes()
    place = data.index(state['body.2.conv2.weight'].numpy().tobytes()) + 100
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    torch.load(path)  # Without a word.
    with pytest.raises(DamagedFileError, match=r'changed after it was written'):
        inspect(path)
    path.write_bytes(data[:-1000])
    with pytest.raises(DamagedFileError, match=r'a\.pth'):
        inspect(path)
