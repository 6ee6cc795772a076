"""PSNR and SSIM for MMEngine's evaluator, one protocol each.

    val_evaluator = [
        dict(type='sr_plugins.PSNR', protocol='edsr_y'),
        dict(type='sr_plugins.SSIM', protocol='edsr_y'),
    ]

gives `edsr_y/PSNR` and `edsr_y/SSIM`.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .functional import Protocol, get_protocol, psnr, ssim


class _ImageMetric(BaseMetric):
    """Mean over the data set of a function of two images.

    Samples are dicts as `BaseEditModel` yields them: `output` with `pred_img`,
    `gt_img` (both (C, H, W) in 0..255), and `scale`, which the data set puts there.

    Args:
        protocol: A key of `sr_plugins.metrics.PROTOCOLS`.
        collect_device: See `mmengine.evaluator.BaseMetric`; 'gpu' means by messages,
            on gloo too, where 'cpu' writes files to the current folder.
        prefix: Comes before the name in the result; the protocol where it is None.
        collect_dir: See `mmengine.evaluator.BaseMetric`.

    Attributes:
        records: After `evaluate`, on the main process, `{'name': ..., 'value': ...}`
            of every image in the order of the data set.
    """

    function: Callable[[np.ndarray, np.ndarray, str | Protocol, int], float]
    name: str

    def __init__(
        self,
        protocol: str = 'edsr_y',
        collect_device: str = 'gpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        self.protocol = get_protocol(protocol)
        super().__init__(collect_device, prefix or self.protocol.name, collect_dir)
        self.records: list[dict] = []

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Score every sample of a batch.

        Raises:
            ValueError: A sample lacks `scale`, its images differ in size, or they
                are too small for the protocol. The message names the image.
        """
        for sample in data_samples:
            self.results.append({'name': _name(sample), 'value': self._score(sample)})

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average the images' values.

        `math.fsum` rounds once, so the mean does not depend on the number of
        processes that the images were shared among.
        """
        self.records = results
        if not results:
            raise ValueError(
                f'Expected the evaluator to see at least one image before {self.name} '
                'is computed, but got none. Is the data set empty?'
            )
        total = math.fsum(record['value'] for record in results)
        return {self.name: total / len(results)}

    def _score(self, sample: dict) -> float:
        if 'scale' not in sample:
            raise ValueError(
                f'Expected the sample of {_path(sample)} to have `scale`, which sets '
                f'the border of protocol {self.protocol.name!r}, but got only '
                f'{sorted(sample)}. Put `scale` among the `meta_keys` of PackInputs.'
            )
        prediction, target = sample['output']['pred_img'], sample['gt_img']
        if prediction.shape != target.shape:
            raise ValueError(
                'Expected prediction and ground truth to have the same shape '
                f'(C, H, W), but got {tuple(prediction.shape)} and '
                f'{tuple(target.shape)} for {_path(sample)}. Crop the ground truth '
                'to a multiple of the scale.'
            )
        is_bgr = _is_bgr(sample)
        try:
            return self.function(
                _to_image(prediction, is_bgr),
                _to_image(target, is_bgr),
                self.protocol,
                int(sample['scale']),
            )
        except ValueError as error:
            raise ValueError(f'{error} The image is {_path(sample)}.') from error


@METRICS.register_module()
class PSNR(_ImageMetric):
    """Mean PSNR in dB under a named protocol; see `functional.psnr`."""

    function = staticmethod(psnr)
    name = 'PSNR'


@METRICS.register_module()
class SSIM(_ImageMetric):
    """Mean SSIM under a named protocol; see `functional.ssim`."""

    function = staticmethod(ssim)
    name = 'SSIM'


def _is_bgr(sample: dict) -> bool:
    """Tell whether the images of `sample` are BGR.

    In testing, MMagic's data preprocessor turns ground truth and prediction into
    BGR and says so. What it calls BGR is RGB, however, where the pipeline loaded
    RGB without saying so, and the luma would be wrong by tenths of a dB.
    """
    order = sample.get('gt_img_output_channel_order')
    if order is None or order.upper() == 'SINGLE':
        return False
    for key in ('gt_channel_order', 'img_channel_order'):
        if key not in sample:
            raise ValueError(
                f"Expected the sample of {_path(sample)} to have `{key}`, 'rgb' or "
                f"'bgr', but got only {sorted(sample)}. Without it MMagic's data "
                'preprocessor takes the image for BGR. Let the loading transform '
                'set it and PackInputs keep it.'
            )
    return order.upper() == 'BGR'


def _to_image(tensor: torch.Tensor, is_bgr: bool) -> np.ndarray:
    """Give the (H, W, C) RGB array of a (C, H, W) tensor."""
    image = tensor.detach().cpu().permute(1, 2, 0).to(torch.float64).numpy()
    return image[..., ::-1] if is_bgr else image


def _path(sample: dict) -> str:
    return str(sample.get('gt_path') or sample.get('img_path') or 'an unnamed image')


def _name(sample: dict) -> str:
    return Path(_path(sample)).stem
