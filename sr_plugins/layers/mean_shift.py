"""The mean colour that SR networks trained on DIV2K subtract."""

import torch
from torch import Tensor

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of the DIV2K training photographs, RGB in [0, 1] (EDSR, section 4.1)."""


def image_mean(channels: int) -> Tensor:
    """(1, channels, 1, 1): DIV2K's mean for RGB, zero for any other channel count."""
    values = DIV2K_MEAN if channels == 3 else (0.0,) * channels
    return torch.tensor(values).view(1, channels, 1, 1)
