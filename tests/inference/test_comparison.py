"""Windows are the worst ones, and the picture shows what it says."""

import cv2
import numpy as np
import pytest
import torch
from inference.tiny import CAR, build, by_hand, write_config
from matplotlib.figure import Figure
from PIL import Image
from skimage import data as photographs
from skimage.metrics import peak_signal_noise_ratio

from sr_plugins.inference import Rescaler, Upscaler, compare, save_comparison
from sr_plugins.inference.comparison import hardest_windows


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was saved last."""
    figures = []
    savefig = Figure.savefig

    def record(figure, *args, **kwargs):
        figures.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', record)
    return figures


def overlap(a, b, size):
    return abs(a[0] - b[0]) < size and abs(a[1] - b[1]) < size


@pytest.mark.parametrize('shape', [(20, 31), (9, 40), (6, 6), (12, 12)])
def test_hardest_windows(shape):
    generator = np.random.default_rng(0)
    original = generator.integers(0, 256, (*shape, 3), np.uint8)
    baseline = generator.integers(0, 256, (*shape, 3), np.uint8)
    size, count = 6, 3
    corners = hardest_windows(original, baseline, size, count)

    # One after another, each time the worst of those that overlap none before.
    difference = np.abs(original.astype(int) - baseline.astype(int))
    expected = []
    for _ in range(count):
        errors = {
            (y, x): difference[y : y + size, x : x + size].mean()
            for y in range(shape[0] - size + 1)
            for x in range(shape[1] - size + 1)
            if not any(overlap((y, x), corner, size) for corner in expected)
        }
        if errors:
            expected.append(max(errors, key=errors.get))
    assert corners == expected
    assert len(corners) == (1 if shape == (6, 6) else len(expected)) >= 1


def test_equal_images_have_windows_too():
    image = np.full((20, 20, 3), 7, np.uint8)
    assert hardest_windows(image, image, 10, 2) == [(0, 0), (0, 10)]


def test_picture_shows_crops_and_scores(tmp_path, drawn):
    original = photographs.astronaut()[:60, 100:190]
    outputs = {
        'baseline': cv2.GaussianBlur(original, (5, 5), 2),
        'network': cv2.GaussianBlur(original, (3, 3), 1),
    }
    path = tmp_path / 'new folder' / 'picture.png'
    save_comparison(path, original, outputs, scale=2, crop_size=20)
    with Image.open(path) as picture:
        assert picture.format == 'PNG'
        picture.load()
    whole, *axes = drawn[0].axes
    np.testing.assert_array_equal(whole.images[0].get_array(), original)
    shown = [ax.images[0].get_array() for ax in axes]
    corners = hardest_windows(original, outputs['baseline'], 20, 2)
    images = [*outputs.values(), original]
    expected = [image[y : y + 20, x : x + 20] for y, x in corners for image in images]
    assert len(shown) == len(expected) == 6
    for crop, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(crop, other)
    assert [patch.get_xy() for patch in whole.patches] == [(x, y) for y, x in corners]

    titles = [ax.get_title() for ax in axes]
    weights = np.array([65.481, 128.553, 24.966]) / 255
    for title, (label, image) in zip(titles, outputs.items(), strict=False):
        luma = [(a @ weights)[2:-2, 2:-2] for a in (original, image)]
        psnr = peak_signal_noise_ratio(*luma, data_range=255)
        assert title.startswith(f'{label}\n{psnr:.2f} dB / 0.')
        assert title.endswith('(edsr_y)')
    assert titles[2] == 'original'


def test_compare(tmp_path, drawn):
    network = build(write_config(tmp_path))
    # 41 x 54: the last row is cut.
    photograph = photographs.chelsea()[100:141, 100:154]
    Image.fromarray(photograph).save(tmp_path / 'a.png')
    compare(Upscaler(network, 'cpu'), tmp_path / 'a.png', tmp_path / 'b.png', 'tiny')

    whole, bicubic, tiny, original, *_ = drawn[0].axes
    full = photograph[:40]
    np.testing.assert_array_equal(whole.images[0].get_array(), full)
    x, y = whole.patches[0].get_xy()
    window = np.s_[y : y + 40, x : x + 40]
    np.testing.assert_array_equal(original.images[0].get_array(), full[window])
    # torch has MATLAB's antialiased bicubic, but not its borders and rounding.
    to = {'mode': 'bicubic', 'antialias': True}
    planes = torch.tensor(full).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(planes, scale_factor=0.5, **to)
    small = small[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
    expected = (255 * by_hand(network, small))[window]
    shown = tiny.images[0].get_array().astype(float)
    assert np.abs(shown - expected)[6:-6, 6:-6].max() < 8
    assert np.abs(shown - expected).mean() < 1
    enlarged = cv2.resize(small, (54, 40), interpolation=cv2.INTER_CUBIC)[window]
    shown = bicubic.images[0].get_array().astype(float)
    assert np.abs(shown - enlarged).mean() < 3
    assert bicubic.get_title().startswith('bicubic\n')
    assert tiny.get_title().startswith('tiny\n')


def test_compare_with_a_reduction_of_its_own(tmp_path, drawn):
    network = build(write_config(tmp_path, 'car_x2', **CAR))
    photograph = photographs.chelsea()[100:141, 100:154]
    Image.fromarray(photograph).save(tmp_path / 'a.png')
    compare(Rescaler(network, 'cpu'), tmp_path / 'a.png', tmp_path / 'b.png', 'tiny')
    whole, bicubic, tiny, *_ = drawn[0].axes
    x, y = whole.patches[0].get_xy()
    expected = 255 * by_hand(network, np.ascontiguousarray(photograph[:40]))
    window = expected[y : y + 40, x : x + 40]
    np.testing.assert_allclose(tiny.images[0].get_array(), window, atol=0.501)
    assert bicubic.get_title().startswith('bicubic\n')


def test_photograph_too_small_to_score(tmp_path):
    upscaler = Upscaler(build(write_config(tmp_path)), 'cpu')
    for size, message in {(1, 1): r'1 x 1 pixels', (12, 12): r'12'}.items():
        Image.new('RGB', size).save(tmp_path / 'a.png')
        with pytest.raises(ValueError, match=rf'^Expected .*{message}'):
            compare(upscaler, tmp_path / 'a.png', tmp_path / 'b.png', 'tiny')
    assert not (tmp_path / 'b.png').exists()
