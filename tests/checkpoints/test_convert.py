"""Weights out, loaded by the other packages' own networks."""

import golden
import numpy as np
import pytest
import torch

from sr_plugins import checkpoints
from sr_plugins.archs import CAR, CSNLN, EDSR, ESRN, MDSR
from sr_plugins.checkpoints import CheckpointMismatchError, convert, inspect
from sr_plugins.fileio import torch_load
from sr_plugins.layers import DIV2K_MEAN

TINY = {'mid_channels': 8, 'num_blocks': 3}
PUBLISHED = [
    'edsr_base_x4',
    'mdsr_base',
    'csnln_x4_d2',
    'kgn_x4',
    'esrn_mix_x2',
    'esrn_mix_x4',
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr('os.fsync', lambda file: None)


def saved(state, path):
    torch.save(state, path)
    return path


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize('case', PUBLISHED)
def test_published_there_and_back(case, tmp_path):
    """Through a file of ours: every bit of the authors' file, constants included."""
    state = golden.state_dict(case)
    prefix = 'module.' if golden.CASES[case]['arch'] == 'KGN' else ''
    state = {prefix + key: value for key, value in state.items()}
    convert(saved(state, tmp_path / 'a.pth'), tmp_path / 'b.pth', 'sr_plugins')
    convert(tmp_path / 'b.pth', tmp_path / 'c.pth', 'published')
    assert_same(torch_load(tmp_path / 'c.pth'), state)


def unit_range(case):
    """The authors' EDSR as in CAR, whose images are of [0, 1]."""
    state = golden.state_dict(case)
    for name in ('sub_mean.bias', 'add_mean.bias'):
        state[name] = torch.tensor(DIV2K_MEAN) * (-1 if name[0] == 's' else 1)
    return state


def test_published_of_the_other_range(tmp_path):
    """CAR's upscaling network becomes an EDSR of [0, 255], and ours again."""
    state = unit_range('edsr_base_x2')
    convert(saved(state, tmp_path / 'a.pth'), tmp_path / 'b.pth', 'sr_plugins')
    convert(tmp_path / 'a.pth', tmp_path / 'c.pth', 'published')
    assert inspect(tmp_path / 'c.pth').value_range == 255
    convert(tmp_path / 'c.pth', tmp_path / 'd.pth', 'sr_plugins')
    assert_same(torch_load(tmp_path / 'd.pth'), torch_load(tmp_path / 'b.pth'))


def test_basicsr_loads_it(tmp_path):
    """As BasicSR's models do, and gives the images of the authors' network."""
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    case = 'edsr_base_x3'
    source = saved(golden.state_dict(case), tmp_path / 'a.pt')
    done = convert(source, tmp_path / 'b.pth', 'basicsr')
    assert not done.widened
    scale = golden.CASES[case]['scale']
    theirs = BasicSREDSR(3, 3, 64, 16, scale, 1.0).double()
    theirs.load_state_dict(torch.load(tmp_path / 'b.pth')['params'], strict=True)
    with torch.no_grad():
        found = 255 * theirs(golden.image(case).double())
    assert golden.relative_error(found, golden.expected(case)['y']) < 1e-6


def test_mmagic_loads_it(tmp_path):
    """As its Runner does, into a whole model, and gives the authors' images."""
    from mmagic.models import BaseEditModel
    from mmengine.runner import load_checkpoint

    case = 'edsr_base_x4'
    source = saved(golden.state_dict(case), tmp_path / 'a.pt')
    convert(source, tmp_path / 'b.pth', 'mmagic')
    generator = {'type': 'EDSRNet', 'in_channels': 3, 'out_channels': 3}
    generator['upscale_factor'] = golden.CASES[case]['scale']
    model = BaseEditModel(
        generator={**generator, 'mid_channels': 64, 'num_blocks': 16, 'res_scale': 1},
        pixel_loss={'type': 'L1Loss'},
    ).double()
    load_checkpoint(model, str(tmp_path / 'b.pth'), strict=True)
    with torch.no_grad():
        found = 255 * model.generator(golden.image(case).double())
    assert golden.relative_error(found, golden.expected(case)['y']) < 1e-6


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_basicsr_and_mmagic_there_and_back(scale, tmp_path):
    """BasicSR, mmagic, BasicSR, then mmagic again: bit for bit, with odd numbers."""
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    torch.manual_seed(scale)
    network = BasicSREDSR(3, 3, num_feat=8, num_block=3, upscale=scale)
    state = network.state_dict()
    source = saved({'params': state}, tmp_path / 'a.pth')
    done = convert(source, tmp_path / 'b.pth', 'mmagic')
    assert set(done.widened) <= {
        'conv_first.weight',
        'conv_last.weight',
        'conv_last.bias',
    }
    convert(tmp_path / 'b.pth', tmp_path / 'c.pth', 'basicsr')
    assert_same(torch_load(tmp_path / 'c.pth')['params'], state)
    convert(tmp_path / 'c.pth', tmp_path / 'd.pth', 'mmagic')
    assert_same(
        torch_load(tmp_path / 'd.pth')['state_dict'],
        torch_load(tmp_path / 'b.pth')['state_dict'],
    )


def test_float64_where_float32_cannot_tell_two_weights_apart(tmp_path):
    """Two neighbours whose products with 255 round to the same number."""
    weights = (1.25 + np.arange(1000) * 2.0**-23).astype(np.float32)
    products = weights * np.float32(255)
    same = int(np.flatnonzero(np.diff(products) == 0)[0])
    network = EDSR(2, **TINY)
    state = network.state_dict()
    state['conv_last.bias'][:] = torch.tensor([*weights[same : same + 2], 1.0])
    done = convert(saved(state, tmp_path / 'a.pth'), tmp_path / 'b.pth', 'basicsr')
    assert 'conv_last.bias' in done.widened
    written = torch_load(tmp_path / 'b.pth')['params']
    exact = weights[same : same + 2].astype(np.float64) * 255
    assert written['conv_last.bias'].tolist() == [*exact, 255.0]
    assert written['body.0.conv1.weight'].dtype == torch.float32
    # A float32 network takes it, rounded once.
    network.conv_last.bias.data.copy_(written['conv_last.bias'])
    assert network.conv_last.bias[0].item() == products[same]


def esrn_with_biases():
    torch.manual_seed(0)
    network = ESRN('S_4_8_16 G_6_8_16 C_4_8_8', 4, mid_channels=16, bias=True)
    for name, value in network.state_dict().items():
        if name.endswith('.bias'):
            value.normal_()
    return network


@pytest.mark.parametrize(
    ('network', 'published'),
    [
        (lambda: EDSR(1, **TINY), True),
        (lambda: MDSR((3, 2), **TINY), True),
        (lambda: CSNLN(3, mid_channels=8, num_recurrences=2), False),
        (esrn_with_biases, True),
        (lambda: ESRN('S_4_8_16', 3, mid_channels=16), False),
    ],
)
def test_other_sizes(network, published, tmp_path):
    """Ours, published and back, where the authors' code has such a network."""
    state = network().state_dict()
    source = saved(state, tmp_path / 'a.pth')
    if not published:
        with pytest.raises(ValueError, match="network that the authors' code can have"):
            convert(source, tmp_path / 'b.pth', 'published')
        assert not (tmp_path / 'b.pth').exists()
        return
    convert(source, tmp_path / 'b.pth', 'published')
    assert inspect(tmp_path / 'b.pth').value_range == 255
    convert(tmp_path / 'b.pth', tmp_path / 'c.pth', 'sr_plugins')
    assert_same(torch_load(tmp_path / 'c.pth'), state)
    # The numbers of the published file are right as well: they load.
    again = network()
    checkpoints.load(again, tmp_path / 'b.pth')
    for key, value in state.items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=1e-6, atol=0)


def test_a_whole_car(tmp_path):
    """Published folder, our file, published folder: both files bit for bit."""
    folder = tmp_path / 'models' / '2x'
    folder.mkdir(parents=True)
    states = {'kgn.pth': golden.state_dict('kgn_x2')}
    states['usn.pth'] = unit_range('edsr_base_x2')
    states = {n: {f'module.{k}': v for k, v in s.items()} for n, s in states.items()}
    for name, state in states.items():
        torch.save(state, folder / name)
    convert(folder, tmp_path / 'car.pth', 'sr_plugins')
    upscaler = {'mid_channels': 64, 'num_blocks': 16, 'res_scale': 1.0}
    ours = CAR(2, upscaler=upscaler)
    checkpoints.load(ours, folder)
    assert_same(torch_load(tmp_path / 'car.pth'), dict(ours.state_dict()))
    done = convert(tmp_path / 'car.pth', tmp_path / 'out' / '2x', 'published')
    assert [path.name for path in done.files] == ['kgn.pth', 'usn.pth']
    for path in done.files:
        assert_same(torch_load(path), states[path.name])
    with pytest.raises(ValueError, match='another file than the input'):
        convert(folder, folder, 'published')
    with pytest.raises(ValueError, match=r'is a file'):
        convert(folder, tmp_path / 'car.pth', 'published')
    with pytest.raises(ValueError, match='CAR, which are sr_plugins, published, but'):
        convert(folder, tmp_path / 'x.pth', 'mmagic')


def test_averaged_weights_and_the_training_are_kept(tmp_path):
    raw, average = (EDSR(2, **TINY).state_dict() for _ in range(2))
    state = {f'generator.{key}': value for key, value in raw.items()}
    state |= {f'generator_ema.{key}': value for key, value in average.items()}
    meta = {'iter': 7, 'epoch': 1, 'cfg': 'scale = 2', 'seed': 3}
    source = saved({'state_dict': state, 'meta': meta}, tmp_path / 'iter_7.pth')
    convert(source, tmp_path / 'b.pth', 'mmagic')
    written = torch_load(tmp_path / 'b.pth')
    assert written['meta'] == {'iter': 7, 'epoch': 1, 'cfg': 'scale = 2'}
    expected = {f'generator.{key}': value for key, value in average.items()}
    assert_same(written['state_dict'], expected)


@pytest.mark.parametrize(
    ('network', 'package', 'message'),
    [
        (MDSR(**TINY), 'basicsr', 'has MDSR, which are sr_plugins, published, but got'),
        (MDSR(**TINY), 'mmagic', 'With our plugin mmagic runs our own network'),
        (EDSR(1, **TINY), 'basicsr', 'scale 1 has our names and a range of 255'),
        (EDSR(2, 1, 1, **TINY), 'published', 'images of 3 channels'),
        (EDSR(2, **TINY), 'caffe', 'one of sr_plugins, published, basicsr, mmagic'),
    ],
)
def test_networks_that_a_package_does_not_have(network, package, message, tmp_path):
    source = saved(network.state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / 'b.pth', package)
    assert list(tmp_path.iterdir()) == [source]


def test_incomplete_weights(tmp_path):
    state = EDSR(2, **TINY).state_dict()
    del state['body.1.conv2.weight']
    state['extra.weight'] = torch.zeros(1)
    state['body.0.conv1.bias'] = torch.zeros(9)
    source = saved(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointMismatchError) as caught:
        convert(source, tmp_path / 'b.pth', 'published')
    for part in (
        'a.pth',
        'EDSR x2 with 3 blocks of 8',
        'missing: body.1.conv2.weight',
        'unexpected: extra.weight',
        'of another shape: body.0.conv1.bias',
    ):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_the_input_stays(tmp_path):
    source = saved(EDSR(2, **TINY).state_dict(), tmp_path / 'a.pth')
    before = source.read_bytes()
    (tmp_path / 'link.pth').symlink_to(source)
    for out in (source, tmp_path / 'link.pth', tmp_path / 'x' / '..' / 'a.pth'):
        (tmp_path / 'x').mkdir(exist_ok=True)
        with pytest.raises(ValueError, match='another file than the input'):
            convert(source, out, 'basicsr')
    with pytest.raises(ValueError, match='is a folder'):
        convert(source, tmp_path / 'x', 'basicsr')
    assert source.read_bytes() == before
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth'):
        convert(tmp_path / 'nothing.pth', tmp_path / 'b.pth', 'basicsr')
    with pytest.raises(FileNotFoundError, match=r'kgn\.pth and usn\.pth'):
        convert(tmp_path / 'x', tmp_path / 'b.pth', 'basicsr')
    assert not (tmp_path / 'b.pth').exists()
