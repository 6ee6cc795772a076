"""An upscaler gives what its network gives, and refuses what does not fit it."""

import numpy as np
import pytest
import torch
from inference.tiny import ROOT, build, by_hand, write_checkpoint, write_config
from mmengine.config import Config
from PIL import Image
from torch import nn

from sr_plugins.checkpoints import CheckpointMismatchError
from sr_plugins.inference import Photograph, Upscaler

CSNLN = {'mid_channels': 8, 'num_recurrences': 2}


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def photograph(rgb, **others):
    return Photograph((rgb / 255).astype(np.float32), **others)


@pytest.fixture
def tiny(tmp_path):
    """Write config and checkpoint; return the config, its path and the network."""

    def make(base='edsr_baseline_x2', **generator):
        config = write_config(tmp_path, base, **generator)
        network = build(config)
        return (
            Config.fromfile(config),
            write_checkpoint(tmp_path / 'tiny.pth', network),
            network,
        )

    return make


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('family', ['edsr_baseline', 'csnln'])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 8)])
def test_output_is_that_of_the_network(tiny, family, scale, size):
    options = CSNLN if family == 'csnln' else {}
    cfg, checkpoint, network = tiny(f'{family}_x{scale}', **options)
    upscaler = Upscaler.from_config(cfg, checkpoint, 'cpu')
    rgb = image(*size)
    out = upscaler(photograph(rgb))
    assert upscaler.scale == scale
    assert out.rgb.dtype == np.float32
    assert out.rgb.shape == (scale * size[0], scale * size[1], 3)
    np.testing.assert_allclose(out.rgb, by_hand(network, rgb), atol=1e-6)
    # Weights that were not loaded would differ.
    other = build(
        write_config(checkpoint.parent / 'o', f'{family}_x{scale}', **options), 1
    )
    assert np.abs(out.rgb - by_hand(other, rgb)).max() > 1e-2


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_image(tiny, value):
    """It would be black, or white, without a word."""
    network = tiny()[2]
    with torch.no_grad():
        network.conv_last.bias[1] = value
    upscaler = Upscaler(network, 'cpu')
    with pytest.raises(ValueError, match='to give finite numbers'):
        upscaler(photograph(image(3, 4)))


def test_the_rest_of_a_photograph_is_kept(tiny):
    upscaler = Upscaler(tiny()[2], 'cpu')
    full = photograph(image(4, 5), is_grey=True, bits=16, icc_profile=b'profile')
    out = upscaler(full)
    assert (out.is_grey, out.bits, out.icc_profile) == (True, 16, b'profile')
    assert out.alpha is None


def test_alpha_is_bicubic(tiny):
    alpha = np.random.default_rng(0).random((9, 12), np.float32)
    alpha[:3] = 0
    alpha[3:6] = 1
    out = Upscaler(tiny()[2], 'cpu')(photograph(image(9, 12), alpha=alpha)).alpha
    # Pillow has MATLAB's kernel, but not its borders.
    pillow = np.asarray(Image.fromarray(alpha).resize((24, 18), Image.BICUBIC))
    assert pillow.min() < 0
    assert pillow.max() > 1
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(out[inner], pillow.clip(0, 1)[inner], atol=1e-5)
    assert out.shape == (18, 24)
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1


def test_output_is_clamped():
    class Wild(nn.Module):
        scale = 1

        def forward(self, x):
            return 4 * x - 1

    out = Upscaler(Wild(), 'cpu')(photograph(np.full((2, 2, 3), [0, 127, 255])))
    np.testing.assert_allclose(out.rgb[0, 0], [0, 4 * 127 / 255 - 1, 1], rtol=1e-6)


def test_network_is_evaluated_without_gradients():
    class Recorder(nn.Module):
        scale = 1

        def forward(self, x):
            self.seen = (self.training, torch.is_grad_enabled(), x.shape, x.dtype)
            return x

    network = Recorder().train()
    Upscaler(network, 'cpu')(photograph(image(2, 3)))
    assert network.seen == (False, False, (1, 3, 2, 3), torch.float32)


def test_too_large_an_image():
    class Greedy(nn.Module):
        scale = 2

        def forward(self, x):
            return x.new_empty(2**50)

    class Broken(nn.Module):
        scale = 2

        def forward(self, x):
            raise RuntimeError('another reason')

    with pytest.raises(MemoryError, match=r'memory of cpu, but got 2 x 3 pixels'):
        Upscaler(Greedy(), 'cpu')(photograph(image(2, 3)))
    with pytest.raises(RuntimeError, match='another reason'):
        Upscaler(Broken(), 'cpu')(photograph(image(2, 3)))


def test_weights_lie_as_is_fastest(tiny):
    """Of networks that say so; values of the output are tested above."""
    for base, options, channels_last in (
        ('edsr_baseline_x2', {'mid_channels': 8, 'num_blocks': 1}, True),
        ('csnln_x2', CSNLN, False),
    ):
        network = Upscaler(tiny(base, **options)[2], 'cpu').network
        weights = [p for p in network.parameters() if p.ndim == 4 and min(p.shape) > 1]
        for weight in weights:
            assert channels_last == weight.is_contiguous(
                memory_format=torch.channels_last
            )


def test_bfloat16(tiny):
    """As coarse as 8 bits of mantissa make it, and in the last layer no coarser."""
    network = tiny(mid_channels=32, num_blocks=8)[2]
    rgb = image(24, 31)
    exact = by_hand(network, rgb)
    seen = []
    network.conv_last.register_forward_hook(lambda m, x, y: seen.append(y.dtype))
    out = Upscaler(network, 'cpu', amp='bf16')(photograph(rgb)).rgb
    assert seen == [torch.bfloat16]
    error = -10 * np.log10(np.mean((out - exact) ** 2))
    assert 55 < error < 75
    with pytest.raises(ValueError, match="`amp` to be 'bf16' or None, but got 'fp16'"):
        Upscaler(network, 'cpu', amp='fp16')


@pytest.mark.parametrize(
    ('base', 'generator', 'found'),
    [
        ('edsr_baseline_x3', {}, r'EDSR x3 with 1 blocks of 4 channels'),
        ('edsr_baseline_x2', {'mid_channels': 8, 'num_blocks': 1}, r'of 8 channels'),
        ('edsr_baseline_x2', {'mid_channels': 4, 'num_blocks': 2}, r'with 2 blocks'),
        ('csnln_x2', CSNLN, r'CSNLN x2 with 2 recurrences'),
    ],
)
def test_checkpoint_of_another_network(tiny, base, generator, found, tmp_path):
    cfg = tiny()[0]
    other = build(write_config(tmp_path / 'other', base, **generator))
    checkpoint = write_checkpoint(tmp_path / 'other.pth', other)
    with pytest.raises(CheckpointMismatchError, match=rf'other\.pth .*{found}'):
        Upscaler.from_config(cfg, checkpoint, 'cpu')


@pytest.mark.parametrize('device', ['tpu of my own', 'meta:-5', 'cuda:99'])
def test_device_that_is_not_there(tiny, device):
    with pytest.raises(ValueError, match=rf"Expected `device` .*, but got '{device}'"):
        Upscaler(tiny()[2], device)


def test_config_without_a_network_of_ours(tmp_path):
    for name, model in {
        'None': {'type': 'BaseEditModel'},
        "'EDSRNet'": {'generator': {'type': 'EDSRNet', 'in_channels': 3}},
    }.items():
        with pytest.raises(
            ValueError, match=f'a network of sr_plugins, but got {name}'
        ):
            Upscaler.from_config(Config({'model': model}), 'any.pth')
    with pytest.raises(ValueError, match='but got None'):
        Upscaler.from_config(Config(), 'any.pth')


def test_missing_checkpoint():
    cfg = Config.fromfile(ROOT / 'configs' / 'demo_edsr_x2.py')
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        Upscaler.from_config(cfg, 'absent.pth', 'cpu')
