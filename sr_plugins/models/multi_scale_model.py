"""A mmagic model for a network of several scales."""

from typing import Any

from mmagic.structures import DataSample
from torch import Tensor

from ..registry import MODELS
from .sr_model import SRModel


@MODELS.register_module()
class MultiScaleModel(SRModel):
    """SRModel whose generator takes a scale, as MDSR does.

    A training step is at the scale of its batch, which its data samples note as
    `scale`: one for all, as `OneScaleBatchSampler` makes them. Validation, testing and
    inference are at the scale of the generator, `model.generator.scale`.
    """

    def forward_train(
        self, inputs: Tensor, data_samples: DataSample | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """(N, 3, H, W) in [0, 1] -> losses by name.

        Raises:
            ValueError: when the samples are of several scales, or say none.
        """
        scales = _noted_scales(data_samples)
        if len(scales) != 1:
            raise ValueError(
                f'Expected a batch of one scale for {type(self.generator).__name__}, '
                f'but got {sorted(scales) or "none"}. Set `train_dataloader.'
                f"batch_sampler=dict(type='sr_plugins.OneScaleBatchSampler')`, and "
                f"`meta_keys=['scale']` of what packs the samples."
            )
        (scale,) = scales
        return super().forward_train(inputs, data_samples, scale=scale, **kwargs)

    def forward_inference(
        self, inputs: Tensor, data_samples: DataSample | None = None
    ) -> DataSample:
        """(N, 3, H, W) in [0, 1] -> a sample with `pred_img` in [0, 255].

        Raises:
            ValueError: when the samples are of another scale.
        """
        scales = _noted_scales(data_samples) - {self.generator.scale}
        if scales:
            raise ValueError(
                f'Expected images for x{self.generator.scale}, which is the scale of '
                f'the network, but got some for x{scales.pop()}. Set '
                f'`model.generator.scale`, or choose with `--scale`.'
            )
        return super().forward_inference(inputs, data_samples)


def _noted_scales(data_samples: DataSample | None) -> set[int]:
    """The scales that a stacked sample notes."""
    scales = getattr(data_samples, 'scale', ())
    return {scales} if isinstance(scales, int) else set(scales)
