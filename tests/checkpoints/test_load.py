"""Loading weights of other packages, checked with those packages' own networks."""

import os
import pickle

import golden
import pytest
import torch

from sr_plugins import checkpoints
from sr_plugins.archs import CAR, CSNLN, EDSR, KGN, MDSR, USN
from sr_plugins.checkpoints import CheckpointMismatchError
from sr_plugins.fileio import UnsafeFileError

TINY = {'mid_channels': 8, 'num_blocks': 3}


def edsr(scale=2, **kwargs):
    torch.manual_seed(1)
    return EDSR(scale=scale, **{**TINY, **kwargs}).eval()


def outputs_agree(ours, theirs, x, rtol):
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=rtol, atol=rtol)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize(
    ('dtype', 'rtol'), [(torch.float32, 2e-5), (torch.float64, 1e-7)]
)
def test_basicsr(scale, dtype, rtol, tmp_path):
    """BasicSR scales images by 255 inside; its mean is float32 even in float64."""
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    torch.manual_seed(0)
    theirs = BasicSREDSR(3, 3, num_feat=8, num_block=3, upscale=scale, res_scale=0.5)
    # Weights of a network that gives images, so that 255 is not lost in rounding.
    path = tmp_path / 'net_g_latest.pth'
    torch.save({'params': theirs.state_dict()}, path)
    ours = edsr(scale, res_scale=0.5).to(dtype)
    report = checkpoints.load(ours, path)
    assert report.dialect == 'BasicSR'
    outputs_agree(ours, theirs.to(dtype), torch.rand(1, 3, 9, 7, dtype=dtype), rtol)


def test_basicsr_average_is_preferred():
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    nets = [BasicSREDSR(3, 3, num_feat=8, num_block=3, upscale=2) for _ in range(2)]
    ours = edsr()
    checkpoints.load(
        ours, {'params': nets[0].state_dict(), 'params_ema': nets[1].state_dict()}
    )
    assert torch.equal(ours.body[0].conv1.weight, nets[1].body[0].conv1.weight)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('prefix', ['generator.', 'generator_ema.'])
def test_mmagic(scale, prefix, tmp_path):
    from mmagic.models.editors.edsr import EDSRNet

    torch.manual_seed(0)
    theirs = EDSRNet(3, 3, mid_channels=8, num_blocks=3, upscale_factor=scale).eval()
    state = {f'{prefix}{k}': v for k, v in theirs.state_dict().items()}
    if prefix == 'generator_ema.':
        state |= {f'generator.{k}': v + 1 for k, v in theirs.state_dict().items()}
    path = tmp_path / 'iter_300000.pth'
    torch.save({'state_dict': state, 'meta': {'iter': 300000}}, path)
    ours = edsr(scale)
    assert checkpoints.load(ours, path).dialect == 'sr_plugins or mmagic'
    outputs_agree(ours, theirs, torch.rand(1, 3, 9, 7), 1e-6)
    # The names are the same, so that our checkpoints load in mmagic as they are.
    theirs.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize(
    'prefix', ['module.', 'generator.module.', 'module.generator.']
)
def test_prefixes(prefix):
    source = edsr()
    state = {f'{prefix}{k}': v for k, v in source.state_dict().items()}
    ours = edsr()
    torch.nn.init.zeros_(ours.conv_last.weight)
    checkpoints.load(ours, state)
    assert torch.equal(ours.conv_last.weight, source.conv_last.weight)


def test_published_of_both_ranges():
    """The same network stored for [0, 255] and for [0, 1] gives the same images."""
    state = golden.state_dict('edsr_usn_x2')
    wide = dict(state)
    for key in ('sub_mean.bias', 'add_mean.bias'):
        wide[key] = state[key] * 255
    wide['head.0.weight'] = state['head.0.weight'] / 255
    for key in ('tail.1.weight', 'tail.1.bias'):
        wide[key] = state[key] * 255
    nets = []
    for weights in (state, wide):
        net = EDSR(2, mid_channels=256, num_blocks=32, res_scale=0.1)
        checkpoints.load(net, weights)
        nets.append(net)
    outputs_agree(*nets, golden.image('edsr_usn_x2'), 1e-5)


def test_published_mean_of_another_data_set():
    state = golden.state_dict('edsr_base_x2')
    state['sub_mean.bias'] = -255 * torch.tensor([0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r'minus the mean of DIV2K.*bias \[-127.5'):
        checkpoints.load(EDSR(), state)
    state = golden.state_dict('edsr_base_x2')
    state['add_mean.bias'] = state['add_mean.bias'].repeat(2)
    network = EDSR()
    before = network.conv_first.weight.clone()
    with pytest.raises(ValueError, match=r'add_mean\.bias \[114\.4'):
        checkpoints.load(network, state)
    assert torch.equal(network.conv_first.weight, before)


@pytest.mark.parametrize(
    ('network', 'case', 'wanted', 'found'),
    [
        (EDSR(2), 'edsr_base_x3', 'EDSR x2 with 16', 'EDSR x3 with 16'),
        (EDSR(4), 'edsr_base_x2', 'EDSR x4', 'EDSR x2'),
        (EDSR(2, **TINY), 'edsr_base_x2', '3 blocks of 8', '16 blocks of 64'),
        (CSNLN(3, num_recurrences=2), 'csnln_x2_d2', 'CSNLN x3 with 2', 'CSNLN x2'),
        (CSNLN(2, num_recurrences=3), 'csnln_x2_d2', '3 recurrences', '2 recurrences'),
        (CSNLN(4, num_recurrences=2), 'csnln_x2_d2', 'CSNLN x4', 'CSNLN x2'),
        (EDSR(2), 'csnln_x2_d2', 'weights of EDSR', 'CSNLN x2 with 2 recurrences'),
        (CSNLN(2), 'edsr_base_x2', 'weights of CSNLN', 'EDSR x2 with 16 blocks'),
        (EDSR(2), 'mdsr_base', 'weights of EDSR', 'MDSR for x2, x3, x4 with 16'),
        (MDSR(), 'edsr_base_x2', 'weights of MDSR', 'EDSR x2 with 16 blocks'),
        (MDSR((2, 4)), 'mdsr_base', 'MDSR for x2, x4 with 16', 'MDSR for x2, x3, x4'),
        (MDSR(**TINY), 'mdsr_base', '3 blocks of 8', '16 blocks of 64 channels'),
        (KGN(2, **TINY), 'kgn_x2', 'KGN x2 with 3 blocks of 8', '5 blocks of 128'),
        (KGN(2), 'edsr_base_x2', 'weights of KGN', 'EDSR x2 with 16 blocks'),
        (USN(2, **TINY), 'edsr_base_x3', 'EDSR x2 with 3 blocks', 'EDSR x3 with 16'),
    ],
)
def test_other_architecture(network, case, wanted, found):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoints.load(network, golden.state_dict(case))
    message = str(caught.value)
    assert wanted in message.split('but got')[0]
    assert found in message.split('but got')[1]
    assert len(message.splitlines()) <= 6, 'the list is to be short'
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), 'a refused file changed the network'


def test_not_strict_takes_what_fits():
    """As published: x4 starts from x2, body and all; what differs stays."""
    source, target = edsr(2), edsr(4)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    report = checkpoints.load(target, source.state_dict(), strict=False)
    assert set(report.missing) == {
        'upsample.1.upsample_conv.weight',
        'upsample.1.upsample_conv.bias',
    }
    assert torch.equal(target.body[2].conv2.weight, source.body[2].conv2.weight)
    summary = report.summary()
    assert summary.startswith(f'{len(report.loaded)} taken (sr_plugins or mmagic')
    assert 'missing: upsample.1.upsample_conv.weight' in summary
    assert not target.upsample[1].upsample_conv.weight.any()


def test_not_strict_with_nothing_that_fits():
    state = {'a.weight': torch.zeros(3)}
    with pytest.raises(CheckpointMismatchError, match='Not one weight fits'):
        checkpoints.load(edsr(), state, strict=False)


@pytest.mark.parametrize('content', [{'epoch': 3}, [torch.zeros(2)], torch.zeros(2)])
def test_no_state_dict(content, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(content, path)
    with pytest.raises(CheckpointMismatchError, match=r'weights\.pth to be a state'):
        checkpoints.load(edsr(), path)


class _Attack:
    def __reduce__(self):
        return os.system, ('touch owned',)


@pytest.mark.parametrize('legacy', [False, True])
def test_foreign_objects_are_refused(legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'weights.pth'
    content = {'state_dict': edsr().state_dict(), 'extra': _Attack()}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnsafeFileError, match='system'):
        checkpoints.load(edsr(), path)
    assert not (tmp_path / 'owned').exists()


def test_plain_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'weights.pth'
    path.write_bytes(pickle.dumps(_Attack()))
    with pytest.raises(ValueError, match=r'weights\.pth'):
        checkpoints.load(edsr(), path)
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('missing', [1, 200, 2000, 10_000])
def test_truncated_file(missing, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(edsr().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=r'weights\.pth'):
        checkpoints.load(edsr(), path)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'no-such\.pth'):
        checkpoints.load(edsr(), 'no-such.pth')


def test_names_of_another_family_in_a_network_of_ones_own():
    """`conv_first` and `conv_after_body` do not make an EDSR."""

    class MyNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_first = torch.nn.Conv2d(3, 8, 3)
            self.conv_after_body = torch.nn.Conv2d(8, 8, 3)

    source, target = MyNet(), MyNet()
    checkpoints.load(target, source.state_dict())
    assert torch.equal(target.conv_first.weight, source.conv_first.weight)


def test_part_of_another_network_in_csnln():
    """An EDSR without its first layer is described as far as it goes."""
    state = edsr().state_dict()
    state = {k: v for k, v in state.items() if not k.startswith('conv_first')}
    state['conv_first.bias'] = torch.zeros(8)
    with pytest.raises(CheckpointMismatchError, match="EDSR weights without 'conv_fi"):
        checkpoints.load(CSNLN(2), state)


def test_edsr_of_scale_1_in_a_file_of_basicsr_is_ambiguous():
    state = edsr(scale=1).state_dict()
    with pytest.raises(CheckpointMismatchError, match=r'\[0, 255\] or of \[0, 1\]'):
        checkpoints.load(edsr(scale=1), {'params': state})
    checkpoints.load(edsr(scale=1), state)


def car(scale=2):
    torch.manual_seed(2)
    upscaler = {'mid_channels': 64, 'num_blocks': 16, 'res_scale': 1.0}
    return CAR(scale, upscaler=upscaler)


@pytest.fixture
def published_car(tmp_path):
    """A folder as published, both files from a DataParallel, of range 1 and 255."""
    folder = tmp_path / '2x'
    folder.mkdir()
    for name, case in {'kgn': 'kgn_x2', 'usn': 'edsr_base_x2'}.items():
        state = {f'module.{k}': v for k, v in golden.state_dict(case).items()}
        torch.save(state, folder / f'{name}.pth')
    return folder


def test_published_folder(published_car):
    ours = car()
    report = checkpoints.load(ours, published_car)
    assert set(report.loaded) == set(ours.state_dict())
    assert report.dialect == 'published'
    network = EDSR()
    checkpoints.load(network, golden.state_dict('edsr_base_x2'))
    outputs_agree(ours.upscaler, network, torch.rand(1, 3, 6, 5), 0)
    downscaler = KGN()
    checkpoints.load(downscaler, golden.state_dict('kgn_x2'))
    hr = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        for found, expected in zip(ours.downscaler(hr), downscaler(hr), strict=True):
            assert torch.equal(found, expected)


def test_published_folder_of_another_scale(published_car):
    """The half that fits is not taken either."""
    ours = car()
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    torch.save(golden.state_dict('edsr_base_x3'), published_car / 'usn.pth')
    with pytest.raises(CheckpointMismatchError, match=r'usn\.pth to hold EDSR x2'):
        checkpoints.load(ours, published_car)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key]), key
    (published_car / 'usn.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r'usn\.pth'):
        checkpoints.load(ours, published_car)


def test_one_part(published_car):
    ours = car()
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    report = checkpoints.load(ours, {'upscaler': published_car / 'usn.pth'})
    assert all(name.startswith('upscaler.') for name in report.loaded)
    assert not report.missing
    taken = set(report.loaded)
    assert taken == {name for name in before if name.startswith('upscaler.')}
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in taken), key


def test_part_of_another_scale_as_far_as_it_fits():
    """The body of an EDSR of x2 starts an upscaling network of x4."""
    ours = car(4)
    source = {'upscaler': golden.state_dict('edsr_base_x2')}
    report = checkpoints.load(ours, source, strict=False)
    assert set(report.missing) == {
        'upscaler.upsample.1.upsample_conv.weight',
        'upscaler.upsample.1.upsample_conv.bias',
    }
    assert 'upscaler.conv_last.weight' in report.loaded


@pytest.mark.parametrize(
    ('case', 'found'), [('edsr_base_x2', 'EDSR x2'), ('kgn_x2', 'KGN x2')]
)
def test_one_part_for_the_whole(case, found):
    match = f'weights of CAR, but got {found}.* alone, name that'
    with pytest.raises(CheckpointMismatchError, match=match):
        checkpoints.load(car(), golden.state_dict(case))


def test_whole_car_of_another_scale():
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpoints.load(car(2), car(4).state_dict())
    wanted, found = str(caught.value).split('but got')
    assert 'KGN x2 with 5 blocks of 128 channels and EDSR x2 with 16' in wanted
    assert 'KGN x4' in found


def test_folder_for_a_network_that_has_none(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        checkpoints.load(edsr(), tmp_path)
