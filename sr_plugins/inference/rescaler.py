"""A network that takes photographs down and up again."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ..models import Tiling, downscale
from ..preparation import imresize
from .photographs import Photograph
from .upscaler import Upscaler, apply, load_network, options_of

Mode = Literal['downscale', 'upscale', 'both']
_LEVELS = np.float32(255)


class Rescaler:
    """Downscales photographs with a network, and enlarges what came of them.

    A downscaled photograph is the same after it has been a PNG file, so that enlarging
    the file at any time gives, on the same machine, what enlarging at once does, bit
    for bit.

    Args:
        network: CAR, or like it: `scale`, `downscale` from (N, 3, H, W) in [0, 1] to
            ceil(H / scale) x ceil(W / scale), and the module `upscaler` from there to
            `scale` times those sides; in `modes` what of it is there, if not all. It is
            moved to `device` and put into evaluation mode.
        device: where to run; None takes the GPU when there is one.
        tile: arguments of `Tiling`, to go through images in tiles both ways, in pixels
            of what goes in.
        self_ensemble: as of Upscaler, when enlarging.
        amp: as of Upscaler, when enlarging.
        compile_network: as of Upscaler, when enlarging.

    Raises:
        ValueError: when there is no such device, the network does not downscale, or
            tiles are smaller than what it sees.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device | None = None,
        tile: Mapping[str, Any] | None = None,
        self_ensemble: bool = False,
        amp: Literal['bf16'] | None = None,
        compile_network: bool = False,
    ) -> None:
        if not hasattr(network, 'downscale'):
            raise ValueError(
                f'Expected `network` to downscale, such as CAR, but got '
                f'{type(network).__name__}. Use Upscaler.'
            )
        self._enlarge = Upscaler(
            network.upscaler,
            device,
            tile=tile,
            self_ensemble=self_ensemble,
            amp=amp,
            compile_network=compile_network,
        )
        self._tile = tile
        if tile is not None and hasattr(network, 'downscaler'):
            Tiling(**tile).overlap_of(network.downscaler)  # raises early
        self.device = self._enlarge.device
        self.network = network.to(self.device).eval()
        self.scale: int = network.scale

    @classmethod
    def from_config(
        cls,
        cfg: Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
    ) -> 'Rescaler':
        """Build the network of a config and load its weights, as Upscaler does."""
        return cls(load_network(cfg, checkpoint), device, **options_of(cfg))

    def __call__(self, photograph: Photograph) -> Photograph:
        """Downscale and enlarge: the reconstruction, of the size it had, in 8 bits."""
        return self.upscale(self.downscale(photograph))

    def downscale(self, photograph: Photograph) -> Photograph:
        """Make an 8-bit image of ceil(H / scale) x ceil(W / scale) pixels.

        Alpha is reduced by MATLAB's bicubic. The size is noted in `original_size`.

        Raises:
            MemoryError: when the image is too large for the device.
        """
        rgb = apply(
            lambda x: downscale(self.network, x, self._tile),
            photograph.rgb,
            self.device,
        )
        if photograph.is_grey:
            rgb = np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2)
        alpha = photograph.alpha
        if alpha is not None:
            alpha = _in_8_bits(imresize(alpha, 1 / self.scale))
        return replace(
            photograph,
            rgb=_in_8_bits(rgb),
            alpha=alpha,
            bits=8,
            original_size=photograph.rgb.shape[:2],
        )

    def upscale(self, photograph: Photograph) -> Photograph:
        """Enlarge what `downscale` gave, or another image.

        The result has the size in `original_size`; without one, `scale` times the
        sides. Alpha is enlarged by MATLAB's bicubic.

        Raises:
            MemoryError: when the image is too large for the device.
            ValueError: when `original_size` is not that of such an image.
        """
        size = photograph.original_size
        lr_size = photograph.rgb.shape[:2]
        if size is not None and lr_size != tuple(-(-s // self.scale) for s in size):
            raise ValueError(
                f'Expected an image that was downscaled by {self.scale}, but got '
                f'{lr_size[0]} x {lr_size[1]} pixels (height x width) of an original '
                f'of {size[0]} x {size[1]}. Use the network of that scale; an image '
                f'that was cut or resized since, save without its text fields.'
            )
        enlarged = self._enlarge(photograph)
        if size is None:
            return enlarged
        rgb, alpha = enlarged.rgb, enlarged.alpha
        return replace(
            enlarged,
            rgb=rgb[: size[0], : size[1]],
            alpha=None if alpha is None else alpha[: size[0], : size[1]],
        )


def make_scaler(
    network: nn.Module,
    device: str | torch.device | None = None,
    chop: Mapping[str, int] | None = None,
    tile: Mapping[str, Any] | None = None,
    self_ensemble: bool = False,
    amp: Literal['bf16'] | None = None,
    compile_network: bool = False,
) -> Upscaler | Rescaler:
    """A Rescaler for a network that downscales, for any other an Upscaler.

    Raises:
        ValueError: when there is no such device, or a network that downscales is to
            go through images in quarters.
    """
    options = {
        'tile': tile,
        'self_ensemble': self_ensemble,
        'amp': amp,
        'compile_network': compile_network,
    }
    if not hasattr(network, 'downscale'):
        return Upscaler(network, device, chop, **options)
    if chop is not None:
        raise ValueError(
            f'Expected no `chop` for {type(network).__name__}, which also downscales, '
            f'but got {chop}. Take `tile`.'
        )
    return Rescaler(network, device, **options)


def scaler_from_config(
    cfg: Config,
    checkpoint: str | Path,
    device: str | torch.device | None = None,
    compile_network: bool = False,
) -> Upscaler | Rescaler:
    """What `from_config` of either gives, and fails with, as the network asks for."""
    network = load_network(cfg, checkpoint)
    options = options_of(cfg)
    return make_scaler(network, device, compile_network=compile_network, **options)


def steps(
    scaler: Upscaler | Rescaler, mode: Mode | None = None
) -> list[tuple[str, Callable[[Photograph], Photograph]]]:
    """What to do with a photograph, one after the other.

    Args:
        scaler: the network.
        mode: of a Rescaler; None means both, or the one there is. Of an Upscaler there
            is none.

    Returns:
        For each step the ending of the result's name and what makes it from the
        result before.

    Raises:
        ValueError: on a mode that the network does not have.
    """
    up, down = f'x{scaler.scale}', f'_down{scaler.scale}'
    if isinstance(scaler, Upscaler):
        if mode is not None:
            raise ValueError(
                f'Expected no mode for {type(scaler.network).__name__}, which enlarges '
                f'and does nothing else, but got {mode!r}. Modes are those of CAR.'
            )
        return [(up, scaler)]
    known = {
        'downscale': [(down, scaler.downscale)],
        'upscale': [(up, scaler.upscale)],
        'both': [(down, scaler.downscale), (down + up, scaler.upscale)],
    }
    there = getattr(scaler.network, 'modes', tuple(known))
    mode = mode or there[-1]
    if mode not in there:
        raise ValueError(
            f'Expected `mode` to be one of {", ".join(there)}, but got {mode!r}.'
        )
    return known[mode]


def _in_8_bits(image: np.ndarray) -> np.ndarray:
    """[0, 1] as it comes back from a file: in the same float32 division."""
    return (image.clip(0, 1) * _LEVELS).round() / _LEVELS
