"""Packing and collating: what mmagic and mmengine do, by a shorter way."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from mmagic.datasets.transforms import PackInputs
from mmagic.models.data_preprocessors import DataPreprocessor
from mmengine.dataset import pseudo_collate

from sr_plugins.datasets import PackImagePair, stack_batch


def results(seed=0, size=6, scale=2, transpose=False):
    rng = np.random.default_rng(seed)
    pair = {
        'img': rng.integers(0, 256, (size, size + 2, 3), dtype=np.uint8),
        'gt': rng.integers(
            0, 256, (size * scale, (size + 2) * scale, 3), dtype=np.uint8
        ),
    }
    if transpose:
        pair = {key: image.transpose(1, 0, 2) for key, image in pair.items()}
    return {
        **pair,
        'key': f'{seed:04d}',
        'scale': scale,
        'sample_idx': seed,
        'img_path': f'lr/{seed}.png',
        'gt_path': f'hr/{seed}.png',
        'ori_img_shape': (50, 60, 3),
        'ori_gt_shape': (100, 120, 3),
        'img_channel_order': 'rgb',
        'gt_channel_order': 'rgb',
        'img_color_type': 'color',
        'gt_color_type': 'color',
        'flip_infos': [{'flip': True}],
    }


def fields(sample):
    return dict(sample.items()), sample.metainfo


def assert_same_samples(ours, theirs):
    (our_data, our_notes), (their_data, their_notes) = fields(ours), fields(theirs)
    assert our_notes == their_notes
    assert our_data.keys() == their_data.keys()
    for name, tensor in our_data.items():
        assert tensor.dtype == their_data[name].dtype
        assert torch.equal(tensor, their_data[name])


@pytest.mark.parametrize('transpose', [False, True])
@pytest.mark.parametrize('missing', [(), ('img',), ('gt',)])
def test_packs_as_mmagic_does(transpose, missing):
    given = results(transpose=transpose)
    for key in missing:
        del given[key]
    ours = PackImagePair(meta_keys=['scale'])(dict(given))
    theirs = PackInputs(meta_keys=['scale'])(dict(given))
    if 'img' in missing:
        assert ours['inputs'] == theirs['inputs'] == {}
    else:
        assert torch.equal(ours['inputs'], theirs['inputs'])
        assert ours['inputs'].is_contiguous()
    assert_same_samples(ours['data_samples'], theirs['data_samples'])


def test_packed_images_have_memory_of_their_own():
    given = results()
    packed = PackImagePair()(given)
    before = packed['inputs'].clone()
    given['img'][:] = 0
    assert torch.equal(packed['inputs'], before)


@pytest.mark.parametrize('stack', [True, False])
def test_the_model_gets_what_it_gets_of_pseudo_collate(stack):
    """The same batch in float32, bit for bit, through mmagic's preprocessor."""
    samples = [PackImagePair(meta_keys=['scale'])(results(seed)) for seed in range(3)]
    again = [PackImagePair(meta_keys=['scale'])(results(seed)) for seed in range(3)]
    preprocess = DataPreprocessor(
        mean=[0.0] * 3, std=[255.0] * 3, stack_data_sample=stack
    )
    ours = preprocess(stack_batch(samples), training=True)
    theirs = preprocess(pseudo_collate(again), training=True)
    assert torch.equal(ours['inputs'], theirs['inputs'])
    pairs = [(ours['data_samples'], theirs['data_samples'])]
    if not stack:
        pairs = list(zip(*pairs[0], strict=True))
    for a, b in pairs:
        assert torch.equal(a.gt_img, b.gt_img)
        assert a.metainfo['gt_path'] == b.metainfo['gt_path']


@pytest.mark.parametrize('sizes', [(6, 6, 6), (6, 8, 6)])
def test_batches_travel_whole(sizes):
    """Through the pickler of loader processes; other sizes stay a list."""
    samples = [PackImagePair()(results(i, size)) for i, size in enumerate(sizes)]
    batch = stack_batch(samples)
    assert isinstance(batch['inputs'], torch.Tensor) == (len(set(sizes)) == 1)
    arrived = pickle.loads(ForkingPickler.dumps(batch))
    for a, b in zip(arrived['inputs'], batch['inputs'], strict=True):
        assert torch.equal(a, b)
    assert len(arrived['data_samples']) == 3
    for a, b in zip(arrived['data_samples'], batch['data_samples'], strict=True):
        assert_same_samples(a, b)


def test_images_of_a_batch_travel_in_one_tensor():
    batch = stack_batch([PackImagePair()(results(i)) for i in range(4)])
    arrived = pickle.loads(pickle.dumps(batch))['data_samples']
    storages = {sample.gt_img.untyped_storage().data_ptr() for sample in arrived}
    assert len(storages) == 1
