"""CAR as one pipeline, beyond the contract of networks."""

import golden
import pytest
import torch
from torch.nn import functional as F

from sr_plugins import checkpoints
from sr_plugins.archs import CAR, KGN
from sr_plugins.archs.car import _ClampTowards

TINY = {
    'downscaler': {'mid_channels': 8, 'num_blocks': 1},
    'upscaler': {'mid_channels': 8, 'num_blocks': 1},
}


def make(scale=2, **kwargs):
    torch.manual_seed(0)
    return CAR(scale, **{**TINY, **kwargs})


def gradients(network, x):
    network.zero_grad()
    network(x).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize(
    ('dtype', 'bound'), [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)
def test_published_resampling(scale, dtype, bound):
    """Kernel network and resampler together, from weights of a DataParallel."""
    case = f'kgn_x{scale}'
    car = make(scale, downscaler=None).to(dtype)
    state = {f'module.{k}': v for k, v in golden.state_dict(case).items()}
    assert checkpoints.load(car.downscaler, state).dialect == 'published'
    hr = golden.image(case).to(dtype)
    with torch.no_grad():
        resampled = car.resample(hr)
        downscaled = car.downscale(hr)
    for key, target in golden.expected(case).items():
        assert golden.relative_error(getattr(resampled, key), target) < bound, key
    # Rounded as published; a value halfway between two levels may go either way.
    levels = golden.expected(case)['lr'].double().clamp(0, 1) * 255
    certain = ((levels % 1) - 0.5).abs() > 1e-3
    assert certain.float().mean() > 0.95
    assert torch.equal((downscaled * 255).round()[certain], levels.round()[certain])


@pytest.mark.parametrize('scale', [2, 4])
@pytest.mark.parametrize('size', [(1, 1), (9, 30), (16, 17), (40, 24)])
def test_padding(scale, size):
    """What is cut off again is the last row and column, repeated."""
    car = make(scale)
    hr = torch.rand(1, 3, *size)
    padded = [max(16, -(-side // 8) * 8) for side in size]
    rows, columns = (
        torch.arange(p).clamp(max=s - 1) for p, s in zip(padded, size, strict=True)
    )
    with torch.no_grad():
        resampled = car.resample(hr)
        whole = car.resample(hr[:, :, rows][:, :, :, columns])
        lr = car.downscale(hr)
        output = car(hr)
    height, width = (-(-side // scale) for side in size)
    assert lr.shape == (1, 3, height, width)
    for found, expected in zip(resampled, whole, strict=True):
        assert torch.equal(found, expected[:, :, :height, :width])
    enlarged = car.upscale(lr).detach()
    assert enlarged.shape[2:] == (height * scale, width * scale)
    assert torch.equal(output, enlarged[:, :, : size[0], : size[1]])


@pytest.mark.parametrize('scale', [2, 4])
def test_maps(scale):
    """Kernels are averages, so that a flat image stays what it is."""
    car = make(scale)
    with torch.no_grad():
        car.downscaler.offsets_h_head.conv2.bias.fill_(3)
        maps = car.downscaler(torch.rand(2, 3, 24, 32))
        flat = torch.tensor([0.0, 0.4, 1.0]).view(1, 3, 1, 1).expand(1, 3, 19, 35)
        lr = car.resample(flat).lr
    assert (maps.kernels > 0).all()
    sums = maps.kernels.sum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    for offsets in (maps.offsets_h, maps.offsets_v):
        assert offsets.abs().max() <= 1
    assert maps.offsets_h.mean() > 0.9
    torch.testing.assert_close(lr, flat[:, :, : lr.shape[2], : lr.shape[3]])


def test_small_image_alone_is_enough_to_enlarge():
    """What a PNG file keeps gives the same reconstruction, bit for bit."""
    car, hr = make(), torch.rand(1, 3, 21, 34)
    with torch.no_grad():
        lr = car.downscale(hr)
        stored = (lr * 255).round().byte()
        again = car.upscale(stored / 255)[:, :, :21, :34]
        assert torch.equal(again, car(hr))


@pytest.mark.parametrize('quantization', ['straight_through', 'soft_round'])
def test_gradient_of_the_rounding(quantization):
    """From the reconstruction to the unrounded image, by hand."""
    car = make(quantization=quantization, soft_round_alpha=0.7)
    lr = torch.linspace(-0.1, 1.1, 3 * 48).view(1, 3, 6, 8).requires_grad_()
    car.upscale(car.quantize(lr)).sum().backward()
    rounded = lr.detach().clamp(0, 1).mul(255).round().div(255).requires_grad_()
    car.upscaler(rounded).sum().backward()
    slope = ((lr >= 0) & (lr <= 1)).float()
    if quantization == 'soft_round':
        slope *= 1 - 0.7 * torch.cos(2 * torch.pi * 255 * lr.detach())
    torch.testing.assert_close(lr.grad, rounded.grad * slope, rtol=1e-3, atol=1e-4)


def test_output_does_not_depend_on_how_gradients_pass():
    x = torch.rand(1, 3, 16, 24)
    assert torch.equal(make()(x), make(quantization='soft_round')(x))


def test_autocast():
    """Positions and images stay float32; gradients are near those of float32."""
    car, hr = make(), torch.rand(2, 3, 24, 24)
    expected, wanted = car.resample(hr), gradients(car, hr)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        resampled = car.resample(hr)
        rounded = car.downscale(hr)
        found = gradients(car, hr)
    assert {t.dtype for t in (*resampled, rounded)} == {torch.float32}
    assert (resampled.lr - expected.lr).abs().max() < 0.01
    torch.testing.assert_close(
        resampled.kernels.sum(1), torch.ones_like(expected.kernels[:, 0])
    )
    found, wanted = (torch.cat([g.flatten() for g in gs]) for gs in (found, wanted))
    assert F.cosine_similarity(found, wanted, dim=0) > 0.95


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_every_level(dtype):
    car, hr = make().to(dtype), torch.rand(1, 3, 20, 24).to(dtype)
    with torch.no_grad():
        lr = car.downscale(hr)
        output = car(hr)
    assert torch.equal(lr, (lr * 255).round() / 255)
    assert lr.dtype == torch.float32
    assert output.dtype == dtype
    assert output.shape == hr.shape


@pytest.mark.parametrize('quantization', ['straight_through', 'soft_round'])
def test_compiles_as_one_graph(quantization):
    car, hr = make(quantization=quantization), torch.rand(2, 3, 24, 20)
    expected, wanted = car(hr), gradients(car, hr)
    # Generating code would take a minute; tracing is what can fail.
    compiled = torch.compile(car, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(hr), expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(gradients(compiled, hr), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    _, resampled = compiled(hr, return_resampled=True)
    torch.testing.assert_close(resampled.lr, car.resample(hr).lr)


@pytest.mark.parametrize('size', [(8, 16), (16, 20), (31, 32)])
def test_kernel_network_takes_multiples_of_8_from_16_on(size):
    network = KGN(2, mid_channels=8, num_blocks=1)
    match = rf'multiples of 8 and at least 16, but got {size[0]} x {size[1]}'
    with pytest.raises(ValueError, match=match):
        network(torch.rand(1, 3, *size))


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'scale': 3}, '`scale` of CAR to be one of 2, 4, but got 3'),
        (
            {'quantization': 'soft'},
            "or 'soft_round', but got 'soft'",
        ),
        ({'soft_round_alpha': 0}, 'above 0 and at most 1, but got 0'),
        ({'soft_round_alpha': 1.5}, 'above 0 and at most 1, but got 1.5'),
        ({'downscaler': {'mid_channels': 9}}, '`mid_channels` of KGN to be even'),
    ],
)
def test_wrong_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_scale_is_given_once():
    with pytest.raises(TypeError, match='scale'):
        make(upscaler={'scale': 2})


def test_taps_outside_the_range_come_back():
    """Gradients pass where a step against them leads towards the range."""
    x = torch.tensor([-0.5, -0.5, 0.5, 0.5, 1.5, 1.5], requires_grad=True)
    y = _ClampTowards.apply(x, 0.0, 1.0)
    y.backward(torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]))
    assert y.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert x.grad.tolist() == [-1, 0, -1, 1, 0, 1]


@pytest.mark.parametrize('scale', [2, 4])
def test_kgn_starts_as_a_blur_that_sees_the_image(scale):
    torch.manual_seed(0)
    network = KGN(scale, mid_channels=16, num_blocks=1)
    with torch.no_grad():
        maps = network(torch.rand(1, 3, 32, 32))
    side = 3 * scale + 1
    heaviest = maps.kernels.mean((0, 2, 3)).argmax()
    assert heaviest == side**2 // 2, 'the middle tap'
    assert maps.offsets_h.abs().max() < 0.01
    assert maps.offsets_v.abs().max() < 0.01
    assert maps.kernels.std((0, 2, 3)).max() > 0, 'the same for any pixel'
