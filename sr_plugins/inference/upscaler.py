"""A network that takes photographs."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from .. import checkpoints
from ..preparation import imresize
from ..registry import MODELS
from .photographs import Photograph


class Upscaler:
    """Enlarges photographs with the network of a config.

    Args:
        cfg: a config, whose `model.generator` is built.
        checkpoint: weights of any dialect that `sr_plugins.checkpoints` knows.
        device: where to run; None takes the GPU when there is one.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
    ) -> None:
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device)
        self.network = MODELS.build(cfg.model.generator)
        self.network.to(self.device).eval()
        checkpoints.load(self.network, checkpoint)
        self.scale: int = self.network.scale

    def __call__(self, photograph: Photograph) -> Photograph:
        """Enlarge; alpha is enlarged by MATLAB's bicubic, all else is kept."""
        alpha = photograph.alpha
        if alpha is not None:
            alpha = imresize(alpha, self.scale).clip(0, 1).astype(np.float32)
        return Photograph(
            self.upscale(photograph.rgb), alpha, photograph.is_grey, photograph.bits
        )

    @torch.inference_mode()
    def upscale(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) in [0, 1] -> (scale * H, scale * W, 3) in [0, 1], float32."""
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None].to(self.device)
        y = self.network(x)[0].clamp(0, 1)
        return y.permute(1, 2, 0).cpu().numpy()
