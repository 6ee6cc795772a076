"""Options files of BasicSR find our networks, and BasicSR's own stay what they are."""

import pytest
import torch
from basicsr.archs import build_network
from basicsr.archs.edsr_arch import EDSR as BasicSREDSR
from basicsr.losses import build_loss
from basicsr.utils.registry import ARCH_REGISTRY

from sr_plugins import archs
from sr_plugins.basicsr_plugin import SUFFIX, register_all
from sr_plugins.losses import OffsetLoss, PartialTVLoss

BLOCKS = 'G_2_8_16 C_2_8_16'
OPTIONS = {
    'EDSR_sr_plugins': {'scale': 3, 'mid_channels': 8, 'num_blocks': 1},
    'CSNLN': {'scale': 2, 'mid_channels': 8, 'num_recurrences': 1},
    'ESRN': {'scale': 2, 'mid_channels': 16, 'architecture': BLOCKS},
    'USN': {'scale': 4, 'mid_channels': 8, 'num_blocks': 1},
}


@pytest.mark.parametrize('name', OPTIONS)
def test_networks_by_name(name):
    network = build_network({'type': name, **OPTIONS[name]})
    assert type(network) is getattr(archs, name.removesuffix('_sr_plugins'))
    scale = OPTIONS[name]['scale']
    assert network(torch.rand(1, 3, 9, 10)).shape == (1, 3, 9 * scale, 10 * scale)


@pytest.mark.parametrize('name', archs.__all__)
def test_every_network_has_the_suffix_and_its_own_name_where_that_was_free(name):
    network = getattr(archs, name)
    assert ARCH_REGISTRY.get(f'{name}_{SUFFIX}') is network
    assert ARCH_REGISTRY.get(name) is (BasicSREDSR if name == 'EDSR' else network)


def test_losses_by_name():
    assert isinstance(build_loss({'type': 'OffsetLoss'}), OffsetLoss)
    assert isinstance(build_loss({'type': 'PartialTVLoss'}), PartialTVLoss)


def test_registering_twice_changes_nothing():
    before = dict(iter(ARCH_REGISTRY))
    register_all()
    assert dict(iter(ARCH_REGISTRY)) == before


def test_a_misspelt_argument():
    with pytest.raises(TypeError, match='upscale'):
        build_network({'type': 'CSNLN', 'upscale': 2})
