"""CAR as a mmagic model: an image is its own target."""

from typing import Any

import torch
from mmagic.models import BaseEditModel
from mmagic.structures import DataSample
from torch import Tensor

from ..registry import MODELS
from .downscaling import downscale
from .image_forward import ImageForward
from .sr_model import image_options


@MODELS.register_module()
class CARModel(BaseEditModel):
    """Trains CAR to give back the HR images that it is given.

    Inputs are HR images of any size; where a pipeline also gives a `gt_img`, that
    serves the metrics only. The losses are logged as `loss_pixel`, `loss_offset` and
    `loss_tv`, and their sum as `loss`.

    Args:
        generator: config of CAR.
        pixel_loss: config of the loss between image and reconstruction.
        offset_loss: config of the loss on displaced taps, or None for none.
        tv_loss: config of the loss on changing offsets, or None for none.
        train_cfg: as BaseEditModel.
        test_cfg: may have options of `ImageForward` but `chop`: `tile` for both ways,
            the others for the way back.
        init_cfg: as BaseEditModel.
        data_preprocessor: as BaseEditModel.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        offset_loss: dict | None = None,
        tv_loss: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(
            generator, pixel_loss, train_cfg, test_cfg, init_cfg, data_preprocessor
        )
        self.offset_loss = None if offset_loss is None else MODELS.build(offset_loss)
        self.tv_loss = None if tv_loss is None else MODELS.build(tv_loss)

    def forward_train(
        self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """(N, 3, H, W) in [0, 1] -> losses by name."""
        output, resampled = self.forward_tensor(
            inputs, data_samples, return_resampled=True, **kwargs
        )
        losses = {'loss_pixel': self.pixel_loss(output, inputs)}
        offsets = resampled.offsets_h, resampled.offsets_v
        if self.offset_loss is not None:
            losses['loss_offset'] = self.offset_loss(*offsets)
        if self.tv_loss is not None:
            losses['loss_tv'] = self.tv_loss(resampled.kernels, *offsets)
        return losses

    def forward_inference(
        self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any
    ) -> DataSample:
        """Downscale and reconstruct (N, 3, H, W) in [0, 1].

        Returns:
            A sample with `pred_img`, of the size of `inputs`, and `lr_img`, the 8-bit
            image between, both in [0, 255].
        """
        options = image_options(self.test_cfg)
        lr = downscale(self.generator, inputs, options.get('tile'))
        if options:
            forward = ImageForward(self.generator.upscaler, **options)
            output = forward(lr.cpu().numpy(), lr.device)
            output = torch.from_numpy(output).to(lr.device)
        else:
            output = self.generator.upscale(lr)
        output = output[..., : inputs.shape[2], : inputs.shape[3]]
        lr, output = (
            self.data_preprocessor.destruct(image, data_samples).cpu()
            for image in (lr, output)
        )
        # A whole number of levels, which dividing and multiplying has blurred.
        return DataSample(pred_img=output, lr_img=lr.round())
