"""Crops stay aligned, and a cached image is never changed."""

import numpy as np
import pytest

from sr_plugins.datasets import CropToMultiple, LoadImagePair, PairedRandomCrop


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
def test_crop_is_aligned(scale):
    """Each LR pixel holds its own coordinates; each HR pixel those of its LR pixel."""
    height, width = 9, 14
    rows, columns = np.mgrid[:height, :width]
    lr = np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)
    hr = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    seen = set()
    for _ in range(60):
        sample = PairedRandomCrop(5)({'img': lr, 'gt': hr, 'scale': scale})
        assert sample['img'].shape == (5, 5, 3)
        repeated = sample['img'].repeat(scale, axis=0).repeat(scale, axis=1)
        np.testing.assert_array_equal(sample['gt'], repeated)
        seen.add(tuple(sample['img'][0, 0]))
    tops, lefts = {s[0] for s in seen}, {s[1] for s in seen}
    assert tops == set(range(5)), 'the whole height is reached'
    assert lefts == set(range(10)), 'the whole width is reached'


def test_crop_of_a_small_image():
    image = np.zeros((4, 9, 3), np.uint8)
    sample = {'img': image, 'gt': image, 'scale': 1, 'img_path': 'small.png'}
    with pytest.raises(ValueError, match=r'small\.png to be at least 5 .* 4 x 9'):
        PairedRandomCrop(5)(sample)


def test_crop_to_a_multiple():
    image = np.arange(25 * 17 * 3).reshape(25, 17, 3)
    sample = CropToMultiple(8)({'gt': image, 'gt_path': 'a.png'})
    np.testing.assert_array_equal(sample['gt'], image[:24, :16])
    for small in (image[:7], image[:, :7]):
        with pytest.raises(ValueError, match=r'a\.png to be at least 8 pixels a side'):
            CropToMultiple(8)({'gt': small, 'gt_path': 'a.png'})


def test_cache_is_not_changed_by_transforms_in_place(tiny_data):
    folder = tiny_data / 'DIV2K'
    paths = {
        'gt_path': str(folder / 'DIV2K_train_HR/0001.png'),
        'img_path': str(folder / 'DIV2K_train_LR_bicubic/X2/0001x2.png'),
        'scale': 2,
    }
    load = LoadImagePair(cache=True)
    first = load(dict(paths))
    before = first['gt'].copy()
    cut = PairedRandomCrop(8)(first)
    cut['gt'][:] = 0
    cut['img'][:] = 0
    np.testing.assert_array_equal(load(dict(paths))['gt'], before)


def test_lr_alone(tiny_data):
    """What inference has: no HR image."""
    path = tiny_data / 'DIV2K/DIV2K_train_LR_bicubic/X2/0001x2.png'
    sample = LoadImagePair()({'img_path': str(path)})
    assert 'gt' not in sample
    assert sample['img'].shape == (48, 50, 3)
