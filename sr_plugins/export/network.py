"""An ONNX file as a network, computed by onnxruntime on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..layers import check_image, quantize
from .description import Description, read_model
from .packages import require


class OnnxNetwork(nn.Module):
    """Takes and gives tensors as the network did that was exported.

    Args:
        source: file of `export_onnx`, or its content.
        threads: of onnxruntime; None for as many as torch has.

    Attributes:
        description: what the file says of itself.
        scale: factor of the sides.
        receptive_field: as the network's.
        alignment: as the network's.
        in_channels: of the images.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: without onnx and onnxruntime.
        ValueError: when the file is none of ours, damaged, or refers to others.
    """

    def __init__(self, source: str | Path | bytes, threads: int | None = None) -> None:
        super().__init__()
        runtime = require('onnxruntime')
        model, data, self.name = read_model(source)
        self.description = Description.of(model, self.name)
        self.scale = self.description.scale
        self.receptive_field = self.description.receptive_field
        self.alignment = self.description.alignment
        self.in_channels = self.description.channels
        options = runtime.SessionOptions()
        # It counts the machine's cores rather than those it may use.
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # For images of one size in a row it would hold all memory twice.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            # What was looked at, not what the file may be by now.
            self.session = runtime.InferenceSession(
                data, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise ValueError(
                f'Expected a graph that onnxruntime can run, but of {self.name} it '
                f'says: {error}.'
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> float32, of the downscaled or enlarged size.

        Raises:
            MemoryError: when the images are too large.
            ValueError: on another number of channels, or images that are not of 8 bits
                for a graph that takes uint8.
        """
        check_image(self.name, x, self.in_channels)
        images = x.detach().cpu().to(torch.float32).numpy()
        one_by_one = self.description.interface.layout == 'HWC'
        parts = np.split(images, len(images)) if one_by_one else [images]
        return torch.from_numpy(np.concatenate([self._run(part) for part in parts]))

    def _run(self, images: np.ndarray) -> np.ndarray:
        interface = self.description.interface
        feed = {self.session.get_inputs()[0].name: interface.pack(images)}
        try:
            (output,) = self.session.run(None, feed)
        except Exception as error:
            if 'allocate' in str(error):
                raise MemoryError(
                    f'Expected images that fit into memory, but got '
                    f'{images.shape[2]} x {images.shape[3]} pixels.'
                ) from error
            raise
        return interface.unpack(output)


class OnnxCAR(nn.Module):
    """CAR, of the files of both its halves or of one.

    Args:
        downscaler: the half that downscales, or None.
        upscaler: the half that enlarges, or None.

    Attributes:
        scale: of both.
        modes: what it can do: 'downscale', 'upscale' and, with both halves, 'both'.

    Raises:
        ValueError: when there is neither, or they are of different scales.
    """

    def __init__(
        self, downscaler: OnnxNetwork | None = None, upscaler: OnnxNetwork | None = None
    ) -> None:
        super().__init__()
        halves = {'downscale': downscaler, 'upscale': upscaler}
        halves = {part: half for part, half in halves.items() if half is not None}
        scales = {half.scale for half in halves.values()}
        if len(scales) != 1:
            raise ValueError(
                f'Expected one or both halves of a CAR of one scale, but got '
                f'{len(halves)} of scales {sorted(scales)}.'
            )
        (self.scale,) = scales
        self.modes = (*halves, 'both') if len(halves) == 2 else tuple(halves)
        self.downscaler = downscaler or _Missing('downscale', self.scale)
        self.upscaler = upscaler or _Missing('upscale', self.scale)

    def downscale(self, hr: Tensor) -> Tensor:
        """(N, C, H, W) -> the 8-bit image (N, C, ceil(H / scale), ceil(W / scale))."""
        return quantize(self.downscaler(hr))

    def upscale(self, lr: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, scale * h, scale * w)."""
        return self.upscaler(lr)


class _Missing(nn.Module):
    receptive_field = 0  # so that tiles may be as the other half has them

    def __init__(self, part: str, scale: int) -> None:
        super().__init__()
        self.part, self.scale = part, scale

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(
            f'Expected the file of CAR that can {self.part}, but got the other only.'
        )


def onnx_network(
    files: Sequence[str | Path], threads: int | None = None
) -> OnnxNetwork | OnnxCAR:
    """The network of a file, or of the two halves of CAR.

    Raises:
        ValueError: on several files that are not such halves; and as OnnxNetwork.
    """
    networks = [OnnxNetwork(file, threads) for file in files]
    if len(networks) == 1 and not _is_half(networks[0]):
        return networks[0]
    halves = {network.description.part: network for network in networks}
    if len(halves) != len(networks) or not all(map(_is_half, networks)):
        raise ValueError(
            f'Expected one ONNX file, or the two halves of CAR, but got '
            f'{", ".join(str(file) for file in files)}.'
        )
    return OnnxCAR(halves.get('downscale'), halves.get('upscale'))


def _is_half(network: OnnxNetwork) -> bool:
    return network.description.network == 'CAR'


def onnx_path(path: str | Path) -> Path:
    """A path that ends with `.onnx`."""
    path = Path(path).expanduser()
    return path if path.suffix == '.onnx' else path.with_name(f'{path.name}.onnx')
