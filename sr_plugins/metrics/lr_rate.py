"""How many bits a downscaled image takes when it is stored."""

import io

import numpy as np
from PIL import Image

from ..preparation.images import encode_png
from ..registry import METRICS
from .image_metric import ImageMetric, image_path, is_bgr, to_image


def bits_per_pixel(
    lr: np.ndarray, num_pixels: int, jpeg_quality: int | None = None
) -> float:
    """Give the bits of a file of `lr` for each pixel of the image it was made of.

    Pixels of the original are counted, so that scales can be compared with one another
    and with the original's own file. PNG is Pillow's at its highest compression, JPEG
    its usual 4:2:0; other encoders differ by some per cent.

    Args:
        lr: (H, W, 3) or (H, W), uint8.
        num_pixels: Of the original.
        jpeg_quality: 1 to 95 takes JPEG, None PNG.
    """
    if jpeg_quality is None:
        size = len(encode_png(lr, 9))
    else:
        file = io.BytesIO()
        Image.fromarray(lr).save(file, 'JPEG', quality=jpeg_quality, optimize=True)
        size = file.tell()
    return 8 * size / num_pixels


@METRICS.register_module()
class LRRate(ImageMetric):
    """Mean bits per original pixel of the LR images that a network makes.

    Gives `lr_png/bpp`, or `lr_jpeg90/bpp` for `jpeg_quality=90`. Samples have `output`
    with `lr_img`, (C, h, w) of whole numbers in 0..255, and `gt_img`, (C, H, W).

    Args:
        jpeg_quality: 1 to 95 takes JPEG, None PNG.
        collect_device: As for `ImageMetric`.
        prefix: Comes before the name in the result; the format where it is None.
        collect_dir: As for `ImageMetric`.

    Raises:
        ValueError: On another quality.
    """

    name = 'bpp'

    def __init__(
        self,
        jpeg_quality: int | None = None,
        collect_device: str = 'gpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        # Beyond 95 files grow and images hardly change.
        if jpeg_quality is not None and not 1 <= jpeg_quality <= 95:
            raise ValueError(
                'Expected `jpeg_quality` to be 1 to 95, or None for PNG, but got '
                f'{jpeg_quality}.'
            )
        self.jpeg_quality = jpeg_quality
        default = 'lr_png' if jpeg_quality is None else f'lr_jpeg{jpeg_quality}'
        super().__init__(collect_device, prefix or default, collect_dir)

    def score(self, sample: dict) -> float:
        """Encode the sample's `output.lr_img`.

        Raises:
            ValueError: There is none, as of networks that do not downscale.
        """
        lr = sample['output'].get('lr_img')
        if lr is None:
            raise ValueError(
                f'Expected the output for {image_path(sample)} to have `lr_img`, the '
                f'downscaled image, but got only {sorted(sample["output"])}. Remove '
                'LRRate from the evaluator of a network that does not downscale.'
            )
        image = to_image(lr, is_bgr(sample)).round().astype(np.uint8)
        height, width = sample['gt_img'].shape[-2:]
        return bits_per_pixel(image, height * width, self.jpeg_quality)
