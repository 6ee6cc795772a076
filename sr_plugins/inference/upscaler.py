"""A network that takes photographs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from .. import checkpoints
from ..models import ImageForward, arrange_weights, image_options
from ..preparation import imresize
from ..registry import MODELS
from .photographs import Photograph


class Upscaler:
    """Enlarges photographs with a network.

    Args:
        network: of `sr_plugins.archs`, or like them: (N, 3, H, W) in [0, 1] in and
            out, with the factor of its sides in `scale`. It is moved to `device` and
            put into evaluation mode.
        device: where to run; None takes the GPU when there is one.
        chop: arguments of `chop_forward`, to go through images in quarters.
        tile: arguments of `Tiling`, to go through them in tiles.
        self_ensemble: average the outputs of the eight poses of an image.
        amp: 'bf16' to calculate in bfloat16; None for float32.
        compile_network: use torch.compile; it takes a while for the first image, and
            again for others of other sizes.

    Raises:
        ValueError: when there is no such device, the network also downscales, or
            it is to go through images in a way that it cannot.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device | None = None,
        chop: Mapping[str, int] | None = None,
        tile: Mapping[str, Any] | None = None,
        self_ensemble: bool = False,
        amp: Literal['bf16'] | None = None,
        compile_network: bool = False,
    ) -> None:
        if hasattr(network, 'downscale'):
            raise ValueError(
                f'Expected `network` to enlarge what it is given, but got '
                f'{type(network).__name__}, which downscales it first. Use Rescaler.'
            )
        self.device = usable_device(device)
        self.network = network.to(self.device).eval()
        self.scale: int = network.scale
        self._forward = ImageForward(self.network, chop, tile, self_ensemble, amp)
        arrange_weights(self.network, self.device)
        if compile_network:
            self.network.compile()

    @classmethod
    def from_config(
        cls,
        cfg: Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
        compile_network: bool = False,
    ) -> 'Upscaler':
        """Build the network of a config and load its weights.

        Args:
            cfg: a config, whose `model.generator` is built. Its `model.test_cfg` may
                have options of `ImageForward`.
            checkpoint: weights of any dialect that `sr_plugins.checkpoints` knows.
            device: as for the class.
            compile_network: as for the class.

        Raises:
            CheckpointMismatchError: when the weights are of another network.
            FileNotFoundError: when there is no such checkpoint.
            ValueError: when the config has no network of ours, the checkpoint is
                damaged or there is no such device.
        """
        network = load_network(cfg, checkpoint)
        options = options_of(cfg)
        return cls(network, device, compile_network=compile_network, **options)

    def __call__(self, photograph: Photograph) -> Photograph:
        """Enlarge; alpha is enlarged by MATLAB's bicubic, all else is kept."""
        alpha = photograph.alpha
        if alpha is not None:
            alpha = imresize(alpha, self.scale).clip(0, 1)
        return Photograph(
            self.upscale(photograph.rgb),
            alpha,
            photograph.is_grey,
            photograph.bits,
            photograph.icc_profile,
        )

    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) in [0, 1] -> (scale * H, scale * W, 3) in [0, 1], float32.

        Raises:
            MemoryError: when the image is too large for the device.
            ValueError: when the network cannot be compiled, or gives numbers that are
                not finite.
        """
        with explained_errors(self.device, rgb):
            y = self._forward(rgb.transpose(2, 0, 1)[None], self.device)[0]
        _require_finite(y)
        return y.clip(0, 1, out=y).transpose(1, 2, 0)


def load_network(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """Build `model.generator` of a config and load its weights.

    Raises:
        CheckpointMismatchError: when the weights are of another network.
        FileNotFoundError: when there is no such checkpoint.
        ValueError: when the config has no network of ours, or the checkpoint is
            damaged.
    """
    generator = cfg.get('model', {}).get('generator', {})
    name = generator.get('type')
    if name is None or MODELS.get(name) is None:
        raise ValueError(
            f'Expected `model.generator` of the config to be a network of '
            f'sr_plugins, but got {name!r}.'
        )
    network = MODELS.build(generator)
    checkpoints.load(network, checkpoint)
    return network


def options_of(cfg: Config) -> dict[str, Any]:
    """Options of `ImageForward` in a config."""
    return image_options(cfg.model.get('test_cfg'))


@torch.inference_mode()
def apply(
    function: Callable[[Tensor], Tensor], rgb: np.ndarray, device: torch.device
) -> np.ndarray:
    """Apply a function of (1, 3, H, W) to (H, W, 3); clamp the result to [0, 1].

    Raises:
        MemoryError: when the image is too large for the device.
        ValueError: when the function gives numbers that are not finite.
    """
    # Contiguous: a convolution may round otherwise for pixels that lie otherwise.
    # A copy, since numpy takes a mirrored row of one pixel for contiguous.
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].to(device)
    with explained_errors(device, rgb):
        y = function(x)[0].cpu().numpy()
    _require_finite(y)
    return y.clip(0, 1).transpose(1, 2, 0)


def _require_finite(output: np.ndarray) -> None:
    # Extremes are NaN where anything is, and take no copy as `isfinite` of all would.
    if not np.isfinite([output.min(), output.max()]).all():
        raise ValueError(
            'Expected the network to give finite numbers, but got some that are '
            'infinite or not a number: its training diverged, or its weights are '
            'damaged. Use another checkpoint.'
        )


@contextmanager
def explained_errors(device: torch.device, rgb: np.ndarray) -> Iterator[None]:
    """Say which image did not fit, or why nothing was compiled, and what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a GPU it has a type of its own, on a CPU only these words.
        if isinstance(
            error, MemoryError | torch.cuda.OutOfMemoryError
        ) or "can't allocate memory" in str(error):
            height, width = rgb.shape[:2]
            raise MemoryError(
                f'Expected an image that fits into the memory of {device}, '
                f'but got {height} x {width} pixels. Cut it into parts by `tile`.'
            ) from error
        if any(c.__name__ == 'TorchDynamoException' for c in type(error).__mro__):
            reason = str(error).partition('\n')[0]
            raise ValueError(
                f'Expected torch.compile to work here, but got {reason} Leave '
                f'`--compile` out.'
            ) from error
        raise


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device, or for None a GPU when there is one.

    Raises:
        ValueError: when torch cannot use it here.
    """
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        usable = torch.device(device)
        torch.empty(0, device=usable)
    # torch built without CUDA asserts that it has it.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(
            f'Expected `device` to be one that torch can use here, such as cpu, but '
            f'got {str(device)!r}: {reason}.'
        ) from error
    return usable
