"""DIV2K from LMDB stores, as a data set of BasicSR."""

from pathlib import Path

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.div2k_lmdb_dataset import require_pairs
from ..datasets.lmdb_store import Store, store_path

_REQUIRED = ('dataroot_gt', 'dataroot_lq', 'scale', 'phase')
_TRAINING = ('gt_size', 'use_hflip', 'use_rot')


@DATASET_REGISTRY.register()
class DIV2KLMDBDataset(Dataset):
    """BasicSR's PairedImageDataset, from our stores or from BasicSR's own.

    With the same `random` seed it gives the same crops as PairedImageDataset does, but
    of a store of layout `raw` it reads the crop only.

    Args:
        opt: entries as for PairedImageDataset: `dataroot_gt` and `dataroot_lq`, folders
            that stores were made of, or stores; `scale`; `phase`; and to train,
            `gt_size`, `use_hflip` and `use_rot`.

    Raises:
        KeyError: when an entry is missing.
        FileNotFoundError: when a store is missing or not finished.
        StoreError: when the stores do not belong together.
    """

    def __init__(self, opt: dict) -> None:
        training = opt.get('phase') == 'train'
        for name in _REQUIRED + (_TRAINING if training else ()):
            if name not in opt:
                raise KeyError(
                    f'Expected the options of data set {opt.get("name")!r} to have '
                    f'{name!r}, but got {sorted(opt)}.'
                )
        self.opt = opt
        self.training = training
        self.scale = opt['scale']
        self.gt = Store(store_path(Path(opt['dataroot_gt'])))
        self.lq = Store(store_path(Path(opt['dataroot_lq'])))
        self._stores = {'gt': self.gt, 'lq': self.lq}
        require_pairs(self.gt, self.lq, self.scale)

    def __len__(self) -> int:
        return len(self.gt)

    def __getitem__(self, index: int) -> dict:
        """Give `lq` and `gt`, (3, H, W) of float32 RGB in [0, 1], and their paths."""
        key = self.gt.index.keys[index].decode()
        paths = {f'{k}_path': f'{s.path}/{key}' for k, s in self._stores.items()}
        gt, lq = self.gt[index], self.lq[index]
        height, width = (side * self.scale for side in lq.shape[:2])
        gt = gt[:height, :width]
        if self.training:
            # Windows of stored images, which the copies below read.
            gt, lq = paired_random_crop(
                gt, lq, self.opt['gt_size'], self.scale, paths['gt_path']
            )
        images = [gt.copy(), lq.copy()]
        if self.training:
            images = augment(images, self.opt['use_hflip'], self.opt['use_rot'])
        gt, lq = map(_to_tensor, images)
        return {'lq': lq, 'gt': gt, **paths}


def _to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) of uint8 -> (3, H, W) of float32 in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return tensor.to(torch.float32).div_(255)
