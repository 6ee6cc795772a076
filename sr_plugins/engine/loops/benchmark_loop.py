"""Test on every benchmark set that is present, one table for all."""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from mmengine.runner.base_loop import BaseLoop
from torch import Tensor
from torch.utils.data import DataLoader

from ...metrics import ImageMetric
from ...preparation import imresize
from ...registry import LOOPS

DIV2K = ('DIV2K/DIV2K_valid_HR', 'DIV2K/DIV2K_valid_LR_bicubic/X{scale}')
# The customary order of tables; sets of other names follow.
ORDER = ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109', 'DIV2K')


def set_folders(name: str) -> tuple[str, str]:
    """HR and LR folder of a set, below the data root."""
    if name == 'DIV2K':
        return DIV2K
    return f'benchmark/{name}/HR', f'benchmark/{name}/LR_bicubic/X{{scale}}'


def customary_sets(data_root: str | Path) -> dict[str, tuple[str, str]]:
    """HR and LR folder of the sets that the layout of benchmarks has, in order."""
    names = [folder.name for folder in sorted(Path(data_root).glob('benchmark/*'))]
    names.append('DIV2K')
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return {name: set_folders(name) for name in names}


def available_sets(
    data_root: str | Path,
    scale: int,
    hr_only: bool = False,
    sets: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, tuple[str, str]]:
    """The sets below `data_root` that have images, LR ones at `scale`."""
    return {
        name: tuple(folders)
        for name, folders in (sets or customary_sets(data_root)).items()
        if all(
            Path(data_root, folder.format(scale=scale)).is_dir()
            for folder in folders[: 1 if hr_only else 2]
        )
    }


@LOOPS.register_module()
class BenchmarkLoop(BaseLoop):
    """Runs mmengine's TestLoop once for every set.

    Args:
        runner: the runner.
        dataloader: config of a loader of `PairedFolderDataset`, whose folders are
            replaced by each set's. With `lr=None` in it, sets need no LR images.
        evaluator: metrics of every set; DIV2K gets PSNR under `edsr_div2k` besides.
        datasets: names of sets; None takes all that are present.
        bicubic: score MATLAB's bicubic enlargement as well; where there are no LR
            images, that of its own reduction; at x1 the input itself.
        sets: name of a set -> its HR and LR folder, where `{scale}` is replaced. None
            takes the benchmark sets.

    Attributes:
        results: per set `metrics`, `images` (values of each image) and, where asked
            for, `bicubic`, at x1 `input`; filled on the main process.
        current: name of the set under test.

    Raises:
        FileNotFoundError: when a named set, or any set at all, is missing.
    """

    def __init__(
        self,
        runner,
        dataloader: dict,
        evaluator: list,
        datasets: list[str] | None = None,
        bicubic: bool = False,
        sets: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        # Not BaseLoop's own: there is one loader per set.
        self._runner = runner
        self.template = dataloader
        self.metrics = evaluator
        self.bicubic = bicubic
        dataset = dataloader['dataset']
        self.data_root, self.scale = dataset['data_root'], dataset['scale']
        self.hr_only = dataset.get('lr', '') is None
        self.folders = present = available_sets(
            self.data_root, self.scale, self.hr_only, sets
        )
        self.names = list(datasets or present)
        missing = [name for name in self.names if name not in present]
        if missing or not self.names:
            kind = 'div2k' if missing == ['DIV2K'] else 'benchmark'
            remedy = f'Make one with `python tools/prepare_data.py {kind} --help`.'
            if sets:
                remedy = f'`test_cfg.sets` has {dict(sets)}.'
            raise FileNotFoundError(
                f'Expected test sets {", ".join(missing) or "of any name"}'
                f'{"" if self.hr_only else f" at x{self.scale}"} in '
                f'{self.data_root}, but found '
                f'{", ".join(present) or "none"}. {remedy}'
            )
        self.results: dict[str, dict] = {}
        self.current = self.names[0]
        self._inner: TestLoop | None = None

    @property
    def dataloader(self) -> DataLoader:
        """Loader of the set under test."""
        return self._inner.dataloader

    @property
    def evaluator(self) -> Evaluator:
        """Evaluator of the set under test."""
        return self._inner.evaluator

    def run(self) -> dict[str, float]:
        """Test every set.

        Returns:
            `{'Set5/edsr_y/PSNR': ..., ...}`
        """
        merged = {}
        for name in self.names:
            self.current = name
            self._forget_logged_metrics()
            self._inner = TestLoop(self.runner, *self._configure(name))
            values = self._inner.run()
            merged.update({f'{name}/{key}': value for key, value in values.items()})
            if is_main_process():
                self.results[name] = self._collect(values)
        return merged

    def _forget_logged_metrics(self) -> None:
        """Else a metric of one set alone would be logged for the next ones too."""
        logged = self.runner.message_hub.log_scalars
        for key in [key for key in logged if key.startswith('test/')]:
            del logged[key]

    def _configure(self, name: str) -> tuple[dict, list]:
        loader = copy.deepcopy(self.template)
        hr, lr = self.folders[name]
        if self.hr_only:
            lr = None
        loader['dataset'].update(hr=hr, lr=lr, indices=None)
        metrics = list(copy.deepcopy(self.metrics))
        if name == 'DIV2K':
            metrics.append({'type': 'sr_plugins.PSNR', 'protocol': 'edsr_div2k'})
        return loader, metrics

    def _collect(self, values: dict[str, float]) -> dict:
        images: dict[str, dict] = {}
        for metric in self.evaluator.metrics:
            for record in metric.records:
                row = images.setdefault(record['name'], {'name': record['name']})
                row[f'{metric.prefix}/{metric.name}'] = record['value']
        collected = {'metrics': values, 'images': list(images.values())}
        if self.bicubic:
            name = 'input' if self.scale == 1 else 'bicubic'
            collected[name] = self._score_bicubic()
        return collected

    def _score_bicubic(self) -> dict[str, float]:
        """Means of our metrics for MATLAB's bicubic."""
        metrics = [m for m in self.evaluator.metrics if isinstance(m, ImageMetric)]
        scores: dict[str, list[float]] = {f'{m.prefix}/{m.name}': [] for m in metrics}
        dataset = self.dataloader.dataset
        for index in range(len(dataset)):
            sample = self._bicubic_sample(dataset[index])
            for metric, values in zip(metrics, scores.values(), strict=True):
                values.append(metric.score(sample))
        return {key: math.fsum(values) / len(values) for key, values in scores.items()}

    def _bicubic_sample(self, packed: dict) -> dict:
        """What a model would give for a packed sample, in the pipeline's colours."""
        target, notes = packed['data_samples'].gt_img, packed['data_samples'].metainfo
        lr = _to_array(packed['inputs'])
        if self.hr_only:
            lr = imresize(lr, 1 / self.scale)
        output = imresize(lr, self.scale)[: target.shape[1], : target.shape[2]]
        return {
            **notes,
            'gt_img_output_channel_order': notes.get('gt_channel_order'),
            'gt_img': target,
            'output': {'pred_img': _to_tensor(output), 'lr_img': _to_tensor(lr)},
        }


def _to_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)
