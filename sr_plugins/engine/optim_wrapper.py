"""Mixed precision in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16, on the CPU too, without a gradient scaler.

    bfloat16 has float32's range, so gradients do not vanish. mmengine's
    AmpOptimWrapper always scales, and refuses to run without a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device_type = torch.device(get_device()).type
        with (
            super().optim_context(model),
            torch.autocast(device_type, dtype=torch.bfloat16),
        ):
            yield
