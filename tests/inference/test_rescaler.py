"""What comes down is what the network makes, and is all that going up needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from inference.tiny import CAR, ROOT, build, write_checkpoint, write_config
from mmengine.config import Config

from sr_plugins.checkpoints import CheckpointMismatchError
from sr_plugins.inference import (
    Photograph,
    Rescaler,
    Upscaler,
    make_scaler,
    read_photograph,
    scaler_from_config,
    steps,
    write_photograph,
)
from sr_plugins.preparation import imresize


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def photograph(pixels, **others):
    return Photograph((pixels / 255).astype(np.float32), **others)


@pytest.fixture
def car(tmp_path):
    """Make the network of scale 2 or 4, with kernels that are no averages."""

    def make(scale=2):
        network = build(write_config(tmp_path, f'car_x{scale}', **CAR))
        with torch.no_grad():
            for parameter in network.downscaler.parameters():
                parameter.mul_(2)
        return network

    return make


@torch.no_grad()
def planes(network, rgb, quantised):
    """LR image and reconstruction by the parts of CAR, each (H, W, 3)."""
    x = torch.tensor(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    lr = network.resample(x.float()).lr
    y = network.upscaler(torch.tensor(quantised.transpose(2, 0, 1))[None]).clamp(0, 1)
    return (y[0].permute(1, 2, 0).numpy() for y in (lr, y))


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 8), (33, 18)])
def test_both_ways_are_those_of_the_network(car, scale, size):
    network = car(scale)
    scaler = Rescaler(network, 'cpu')
    original = photograph(image(*size, 3))
    small = scaler.downscale(original)
    assert small.rgb.shape == (-(-size[0] // scale), -(-size[1] // scale), 3)
    assert small.original_size == size
    back = scaler(original)
    assert back.rgb.shape == original.rgb.shape
    assert back.rgb.dtype == small.rgb.dtype == np.float32
    lr, enlarged = planes(network, original.rgb, small.rgb)
    np.testing.assert_allclose(255 * small.rgb, 255 * lr.clip(0, 1), atol=0.501)
    np.testing.assert_array_equal(np.rint(small.rgb * 255) / np.float32(255), small.rgb)
    height, width = size
    np.testing.assert_allclose(back.rgb, enlarged[:height, :width], atol=1e-6)


KINDS = {
    'colour': photograph(image(9, 14, 3), icc_profile=b'a profile'),
    'alpha': photograph(image(9, 14, 3), alpha=image(9, 14) / np.float32(255)),
    'grey': photograph(image(9, 14, 1).repeat(3, axis=2), is_grey=True),
    'grey alpha': photograph(
        image(9, 14, 1).repeat(3, axis=2),
        alpha=image(9, 14) / np.float32(255),
        is_grey=True,
    ),
    'deep': Photograph(np.random.default_rng(0).random((9, 14, 3), 'f4'), bits=16),
    'dot': photograph(image(1, 1, 3), alpha=np.full((1, 1), 0.5, 'f4')),
}


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('kind', KINDS)
def test_a_file_is_as_good_as_the_image(car, tmp_path, scale, kind):
    scaler = Rescaler(car(scale), 'cpu')
    original = KINDS[kind]
    small = scaler.downscale(original)
    write_photograph(tmp_path / 'small.png', small)
    stored = read_photograph(tmp_path / 'small.png')
    for field in ('rgb', 'alpha'):
        ours, theirs = getattr(small, field), getattr(stored, field)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
        assert (ours is None) == (theirs is None)
    rest = {'rgb': None, 'alpha': None}
    assert replace(stored, **rest) == replace(small, **rest)
    assert small.bits == 8
    assert (small.is_grey, small.icc_profile) == (
        original.is_grey,
        original.icc_profile,
    )
    at_once, later = scaler(original), scaler.upscale(stored)
    np.testing.assert_array_equal(at_once.rgb, later.rgb)
    assert at_once.rgb.shape == original.rgb.shape
    if original.alpha is not None:
        np.testing.assert_array_equal(at_once.alpha, later.alpha)
        assert later.alpha.shape == original.alpha.shape
    assert later.original_size is None


def test_alpha_is_bicubic(car):
    alpha = image(9, 14) / np.float32(255)
    scaler = Rescaler(car(), 'cpu')
    small = scaler.downscale(photograph(image(9, 14, 3), alpha=alpha))
    expected = imresize(alpha, 1 / 2).clip(0, 1)
    assert small.alpha.shape == (5, 7)
    np.testing.assert_allclose(small.alpha, expected, atol=0.501 / 255)
    back = scaler.upscale(small).alpha
    expected = imresize(small.alpha, 2).clip(0, 1)[:9]
    np.testing.assert_array_equal(back, expected)


def test_grey_stays_grey(car):
    scaler = Rescaler(car(), 'cpu')
    small = scaler.downscale(KINDS['grey'])
    assert np.ptp(small.rgb, axis=2).max() == 0
    colour = scaler.downscale(replace(KINDS['grey'], is_grey=False))
    np.testing.assert_allclose(small.rgb, colour.rgb, atol=1.01 / 255)


def test_images_that_never_were_larger(car):
    """Without a note of the size, all that the network gives."""
    scaler = Rescaler(car(), 'cpu')
    out = scaler.upscale(photograph(image(5, 7, 3), alpha=np.ones((5, 7), 'f4')))
    assert out.rgb.shape == (10, 14, 3)
    assert out.alpha.shape == (10, 14)


@pytest.mark.parametrize('size', [(10, 15), (12, 14), (8, 14), (36, 52), (5, 7)])
def test_size_of_another_image(car, size):
    scaler = Rescaler(car(), 'cpu')
    small = photograph(image(5, 7, 3), original_size=size)
    message = rf'by 2, but got 5 x 7 pixels .* of {size[0]} x {size[1]}\.'
    with pytest.raises(ValueError, match=message):
        scaler.upscale(small)


@pytest.mark.parametrize('part', ['downscaler', 'upscaler'])
def test_what_is_not_finite_is_no_image(car, part):
    """Of the downscaler's maps the operator says so itself."""
    network = car()
    with torch.no_grad():
        getattr(network, part).conv_first.weight[0, 0] = np.nan
    with pytest.raises(ValueError, match='finite'):
        Rescaler(network, 'cpu')(photograph(image(6, 8, 3)))


def test_too_large_an_image(car):
    network = car()
    network.downscaler.forward = lambda x: x.new_empty(2**50)
    with pytest.raises(MemoryError, match=r'memory of cpu, but got 2 x 3 pixels'):
        Rescaler(network, 'cpu').downscale(photograph(image(2, 3, 3)))


def test_networks_of_the_other_kind(car, tmp_path):
    edsr = build(write_config(tmp_path / 'edsr'))
    with pytest.raises(ValueError, match=r'such as CAR, but got EDSR\. Use Upscaler'):
        Rescaler(edsr, 'cpu')
    with pytest.raises(ValueError, match=r'but got CAR, which .* Use Rescaler'):
        Upscaler(car(), 'cpu')
    assert isinstance(make_scaler(car(), 'cpu'), Rescaler)
    assert isinstance(make_scaler(edsr, 'cpu'), Upscaler)
    with pytest.raises(ValueError, match=r"no `chop` for CAR, .* \{'shave': 3\}"):
        make_scaler(car(), 'cpu', {'shave': 3})
    with pytest.raises(ValueError, match='overlap of KGN, 42, but got 20'):
        make_scaler(car(), 'cpu', tile={'size': 20})


def test_tiles_and_poses(car):
    """Down in tiles, up in tiles and eight poses; files are complete all the same."""
    original = photograph(image(101, 130, 3))
    network = car()
    whole = Rescaler(network, 'cpu')
    small, back = whole.downscale(original), whole(original)
    tiled = Rescaler(network, 'cpu', tile={'size': 44})
    steps = 255 * np.abs(tiled.downscale(original).rgb - small.rgb)
    assert steps.max() < 1.01
    assert (steps > 0.5).mean() < 1e-3
    np.testing.assert_allclose(tiled.upscale(small).rgb, back.rgb, atol=1e-5)
    options = {'tile': {'size': 44}, 'self_ensemble': True}
    posed = make_scaler(network, 'cpu', **options).upscale(small).rgb
    exact = Upscaler(network.upscaler, 'cpu', self_ensemble=True)(small).rgb
    np.testing.assert_allclose(posed, exact[:101, :130], atol=1e-5)
    assert np.abs(posed - back.rgb).max() > 1e-3
    coarse = make_scaler(network, 'cpu', amp='bf16')
    np.testing.assert_array_equal(coarse.downscale(original).rgb, small.rgb)
    assert 1e-4 < np.abs(coarse.upscale(small).rgb - back.rgb).max() < 2e-2


def test_steps(car, tmp_path):
    scaler = Rescaler(car(), 'cpu')
    assert [ending for ending, _ in steps(scaler)] == ['_down2', '_down2x2']
    assert [ending for ending, _ in steps(scaler, 'both')] == ['_down2', '_down2x2']
    assert [ending for ending, _ in steps(scaler, 'downscale')] == ['_down2']
    assert [ending for ending, _ in steps(scaler, 'upscale')] == ['x2']
    with pytest.raises(ValueError, match="downscale, upscale, both, but got 'down'"):
        steps(scaler, 'down')
    upscaler = Upscaler(build(write_config(tmp_path / 'edsr')), 'cpu')
    assert steps(upscaler) == [('x2', upscaler)]
    with pytest.raises(ValueError, match=r"no mode for EDSR, .* but got 'both'"):
        steps(upscaler, 'both')


def test_from_config(car, tmp_path):
    network = car()
    checkpoint = write_checkpoint(tmp_path / 'tiny.pth', network)
    cfg = Config.fromfile(tmp_path / 'tiny.py')
    expected = Rescaler(network, 'cpu')(KINDS['colour'])
    for make in (Rescaler.from_config, scaler_from_config):
        scaler = make(cfg, checkpoint, 'cpu')
        np.testing.assert_array_equal(scaler(KINDS['colour']).rgb, expected.rgb)
    edsr = Config.fromfile(ROOT / 'configs' / 'demo_edsr_x2.py')
    with pytest.raises(CheckpointMismatchError, match='hold weights of EDSR, but got'):
        scaler_from_config(edsr, checkpoint, 'cpu')
