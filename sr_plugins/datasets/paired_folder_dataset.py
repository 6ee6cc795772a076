"""Pairs of HR and LR images in the folder layout of DIV2K and the benchmark sets."""

from collections import Counter
from pathlib import Path

from mmagic.datasets import BasicImageDataset

from ..layers import check_scale
from ..registry import DATASETS
from .samplers import seeded

_SHOWN = 3
_MAKE = {
    'benchmark': 'python tools/prepare_data.py benchmark --help',
    'DIV2K': 'python tools/prepare_data.py div2k --help',
    'demo': 'python tools/prepare_data.py demo',
}


@DATASETS.register_module()
class PairedFolderDataset(BasicImageDataset):
    """HR images `0001.png` and their LR images `0001x2.png`, from two folders.

    Args:
        scale: which LR images; 1, 2, 3 or 4.
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
        ValueError: when there is no image at all, or on another scale.
    """

    def __init__(
        self,
        scale: int,
        data_root: str = 'data',
        hr: str = 'DIV2K/DIV2K_train_HR',
        lr: str | None = 'DIV2K/DIV2K_train_LR_bicubic/X{scale}',
        lr_name: str = '{name}x{scale}',
        pipeline: 'list | tuple' = (),
        indices: 'int | list[int] | None' = None,
        test_mode: bool = False,
    ) -> None:
        check_scale('a data set', scale, (1, 2, 3, 4))
        self.scale = scale
        self.hr_folder = Path(data_root, hr)
        self.lr_folder = None
        prefixes, names = {'gt': hr}, {'gt': '{}'}
        self._require_folder(self.hr_folder)
        if lr is not None:
            prefixes['img'] = lr.format(scale=scale)
            names['img'] = lr_name.replace('{scale}', str(scale)).replace(
                '{name}', '{}'
            )
            self.lr_folder = Path(data_root, prefixes['img'])
            self._require_folder(self.lr_folder)
        super().__init__(
            data_root=str(data_root),
            data_prefix=prefixes,
            filename_tmpl=names,
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
        samples = [{**sample, 'scale': self.scale} for sample in samples]
        return samples if self.lr_folder is None else self._pair(samples)

    def _pair(self, samples: list[dict]) -> list[dict]:
        # HR and LR files may have different endings.
        present = {path.stem: str(path) for path in self.lr_folder.iterdir()}
        lonely = [s for s in samples if Path(s['img_path']).stem not in present]
        if lonely:
            pairs = ', '.join(
                f'{Path(s["gt_path"]).name} (no {Path(s["img_path"]).name})'
                for s in lonely[:_SHOWN]
            )
            raise FileNotFoundError(
                f'Expected an LR image in {self.lr_folder} for every image of '
                f'{self.hr_folder}, but {len(lonely)} of {len(samples)} have none: '
                f'{pairs}{", ..." if len(lonely) > _SHOWN else ""}. {self._remedy()}'
            )
        return [
            {**sample, 'img_path': present[Path(sample['img_path']).stem]}
            for sample in samples
        ]

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
        kind = next((k for k in ('demo', 'benchmark') if k in parts), 'DIV2K')
        return f'Make it with `{_MAKE[kind]}`, or point `--data-root` to the data.'
