"""CAR as a mmagic model: its losses, its outputs, and images without content."""

import math

import pytest
import torch
from mmagic.structures import DataSample

from sr_plugins.losses import offset_loss, partial_tv_loss
from sr_plugins.models import ImageForward
from sr_plugins.registry import MODELS

TINY = {'mid_channels': 8, 'num_blocks': 1}


def build(scale=2, quantization='straight_through', **kwargs):
    torch.manual_seed(0)
    config = {
        'type': 'sr_plugins.CARModel',
        'generator': {
            'type': 'sr_plugins.CAR',
            'scale': scale,
            'downscaler': TINY,
            'upscaler': TINY,
            'quantization': quantization,
        },
        'pixel_loss': {'type': 'mmagic.L1Loss'},
        'offset_loss': {'type': 'sr_plugins.OffsetLoss', 'loss_weight': 0.3},
        'tv_loss': {'type': 'sr_plugins.PartialTVLoss', 'loss_weight': 0.7},
        'data_preprocessor': {
            'type': 'mmagic.DataPreprocessor',
            'mean': [0.0] * 3,
            'std': [255.0] * 3,
        },
        **kwargs,
    }
    return MODELS.build(config)


def test_losses():
    model = build()
    hr = torch.rand(2, 3, 24, 32)
    losses = model(hr, mode='loss')
    output, resampled = model.generator(hr, return_resampled=True)
    maps = resampled.kernels, resampled.offsets_h, resampled.offsets_v
    expected = {
        'loss_pixel': (output - hr).abs().mean(),
        'loss_offset': 0.3 * offset_loss(*maps[1:]),
        'loss_tv': 0.7 * partial_tv_loss(*maps),
    }
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, sum(expected.values()))
    assert logged.keys() == {'loss', *expected}


def test_losses_that_are_left_out():
    losses = build(offset_loss=None, tv_loss=None)(
        torch.rand(1, 3, 16, 16), mode='loss'
    )
    assert list(losses) == ['loss_pixel']


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('quantization', ['straight_through', 'soft_round'])
@pytest.mark.parametrize('colour', [(0, 0, 0), (1, 1, 1), (0.5, 0.2, 0.7)])
def test_flat_images_train(scale, quantization, colour):
    """No sum, root or rounding on the way makes a gradient that is not finite."""
    model = build(scale, quantization)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    hr = torch.tensor(colour, dtype=torch.float).view(1, 3, 1, 1).expand(2, 3, 24, 16)
    first = None
    for _ in range(6):
        losses = model(hr, mode='loss')
        loss, _ = model.parse_losses(losses)
        pixel = losses['loss_pixel'].item()
        first = pixel if first is None else first
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all(), name
        optimizer.step()
    assert math.isfinite(loss.item())
    # Offsets, which start at 0, may leave it at first.
    assert pixel < first


def test_kernels_without_a_positive_weight():
    """Then all taps weigh the same, and nothing is divided by 0."""
    model = build()
    with torch.no_grad():
        model.generator.downscaler.kernels_head.conv2.bias.fill_(-5)
    losses = model(torch.rand(1, 3, 16, 16), mode='loss')
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('size', [(16, 24), (1, 1), (19, 34)])
def test_predictions(size):
    """The stored image, and what upscaling makes of it, in [0, 255]."""
    model = build().eval()
    samples = DataSample.stack([DataSample(metainfo={'img_channel_order': 'rgb'})])
    hr = torch.rand(1, 3, *size)
    with torch.no_grad():
        (sample,) = model(hr, samples, mode='predict')
        lr, output = sample.output.lr_img, sample.output.pred_img
        expected = model.generator.upscale(lr[None] / 255)[0, :, : size[0], : size[1]]
        assert torch.equal(lr / 255, model.generator.downscale(hr)[0])
    assert lr.shape == (3, -(-size[0] // 2), -(-size[1] // 2))
    assert torch.equal(lr, lr.byte().float())
    torch.testing.assert_close(output, expected.clamp(0, 1) * 255)


def test_predictions_in_tiles_and_poses():
    """Of the downscaled image, rounding may make one level of a tiny difference."""
    plain = build().eval()
    options = {'tile': {'size': 44}, 'self_ensemble': True}
    model = build(test_cfg=options).eval()
    samples = DataSample.stack([DataSample(metainfo={'img_channel_order': 'rgb'})])
    hr = torch.rand(1, 3, 99, 107)
    with torch.no_grad():
        one, other = (m(hr, samples, mode='predict')[0].output for m in (plain, model))
    difference = (one.lr_img - other.lr_img).abs()
    assert difference.max() <= 1
    assert difference.mean() < 1e-3
    forward = ImageForward(model.generator.upscaler, self_ensemble=True)
    lr = other.lr_img[None].numpy() / 255
    y = torch.from_numpy(forward(lr, torch.device('cpu'))[0, :, :99, :107])
    torch.testing.assert_close(other.pred_img, y.clamp(0, 1) * 255, rtol=0, atol=1e-2)
