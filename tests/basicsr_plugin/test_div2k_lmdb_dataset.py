"""Our stores under BasicSR's own loader: its batches, value by value."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.data.paired_image_dataset import PairedImageDataset
from conftest import make_stores

import sr_plugins.basicsr_plugin  # noqa: F401  (registers)
from sr_plugins.datasets.lmdb_store import StoreError

HR = 'DIV2K/DIV2K_train_HR'
LR = 'DIV2K/DIV2K_train_LR_bicubic/X{scale}'


def options(root, scale=2, **others):
    return {
        'name': 'train',
        'type': 'DIV2KLMDBDataset',
        'dataroot_gt': str(root / HR),
        'dataroot_lq': str(root / LR.format(scale=scale)),
        'scale': scale,
        'phase': 'train',
        'gt_size': 24,
        'use_hflip': True,
        'use_rot': True,
        **others,
    }


def theirs(root, scale=2, **others):
    given = options(root, scale, **others)
    return PairedImageDataset(
        {
            **given,
            'io_backend': {'type': 'disk'},
            'filename_tmpl': f'{{}}x{scale}',
        }
    )


@pytest.fixture(scope='module')
def png_root(tiny_data, tmp_path_factory):
    root = tmp_path_factory.mktemp('png')
    make_stores(tiny_data, out=root, layout='png')
    return root


@pytest.mark.parametrize('layout', ['raw', 'png'])
@pytest.mark.parametrize('scale', [2, 4])
def test_crops_are_those_of_basicsr(tiny_stores, png_root, layout, scale):
    root = tiny_stores if layout == 'raw' else png_root
    ours = build_dataset(options(root, scale))
    other = theirs(tiny_stores, scale)
    assert len(ours) == len(other) == 4
    order = {
        path['gt_path'].rsplit('/')[-1][:4]: i for i, path in enumerate(other.paths)
    }
    for seed in range(12):
        random.seed(seed)
        found = ours[seed % 4]
        random.seed(seed)
        expected = other[order[Path(found['gt_path']).stem]]
        for name in ('lq', 'gt'):
            assert found[name].dtype == expected[name].dtype
            assert torch.equal(found[name], expected[name])


def test_whole_images_to_validate_with(tiny_stores):
    ours = build_dataset(options(tiny_stores, 3, phase='val'))
    other = theirs(tiny_stores, 3, phase='val')
    found = {Path(d['gt_path']).stem: d for d in (ours[i] for i in range(4))}
    for i in range(4):
        expected = other[i]
        sample = found[Path(expected['gt_path']).stem]
        for name in ('lq', 'gt'):
            assert torch.equal(sample[name], expected[name])


def test_patch_that_is_too_large(tiny_stores):
    dataset = build_dataset(options(tiny_stores, gt_size=200))
    with pytest.raises(ValueError, match='smaller than patch size'):
        dataset[0]


@pytest.mark.parametrize('missing', ['scale', 'gt_size', 'dataroot_lq'])
def test_option_that_is_missing(tiny_stores, missing):
    given = options(tiny_stores)
    del given[missing]
    with pytest.raises(KeyError, match=missing):
        build_dataset(given)


def test_stores_that_do_not_belong_together(tiny_stores):
    given = options(tiny_stores)
    given['dataroot_lq'] = str(tiny_stores / LR.format(scale=4))
    with pytest.raises(StoreError, match='2 times as large'):
        build_dataset(given)


def test_store_that_is_missing(tiny_data, tmp_path):
    given = options(shutil.copytree(tiny_data, tmp_path / 'data'))
    with pytest.raises(FileNotFoundError, match='create_lmdb'):
        build_dataset(given)
