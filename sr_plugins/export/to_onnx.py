"""Write a network as ONNX, if onnxruntime gives what torch gives."""

import copy
import json
import tempfile
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints import require_finite
from ..fileio import write_bytes, write_text
from .decompositions import Decomposed
from .description import Description
from .interface import Interface
from .network import OnnxNetwork, onnx_path
from .packages import require

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference from torch, of [0, 1]."""
# Batches and sides: odd, and other than what was traced.
_TRACED = (2, 24, 16)
_COMPARED = ((1, 17, 23), (3, 8, 37), (2, 31, 16))


@dataclass(frozen=True)
class Exported:
    """A file, and how it compares with torch.

    Attributes:
        path: of the file.
        description: what it says of itself.
        differences: for (N, H, W) of each input the largest difference of [0, 1]. Of a
            graph that rounds, beyond what rounding explains.
    """

    path: Path
    description: Description
    differences: dict[tuple[int, int, int], float]

    def report(self) -> dict[str, Any]:
        """All there is to know, as JSON can hold it."""
        versions = {name: require(name).__version__ for name in _PACKAGES}
        return {
            'file': self.path.name,
            'bytes': self.path.stat().st_size,
            'opset': OPSET,
            **asdict(self.description),
            'versions': versions,
            'tolerance': TOLERANCE,
            'compared': [
                {'input': list(size), 'largest_difference': difference}
                for size, difference in self.differences.items()
            ],
        }

    def table(self) -> str:
        """The comparison in Markdown."""
        rows = ['| images | height | width | largest difference |', '|---|---|---|---|']
        for (n, height, width), difference in self.differences.items():
            rows.append(f'| {n} | {height} | {width} | {difference:.1e} |')
        return '\n'.join(rows)


_PACKAGES = ('torch', 'onnx', 'onnxruntime')


def export_onnx(
    network: nn.Module, path: str | Path, interface: Interface | None = None
) -> list[Exported]:
    """Write an ONNX file for images of any number and size, and a report beside it.

    Nothing is written unless onnxruntime gives what torch does, at three sizes. CAR
    becomes two files, `<name>_downscale.onnx` and `<name>_upscale.onnx`; the first
    gives the downscaled image before it is rounded, unless it gives uint8.

    Args:
        network: of `sr_plugins.archs`, or like them: (N, C, H, W) in [0, 1] in and out,
            with the factor of its sides in `scale`. Left as it is.
        path: of the file, whose name ends with `.onnx`, added if missing; its report is
            `<path>.json`.
        interface: how the graph takes and gives images; None for (N, C, H, W), RGB in
            [0, 1].

    Raises:
        ImportError: without onnx and onnxruntime.
        OSError: when a file cannot be written.
        TypeError: when the network does not enlarge images.
        ValueError: when weights are not finite, or results differ.
    """
    interface = interface or Interface()
    path = onnx_path(path)
    require_finite(f'the {type(network).__name__} to export', network.state_dict())
    network = copy.deepcopy(network).cpu().float().eval()
    files = []
    for part, module, description in _parts(network, interface):
        data = _to_bytes(interface.wrap(module), description)
        differences = _compare(module, data, description)
        target = path if part is None else path.with_stem(f'{path.stem}_{part}')
        files.append((data, Exported(target, description, differences)))
    for data, exported in files:
        write_bytes(exported.path, data)
        report = json.dumps(exported.report(), indent=2) + '\n'
        write_text(f'{exported.path}.json', report)
    return [exported for _, exported in files]


class _Downscale(nn.Module):
    """CAR's first half: (N, C, H, W) -> (N, C, ceil(H / scale), ceil(W / scale))."""

    def __init__(self, car: nn.Module) -> None:
        super().__init__()
        self.car = car

    def forward(self, hr: Tensor) -> Tensor:
        # Rounded up; of negative numbers a graph drops fractions.
        scale = self.car.scale
        rows, columns = ((side + scale - 1) // scale for side in hr.shape[2:])
        # As CAR pads, which decides by numbers that a trace would hold as constants.
        for dim in (2, 3):
            side = torch.as_tensor(hr.shape[dim])
            padded = ((side + 7) // 8 * 8).clamp_min(16)
            places = torch.minimum(torch.arange(padded), side - 1)
            hr = hr.index_select(dim, places)
        return self.car.resample(hr).lr[:, :, :rows, :columns]


def _parts(
    network: nn.Module, interface: Interface
) -> list[tuple[str | None, nn.Module, Description]]:
    """What becomes a file each: what is added to its name, a network, and its facts."""
    name = type(network).__name__
    is_car = hasattr(network, 'downscale') and hasattr(network, 'upscaler')
    if not hasattr(network, 'scale') or (
        getattr(network, 'takes_hr', False) and not is_car
    ):
        raise TypeError(
            f'Expected a network that enlarges images by its `scale`, or CAR, but got '
            f'{name}.'
        )
    enlarges = network.upscaler if is_car else network
    channels = getattr(enlarges, 'in_channels', 3)
    if interface.channel_order != 'RGB' and channels != 3:
        raise ValueError(
            f'Expected {interface.channel_order} for images of 3 channels, but those '
            f'of {name} have {channels}.'
        )
    upscale = Description(
        network=name,
        part='upscale',
        scale=network.scale,
        channels=channels,
        receptive_field=getattr(enlarges, 'receptive_field', None),
        alignment=getattr(enlarges, 'alignment', 1),
        interface=interface,
    )
    if not is_car:
        return [(None, network, upscale)]
    downscale = replace(
        upscale,
        part='downscale',
        receptive_field=network.downscaler.receptive_field,
        alignment=network.downscaler.alignment,
    )
    return [
        ('downscale', _Downscale(network), downscale),
        ('upscale', network.upscaler, upscale),
    ]


def _to_bytes(network: nn.Module, description: Description) -> bytes:
    onnx = require('onnx')
    interface = description.interface
    images = torch.zeros(_TRACED[0], description.channels, *_TRACED[1:])
    example = torch.from_numpy(interface.pack(images.numpy()))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # That shapes are checked once, and that this exporter is the older one. The
        # newer needs a package more and fixes decisions by size as well.
        warnings.simplefilter('ignore')
        file = Path(folder, 'graph.onnx')
        with torch.no_grad(), Decomposed():
            torch.onnx.export(
                network,
                (example,),
                str(file),
                dynamo=False,
                opset_version=OPSET,
                input_names=['input'],
                output_names=['output'],
                dynamic_axes={
                    'input': interface.axes,
                    'output': {
                        axis: name if name == 'batch' else f'output_{name}'
                        for axis, name in interface.axes.items()
                    },
                },
            )
        model = onnx.load(file, load_external_data=False)
    _unshare(model.graph)
    description.stamp(model)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _unshare(graph: Any) -> None:
    """Give each layer weights of its own, which quantisation wants.

    The exporter writes equal ones, such as biases of 0, once.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == 'Identity' and node.input[0] in weights:
            copied = graph.initializer.add()
            copied.CopyFrom(weights[node.input[0]])
            copied.name = node.output[0]
            graph.node.remove(node)


@torch.no_grad()
def _compare(
    network: nn.Module, data: bytes, description: Description
) -> dict[tuple[int, int, int], float]:
    """The largest difference at each of some sizes."""
    candidate = OnnxNetwork(data)
    rng = np.random.default_rng(0)
    differences = {}
    for n, height, width in _COMPARED:
        n = 1 if description.interface.layout == 'HWC' else n
        size = n, description.channels, height, width
        # Of 8 bits, which any interface can take.
        x = torch.from_numpy(rng.integers(0, 256, size).astype(np.float32) / 255)
        expected, actual = network(x), candidate(x)
        if expected.shape != actual.shape:
            raise ValueError(
                f'Expected a graph that gives {tuple(expected.shape)} for {size}, but '
                f'got {tuple(actual.shape)}. This network cannot be exported.'
            )
        if description.interface.is_8_bit:
            difference = (expected.clamp(0, 1) - actual).abs() - 0.5 / 255
            difference = difference.clamp_min(0)
        else:
            difference = (expected - actual).abs()
        differences[n, height, width] = float(difference.max())
    if not max(differences.values()) <= TOLERANCE:
        raise ValueError(
            f'Expected onnxruntime to give what torch does to {TOLERANCE:.0e}, but got '
            f'differences of {differences}. Nothing was written.'
        )
    return differences
