"""A mmagic model that can test in parts."""

import torch
from mmagic.models import BaseEditModel
from mmagic.structures import DataSample
from torch import Tensor

from ..registry import MODELS
from .image_forward import ImageForward

# Entries of `test_cfg` that `ImageForward` takes.
IMAGE_OPTIONS = ('chop', 'tile', 'self_ensemble', 'amp')


@MODELS.register_module()
class SRModel(BaseEditModel):
    """BaseEditModel whose `test_cfg` may have options of `ImageForward`.

    Those are `chop=dict(shave=10, min_size=3600)`, `tile=dict(size=256,
    overlap='auto', seams='exact')`, `self_ensemble=True` and `amp='bf16'`. Training is
    BaseEditModel's; validation, testing and inference go through `ImageForward`.

    Args:
        generator: as BaseEditModel.
        pixel_loss: as BaseEditModel.
        train_cfg: as BaseEditModel.
        test_cfg: as BaseEditModel, with these options.
        init_cfg: as BaseEditModel.
        data_preprocessor: as BaseEditModel.

    Raises:
        ValueError: when the generator cannot do as the options want.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(
            generator, pixel_loss, train_cfg, test_cfg, init_cfg, data_preprocessor
        )
        ImageForward(self.generator, **image_options(self.test_cfg))  # raises early

    def forward_inference(
        self, inputs: Tensor, data_samples: DataSample | None = None
    ) -> DataSample:
        """(N, 3, H, W) in [0, 1] -> a sample with `pred_img` in [0, 255]."""
        options = image_options(self.test_cfg)
        if not options:
            return super().forward_inference(inputs, data_samples)
        forward = ImageForward(self.generator, **options)
        output = forward(inputs.cpu().numpy(), inputs.device)
        output = torch.from_numpy(output).to(inputs.device)
        output = self.data_preprocessor.destruct(output, data_samples)
        return DataSample(pred_img=output.cpu())


def image_options(test_cfg: dict | None) -> dict:
    """What of a `test_cfg` is for `ImageForward`."""
    test_cfg = test_cfg or {}
    options = {key: test_cfg.get(key) for key in IMAGE_OPTIONS}
    return {
        key: option for key, option in options.items() if option not in (None, False)
    }
