"""Stores in place of folders: the same samples, by any way of loading them."""

import pickle
import shutil

import pytest
import torch
from conftest import make_stores
from torch.utils.data import DataLoader

from sr_plugins.datasets import (
    DIV2KLMDBDataset,
    PairedFolderDataset,
    ResumableSampler,
    SeededIndex,
    stack_batch,
)
from sr_plugins.datasets.lmdb_store import StoreError

PAIR = ['img', 'gt']
PIPELINE = [
    {'type': 'sr_plugins.LoadImagePair'},
    {'type': 'sr_plugins.PairedRandomCrop', 'lr_patch_size': 12},
    {'type': 'Flip', 'keys': PAIR, 'flip_ratio': 0.5, 'direction': 'horizontal'},
    {'type': 'Flip', 'keys': PAIR, 'flip_ratio': 0.5, 'direction': 'vertical'},
    {'type': 'RandomTransposeHW', 'keys': PAIR, 'transpose_ratio': 0.5},
    {'type': 'sr_plugins.PackImagePair', 'meta_keys': ['scale']},
]
HR = 'DIV2K/DIV2K_train_HR'
LR = 'DIV2K/DIV2K_train_LR_bicubic/X{scale}'


@pytest.fixture(autouse=True)
def _scope():
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')


@pytest.fixture
def stores(tiny_stores, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(tiny_stores, tmp_path / 'data')


@pytest.fixture(scope='module')
def png_stores(tiny_data, tmp_path_factory):
    root = tmp_path_factory.mktemp('png')
    make_stores(tiny_data, out=root, layout='png')
    return root


def assert_same(ours, theirs):
    assert torch.equal(ours['inputs'], theirs['inputs'])
    assert torch.equal(ours['data_samples'].gt_img, theirs['data_samples'].gt_img)
    notes = [dict(sample['data_samples'].metainfo) for sample in (ours, theirs)]
    for note in notes:
        for name in ('img_path', 'gt_path', 'sample_idx'):
            note.pop(name, None)
    assert notes[0] == notes[1]


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('kind', ['raw', 'png', 'memory'])
def test_samples_are_those_of_the_folder(tiny_stores, png_stores, scale, kind):
    """Crops, flips and transposition; several passes, so that every image has many."""
    folder = PairedFolderDataset(scale, tiny_stores, pipeline=PIPELINE)
    root = png_stores if kind == 'png' else tiny_stores
    dataset = DIV2KLMDBDataset(
        scale, root, pipeline=PIPELINE, in_memory=kind == 'memory'
    )
    assert len(dataset) == len(folder) == 4
    for position in range(24):
        index = SeededIndex(position % 4, (7, position))
        assert_same(dataset[index], folder[index])


def test_whole_images_to_test_with(tiny_stores):
    options = {'pipeline': [PIPELINE[0], PIPELINE[-1]], 'test_mode': True}
    dataset = DIV2KLMDBDataset(3, tiny_stores, **options)
    folder = PairedFolderDataset(3, tiny_stores, **options)
    for i in range(4):
        assert_same(dataset[i], folder[i])


@pytest.mark.parametrize(
    ('context', 'read_first'), [('fork', False), ('fork', True), ('spawn', True)]
)
def test_loader_processes(tiny_stores, context, read_first):
    """The batches of the main process, whatever it had open when others began."""
    dataset = DIV2KLMDBDataset(2, tiny_stores, pipeline=PIPELINE)

    def batches(**options):
        loader = DataLoader(
            dataset,
            batch_size=3,
            sampler=ResumableSampler(dataset, seed=5),
            collate_fn=stack_batch,
            **options,
        )
        return [batch for batch, _ in zip(loader, range(4), strict=False)]

    expected = batches()
    if not read_first:
        dataset = DIV2KLMDBDataset(2, tiny_stores, pipeline=PIPELINE)
    found = batches(num_workers=2, multiprocessing_context=context)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours['inputs'], theirs['inputs'])
        for a, b in zip(ours['data_samples'], theirs['data_samples'], strict=True):
            assert torch.equal(a.gt_img, b.gt_img)
            assert a.metainfo == b.metainfo


def test_several_scales_share_the_hr_images(tiny_stores):
    dataset = DIV2KLMDBDataset([2, 4], tiny_stores, pipeline=PIPELINE)
    assert len(dataset) == 8
    for i in range(8):
        single = DIV2KLMDBDataset((2, 4)[i // 4], tiny_stores, pipeline=PIPELINE)
        index = SeededIndex(i, (0, 3))
        assert_same(dataset[index], single[SeededIndex(i % 4, (0, 3))])
        assert dataset[index]['data_samples'].metainfo['scale'] == (2, 4)[i // 4]


@pytest.mark.parametrize('pack', ['PackInputs', 'sr_plugins.PackImagePair'])
def test_hr_only_is_cropped_as_with_lr(tiny_stores, pack):
    """For CAR, which makes its LR images itself."""
    only = [
        *PIPELINE[:2],
        *({**t, 'keys': ['gt']} for t in PIPELINE[2:5]),
        {'type': pack},
    ]
    dataset = DIV2KLMDBDataset(2, tiny_stores, lr=None, pipeline=only)
    both = DIV2KLMDBDataset(2, tiny_stores, pipeline=PIPELINE)
    for i in range(8):
        index = SeededIndex(i % 4, (1, i))
        found = dataset[index]['data_samples'].gt_img
        assert torch.equal(found, both[index]['data_samples'].gt_img)


def test_repeat_makes_a_pass_longer(tiny_stores):
    dataset = DIV2KLMDBDataset(2, tiny_stores, pipeline=PIPELINE, repeat=3, indices=2)
    assert len(dataset) == 6
    sampler = ResumableSampler(dataset, seed=0)
    drawn = [index for index, _ in zip(sampler, range(6), strict=False)]
    assert sorted(drawn) == list(range(6))
    once = DIV2KLMDBDataset(2, tiny_stores, pipeline=PIPELINE)
    for index in drawn:
        assert_same(dataset[index], once[SeededIndex(index % 2, index.seed)])


def test_memory_is_read_once_and_not_sent(stores):
    dataset = DIV2KLMDBDataset(2, stores, pipeline=PIPELINE, in_memory=True)
    before = pickle.dumps(dataset)
    assert len(before) < 50_000
    samples = [dataset[SeededIndex(i, (0, i))] for i in range(4)]
    for path in stores.rglob('data.mdb'):
        path.unlink()
    for i, sample in enumerate(samples):
        assert_same(dataset[SeededIndex(i, (0, i))], sample)


def test_store_that_is_missing(tiny_data):
    with pytest.raises(FileNotFoundError, match=r'DIV2K_train_HR\.lmdb.*create_lmdb'):
        DIV2KLMDBDataset(2, tiny_data)


def test_store_of_another_scale(tiny_stores):
    match = r'2 times as large as.*X4\.lmdb.*4 of 4.*96 x 100 and 24 x 25'
    with pytest.raises(StoreError, match=match):
        DIV2KLMDBDataset(2, tiny_stores, lr=LR.replace('{scale}', '4'))


def test_stores_of_other_images(stores, tmp_path):
    (stores / HR / '0002.png').rename(stores / HR / '0007.png')
    shutil.rmtree(stores / f'{HR}.lmdb')
    for scale in (2, 3, 4):
        folder = stores / LR.format(scale=scale)
        folder.joinpath(f'0002x{scale}.png').unlink()
        shutil.copy(folder / f'0001x{scale}.png', folder / f'0009x{scale}.png')
        shutil.rmtree(f'{folder}.lmdb')
    make_stores(stores)
    with pytest.raises(StoreError, match=r'1 are in the first only \(0007\)|0007'):
        DIV2KLMDBDataset(2, stores)


@pytest.mark.parametrize('repeat', [0, -1, 1.5])
def test_bad_repeat(tiny_stores, repeat):
    with pytest.raises(ValueError, match=f'`repeat`.*{repeat}'):
        DIV2KLMDBDataset(2, tiny_stores, repeat=repeat)


def test_bad_scale(tiny_stores):
    with pytest.raises(ValueError, match='one of 1, 2, 3, 4, but got 8'):
        DIV2KLMDBDataset([2, 8], tiny_stores)


def test_damage_is_named_on_reading(stores):
    path = stores / f'{HR}.lmdb' / 'data.mdb'
    content = bytearray(path.read_bytes())
    for position in range(len(content) // 3, len(content), 997):
        content[position] ^= 1
    path.write_bytes(content)
    dataset = DIV2KLMDBDataset(2, stores, pipeline=PIPELINE)
    match = r"image '000.' of .*HR\.lmdb.*--verify"
    with pytest.raises(StoreError, match=match):
        [dataset[SeededIndex(i % 4, (0, i))] for i in range(40)]
