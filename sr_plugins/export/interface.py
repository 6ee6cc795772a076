"""What a graph takes and gives: type, layout, order of channels and range."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

# Where batch, channels, rows and columns are, of (N, C, H, W).
_AXES = {'NCHW': (0, 1, 2, 3), 'NHWC': (0, 2, 3, 1), 'HWC': (2, 3, 1)}
# Half the distance of two levels of 16 bits, in levels of 8.
_BETWEEN_LEVELS = 0.5 * 255 / 65535


@dataclass(frozen=True)
class Interface:
    """Of images in and out alike.

    Args:
        dtype: 'float32', or 'uint8', which the graph clamps and rounds to.
        layout: 'NCHW', 'NHWC', or 'HWC' for one image without a batch.
        channel_order: 'RGB' or 'BGR'.
        value_range: of white, 1 or 255; None is 255 for 'uint8', else 1.

    Raises:
        ValueError: on anything else, or a range of 'uint8' that is not 255.
    """

    dtype: Literal['float32', 'uint8'] = 'float32'
    layout: Literal['NCHW', 'NHWC', 'HWC'] = 'NCHW'
    channel_order: Literal['RGB', 'BGR'] = 'RGB'
    value_range: int | None = None

    def __post_init__(self) -> None:
        known = {
            'dtype': ('float32', 'uint8'),
            'layout': tuple(_AXES),
            'channel_order': ('RGB', 'BGR'),
            'value_range': (None, 1, 255),
        }
        for name, choices in known.items():
            value = getattr(self, name)
            if value not in choices or isinstance(value, bool):
                raise ValueError(
                    f'Expected `{name}` to be one of '
                    f'{", ".join(str(c) for c in choices if c)}, but got {value!r}.'
                )
        if self.value_range is None:
            object.__setattr__(self, 'value_range', 255 if self.is_8_bit else 1)
        if self.is_8_bit and self.value_range != 255:
            raise ValueError(
                f'Expected `value_range` of uint8 to be 255, but got '
                f'{self.value_range}. Leave it out.'
            )

    @property
    def is_8_bit(self) -> bool:
        """Whether images are rounded."""
        return self.dtype == 'uint8'

    @property
    def axes(self) -> dict[int, str]:
        """Names of the axes of a graph whose length may be any."""
        names = ('batch', None, 'height', 'width')
        axes = enumerate(names[axis] for axis in _AXES[self.layout])
        return {i: name for i, name in axes if name}

    def wrap(self, network: nn.Module) -> nn.Module:
        """A network that takes and gives images in this way."""
        return _Wrapped(network, self)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W), RGB in [0, 1] -> what the graph takes, of one image in 'HWC'.

        Raises:
            ValueError: when the graph takes 8 bits, and the images have more.
        """
        if self.value_range == 255:
            x = x * np.float32(255)
        if self.is_8_bit:
            levels = x.round()
            if not np.abs(x - levels).max() < _BETWEEN_LEVELS:
                raise ValueError(
                    'Expected images of 8 bits, since the graph takes uint8, but got '
                    'values between. Export it for float32.'
                )
            x = levels.clip(0, 255)
        if self.channel_order == 'BGR':
            x = x[:, ::-1]
        x = x[0] if self.layout == 'HWC' else x
        axes = _AXES[self.layout]
        x = x.transpose([axis - 4 + x.ndim for axis in axes])
        return np.ascontiguousarray(x, self.dtype)

    def unpack(self, y: np.ndarray) -> np.ndarray:
        """What the graph gives -> (N, C, H, W), RGB in [0, 1]."""
        y = y[None] if self.layout == 'HWC' else y
        if self.layout != 'NCHW':
            y = y.transpose(0, 3, 1, 2)
        if self.channel_order == 'BGR':
            y = y[:, ::-1]
        y = np.ascontiguousarray(y, np.float32)
        return y / np.float32(255) if self.value_range == 255 else y


class _Wrapped(nn.Module):
    """As photographs are read and written, in the same order of operations."""

    def __init__(self, network: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.network = network
        self.interface = interface

    def forward(self, image: Tensor) -> Tensor:
        interface = self.interface
        x = image.unsqueeze(0) if interface.layout == 'HWC' else image
        x = x if interface.layout == 'NCHW' else x.permute(0, 3, 1, 2)
        x = x.to(torch.float32) if interface.is_8_bit else x
        if interface.channel_order == 'BGR':
            x = x.flip(1)
        x = x / 255 if interface.value_range == 255 else x
        y = self.network(x)
        if interface.is_8_bit:
            y = (y.clamp(0, 1) * 255).round()
        elif interface.value_range == 255:
            y = y * 255
        if interface.channel_order == 'BGR':
            y = y.flip(1)
        if interface.is_8_bit:
            y = y.to(torch.uint8)
        y = y if interface.layout == 'NCHW' else y.permute(0, 2, 3, 1)
        return y.squeeze(0) if interface.layout == 'HWC' else y
