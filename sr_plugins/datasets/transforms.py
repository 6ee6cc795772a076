"""Transforms that mmagic lacks: strict loading of a pair, crops that follow the scale.

Flips, transposition and packing are mmagic's own.
"""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from ..preparation.images import read_rgb
from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImagePair(BaseTransform):
    """Load `img_path` (LR) and, where there is one, `gt_path` (HR) as uint8 RGB.

    The HR image may be larger than `scale` times the LR image by less than `scale`
    pixels a side, as in the benchmark sets; it is cropped at the right and bottom.

    Adds `img`, `gt` and what mmagic's data preprocessor asks for: their channel
    orders, colour types and `ori_*_shape`.

    Args:
        cache: keep decoded images in the memory of each loader process. For data sets
            of some dozen photographs.

    Raises:
        ValueError: when a file is damaged, or the sizes do not belong together.
    """

    def __init__(self, cache: bool = False) -> None:
        self.cache = {} if cache else None

    def transform(self, results: dict) -> dict:
        self._load(results, 'img')
        if 'gt_path' in results:
            self._load(results, 'gt')
            results['gt'] = _crop_to_scale(results)
        return results

    def _load(self, results: dict, key: str) -> None:
        path = results[f'{key}_path']
        image = None if self.cache is None else self.cache.get(path)
        if image is None:
            image = read_rgb(Path(path))
            if self.cache is not None:
                self.cache[path] = image
        results[key] = image
        results[f'ori_{key}_shape'] = image.shape
        results[f'{key}_channel_order'] = 'rgb'
        results[f'{key}_color_type'] = 'color'

    def __repr__(self) -> str:
        return f'{type(self).__name__}(cache={self.cache is not None})'


@TRANSFORMS.register_module()
class PairedRandomCrop(BaseTransform):
    """Cut the same random place out of `img` (LR) and `gt` (HR).

    Args:
        lr_patch_size: side of the LR patch; the HR patch is `scale` times larger.
    """

    def __init__(self, lr_patch_size: int) -> None:
        self.lr_patch_size = lr_patch_size

    def transform(self, results: dict) -> dict:
        size, scale = self.lr_patch_size, results['scale']
        height, width = results['img'].shape[:2]
        if min(height, width) < size:
            raise ValueError(
                f'Expected {results["img_path"]} to be at least {size} pixels a side '
                f'for patches of that size, but got {height} x {width}. Remove it or '
                f'set a smaller `lr_patch_size`.'
            )
        # The global generator is the one that `seeded` sets per sample.
        top = np.random.randint(height - size + 1)  # noqa: NPY002
        left = np.random.randint(width - size + 1)  # noqa: NPY002
        for key, s in (('img', 1), ('gt', scale)):
            rows = slice(top * s, (top + size) * s)
            columns = slice(left * s, (left + size) * s)
            # A copy, since mmagic's Flip works in place and the image may be cached.
            results[key] = results[key][rows, columns].copy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(lr_patch_size={self.lr_patch_size})'


def _crop_to_scale(results: dict) -> np.ndarray:
    """The HR image without the rows and columns that have no LR pixel."""
    scale, gt = results['scale'], results['gt']
    height, width = (side * scale for side in results['img'].shape[:2])
    extra = gt.shape[0] - height, gt.shape[1] - width
    if not (0 <= extra[0] < scale and 0 <= extra[1] < scale):
        raise ValueError(
            f'Expected {results["gt_path"]} to be {scale} times as large as '
            f'{results["img_path"]}, but got {gt.shape[0]} x {gt.shape[1]} and '
            f'{height // scale} x {width // scale} pixels. Make the LR images anew '
            f'with tools/prepare_data.py.'
        )
    return gt[:height, :width]
