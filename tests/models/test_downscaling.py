"""CAR downscales in tiles what it does of the whole image."""

import pytest
import torch

from sr_plugins.archs import CAR
from sr_plugins.models import Tiling, downscale

TINY = {'mid_channels': 8, 'num_blocks': 1}


class Unrounded(CAR):
    """Levels of 8 bits would hide what is far below one, or make a level of it."""

    def downscale(self, hr):
        return self.resample(hr).lr


def build(scale, blocks=1):
    """With kernels and offsets that depend on all that the network sees."""
    torch.manual_seed(0)
    network = Unrounded(scale, {**TINY, 'num_blocks': blocks}, TINY).eval()
    maker = network.downscaler
    x = torch.rand(1, 3, 96, 96)
    for head in (maker.kernels_head, maker.offsets_h_head, maker.offsets_v_head):
        spread = []
        hook = head.register_forward_hook(
            lambda m, x, y, found=spread: found.append(y.std())
        )
        with torch.no_grad():
            head.conv2.weight.div_(1e-4)
            maker(x)
            head.conv2.weight.mul_(0.3 / spread[0])
        hook.remove()
    return network


@pytest.mark.parametrize(('scale', 'blocks'), [(2, 1), (2, 0), (4, 1)])
def test_receptive_field_is_that_of_a_perturbed_pixel(scale, blocks):
    maker = build(scale, blocks).downscaler.double()
    reach = maker.receptive_field
    side = -(-(2 * reach + 24) // 8) * 8
    x = torch.rand(1, 3, side, side, dtype=torch.float64)
    found = 0
    for middle in range(side // 16 * 8, side // 16 * 8 + 8):
        changed = x.clone()
        changed[0, :, middle, middle] += 0.2
        with torch.no_grad():
            maps = zip(maker(x), maker(changed), strict=True)
            differs = sum((a != b)[0].any(0) for a, b in maps) > 0
        for axis in (0, 1):
            first = differs.any(axis).nonzero().flatten() * scale // 8 * 8
            distance = torch.maximum(first - middle, middle - (first + 7))
            found = max(found, int(distance.max()))
    assert found == reach


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('size', [(1, 9), (171, 40), (150, 213)])
@torch.inference_mode()
def test_tiles_give_the_whole_image(scale, size):
    network = build(scale)
    x = torch.rand(1, 3, *size)
    target = network.downscale(x)
    sizes = []
    network.downscaler.register_forward_pre_hook(lambda m, x: sizes.append(x[0].shape))
    y = downscale(network, x, {'size': 60})
    assert y.shape == target.shape
    torch.testing.assert_close(y, target, rtol=0, atol=1e-5)
    reach = network.downscaler.receptive_field
    assert max(max(s[2:]) for s in sizes) <= 64 + 2 * (reach + 6) + 8
    if size == (150, 213):
        assert len(sizes) > 1
        less = downscale(network, x, {'size': 60, 'overlap': 8})
        assert (less - target).abs().max() > 1e-4


def test_tile_smaller_than_the_networks_reach():
    network = build(2)
    with pytest.raises(ValueError, match='at least the overlap of KGN, 42, but got 41'):
        downscale(network, torch.rand(1, 3, 99, 99), {'size': 41})


def test_published_size():
    """As a user has it: tiles of 256 are large enough, also at x4."""
    for scale, reach in ((2, 74), (4, 82)):
        with torch.device('meta'):
            network = CAR(scale)
        assert Tiling(256).overlap_of(network.downscaler) == reach
        assert Tiling(256).overlap_of(network.upscaler) == 68
