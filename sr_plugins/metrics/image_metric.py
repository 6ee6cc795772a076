"""What metrics of images have in common."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric


class ImageMetric(BaseMetric):
    """Mean over the data set of a number for each image.

    Samples are dicts as `BaseEditModel` yields them. Subclasses have `name`, what is
    measured, and `score`.

    Args:
        collect_device: See `mmengine.evaluator.BaseMetric`; 'gpu' means by messages,
            on gloo too, where 'cpu' writes files to the current folder.
        prefix: Comes before the name in the result.
        collect_dir: See `mmengine.evaluator.BaseMetric`.

    Attributes:
        records: After `evaluate`, on the main process, `{'name': ..., 'value': ...}`
            of every image in the order of the data set.
    """

    name: str

    def __init__(
        self, collect_device: str, prefix: str, collect_dir: str | None
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.records: list[dict] = []

    def score(self, sample: dict) -> float:
        """Measure one sample, as `process` does each.

        Raises:
            ValueError: The sample does not hold what is measured; it is named.
        """
        raise NotImplementedError

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Score every sample of a batch.

        Raises:
            ValueError: As for `score`.
        """
        for sample in data_samples:
            name = Path(image_path(sample)).stem
            self.results.append({'name': name, 'value': self.score(sample)})

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


def image_path(sample: dict) -> str:
    """Give the path of the image that a sample is of, for messages."""
    return str(sample.get('gt_path') or sample.get('img_path') or 'an unnamed image')


def is_bgr(sample: dict) -> bool:
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
                f'Expected the sample of {image_path(sample)} to have `{key}`, '
                f"'rgb' or 'bgr', but got only {sorted(sample)}. Without it MMagic's "
                'data preprocessor takes the image for BGR. Let the loading transform '
                'set it and PackInputs keep it.'
            )
    return order.upper() == 'BGR'


def to_image(tensor: torch.Tensor, bgr: bool) -> np.ndarray:
    """Give the (H, W, C) RGB array of a (C, H, W) tensor."""
    image = tensor.detach().cpu().permute(1, 2, 0).to(torch.float64).numpy()
    return image[..., ::-1] if bgr else image
