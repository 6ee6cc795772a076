"""The stream of samples depends on seed and position, and on nothing else."""

import copy
import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from sr_plugins.datasets import (
    OneScaleBatchSampler,
    PairedFolderDataset,
    ResumableSampler,
    SeededIndex,
    seeded,
)

PIPELINE = [
    {'type': 'sr_plugins.LoadImagePair', 'cache': True},
    {'type': 'sr_plugins.PairedRandomCrop', 'lr_patch_size': 12},
    {'type': 'Flip', 'keys': ['img', 'gt'], 'direction': 'horizontal'},
    {'type': 'RandomTransposeHW', 'keys': ['img', 'gt'], 'transpose_ratio': 0.5},
    {'type': 'PackInputs', 'meta_keys': ['scale']},
]


@pytest.fixture(scope='module')
def dataset(tiny_data):
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    return PairedFolderDataset(2, tiny_data, pipeline=PIPELINE)


def sampler(size, seed=0, rank=0, world_size=1, start=0, shuffle=True):
    made = ResumableSampler(range(size), shuffle=shuffle, seed=seed)
    made.rank, made.world_size, made.start = rank, world_size, start
    return made


def test_each_pass_is_a_permutation():
    stream = list(islice(sampler(7), 21))
    passes = [stream[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert len({tuple(p) for p in passes}) == 3
    assert len({index.seed for index in stream}) == 21


def test_seed_changes_order():
    assert list(islice(sampler(50), 50)) != list(islice(sampler(50, seed=1), 50))


def test_start_is_where_the_stream_went_on():
    whole = list(islice(sampler(7), 40))
    rest = list(islice(sampler(7, start=15), 25))
    assert [(int(i), i.seed) for i in rest] == [(int(i), i.seed) for i in whole[15:]]


def test_ranks_share_one_stream():
    whole = list(islice(sampler(5), 24))
    for start in (0, 4):
        ranks = [
            list(islice(sampler(5, rank=r, world_size=3, start=start), 8 - start))
            for r in range(3)
        ]
        merged = [ranks[k % 3][k // 3] for k in range(24 - 3 * start)]
        assert merged == whole[3 * start :]


def test_in_order_without_shuffle():
    assert list(islice(sampler(3, shuffle=False), 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_index_survives_the_way_to_a_worker():
    index = SeededIndex(4, (1, 99))
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert other == 4
        assert other.seed == (1, 99)
    assert ['a', 'b', 'c', 'd', 'e'][index] == 'e'


class Images:
    """Fifteen samples of `scales`: images times scales, the scale outermost."""

    def __init__(self, scales=(2, 3, 4)):
        self.scales = scales

    def __len__(self):
        return 5 * len(self.scales)

    def at_scale(self, index, scale):
        return index % 5 + 5 * self.scales.index(scale)


def scale_batches(count, batch_size=4, **place):
    made = ResumableSampler(Images(), seed=3)
    for name, value in place.items():
        setattr(made, name, value)
    return list(islice(OneScaleBatchSampler(made, batch_size), count))


def test_each_batch_has_one_scale_and_all_come():
    drawn = [{index // 5 for index in batch} for batch in scale_batches(600)]
    assert all(len(scales) == 1 for scales in drawn)
    counts = [drawn.count({branch}) for branch in range(3)]
    # Three standard deviations of 600 draws.
    assert all(abs(count - 200) < 35 for count in counts)
    assert drawn[:20] != drawn[20:40]


def test_batches_have_the_images_of_the_sampler():
    stream = list(islice(ResumableSampler(Images(), seed=3), 40))
    batches = [index for batch in scale_batches(10) for index in batch]
    assert [i % 5 for i in batches] == [i % 5 for i in stream]
    assert [i.seed for i in batches] == [i.seed for i in stream]


def test_ranks_draw_the_same_scales_and_share_the_images():
    whole = scale_batches(10)
    ranks = [scale_batches(10, batch_size=2, rank=r, world_size=2) for r in range(2)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        assert sorted(batch) == sorted(parts[0] + parts[1])


def test_scales_go_on_where_they_were():
    assert scale_batches(6, start=4 * 4) == scale_batches(10)[4:]


def test_scales_need_their_sampler_and_data_set():
    with pytest.raises(TypeError, match=r'ResumableSampler, but got SequentialSampl'):
        OneScaleBatchSampler(torch.utils.data.SequentialSampler(range(3)), 2)
    with pytest.raises(TypeError, match=r'several scales, .* but got range'):
        OneScaleBatchSampler(sampler(4), 2)


def test_seeded_restores_the_generators():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    with seeded(SeededIndex(0, (5, 6))):
        inside = random.random(), np.random.random()  # noqa: NPY002
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002
    assert inside != expected
    with seeded(SeededIndex(0, (5, 6))):
        assert (random.random(), np.random.random()) == inside  # noqa: NPY002


def batches(dataset, workers, start=0, count=4):
    made = ResumableSampler(dataset, seed=7)
    made.start = start
    loader = DataLoader(
        dataset, 3, sampler=made, num_workers=workers, collate_fn=pseudo_collate
    )
    return [
        torch.stack([x.float() for x in batch['inputs']])
        for batch in islice(iter(loader), count)
    ]


def test_number_of_workers_does_not_matter(dataset):
    alone = batches(dataset, 0)
    assert not torch.equal(alone[0], alone[1])
    for workers in (1, 2):
        for a, b in zip(alone, batches(dataset, workers), strict=True):
            assert torch.equal(a, b)


def test_resumed_loader_goes_on_exactly(dataset):
    whole = batches(dataset, 0, count=5)
    rest = batches(dataset, 2, start=2 * 3, count=3)
    for a, b in zip(whole[2:], rest, strict=True):
        assert torch.equal(a, b)


def test_crops_differ_within_one_image(tiny_data):
    """The same photograph is cut elsewhere the next time round."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    alone = PairedFolderDataset(2, tiny_data, pipeline=PIPELINE, indices=1)
    first, second = batches(alone, 0, count=2)
    assert not torch.equal(first, second)
