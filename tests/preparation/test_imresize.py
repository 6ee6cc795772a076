"""`imresize` against exact rational arithmetic, and against recorded results.

The checksums were recorded from code that reproduces all 57 published MATLAB images
of Set5 and Set14 (x2, x3, x4) bit for bit. Only PNGs are used, since decoders of JPEG
differ.
"""

import hashlib
from fractions import Fraction
from importlib.util import find_spec
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest

from sr_plugins.preparation import crop_to_multiple, downscale, imresize, read_rgb

CHECKSUMS = {
    ('astronaut', 2): '86e24d8e2e582de8',
    ('astronaut', 3): '779d988f4eb5bb0e',
    ('astronaut', 4): '53ca505a86fd24fa',
    ('coffee', 2): '2356f976210326d9',
    ('coffee', 3): '53ca2f76eb81d545',
    ('coffee', 4): '5c42e9762536e700',
    ('chelsea', 2): '32c3dc5866375fcc',
    ('chelsea', 3): '2ed826137e6071ec',
    ('chelsea', 4): '6b81de91ea08eef2',
}


@pytest.mark.parametrize(('name', 'scale'), CHECKSUMS)
def test_photographs_equal_recorded_results(name, scale):
    package = Path(find_spec('skimage').submodule_search_locations[0])
    small = downscale(read_rgb(package / 'data' / f'{name}.png'), scale)
    digest = hashlib.sha256(small.tobytes()).hexdigest()
    assert digest.startswith(CHECKSUMS[name, scale])


def exact_cubic(x):
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x <= 2:
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def exact_line(values, scale):
    """Resize a list of Fractions pixel by pixel, from the definition."""
    length = len(values)
    stretch = min(scale, Fraction(1))
    out = []
    for i in range(ceil(length * scale)):
        # Position of the output pixel's centre, where input pixel j is at j.
        center = (i + Fraction(1, 2)) / scale - Fraction(1, 2)
        reach = 2 / stretch
        total = weight_sum = Fraction(0)
        for j in range(ceil(center - reach), floor(center + reach) + 1):
            weight = exact_cubic(stretch * (center - j))
            mirrored = j % (2 * length)
            if mirrored >= length:
                mirrored = 2 * length - 1 - mirrored
            total += weight * values[mirrored]
            weight_sum += weight
        out.append(total / weight_sum)
    return out


def exact_resize(image, scale, rounded):
    """Resize a 2-d array of Fractions, height first; round after each pass."""

    def finish(value):
        if not rounded:
            return value
        return Fraction(min(255, max(0, floor(value + Fraction(1, 2)))))

    columns = [[finish(v) for v in exact_line(list(c), scale)] for c in image.T]
    rows = np.array(columns, dtype=object).T
    return np.array(
        [[finish(v) for v in exact_line(list(row), scale)] for row in rows],
        dtype=object,
    )


SCALES = [
    Fraction(1, 2),
    Fraction(1, 3),
    Fraction(1, 4),
    Fraction(2, 3),
    Fraction(2),
    Fraction(3),
    Fraction(5, 2),
]


@pytest.mark.parametrize('shape', [(13, 9), (1, 12), (12, 1), (1, 1), (5, 4)])
@pytest.mark.parametrize('scale', SCALES)
def test_equals_exact_arithmetic(shape, scale):
    rng = np.random.default_rng(shape[0] * 100 + shape[1])
    # Mostly extremes, so that the cubic overshoots and clipping matters.
    image = rng.choice([0, 255, 255, 7, 131], size=shape).astype(np.uint8)
    fractions = np.vectorize(lambda v: Fraction(int(v)), otypes=[object])(image)

    expected = exact_resize(fractions, scale, rounded=True).astype(np.int64)
    np.testing.assert_array_equal(imresize(image, float(scale)), expected)

    smooth = imresize(image.astype(np.float64), float(scale))
    expected = exact_resize(fractions, scale, rounded=False).astype(np.float64)
    np.testing.assert_allclose(smooth, expected, atol=1e-10, rtol=0)


def test_channels_are_resized_alone():
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    together = imresize(image, 1 / 3)
    for channel in range(3):
        alone = imresize(image[..., channel], 1 / 3)
        np.testing.assert_array_equal(together[..., channel], alone)


def test_strides_do_not_matter():
    image = np.random.default_rng(0).integers(0, 256, (40, 62, 3), dtype=np.uint8)
    view = image[::2, ::-2, ::-1]
    np.testing.assert_array_equal(imresize(view, 0.5), imresize(view.copy(), 0.5))


@pytest.mark.parametrize('factor', range(2, 50))
def test_inverse_of_an_integer_adds_no_pixel(factor):
    for length in (1, 7, 15, 31, 63, 127, 255):
        line = np.zeros((length * factor, 1))
        assert imresize(line, 1 / factor).shape[0] == length


def test_float32_keeps_its_dtype():
    image = np.random.default_rng(0).random((8, 6, 3), dtype=np.float32)
    small = imresize(image, 0.5)
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, imresize(image.astype(np.float64), 0.5), 1e-5)


def test_downscale_crops_first():
    image = np.random.default_rng(0).integers(0, 256, (14, 11, 3), dtype=np.uint8)
    assert crop_to_multiple(image, 4).shape == (12, 8, 3)
    np.testing.assert_array_equal(downscale(image, 4), imresize(image[:12, :8], 0.25))


@pytest.mark.parametrize(
    ('image', 'scale', 'error', 'message'),
    [
        (np.zeros((4, 4), np.int32), 2, TypeError, 'got int32'),
        (np.zeros((1, 2, 3, 4)), 2, ValueError, r'shape \(1, 2, 3, 4\)'),
        (np.zeros((0, 4)), 2, ValueError, r'shape \(0, 4\)'),
        (np.zeros((4, 4)), 0, ValueError, 'above 0, but got 0'),
        (np.zeros((4, 4)), float('nan'), ValueError, 'got nan'),
    ],
)
def test_bad_input_is_named(image, scale, error, message):
    with pytest.raises(error, match=message):
        imresize(image, scale)


def test_image_smaller_than_scale_is_named():
    with pytest.raises(ValueError, match='at least the scale 4, but got 3 x 50'):
        downscale(np.zeros((3, 50, 3), np.uint8), 4)
