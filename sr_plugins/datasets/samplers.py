"""Samplers whose stream of samples depends on seed and position only.

The k-th sample of a training run, its crop and its flips included, is then the same
with any number of loader processes and of ranks, and after a resume, which starts at
its position at once instead of loading again all that went before.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from ..registry import DATA_SAMPLERS


class SeededIndex(int):
    """An index that brings the seed for the random choices of its sample.

    Data sets that know nothing of it take it for the int that it is.
    """

    seed: tuple[int, int]

    def __new__(cls, index: int, seed: tuple[int, int]) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed)


_GENERATOR = np.random.Philox(0)
_STATE = _GENERATOR.state


@contextmanager
def seeded(index: int) -> Iterator[None]:
    """Seed `random` and `numpy.random` for the sample `index`, then restore them.

    mmagic's transforms draw from these global generators. A plain int changes nothing.
    """
    if not isinstance(index, SeededIndex):
        yield
        return
    seed, position = index.seed
    # Another generator stands in for numpy's: to save and restore the state of its own
    # takes longer than all else here. Philox needs no warming up: any key will do.
    state, generator = random.getstate(), np.random.get_bit_generator()
    _STATE['state']['key'][:] = seed, position
    _GENERATOR.state = _STATE
    np.random.set_bit_generator(_GENERATOR)
    random.seed(position << 64 | seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_bit_generator(generator)


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Endless shuffled indices; each pass over the data set is a new permutation.

    Rank r of w takes the positions r, r + w, r + 2 w, ... of one common stream, so the
    samples of a step do not depend on how many ranks share its batch.

    Args:
        dataset: whose indices are drawn.
        shuffle: False walks through the data set in order.
        seed: of the permutations and samples; None agrees on one among the ranks.
    """

    def __init__(
        self, dataset: Dataset, shuffle: bool = True, seed: int | None = None
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yield indices from sample `start` of this rank on."""
        position = self.start * self.world_size + self.rank
        epoch, order = -1, None
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch)
            yield SeededIndex(order[position % self.size], (self.seed, position))
            position += self.world_size

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)


@DATA_SAMPLERS.register_module()
class OneScaleBatchSampler(Sampler):
    """Batches of one scale each, drawn anew for every step, for MDSR.

    The scale of a step depends on seed and step only, so all ranks draw the same one.
    The images are those that the sampler gives, each with the seed of its position.

    Args:
        sampler: of a data set with several `scales`.
        batch_size: of this rank.

    Raises:
        TypeError: when the sampler or the data set is of another kind.
    """

    def __init__(self, sampler: ResumableSampler, batch_size: int) -> None:
        if not isinstance(sampler, ResumableSampler):
            raise TypeError(
                f'Expected `sampler` beside OneScaleBatchSampler to be '
                f'sr_plugins.ResumableSampler, but got {type(sampler).__name__}.'
            )
        if not hasattr(sampler.dataset, 'at_scale'):
            raise TypeError(
                f'Expected the data set of OneScaleBatchSampler to be one of several '
                f'scales, such as sr_plugins.PairedFolderDataset, but got '
                f'{type(sampler.dataset).__name__}.'
            )
        self.sampler = sampler
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        """Yield batches from the one on that sample `start` of this rank begins."""
        dataset, indices = self.sampler.dataset, iter(self.sampler)
        for step in count(self.sampler.start // self.batch_size):
            scale = self._scale(step)
            yield [
                SeededIndex(dataset.at_scale(index, scale), index.seed)
                for index in islice(indices, self.batch_size)
            ]

    def _scale(self, step: int) -> int:
        # The last number keeps these draws apart from the sampler's permutations.
        generator = np.random.default_rng([self.sampler.seed, step, 1])
        return self.sampler.dataset.scales[
            generator.integers(len(self.sampler.dataset.scales))
        ]
