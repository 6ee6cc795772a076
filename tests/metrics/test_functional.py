"""PSNR and SSIM against scikit-image, torchmetrics and values worked by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sr_plugins.metrics import PROTOCOLS, Protocol, psnr, ssim


@pytest.fixture
def pair():
    """Two photographs-like images: smooth, with noise that SSIM can see."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (6, 7, 3)).repeat(8, axis=0).repeat(8, axis=1)
    output = np.clip(target + rng.normal(0, 12, target.shape), 0, 255)
    return np.rint(output).astype(np.uint8), target.astype(np.uint8)


def luma(image):
    weights = 65.738 / 256, 129.057 / 256, 25.064 / 256
    return 16 + sum(w * image[..., i].astype(float) for i, w in enumerate(weights))


def cut(image, border):
    return image[border:-border, border:-border]


def ssim_of_car(output, target):
    """The formula, on whole windows of an image that goes on as its mirror image."""
    grid = np.arange(-5, 6)
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return convolve2d(image, window, 'same', 'symm')

    x, y = (rgb2ycbcr(image)[..., 0] for image in (output, target))
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    covariance = mean(x * y) - mean(x) * mean(y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    numerator = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
    return (numerator / ((mean(x) ** 2 + mean(y) ** 2 + c1) * (variances + c2))).mean()


def test_psnr_worked_by_hand():
    target = np.full((20, 20, 3), 100, np.uint8)
    output = target + np.uint8(10)
    # 10 log10(255**2 / 10**2), and 219.859 / 256 of that error on the luma.
    assert psnr(output, target, 'rgb', 2) == pytest.approx(28.13080, abs=1e-5)
    assert psnr(output, target, 'edsr_y', 2) == pytest.approx(29.45272, abs=1e-5)
    # 219.859 / 255.
    assert psnr(output, target, 'car_y', 2) == pytest.approx(29.41872, abs=1e-5)


@pytest.mark.parametrize(
    ('protocol', 'border'),
    [('edsr_y', 3), ('rgb', 3), ('edsr_div2k', 9), ('car_y', 3)],
)
def test_border_is_cut(pair, protocol, border):
    _, target = pair
    output = target.copy()
    output[:border] ^= 255
    output[-border:] ^= 255
    output[:, :border] ^= 255
    output[:, -border:] ^= 255
    assert psnr(output, target, protocol, 3) == math.inf
    output[border, border] ^= 255
    assert psnr(output, target, protocol, 3) < 60


@pytest.mark.parametrize('scale', [2, 4])
def test_psnr_equals_skimage(pair, scale):
    output, target = pair
    for protocol, border in (('rgb', scale), ('edsr_div2k', scale + 6)):
        expected = peak_signal_noise_ratio(cut(target, border), cut(output, border))
        assert psnr(output, target, protocol, scale) == pytest.approx(expected)
    expected = peak_signal_noise_ratio(
        cut(luma(target), scale), cut(luma(output), scale), data_range=255
    )
    assert psnr(output, target, 'edsr_y', scale) == pytest.approx(expected)


@pytest.mark.parametrize('scale', [2, 4])
def test_car_is_that_of_its_authors(pair, scale):
    target = pair[1]
    output = np.random.default_rng(1).normal(target, 12).astype(np.float32)
    # numpy truncates as they do, where a value is in range.
    whole = cut(output.clip(0, 255).astype(np.uint8), scale)
    x, y = (image / 255 for image in (whole, cut(target, scale)))
    difference = (x - y) @ np.array([65.738, 129.057, 25.064]) / 255
    expected = -10 * math.log10((difference**2).mean())
    score = psnr(output, target, 'car_y', scale)
    assert score == pytest.approx(expected, abs=1e-9)
    rounded = psnr(output, target, 'edsr_y', scale)
    assert score < rounded - 0.034
    # On whole numbers it is the divisor alone.
    ours, theirs = (psnr(*pair, p, scale) for p in ('edsr_y', 'car_y'))
    assert ours - theirs == pytest.approx(20 * math.log10(256 / 255), abs=1e-9)
    # skimage's luma weights have a digit less.
    expected = ssim_of_car(whole, cut(target, scale))
    score = ssim(output, target, 'car_y', scale)
    assert score == pytest.approx(expected, abs=1e-7)
    assert abs(score - ssim(output, target, 'edsr_y', scale)) > 1e-4


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (4, 1), (3, 20)])
def test_mirrored_windows_on_images_smaller_than_they_are(size):
    uncut = Protocol('uncut', 'y', -2, 'all of it', ssim_windows='mirrored')
    output, target = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    # scipy mirrors once only.
    tall, wide = (-(-12 // side) for side in size)

    def repeat(image):
        both = np.concatenate([image, image[::-1]])
        both = np.concatenate([both, both[:, ::-1]], axis=1)
        return np.tile(both, (2 * tall + 1, 2 * wide + 1, 1))

    x, y = (luma(repeat(image)) for image in (output, target))
    options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    _, full = structural_similarity(x, y, data_range=255, full=True, **options)
    top, left = 2 * tall * size[0], 2 * wide * size[1]
    expected = full[top : top + size[0], left : left + size[1]].mean()
    assert ssim(output, target, uncut, 2) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('scale', [2, 4])
def test_ssim_equals_skimage(pair, scale):
    output, target = pair
    options = {
        'gaussian_weights': True,
        'sigma': 1.5,
        'use_sample_covariance': False,
        'data_range': 255,
    }
    expected = structural_similarity(
        cut(luma(target), scale), cut(luma(output), scale), **options
    )
    assert expected < 0.95
    assert ssim(output, target, 'edsr_y', scale) == pytest.approx(expected, abs=1e-9)
    expected = structural_similarity(
        cut(target, scale).astype(float),
        cut(output, scale).astype(float),
        channel_axis=2,
        **options,
    )
    assert ssim(output, target, 'rgb', scale) == pytest.approx(expected, abs=1e-9)


def test_ssim_equals_torchmetrics(pair):
    # Here, since it needs the repair of torchvision that `sr_plugins` brings.
    from torchmetrics.functional.image import structural_similarity_index_measure

    def tensor(image):
        return torch.from_numpy(cut(image, 2)).permute(2, 0, 1)[None].double()

    output, target = pair
    _, full = structural_similarity_index_measure(
        tensor(output), tensor(target), data_range=255.0, return_full_image=True
    )
    # torchmetrics mirrors the borders; ours has the windows inside the image only.
    expected = full[..., 5:-5, 5:-5].mean().item()
    assert ssim(output, target, 'rgb', 2) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_one_window_worked_by_hand():
    # Two constant images have no variance: what is left is the luminance term,
    # (2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025).
    target = np.full((15, 15, 3), 100, np.uint8)
    output = target + np.uint8(10)
    assert ssim(output, target, 'rgb', 2) == pytest.approx(0.9954764, abs=1e-7)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_equal_images(pair, protocol):
    _, target = pair
    assert psnr(target, target.copy(), protocol, 2) == math.inf
    assert ssim(target, target.copy(), protocol, 2) == pytest.approx(1, abs=1e-12)


def test_floats_are_quantised_as_a_file_would_be():
    target = np.full((20, 20, 3), 255, np.uint8)
    above = np.full((20, 20, 3), 300.0)
    near = np.full((20, 20, 3), 254.6, np.float32)
    assert psnr(above, target, 'rgb', 2) == math.inf
    assert psnr(near, target, 'rgb', 2) == math.inf
    assert psnr(near - 0.2, target, 'rgb', 2) == pytest.approx(48.1308, abs=1e-4)
    # A step of one in grey makes 219.859 / 255 of one in luma.
    assert psnr(near, target, 'car_y', 2) == pytest.approx(49.41872, abs=1e-5)


def test_whole_numbers_survive_truncation():
    """Also after the way to [0, 1] and back in float32, as those of a network."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    there = torch.from_numpy(levels).float() / 255
    assert psnr((there * 255).numpy(), levels, 'car_y', 2) == math.inf


def test_nan_is_not_hidden(pair):
    output, target = pair
    output = output.astype(np.float32)
    output[20, 20] = np.nan
    assert math.isnan(psnr(output, target, 'rgb', 2))
    assert math.isnan(ssim(output, target, 'edsr_y', 2))


@pytest.mark.parametrize('metric', [psnr, ssim])
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_grey_scores_as_its_copy_in_three_channels(pair, metric, protocol):
    output, target = (image[..., 0] for image in pair)
    colour = metric(
        np.stack([output] * 3, axis=2), np.stack([target] * 3, axis=2), protocol, 2
    )
    assert metric(output, target, protocol, 2) == pytest.approx(colour)
    single = metric(output[..., None], target[..., None], protocol, 2)
    assert single == pytest.approx(colour)


def test_protocol_of_ones_own(pair):
    output, target = pair
    uncut = Protocol('uncut', 'rgb', -2, 'the whole image at scale 2')
    expected = peak_signal_noise_ratio(target, output)
    assert psnr(output, target, uncut, 2) == pytest.approx(expected)


@pytest.mark.parametrize('scale', [1, 2, 4])
def test_whole_image(pair, scale):
    output, target = pair
    expected = peak_signal_noise_ratio(target, output)
    assert psnr(output, target, 'rgb_whole', scale) == pytest.approx(expected)


@pytest.mark.parametrize(
    'wrong',
    [{'channels': 'Y'}, {'quantization': 'trunc'}, {'ssim_windows': 'valid'}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_protocol_with_a_typo(wrong):
    ((field, value),) = wrong.items()
    options = {'name': 'mine', 'channels': 'y', 'extra_border': 0, 'description': ''}
    with pytest.raises(ValueError, match=rf"`{field}` .*, but got '{value}'"):
        Protocol(**{**options, **wrong})


def test_sizes_on_the_verge():
    image = np.zeros((40, 15, 3), np.uint8)
    assert ssim(image, image, 'rgb', 2) == pytest.approx(1)
    with pytest.raises(ValueError, match=r'at least 15 x 15 .*got 40 x 14'):
        ssim(image[:, :14], image[:, :14], 'rgb', 2)
    assert psnr(image[:, :5], image[:, :5], 'rgb', 2) == math.inf
    with pytest.raises(ValueError, match=r'cuts 2 pixels .*got 40 x 4'):
        psnr(image[:, :4], image[:, :4], 'rgb', 2)


@pytest.mark.parametrize('metric', [psnr, ssim])
def test_bad_input_is_named(pair, metric):
    output, target = pair
    with pytest.raises(ValueError, match=r'\(48, 55, 3\) and \(48, 56, 3\)'):
        metric(output[:, 1:], target, 'rgb', 2)
    with pytest.raises(ValueError, match=r"edsr_y.*got 'psnr_y'"):
        metric(output, target, 'psnr_y', 2)
    with pytest.raises(ValueError, match='at least 1, but got 0'):
        metric(output, target, 'rgb', 0)
    with pytest.raises(ValueError, match=r'got \(48, 56, 2\)'):
        metric(output[..., :2], target[..., :2], 'rgb', 2)
