"""Test on every benchmark set that is present, one table for all."""

import copy
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import TestLoop
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from ...metrics import PROTOCOLS, psnr, ssim
from ...preparation import imresize
from ...preparation.images import read_rgb
from ...registry import LOOPS

DIV2K = ('DIV2K/DIV2K_valid_HR', 'DIV2K/DIV2K_valid_LR_bicubic/X{scale}')
# The customary order of tables; sets of other names follow.
ORDER = ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109', 'DIV2K')


def set_folders(name: str) -> tuple[str, str]:
    """HR and LR folder of a set, below the data root."""
    if name == 'DIV2K':
        return DIV2K
    return f'benchmark/{name}/HR', f'benchmark/{name}/LR_bicubic/X{{scale}}'


def available_sets(data_root: str | Path, scale: int) -> list[str]:
    """Names of the sets below `data_root` that have images at `scale`."""
    root = Path(data_root)
    names = [folder.name for folder in sorted(root.glob('benchmark/*'))] + ['DIV2K']
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return [
        name
        for name in names
        if all((root / f.format(scale=scale)).is_dir() for f in set_folders(name))
    ]


@LOOPS.register_module()
class BenchmarkLoop(BaseLoop):
    """Runs mmengine's TestLoop once for every set.

    Args:
        runner: the runner.
        dataloader: config of a loader of `PairedFolderDataset`, whose folders are
            replaced by each set's.
        evaluator: metrics of every set; DIV2K gets PSNR under `edsr_div2k` besides.
        datasets: names of sets; None takes all that are present.
        bicubic: score MATLAB's bicubic enlargement as well.

    Attributes:
        results: per set `metrics`, `images` (values of each image) and, where asked
            for, `bicubic`; filled on the main process.
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
    ) -> None:
        # Not BaseLoop's own: there is one loader per set.
        self._runner = runner
        self.template = dataloader
        self.metrics = evaluator
        self.bicubic = bicubic
        dataset = dataloader['dataset']
        self.data_root, self.scale = dataset['data_root'], dataset['scale']
        present = available_sets(self.data_root, self.scale)
        self.names = list(datasets) if datasets else present
        missing = [name for name in self.names if name not in present]
        if missing or not self.names:
            kind = 'div2k' if missing == ['DIV2K'] else 'benchmark'
            raise FileNotFoundError(
                f'Expected test sets {", ".join(missing) or "of any name"} at '
                f'x{self.scale} in {self.data_root}, but found '
                f'{", ".join(present) or "none"}. Make one with `python '
                f'tools/prepare_data.py {kind} --help`.'
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
        hr, lr = set_folders(name)
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
            collected['bicubic'] = self._score_bicubic(list(values))
        return collected

    def _score_bicubic(self, keys: list[str]) -> dict[str, float]:
        """Means of the same metrics for MATLAB's bicubic enlargement."""
        functions = {'PSNR': psnr, 'SSIM': ssim}
        pairs = [key.split('/') for key in keys]
        pairs = [(p, m) for p, m in pairs if p in PROTOCOLS and m in functions]
        dataset = self.dataloader.dataset
        sums = dict.fromkeys(pairs, 0.0)
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            output = imresize(read_rgb(Path(info['img_path'])), self.scale)
            target = read_rgb(Path(info['gt_path']))
            target = target[: output.shape[0], : output.shape[1]]
            for protocol, metric in pairs:
                value = functions[metric](output, target, protocol, self.scale)
                sums[protocol, metric] += value
        return {f'{p}/{m}': total / len(dataset) for (p, m), total in sums.items()}
