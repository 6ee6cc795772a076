"""A network applied to a whole image, in quarters or in tiles, in one pose or eight."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from .chop import chop_forward
from .self_ensemble import POSES, in_pose
from .tiling import Tiling, plan_windows


def arrange_weights(model: nn.Module, device: torch.device) -> None:
    """Lay out the weights of a network, or of parts of it, as inference likes best.

    With those of a convolution channels last, its output lies so, too, and on a CPU
    nothing is turned over between layers. Values stay the same but for rounding.

    Args:
        model: one whose modules may say `prefers_channels_last`; changed in place.
        device: where it is.
    """
    if device.type != 'cpu':
        return
    for module in model.modules():
        if getattr(module, 'prefers_channels_last', False):
            module.to(memory_format=torch.channels_last)


class ImageForward:
    """What testing and inference do with a network.

    The input stays where it is, the output is assembled on the CPU; of both the network
    sees one part at a time.

    Args:
        network: with `scale`; for tiles also `receptive_field`, the LR pixels that it
            sees beyond a pixel on every side, and `alignment`, of which the first
            pixel of a tile has to be a multiple (1).
        chop: arguments of `chop_forward`.
        tile: arguments of `Tiling`.
        self_ensemble: average the outputs of the eight poses of the image, before
            anything is rounded.
        amp: 'bf16' to calculate in bfloat16, which is faster where the processor has
            it; None for float32.

    Raises:
        TypeError: on unknown options.
        ValueError: on wrong ones, or on both `chop` and `tile`.
    """

    def __init__(
        self,
        network: nn.Module,
        chop: Mapping[str, int] | None = None,
        tile: Mapping[str, Any] | None = None,
        self_ensemble: bool = False,
        amp: Literal['bf16'] | None = None,
    ) -> None:
        if amp not in (None, 'bf16'):
            raise ValueError(f"Expected `amp` to be 'bf16' or None, but got {amp!r}.")
        if chop is not None and tile is not None:
            raise ValueError(
                'Expected `chop` or `tile`, but got both. Leave one out: quarters are '
                'for the figures of published code, tiles for all else.'
            )
        self.network = network
        self.scale: int = network.scale
        self.chop = chop
        self.amp = amp
        self.poses = POSES if self_ensemble else POSES[:1]
        self.tiling = None if tile is None else Tiling(**tile)
        self.overlap, self.alignment = 0, 1
        if self.tiling is not None:
            self.overlap = self.tiling.overlap_of(network)
            self.alignment = getattr(network, 'alignment', 1)

    @torch.inference_mode()
    def __call__(self, x: np.ndarray, device: torch.device) -> np.ndarray:
        """Enlarge.

        Args:
            x: (N, C, H, W), float32; any strides.
            device: of the network.

        Returns:
            (N, 3, scale * H, scale * W), float32, as the network gives it, not clamped.
        """
        output = None
        for pose in self.poses:
            posed = in_pose(x, pose)
            rows, columns = (self._windows(side) for side in posed.shape[2:])
            for row in rows:
                for column in columns:
                    part = self._run(posed[:, :, row.read(), column.read()], device)
                    part = part[:, :, row.cut(self.scale), column.cut(self.scale)]
                    if output is None:
                        sides = (side * self.scale for side in x.shape[2:])
                        output = np.zeros((*part.shape[:2], *sides), np.float32)
                    weights = row.weights(self.scale)[:, None] / len(self.poses)
                    places = row.place(self.scale), column.place(self.scale)
                    in_pose(output, pose)[:, :, places[0], places[1]] += part * (
                        weights * column.weights(self.scale)
                    )
        return output

    def _windows(self, side: int) -> list:
        if self.tiling is None:
            return plan_windows(side, side, 0)
        return plan_windows(
            side,
            self.tiling.size,
            self.overlap,
            self.alignment,
            self.tiling.seams == 'blended',
        )

    def _run(self, part: np.ndarray, device: torch.device) -> np.ndarray:
        # Contiguous: a convolution may round otherwise for pixels that lie otherwise.
        # A copy, since torch takes no flipped sides, not even those of one pixel.
        x = torch.from_numpy(part.copy()).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.amp is not None):
            if self.chop is None:
                y = self.network(x)
            else:
                y = chop_forward(self.network, x, self.scale, **self.chop)
        return y.float().cpu().numpy()
