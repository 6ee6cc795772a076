"""A network that takes photographs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from .. import checkpoints
from ..models import chop_forward
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
        chop: arguments of `chop_forward`, to go through images part by part.

    Raises:
        ValueError: when there is no such device.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device | None = None,
        chop: Mapping[str, int] | None = None,
    ) -> None:
        self.chop = chop
        self.device = _usable_device(device)
        self.network = network.to(self.device).eval()
        self.scale: int = network.scale

    @classmethod
    def from_config(
        cls,
        cfg: Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
    ) -> 'Upscaler':
        """Build the network of a config and load its weights.

        Args:
            cfg: a config, whose `model.generator` is built. Its `model.test_cfg` may
                have `chop`.
            checkpoint: weights of any dialect that `sr_plugins.checkpoints` knows.
            device: as for the class.

        Raises:
            CheckpointMismatchError: when the weights are of another network.
            FileNotFoundError: when there is no such checkpoint.
            ValueError: when the config has no network of ours, the checkpoint is
                damaged or there is no such device.
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
        chop = (cfg.model.get('test_cfg') or {}).get('chop')
        return cls(network, device, chop)

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

    @torch.inference_mode()
    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) in [0, 1] -> (scale * H, scale * W, 3) in [0, 1], float32.

        Raises:
            MemoryError: when the image is too large for the device.
        """
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None].to(self.device)
        try:
            y = self._forward(x)[0].clamp(0, 1)
        except RuntimeError as error:
            # On a GPU it has a type of its own, on a CPU only these words.
            if isinstance(error, torch.cuda.OutOfMemoryError) or (
                "can't allocate memory" in str(error)
            ):
                height, width = rgb.shape[:2]
                raise MemoryError(
                    f'Expected an image that fits into the memory of {self.device}, '
                    f'but got {height} x {width} pixels. Cut it into parts.'
                ) from error
            raise
        return y.permute(1, 2, 0).cpu().numpy()

    def _forward(self, x: Tensor) -> Tensor:
        if self.chop is None:
            return self.network(x)
        return chop_forward(self.network, x, self.scale, **self.chop)


def _usable_device(device: str | torch.device | None) -> torch.device:
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
