"""Pairs of HR and LR images in the folder layout of DIV2K and the benchmark sets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmagic.datasets import BasicImageDataset

from ..registry import DATASETS
from .samplers import seeded
from .scales import at_scale, check_scales

_SHOWN = 3
_MAKE = {
    'benchmark': 'python tools/prepare_data.py benchmark --help',
    'DIV2K': 'python tools/prepare_data.py div2k --help',
    'GoPro': 'python tools/prepare_data.py gopro --help',
    'demo': 'python tools/prepare_data.py demo',
}


@DATASETS.register_module()
class PairedFolderDataset(BasicImageDataset):
    """HR images `0001.png` and their LR images `0001x2.png`, from two folders.

    With several scales, the samples of the first come first, then those of the next.

    Args:
        scale: which LR images, 1 to 4; or several, as for MDSR.
        data_root: folder above `hr` and `lr`.
        hr: folder of HR images.
        lr: folder of LR images; `{scale}` in it is replaced. None for HR only: there
            is no `img_path` then, and crops are those of that scale.
        lr_name: name of the LR image without its ending, from `{name}` and `{scale}`.
        pipeline: transforms; samples hold `gt_path`, `img_path`, `key` and `scale`.
        indices: as in mmengine: only the first so many images, or these.
        test_mode: as in mmengine.

    Raises:
        FileNotFoundError: when a folder is missing, or an HR image has no LR image.
        ValueError: when there is no image at all, on another scale, or on `indices`
            of several scales.
    """

    def __init__(
        self,
        scale: 'int | Sequence[int]',
        data_root: str = 'data',
        hr: str = 'DIV2K/DIV2K_train_HR',
        lr: str | None = 'DIV2K/DIV2K_train_LR_bicubic/X{scale}',
        lr_name: str = '{name}x{scale}',
        pipeline: 'list | tuple' = (),
        indices: 'int | list[int] | None' = None,
        test_mode: bool = False,
    ) -> None:
        self.scales = check_scales(scale, indices)
        self.hr_folder = Path(data_root, hr)
        self._require_folder(self.hr_folder)
        self.lr_folders, self.lr_name = {}, lr_name
        if lr is not None:
            for each in self.scales:
                self.lr_folders[each] = Path(data_root, lr.format(scale=each))
                self._require_folder(self.lr_folders[each])
        super().__init__(
            data_root=str(data_root),
            data_prefix={'gt': hr},
            # mmagic's own default is one dict for all instances.
            filename_tmpl={'gt': '{}'},
            pipeline=list(pipeline),
            indices=indices,
            test_mode=test_mode,
        )

    def load_data_list(self) -> list[dict]:
        """Samples in the order of their names, each with both files present."""
        samples = sorted(super().load_data_list(), key=lambda sample: sample['key'])
        if not samples:
            raise ValueError(
                f'Expected HR images (.png, .jpg, ...) in {self.hr_folder}, but there '
                f'are none. {self._remedy()}'
            )
        counts = Counter(sample['key'] for sample in samples)
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise ValueError(
                f'Expected images of different names in {self.hr_folder}, but got '
                f'several named {", ".join(twice[:_SHOWN])}. Rename or remove some.'
            )
        return [
            sample for scale in self.scales for sample in self._pair(samples, scale)
        ]

    def _pair(self, samples: list[dict], scale: int) -> list[dict]:
        """The samples at a scale, each with its LR image."""
        samples = [{**sample, 'scale': scale} for sample in samples]
        if not self.lr_folders:
            return samples
        folder = self.lr_folders[scale]
        # HR and LR files may have different endings.
        present = {path.stem: str(path) for path in folder.iterdir()}
        names = [
            self.lr_name.replace('{scale}', str(scale)).replace('{name}', s['key'])
            for s in samples
        ]
        paths = [Path(sample['gt_path']) for sample in samples]
        lonely = [
            f'{path.name} (no {name}{path.suffix})'
            for path, name in zip(paths, names, strict=True)
            if name not in present
        ]
        if lonely:
            raise FileNotFoundError(
                f'Expected an LR image in {folder} for every image of '
                f'{self.hr_folder}, but {len(lonely)} of {len(samples)} have none: '
                f'{", ".join(lonely[:_SHOWN])}{", ..." if len(lonely) > _SHOWN else ""}'
                f'. {self._remedy()}'
            )
        return [
            {**sample, 'img_path': present[name]}
            for sample, name in zip(samples, names, strict=True)
        ]

    def at_scale(self, index: int, scale: int) -> int:
        """The sample of the same image at another of the scales."""
        return at_scale(index, len(self), self.scales, scale)

    def __getitem__(self, idx: int) -> dict:
        """The sample, random choices drawn as its index says (`SeededIndex`)."""
        with seeded(idx):
            return super().__getitem__(idx)

    def _require_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f'Expected a folder {folder} (from {Path.cwd()}), but there is none. '
                f'{self._remedy()}'
            )

    def _remedy(self) -> str:
        parts = self.hr_folder.parts
        kind = next((k for k in ('demo', 'benchmark', 'GoPro') if k in parts), 'DIV2K')
        return f'Make it with `{_MAKE[kind]}`, or point `--data-root` to the data.'
