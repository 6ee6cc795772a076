"""Pairs, their order and every complaint about folders and files."""

import shutil

import cv2
import numpy as np
import pytest

from sr_plugins.datasets import PairedFolderDataset, SeededIndex

TRAIN = {'hr': 'DIV2K/DIV2K_train_HR', 'lr': 'DIV2K/DIV2K_train_LR_bicubic/X{scale}'}
TEST = {'hr': 'benchmark/Tiny/HR', 'lr': 'benchmark/Tiny/LR_bicubic/X{scale}'}
LOAD = [{'type': 'sr_plugins.LoadImagePair'}]


@pytest.fixture
def data(tiny_data, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_data, tmp_path / 'data')


@pytest.fixture(autouse=True)
def _scope():
    # mmagic's BaseDataset builds pipelines from the registry of the default scope.
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_pairs(tiny_data, scale):
    dataset = PairedFolderDataset(scale, tiny_data, **TEST, pipeline=LOAD)
    assert [dataset[i]['key'] for i in range(3)] == ['photo0', 'photo1', 'photo2']
    for i in range(3):
        sample = dataset[i]
        hr = cv2.imread(str(tiny_data / 'benchmark/Tiny/HR' / f'photo{i}.png'))
        lr = cv2.imread(
            str(tiny_data / f'benchmark/Tiny/LR_bicubic/X{scale}/photo{i}x{scale}.png')
        )
        height, width = lr.shape[0] * scale, lr.shape[1] * scale
        np.testing.assert_array_equal(sample['img'], lr[..., ::-1])
        np.testing.assert_array_equal(sample['gt'], hr[:height, :width, ::-1])
        assert sample['scale'] == scale


@pytest.mark.parametrize('lr', [TRAIN['lr'], None])
def test_several_scales(tiny_data, lr):
    """The images at one scale after those at another, each the single one's."""
    dataset = PairedFolderDataset([4, 2], tiny_data, hr=TRAIN['hr'], lr=lr)
    assert len(dataset) == 8
    singles = [
        PairedFolderDataset(scale, tiny_data, hr=TRAIN['hr'], lr=lr) for scale in (4, 2)
    ]
    for i in range(8):
        scale, single = (4, 2)[i // 4], singles[i // 4]
        assert {**dataset[i], 'sample_idx': 0} == {**single[i % 4], 'sample_idx': 0}
        assert dataset[i]['scale'] == scale
        for other in (2, 4):
            same = dataset[dataset.at_scale(i, other)]
            assert (same['key'], same['scale']) == (dataset[i]['key'], other)


@pytest.mark.parametrize(
    ('scale', 'options', 'match'),
    [
        ((2, 3), {'indices': 1}, r'`indices` to have one scale, but got \(2, 3\)'),
        ((2, 2), {}, r'different ones of 1, 2, 3, 4, but got \(2, 2\)'),
        ([], {}, r'one of 1, 2, 3, 4, but got \[\]'),
        ('23', {}, "one of 1, 2, 3, 4, but got '23'"),
    ],
)
def test_wrong_scales(tiny_data, scale, options, match):
    with pytest.raises(ValueError, match=match):
        PairedFolderDataset(scale, tiny_data, **TRAIN, **options)


def test_hr_only(data):
    """Without LR folders; a crop is where it would be with an LR image."""
    crop = [*LOAD, {'type': 'sr_plugins.PairedRandomCrop', 'lr_patch_size': 11}]
    paired = PairedFolderDataset(2, data, **TRAIN, pipeline=crop)
    pairs = [paired[SeededIndex(i, (0, i))] for i in range(4)]
    shutil.rmtree(data / 'DIV2K/DIV2K_train_LR_bicubic')
    dataset = PairedFolderDataset(2, data, hr=TRAIN['hr'], lr=None, pipeline=crop)
    assert len(dataset) == 4
    for i, pair in enumerate(pairs):
        sample = dataset[SeededIndex(i, (0, i))]
        assert not {'img', 'img_path'} & set(sample)
        assert (sample['key'], sample['scale']) == (pair['key'], 2)
        np.testing.assert_array_equal(sample['gt'], pair['gt'])


def test_indices(tiny_data):
    dataset = PairedFolderDataset(2, tiny_data, **TRAIN, indices=3)
    assert len(dataset) == 3


@pytest.mark.parametrize(
    ('root', 'command'),
    [('data', 'div2k'), ('data/demo', 'prepare_data.py demo`')],
)
def test_missing_folder_names_the_command(tmp_path, root, command):
    with pytest.raises(FileNotFoundError, match='DIV2K_train_HR') as caught:
        PairedFolderDataset(2, tmp_path / root, **TRAIN)
    assert command in str(caught.value)
    assert '--data-root' in str(caught.value)


def test_missing_scale(data):
    shutil.rmtree(data / 'benchmark/Tiny/LR_bicubic/X3')
    with pytest.raises(FileNotFoundError, match=r'X3.*benchmark --help'):
        PairedFolderDataset(3, data, **TEST)


def test_hr_without_partner(data):
    (data / 'benchmark/Tiny/LR_bicubic/X2/photo1x2.png').unlink()
    match = r'1 of 3 have none: photo1.png \(no photo1x2.png\)'
    with pytest.raises(FileNotFoundError, match=match):
        PairedFolderDataset(2, data, **TEST)


def test_empty_folder(data):
    for path in (data / 'benchmark/Tiny/HR').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match='but there are none'):
        PairedFolderDataset(2, data, **TEST)


def test_wrong_sizes_name_both_files(data):
    path = data / 'benchmark/Tiny/LR_bicubic/X2/photo2x2.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[:-1])
    dataset = PairedFolderDataset(2, data, **TEST, pipeline=LOAD)
    with pytest.raises(ValueError, match=r'HR/photo2\.png to be 2 times') as caught:
        dataset[2]
    assert 'photo2x2.png' in str(caught.value)
    assert '55 x 49 and 26 x 24' in str(caught.value)


@pytest.mark.parametrize('part', ['HR/photo0.png', 'LR_bicubic/X2/photo0x2.png'])
@pytest.mark.parametrize('keep', [0.5, 0.05, 0])
def test_truncated_png_is_named(data, part, keep):
    path = data / 'benchmark/Tiny' / part
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    dataset = PairedFolderDataset(2, data, **TEST, pipeline=LOAD)
    with pytest.raises(ValueError, match=path.name):
        dataset[0]


def test_wrong_scale(tiny_data):
    with pytest.raises(ValueError, match='one of 1, 2, 3, 4, but got 8'):
        PairedFolderDataset(8, tiny_data, **TRAIN)


def test_endings_may_differ(data):
    path = data / 'benchmark/Tiny/HR/photo0.png'
    image = cv2.imread(str(path))
    path.unlink()
    cv2.imwrite(str(path.with_suffix('.BMP')), image)
    dataset = PairedFolderDataset(2, data, **TEST, pipeline=LOAD)
    np.testing.assert_array_equal(dataset[0]['gt'], image[:60, :66, ::-1])


def test_two_images_of_one_name(data):
    folder = data / 'benchmark/Tiny/HR'
    shutil.copy(folder / 'photo1.png', folder / 'photo1.bmp')
    with pytest.raises(ValueError, match='several named photo1'):
        PairedFolderDataset(2, data, **TEST)
