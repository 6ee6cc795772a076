"""Transforms that mmagic lacks: strict loading of a pair, crops that follow the scale.

Flips, transposition and packing are mmagic's own.
"""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from ..preparation import crop_to_multiple
from ..preparation.images import read_rgb
from ..registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImagePair(BaseTransform):
    """Load `img_path` (LR) and `gt_path` (HR), if they are there, as uint8 RGB.

    An `img` or `gt` that the data set gives itself, from a store, is left unread.

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
        for key in ('img', 'gt'):
            if f'{key}_path' in results:
                self._load(results, key)
        if 'img' in results and 'gt' in results:
            results['gt'] = _crop_to_scale(results)
        return results

    def _load(self, results: dict, key: str) -> None:
        image = results.get(key)
        if image is None:
            image = results[key] = self._read(results[f'{key}_path'])
        results[f'ori_{key}_shape'] = image.shape
        results[f'{key}_channel_order'] = 'rgb'
        results[f'{key}_color_type'] = 'color'

    def _read(self, path: str) -> np.ndarray:
        image = None if self.cache is None else self.cache.get(path)
        if image is None:
            image = read_rgb(Path(path))
            if self.cache is not None:
                self.cache[path] = image
        return image

    def __repr__(self) -> str:
        return f'{type(self).__name__}(cache={self.cache is not None})'


@TRANSFORMS.register_module()
class PairedRandomCrop(BaseTransform):
    """Cut the same random place out of `img` (LR) and `gt` (HR).

    Without an `img`, `gt` is cut where it would be with one.

    Args:
        lr_patch_size: side of the LR patch; the HR patch is `scale` times larger.
    """

    def __init__(self, lr_patch_size: int) -> None:
        self.lr_patch_size = lr_patch_size

    def transform(self, results: dict) -> dict:
        size, scale = self.lr_patch_size, results['scale']
        if 'img' in results:
            height, width = results['img'].shape[:2]
        else:
            height, width = (side // scale for side in results['gt'].shape[:2])
        if min(height, width) < size:
            name = results.get('img_path') or f'1 / {scale} of {results["gt_path"]}'
            raise ValueError(
                f'Expected {name} to be at least {size} pixels a side '
                f'for patches of that size, but got {height} x {width}. Remove it or '
                f'set a smaller `lr_patch_size`.'
            )
        # The global generator is the one that `seeded` sets per sample.
        top = np.random.randint(height - size + 1)  # noqa: NPY002
        left = np.random.randint(width - size + 1)  # noqa: NPY002
        for key, s in (('img', 1), ('gt', scale)):
            if key not in results:
                continue
            rows = slice(top * s, (top + size) * s)
            columns = slice(left * s, (left + size) * s)
            # A copy, since mmagic's Flip works in place and the image may be cached; of
            # an image in a store, this reads the crop.
            results[key] = results[key][rows, columns].copy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(lr_patch_size={self.lr_patch_size})'


@TRANSFORMS.register_module()
class CropToMultiple(BaseTransform):
    """Cut `gt` (HR) at the right and bottom so that `multiple` divides its sides.

    For images that are given without an LR image, of which none is cut here.

    Args:
        multiple: in HR pixels.
    """

    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def transform(self, results: dict) -> dict:
        """Crop.

        Raises:
            ValueError: when a side is shorter than `multiple`.
        """
        height, width = results['gt'].shape[:2]
        if min(height, width) < self.multiple:
            raise ValueError(
                f'Expected {results["gt_path"]} to be at least {self.multiple} pixels '
                f'a side, but got {height} x {width}. Remove it.'
            )
        results['gt'] = crop_to_multiple(results['gt'], self.multiple)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(multiple={self.multiple})'


@TRANSFORMS.register_module()
class PairedCenterCrop(BaseTransform):
    """Keep the middle of `img` (LR) and `gt` (HR): always the same part of an image.

    For a quick validation; a side that is shorter is kept whole.

    Args:
        lr_patch_size: side of the LR part; the HR part is `scale` times larger. None
            keeps whole images.
    """

    def __init__(self, lr_patch_size: int | None = None) -> None:
        self.lr_patch_size = lr_patch_size

    def transform(self, results: dict) -> dict:
        if self.lr_patch_size is None:
            return results
        sides = results['img'].shape[:2]
        sizes = [min(side, self.lr_patch_size) for side in sides]
        corner = [(side - n) // 2 for side, n in zip(sides, sizes, strict=True)]
        for key, s in (('img', 1), ('gt', results['scale'])):
            rows, columns = (
                slice(start * s, (start + n) * s)
                for start, n in zip(corner, sizes, strict=True)
            )
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
    return gt[:height, :width] if any(extra) else gt
