"""BasicSR's training samples, the same after any stop and on any number of processes.

BasicSR seeds `random` once for each loader process and epoch, so that a sample depends
on all that went before it, and begins an epoch anew when it resumes. Here a sample
depends on the seed and on its position in the run only. The order of the images stays
BasicSR's.
"""

from collections.abc import Iterator

import numpy as np
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.transforms import paired_random_crop
from basicsr.utils import imfrombytes
from torch.utils.data import Dataset

from ...datasets import PairedFolderDataset
from ...datasets.samplers import SeededIndex, seeded


class Order(EnlargedSampler):
    """BasicSR's order, cut to what is left of a run, with a seed for every sample.

    Until `cut` is called it is of full length.

    Args:
        dataset: as EnlargedSampler.
        num_replicas: as EnlargedSampler.
        rank: as EnlargedSampler.
        ratio: as EnlargedSampler.
        seed: of crops and flips.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_replicas: int,
        rank: int,
        ratio: int = 1,
        *,
        seed: int,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.seed = seed
        self.first, self.last, self.per_epoch = 0, None, self.num_samples

    def cut(self, start: int, stop: int, batch_size: int) -> None:
        """Give the samples of iterations `start` to `stop` only, counted from 0."""
        # An epoch has whole batches; what is left over of one is not used.
        self.per_epoch = self.num_samples // batch_size * batch_size
        self.first, self.last = start * batch_size, stop * batch_size

    def __iter__(self) -> Iterator[SeededIndex]:
        indices = list(super().__iter__())
        window = slice(None)
        if self.last is not None:
            before = self.epoch * self.per_epoch
            window = slice(
                max(self.first - before, 0),
                min(max(self.last - before, 0), self.per_epoch),
            )
        for k in range(*window.indices(len(indices))):
            position = self.epoch * self.total_size + k * self.num_replicas + self.rank
            yield SeededIndex(indices[k], (self.seed, position))


class Samples(Dataset):
    """A data set of BasicSR that says which image is at fault.

    Args:
        dataset: as BasicSR builds it.
        indices: how many images to take, the first ones; None for all.
    """

    def __init__(self, dataset: Dataset, indices: int | None = None) -> None:
        self.dataset, self.opt = dataset, dataset.opt
        self.size = len(dataset) if indices is None else min(indices, len(dataset))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        """The sample, random choices drawn as its index says (`SeededIndex`)."""
        try:
            with seeded(index):
                sample = self.dataset[index]
            self._require_pair(sample)
            return sample
        except ValueError as error:
            paths = getattr(self.dataset, 'paths', None)
            where = f' The images are {paths[index]}.' if paths else ''
            raise ValueError(f'{error}{where}') from error

    def _require_pair(self, sample: dict) -> None:
        """Metrics would end in an assertion."""
        lq, gt, scale = (sample.get('lq'), sample.get('gt'), self.opt.get('scale'))
        if scale is None or lq is None or gt is None or lq.dim() != 3:
            return
        sides = tuple(side * scale for side in lq.shape[1:])
        if tuple(gt.shape[1:]) != sides:
            raise ValueError(
                f'Expected an HR image {scale} times as large as its LR image, but got '
                f'{tuple(gt.shape[1:])} for {tuple(lq.shape[1:])} (height, width).'
            )


def pair_folders(
    folders: list[str], keys: list[str], filename_tmpl: str
) -> list[dict[str, str]]:
    """In place of BasicSR's, in the order of names and with words for what is wrong.

    Raises:
        FileNotFoundError: when a folder or an LR image is missing.
        ValueError: when there are no images.
    """
    lq, gt = folders
    dataset = PairedFolderDataset(
        scale=1,
        data_root='',
        hr=gt,
        lr=lq,
        lr_name=filename_tmpl.replace('{}', '{name}'),
    )
    samples = (dataset.get_data_info(i) for i in range(len(dataset)))
    return [
        {f'{keys[0]}_path': s['img_path'], f'{keys[1]}_path': s['gt_path']}
        for s in samples
    ]


def decode(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """In place of BasicSR's, which ends in an AttributeError for what is no image.

    Raises:
        ValueError: when it is none.
    """
    image = imfrombytes(content, flag) if content else None
    if image is None:
        raise ValueError('Expected an image, but got a file that is none, or damaged.')
    return image.astype(np.float32) / 255.0 if float32 else image


def crop_pair(
    gt: np.ndarray, lq: np.ndarray, gt_size: int, scale: int, gt_path: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """In place of BasicSR's, which refuses HR sides that the scale does not divide.

    Raises:
        ValueError: when the images do not belong together, or are too small.
    """
    height, width = (side * scale for side in lq.shape[:2])
    rests = gt.shape[0] - height, gt.shape[1] - width
    if not all(0 <= rest < scale for rest in rests):
        raise ValueError(
            f'Expected an LR image of 1 / {scale} of the HR image, but got '
            f'{lq.shape[0]} x {lq.shape[1]} for {gt.shape[0]} x {gt.shape[1]} (height '
            f'x width).'
        )
    if min(height, width) < gt_size:
        raise ValueError(
            f'Expected images of at least `gt_size` pixels, but got {height} x {width} '
            f'for {gt_size}. Remove the image, or set a smaller `gt_size`.'
        )
    return paired_random_crop(gt[:height, :width], lq, gt_size, scale, gt_path)
