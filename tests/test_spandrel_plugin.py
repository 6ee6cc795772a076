"""Our networks in spandrel's own registry, found and run by its own loader."""

import subprocess
import sys

import sr_plugins.compat  # noqa: F401  (first: it repairs what follows)

import golden
import pytest
import torch

spandrel = pytest.importorskip('spandrel', reason='needs sr_plugins[spandrel]')

from sr_plugins import spandrel_plugin  # noqa: E402
from sr_plugins.archs import CAR, CSNLN, EDSR, ESRN, MDSR  # noqa: E402

TINY = {'mid_channels': 8, 'num_blocks': 3}
OURS = {a.architecture.id for a in spandrel_plugin.ARCHITECTURES}
CODES = ['S_4_8_16', 'G_6_16_24', 'C_4_16_24']


def spandrels():
    """Another test of this process may have installed ours in the main registry."""
    return [a for a in spandrel.MAIN_REGISTRY if a.architecture.id not in OURS]


@pytest.fixture
def loader():
    registry = spandrel.ArchRegistry()
    own = spandrels()
    registry.add(*own)
    added = spandrel_plugin.install(registry)
    assert len(added) == len(OURS)
    assert len(registry) == len(own) + len(added)
    return spandrel.ModelLoader(registry=registry)


def test_install_twice():
    registry = spandrel.ArchRegistry()
    spandrel_plugin.install(registry)
    with pytest.raises(spandrel.DuplicateArchitectureError):
        spandrel_plugin.install(registry)
    assert spandrel_plugin.install(registry, ignore_duplicates=True) == []


def test_imports_change_nothing():
    """Importing the plugin is not installing it."""
    code = (
        'import sr_plugins.spandrel_plugin, spandrel\n'
        'ids = [a.architecture.id for a in spandrel.MAIN_REGISTRY]\n'
        'assert len(ids) > 30 and not any(i.startswith("sr_plugins") for i in ids)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def basicsr():
    from basicsr.archs.edsr_arch import EDSR as BasicSREDSR

    network = BasicSREDSR(3, 3, num_feat=8, num_block=3, upscale=4)
    return network, {'params': network.state_dict()}


def mmagic():
    from mmagic.models.editors.edsr import EDSRNet

    network = EDSRNet(3, 3, mid_channels=8, num_blocks=3, upscale_factor=3)
    state = {f'generator.{key}': v for key, v in network.state_dict().items()}
    return network, {'state_dict': state, 'meta': {}}


def ours(network):
    return network, network.state_dict()


@pytest.mark.parametrize(
    ('make', 'ending', 'id_', 'scale', 'tags'),
    [
        (basicsr, 'pth', 'EDSR', 4, ['8nf', '3nb']),
        (mmagic, 'pth', 'EDSR', 3, ['8nf', '3nb']),
        (lambda: ours(EDSR(2, **TINY)), 'pt', 'EDSR', 2, ['8nf', '3nb']),
        (lambda: ours(MDSR((3, 4), **TINY)), 'pth', 'MDSR', 3, ['8nf', '3nb']),
        (lambda: ours(CSNLN(3, 3, 8, 2)), 'pt', 'CSNLN', 3, ['8nf', '2nr']),
        (lambda: ours(ESRN(CODES, 3, mid_channels=16)), 'pth', 'ESRN', 3, ['16nf']),
    ],
)
def test_files(loader, make, ending, id_, scale, tags, tmp_path):
    """The images are those of the network that made the file."""
    torch.manual_seed(0)
    network, content = make()
    torch.save(content, tmp_path / f'net.{ending}')
    found = loader.load_from_file(tmp_path / f'net.{ending}')
    assert found.architecture.id == f'sr_plugins.{id_}'
    assert (found.scale, found.tags, found.purpose) == (scale, tags, 'SR')
    assert (found.input_channels, found.output_channels) == (3, 3)
    x = torch.rand(1, 3, 7, 9)
    with torch.no_grad():
        expected = network.eval()(x).clamp(0, 1)
    torch.testing.assert_close(found(x), expected, rtol=1e-5, atol=1e-5)
    half = found.bfloat16()(x.bfloat16())
    assert (half.float() - expected).abs().max() < 0.05


@pytest.mark.parametrize('case', ['edsr_base_x2', 'esrn_mix_x4'])
def test_published(loader, case):
    found = loader.load_from_state_dict(golden.state_dict(case))
    assert found.architecture.id == f'sr_plugins.{golden.CASES[case]["arch"]}'
    x, y = golden.image(case), golden.expected(case)['y']
    if case.startswith('edsr'):
        y = y / 255
    else:
        x, y = x.flip(1), y.flip(1)
    expected = y.clamp(0, 1).float()
    torch.testing.assert_close(found(x), expected, rtol=1e-4, atol=1e-4)


def test_restoration_needs_a_file_that_says_whose_it_is(loader):
    state = EDSR(1, **TINY).state_dict()
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_state_dict(state)
    ours = {f'generator.{key}': value for key, value in state.items()}
    found = loader.load_from_state_dict(ours)
    assert (found.purpose, found.scale) == ('Restoration', 1)


def test_what_is_not_taken(loader):
    """Networks that do not enlarge what they are given, parts, and what is damaged."""
    car = CAR(2, {'mid_channels': 16, 'num_blocks': 1}, TINY)
    edsr = EDSR(2, **TINY).state_dict()
    incomplete = {key: value for key, value in edsr.items() if 'body.1' not in key}
    for state in (car.state_dict(), car.downscaler.state_dict(), incomplete):
        with pytest.raises(spandrel.UnsupportedModelError):
            loader.load_from_state_dict(state)
    edsr['conv_last.bias'][0] = float('nan')
    with pytest.raises(ValueError, match=r'conv_last\.bias'):
        loader.load_from_state_dict(edsr)


def test_spandrels_own_architectures_are_found_as_before(loader):
    """Its RCAN, whose published names are close to EDSR's, and its ESRGAN."""
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.RCAN import RCAN

    networks = {
        'RCAN': RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16),
        'ESRGAN': ESRGAN(num_filters=8, num_blocks=2),
    }
    for id_, network in networks.items():
        state = network.state_dict()
        assert loader.load_from_state_dict(state).architecture.id == id_
        for support in spandrel_plugin.ARCHITECTURES:
            assert not support.detect(state)
    # Nor do its own claim what is ours.
    for case in ('edsr_base_x3', 'mdsr_base', 'csnln_x2_d2', 'esrn_mix_x2'):
        state = golden.state_dict(case)
        claims = [a.architecture.id for a in spandrels() if a.detect(state)]
        assert claims == []
