"""Pairs of HR and LR images from LMDB stores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset

from ..registry import DATASETS
from .lmdb_store import Store, StoredImage, StoreError, store_path
from .samplers import seeded
from .scales import at_scale, check_scales

_SHOWN = 3


@DATASETS.register_module()
class DIV2KLMDBDataset(BaseDataset):
    """What PairedFolderDataset gives, from the stores of `tools/create_lmdb.py`.

    A store lies beside the folder it was made of: `DIV2K_train_HR.lmdb`. The same
    pipeline makes the same samples of it, but a crop costs what the crop costs.

    Samples hold `img` and `gt`, which are read when they are cropped; whole images in
    `test_mode`. With several scales, the samples of the first come first, then those
    of the next; all take their HR images from one store.

    Args:
        scale: which LR images, 1 to 4; or several, as for MDSR.
        data_root: folder above `hr` and `lr`.
        hr: folder that the store of HR images was made of, or a store (`.lmdb`).
        lr: the same for LR images; `{scale}` in it is replaced. None for HR only:
            `img` is missing then, and crops are those of that scale.
        pipeline: transforms; samples also hold `gt_path`, `img_path`, `key`, `scale`.
        indices: as in mmengine: only the first so many images, or these.
        test_mode: as in mmengine.
        repeat: how often the images come in one pass, so that a pass is longer.
        in_memory: hold all images decoded in memory. Forked loader processes share
            them; spawned ones read their own.

    Raises:
        FileNotFoundError: when a store is missing or not finished.
        StoreError: when HR and LR images do not belong together, or a store is
            damaged or of a newer format.
        ValueError: on another scale or `repeat`, or on `indices` of several scales.
    """

    def __init__(
        self,
        scale: 'int | Sequence[int]',
        data_root: str = 'data',
        hr: str = 'DIV2K/DIV2K_train_HR',
        lr: str | None = 'DIV2K/DIV2K_train_LR_bicubic/X{scale}',
        pipeline: 'list | tuple' = (),
        indices: 'int | list[int] | None' = None,
        test_mode: bool = False,
        repeat: int = 1,
        in_memory: bool = False,
    ) -> None:
        self.scales = check_scales(scale, indices)
        if not isinstance(repeat, int) or repeat < 1:
            raise ValueError(
                f'Expected `repeat` to be an integer above 0, but got {repeat}.'
            )
        self.repeat = repeat
        self.hr_store = Store(store_path(Path(data_root, hr)))
        self.lr_stores = {}
        if lr is not None:
            for each in self.scales:
                store = Store(store_path(Path(data_root, lr.format(scale=each))))
                require_pairs(self.hr_store, store, each)
                self.lr_stores[each] = store
        self._memory = {} if in_memory else None
        super().__init__(
            data_root=str(data_root),
            pipeline=list(pipeline),
            indices=indices,
            test_mode=test_mode,
        )
        if in_memory:
            self._load_all()

    def load_data_list(self) -> list[dict]:
        """Keys, scales and positions, in the order of PairedFolderDataset."""
        keys = self.hr_store.keys()
        return [
            {'key': key, 'scale': scale, 'position': position}
            for scale in self.scales
            for position, key in enumerate(keys)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Give a sample: names, and the images, which are not read yet."""
        info = super().get_data_info(idx)
        position, scale, key = info.pop('position'), info['scale'], info['key']
        stores = {'gt': self.hr_store}
        if self.lr_stores:
            stores['img'] = self.lr_stores[scale]
        for name, store in stores.items():
            info[f'{name}_path'] = f'{store.path}/{key}'
            info[name] = self._image(store, position)
        return info

    def __len__(self) -> int:
        return super().__len__() * self.repeat

    def __getitem__(self, idx: int) -> dict:
        """The sample, random choices drawn as its index says (`SeededIndex`)."""
        with seeded(idx):
            return super().__getitem__(int(idx) % super().__len__())

    def at_scale(self, index: int, scale: int) -> int:
        """The sample of the same image at another of the scales."""
        return at_scale(index, super().__len__(), self.scales, scale)

    def _image(self, store: Store, position: int) -> 'StoredImage | np.ndarray':
        if self._memory is None:
            image = store[position]
            return image.copy() if self.test_mode else image
        place = store.path, position
        image = self._memory.get(place)
        if image is None:
            image = self._memory[place] = store[position].copy()
        return image

    def _load_all(self) -> None:
        for index in range(super().__len__()):
            self.get_data_info(index)

    def __getstate__(self) -> dict:
        # Gigabytes should not go through a pipe.
        memory = None if self._memory is None else {}
        return {**vars(self), '_memory': memory}


def require_pairs(hr: Store, lr: Store, scale: int) -> None:
    """Raise StoreError when `lr` does not hold the LR images of `hr`.

    HR images may be larger than `scale` times their LR image by less than `scale`.
    """
    if not np.array_equal(hr.index.keys, lr.index.keys):
        only_hr = sorted(set(hr.keys()) - set(lr.keys()))
        only_lr = sorted(set(lr.keys()) - set(hr.keys()))
        raise StoreError(
            f'Expected the stores {hr.path} and {lr.path} to hold images of the same '
            f'names, but {len(only_hr)} are in the first only ({_list(only_hr)}) and '
            f'{len(only_lr)} in the second only ({_list(only_lr)}). Make both anew '
            f'with `python tools/create_lmdb.py --overwrite`.'
        )
    extra = hr.index.shapes[:, :2] - scale * lr.index.shapes[:, :2]
    wrong = np.flatnonzero(((extra < 0) | (extra >= scale)).any(axis=1))
    if len(wrong):
        first = wrong[0]
        sizes = [
            ' x '.join(map(str, store.index.shapes[first, :2])) for store in (hr, lr)
        ]
        raise StoreError(
            f'Expected the images of {hr.path} to be {scale} times as large as those '
            f'of {lr.path}, but {len(wrong)} of {len(hr)} are not, such as '
            f'{hr.index.keys[first].decode()!r}: {sizes[0]} and {sizes[1]} pixels. '
            f'Point to the LR images of x{scale}.'
        )


def _list(names: list[str]) -> str:
    return ', '.join(names[:_SHOWN]) + (', ...' if len(names) > _SHOWN else '') or '-'
