"""The taps that are drawn are those with which the network downscales."""

import numpy as np
import pytest
import torch
from inference.tiny import CAR, build, write_config
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import map_coordinates
from skimage import data as photographs

from sr_plugins.inference import Rescaler, plot_kernels
from sr_plugins.inference.kernel_plot import choose_pixels, find_taps

PHOTOGRAPH = photographs.chelsea()[100:141, 100:154]


@pytest.fixture(params=[2, 4])
def rescaler(tmp_path, request):
    network = build(write_config(tmp_path, f'car_x{request.param}', **CAR))
    with torch.no_grad():
        for parameter in network.downscaler.parameters():
            parameter.mul_(2)
    return Rescaler(network, 'cpu')


@pytest.fixture
def drawn(monkeypatch):
    """Axes of the figures that were saved."""
    axes = []
    savefig = Figure.savefig

    def record(figure, *args, **kwargs):
        axes.append(figure.axes)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', record)
    return axes


@torch.no_grad()
def resample(rescaler):
    x = torch.tensor(PHOTOGRAPH).permute(2, 0, 1)[None] / 255
    return [tensor[0].numpy() for tensor in rescaler.network.resample(x)]


@pytest.mark.parametrize('pixel', [(4, 5), (5, 4)])
def test_taps_make_the_pixel(rescaler, pixel):
    lr, *maps = resample(rescaler)
    taps = find_taps(*maps, *pixel, rescaler.scale)
    assert taps.weights.sum() == pytest.approx(1, abs=1e-5)
    moved = taps.places - taps.undisplaced
    assert np.abs(moved).max() > 0.01 * rescaler.scale
    for channel in range(3):
        plane = PHOTOGRAPH[..., channel] / 255
        samples = map_coordinates(plane, taps.places, order=1, mode='mirror')
        expected = (samples * taps.weights).sum()
        assert lr[(channel, *pixel)] == pytest.approx(expected, abs=1e-5)
        # Without displacements it is another colour.
        samples = map_coordinates(plane, taps.undisplaced, order=1, mode='mirror')
        assert abs((samples * taps.weights).sum() - expected) > 1e-5


def test_undisplaced_taps_are_a_grid_around_the_pixel():
    zeros = np.zeros((49, 8, 9))
    taps = find_taps(zeros, zeros, zeros, 3, 5, 2)
    # The LR pixel covers rows 6 and 7, columns 10 and 11.
    rows, columns = taps.undisplaced
    np.testing.assert_array_equal(rows[:, 0], np.arange(3.5, 10))
    np.testing.assert_array_equal(columns[0], np.arange(7.5, 14))
    assert (rows == rows[:, :1]).all()
    np.testing.assert_array_equal(taps.places, taps.undisplaced)


def test_chosen_pixels():
    lr = np.full((40, 60, 3), 0.2, np.float32)
    lr[:, 30:] = 0.5
    lr[22:, 30:] = 1
    *edges, flat = choose_pixels(lr)
    assert len(edges) == 2
    for row, column in edges:
        assert 4 <= row < 36
        assert abs(column - 29.5) < 2 or abs(row - 21.5) < 2
    assert np.hypot(*np.subtract(*edges)) >= 8
    assert np.ptp(lr[flat[0] - 2 : flat[0] + 3, flat[1] - 2 : flat[1] + 3]) == 0


@pytest.mark.parametrize('size', [(1, 1), (2, 9), (9, 12)])
def test_chosen_pixels_of_small_images(size):
    lr = np.random.default_rng(0).random((*size, 3))
    pixels = choose_pixels(lr)
    assert 1 <= len(pixels) <= 3
    assert all(0 <= y < size[0] and 0 <= x < size[1] for y, x in pixels)
    assert len(choose_pixels(np.ones((*size, 3)))) == 1


def test_picture(rescaler, tmp_path, drawn):
    Image.fromarray(PHOTOGRAPH).save(tmp_path / 'a.png')
    pixels = [(2, 3), (9, 0)]
    plot_kernels(rescaler, tmp_path / 'a.png', tmp_path / 'new' / 'b.png', pixels)
    with Image.open(tmp_path / 'new' / 'b.png') as picture:
        assert picture.format == 'PNG'
        assert np.asarray(picture.convert('L')).std() > 10
    _, *maps = resample(rescaler)
    whole, field = drawn[0][:2]
    np.testing.assert_array_equal(whole.images[0].get_array(), PHOTOGRAPH)
    lengths = rescaler.scale * np.hypot(maps[1], maps[2])
    np.testing.assert_allclose(
        field.images[0].get_array(), (maps[0] * lengths).sum(axis=0), rtol=1e-5
    )
    panels = [a for a in drawn[0] if a.get_title().startswith('LR pixel')]
    heat_maps = [a for a in drawn[0] if a.get_title() == 'weights']
    for pixel, panel, heat_map in zip(pixels, panels, heat_maps, strict=True):
        taps = find_taps(*maps, *pixel, rescaler.scale)
        assert f'{pixel[0]},{pixel[1]}:' in panel.get_title()
        (dots,) = (c for c in panel.collections if isinstance(c, PathCollection))
        np.testing.assert_allclose(
            dots.get_offsets(), taps.places.reshape(2, -1)[::-1].T, rtol=1e-6
        )
        np.testing.assert_allclose(dots.get_array(), taps.weights.ravel())
        assert dots.get_sizes().argmax() == taps.weights.argmax()
        np.testing.assert_array_equal(heat_map.images[0].get_array(), taps.weights)


def test_pixels_are_chosen(rescaler, tmp_path, drawn):
    Image.fromarray(PHOTOGRAPH).save(tmp_path / 'a.png')
    plot_kernels(rescaler, tmp_path / 'a.png', tmp_path / 'b.png')
    chosen = choose_pixels(resample(rescaler)[0].clip(0, 1).transpose(1, 2, 0))
    titles = [a.get_title() for a in drawn[0] if a.get_title().startswith('LR')]
    assert [f'LR pixel {y},{x}: places of its taps' for y, x in chosen] == titles


@pytest.mark.parametrize('pixel', [(-1, 0), (0, -1), (21, 0), (0, 27)])
def test_pixel_that_there_is_not(rescaler, tmp_path, pixel):
    Image.fromarray(PHOTOGRAPH).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=rf'\(height x width\), but got {pixel[0]},'):
        plot_kernels(rescaler, tmp_path / 'a.png', tmp_path / 'b.png', [(0, 0), pixel])
    assert not (tmp_path / 'b.png').exists()
