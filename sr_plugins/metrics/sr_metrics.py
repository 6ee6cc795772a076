"""PSNR and SSIM for MMEngine's evaluator, one protocol each.

    val_evaluator = [
        dict(type='sr_plugins.PSNR', protocol='edsr_y'),
        dict(type='sr_plugins.SSIM', protocol='edsr_y'),
    ]

gives `edsr_y/PSNR` and `edsr_y/SSIM`.
"""

from collections.abc import Callable

import numpy as np

from ..registry import METRICS
from .functional import Protocol, get_protocol, psnr, ssim
from .image_metric import ImageMetric, image_path, is_bgr, to_image


class _PairMetric(ImageMetric):
    """Mean over the data set of a function of two images.

    Samples have `output` with `pred_img`, `gt_img` (both (C, H, W) in 0..255), and
    `scale`, which the data set puts there.

    Args:
        protocol: A key of `sr_plugins.metrics.PROTOCOLS`.
        collect_device: As for `ImageMetric`.
        prefix: Comes before the name in the result; the protocol where it is None.
        collect_dir: As for `ImageMetric`.
    """

    function: Callable[[np.ndarray, np.ndarray, str | Protocol, int], float]

    def __init__(
        self,
        protocol: str = 'edsr_y',
        collect_device: str = 'gpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        self.protocol = get_protocol(protocol)
        super().__init__(collect_device, prefix or self.protocol.name, collect_dir)

    def score(self, sample: dict) -> float:
        """Compare the sample's `output.pred_img` with its `gt_img`.

        Raises:
            ValueError: It lacks `scale`, its images differ in size, or they are too
                small for the protocol. The message names the image.
        """
        if 'scale' not in sample:
            raise ValueError(
                f'Expected the sample of {image_path(sample)} to have `scale`, which '
                f'sets the border of protocol {self.protocol.name!r}, but got only '
                f'{sorted(sample)}. Put `scale` among the `meta_keys` of PackInputs.'
            )
        prediction, target = sample['output']['pred_img'], sample['gt_img']
        if prediction.shape != target.shape:
            raise ValueError(
                'Expected prediction and ground truth to have the same shape '
                f'(C, H, W), but got {tuple(prediction.shape)} and '
                f'{tuple(target.shape)} for {image_path(sample)}. Crop the ground '
                'truth to a multiple of the scale.'
            )
        bgr = is_bgr(sample)
        try:
            return self.function(
                to_image(prediction, bgr),
                to_image(target, bgr),
                self.protocol,
                int(sample['scale']),
            )
        except ValueError as error:
            raise ValueError(f'{error} The image is {image_path(sample)}.') from error


@METRICS.register_module()
class PSNR(_PairMetric):
    """Mean PSNR in dB under a named protocol; see `functional.psnr`."""

    function = staticmethod(psnr)
    name = 'PSNR'


@METRICS.register_module()
class SSIM(_PairMetric):
    """Mean SSIM under a named protocol; see `functional.ssim`."""

    function = staticmethod(ssim)
    name = 'SSIM'
