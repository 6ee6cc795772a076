"""MDSR: each scale is a network of its own within one."""

import golden
import pytest
import torch

from sr_plugins import checkpoints
from sr_plugins.archs import EDSR, MDSR

TINY = {'mid_channels': 8, 'num_blocks': 2}


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)
def test_golden_output(scale, dtype, bound):
    network = MDSR().to(dtype).eval()
    report = checkpoints.load(network, golden.state_dict('mdsr_base'))
    assert report.dialect == 'published'
    with torch.no_grad():
        y = network(golden.image('mdsr_base').to(dtype), scale) * 255
    target = golden.expected('mdsr_base')[f'y_x{scale}']
    assert golden.relative_error(y, target) < bound


@pytest.mark.parametrize(
    ('num_blocks', 'counts'),
    [
        (16, (1_779_715, 1_964_355, 1_927_427)),
        (80, (6_506_499, 6_691_139, 6_654_211)),
    ],
)
def test_published_counts_at_one_scale(num_blocks, counts):
    for scale, count in zip((2, 3, 4), counts, strict=True):
        with torch.device('meta'):
            network = MDSR(scales=(scale,), num_blocks=num_blocks)
        assert sum(p.numel() for p in network.parameters()) == count


def test_default_scale():
    network = MDSR(**TINY).eval()
    x = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        assert network.scale == 2
        assert torch.equal(network(x), network(x, 2))
        network.scale = 4
        assert torch.equal(network(x), network(x, scale=4))
        assert torch.equal(network(x, 3), at_scale(network, 3)(x))
    assert MDSR(scales=(4, 3), **TINY).scale == 4
    assert MDSR(scale=3, **TINY)(x).shape == (1, 3, 15, 18)


def at_scale(network, scale):
    other = MDSR(scale=scale, **TINY).eval()
    other.load_state_dict(network.state_dict())
    return other


@pytest.mark.parametrize('scales', [(), (2, 2), (1, 2), (2, 5), 2, '23', (2, 3.0)])
def test_wrong_scales(scales):
    with pytest.raises(ValueError, match=r'Expected `scales?` of MDSR to be '):
        MDSR(scales=scales, **TINY)


@pytest.mark.parametrize('scale', [1, 4, '2', True, 2.0])
def test_scale_of_a_call_that_it_has_not(scale):
    network = MDSR(scales=(2, 3), **TINY)
    with pytest.raises(ValueError, match='`scale` of MDSR to be one of 2, 3, but got'):
        network(torch.rand(1, 3, 4, 4), scale)


def test_with_pre_processing_that_does_nothing_it_is_edsr():
    """The shared part and one upsampler, under EDSR's own names."""
    network, edsr = MDSR(**TINY).eval(), EDSR(3, **TINY).eval()
    state = network.state_dict()
    for key, value in state.items():
        if key.startswith('pre_process.1.') and '.conv2.' in key:
            value.zero_()
    edsr.load_state_dict(
        {
            key.replace('upsample.1.', 'upsample.'): value
            for key, value in state.items()
            if not key.startswith(('pre_process.', 'upsample.0.', 'upsample.2.'))
        }
    )
    x = torch.rand(2, 3, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(network(x, 3), edsr(x))
