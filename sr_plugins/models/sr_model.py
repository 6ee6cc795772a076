"""A mmagic model that can test in parts."""

from mmagic.models import BaseEditModel
from mmagic.structures import DataSample
from torch import Tensor

from ..registry import MODELS
from .chop import chop_forward


@MODELS.register_module()
class SRModel(BaseEditModel):
    """BaseEditModel whose `test_cfg` may have `chop=dict(shave=10, min_size=3600)`.

    Training is BaseEditModel's. With `chop`, validation, testing and inference go
    through `chop_forward`, for networks whose memory grows with the square of the
    image's size.
    """

    def forward_inference(
        self, inputs: Tensor, data_samples: DataSample | None = None
    ) -> DataSample:
        """(N, 3, H, W) in [0, 1] -> a sample with `pred_img` in [0, 255]."""
        chop = (self.test_cfg or {}).get('chop')
        if chop is None:
            return super().forward_inference(inputs, data_samples)
        output = chop_forward(self.generator, inputs, self.generator.scale, **chop)
        output = self.data_preprocessor.destruct(output, data_samples)
        return DataSample(pred_img=output.cpu())
