"""Weights and activations of a graph in 8 bits, by onnxruntime."""

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..fileio import write_bytes, write_text
from ..layers import check_image
from .description import Description, read_model
from .network import OnnxCAR, OnnxNetwork, onnx_path
from .packages import require
from .to_onnx import Exported

Method = Literal['percentile', 'entropy', 'minmax']
_METHODS = {'percentile': 'Percentile', 'entropy': 'Entropy', 'minmax': 'MinMax'}
# What onnxruntime asks about with a warning; there is nothing to prepare here.
_PREPARED = ('onnx.quant.pre_process', 'onnxruntime.quant')


@dataclass(frozen=True)
class Quantized:
    """A file, and how far it is from that of float32.

    Attributes:
        path: of the file.
        description: what it says of itself.
        layers: how many convolutions are in 8 bits, and how many there are.
        psnr: between both, in dB, over the images of the calibration.
    """

    path: Path
    description: Description
    layers: tuple[int, int]
    psnr: float

    def sentence(self) -> str:
        """What was done, for people."""
        count, total = self.layers
        return (
            f'{count} of {total} convolutions in int8: {self.psnr:.1f} dB from float32.'
        )


def quantize_onnx(
    source: str | Path,
    path: str | Path,
    images: Sequence[Tensor],
    method: Method = 'percentile',
    percentile: float = 99.999,
    all_layers: bool = False,
    reduce_range: bool = False,
) -> Quantized:
    """Write an ONNX file whose convolutions are in int8, and a report beside it.

    Each convolution's weights have a scale for each output channel, its input and
    output one scale and zero for all, from the values that they have for `images`.
    What is summed up from block to block stays float32.

    Args:
        source: file of `export_onnx`.
        path: of the new one, whose name ends with `.onnx`, added if missing; its report
            is `<path>.json`.
        images: (N, C, H, W), RGB in [0, 1]: what the network may be given. One at a
            time is held, with all that it becomes on its way.
        method: how ranges follow from values: all but the outermost, those from which
            the distribution differs least, or all.
        percentile: how many values in 100 a range holds.
        all_layers: the first and the last convolutions, too.
        reduce_range: weights in 7 bits, for processors without VNNI, on which sums of
            8 would overflow.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: without onnx and onnxruntime.
        OSError: when a file cannot be written.
        ValueError: when the file is not of ours, or is quantised already; without
            images or on such of other channels; or on a wrong method or percentile.
    """
    if method not in _METHODS:
        raise ValueError(
            f'Expected `method` to be one of {", ".join(_METHODS)}, but got {method!r}.'
        )
    if not 50 < percentile <= 100:
        raise ValueError(
            f'Expected `percentile` to be above 50 and at most 100, but got '
            f'{percentile}.'
        )
    if not images:
        raise ValueError('Expected images to calibrate with, but got none.')
    original = OnnxNetwork(source)
    if original.description.precision != 'float32':
        raise ValueError(
            f'Expected a file of float32, but {source} is of '
            f'{original.description.precision}.'
        )
    for image in images:
        check_image(str(source), image, original.in_channels)
    path = onnx_path(path)
    model, _, _ = read_model(source)
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    kept = set() if all_layers else _ends(model.graph)
    kept = [node.name for node in convolutions if node.name in kept]
    description = replace(original.description, precision='int8')
    options = {
        'nodes_to_exclude': kept,
        'reduce_range': reduce_range,
        'calibrate_method': _METHODS[method],
        'percentile': percentile,
    }
    data = _quantize(model, description, images, **options)
    quantized = Quantized(
        path,
        description,
        (len(convolutions) - len(kept), len(convolutions)),
        _psnr(original, OnnxNetwork(data), images),
    )
    write_bytes(path, data)
    report = {
        'file': path.name,
        'bytes': len(data),
        'source': Path(source).name,
        'source_bytes': Path(source).stat().st_size,
        'method': method,
        'percentile': percentile if method == 'percentile' else None,
        'images': len(images),
        'weight_bits': 7 if reduce_range else 8,
        'layers': list(quantized.layers),
        'float_layers': kept,
        'psnr_from_float32': quantized.psnr,
    }
    write_text(f'{path}.json', json.dumps(report, indent=2) + '\n')
    return quantized


def quantize_exported(
    files: Sequence[Exported], images: Sequence[Tensor], **options: Any
) -> list[Quantized]:
    """Quantise what `export_onnx` wrote, as `<name>_int8.onnx`.

    The half of CAR that enlarges is calibrated with what the other makes of the images.

    Args:
        files: of `export_onnx`.
        images: for the network, as `quantize_onnx` takes them.
        options: of `quantize_onnx`.
    """
    halves = {file.description.part: file.path for file in files}
    lr_images = images
    if 'downscale' in halves:
        car = OnnxCAR(OnnxNetwork(halves['downscale']))
        lr_images = [car.downscale(image) for image in images]
    return [
        quantize_onnx(
            path,
            path.with_stem(f'{path.stem}_int8'),
            images if part == 'downscale' else lr_images,
            **options,
        )
        for part, path in halves.items()
    ]


class _Reader:
    """Images as onnxruntime asks for them, one at a time."""

    def __init__(self, images: Sequence[Tensor], description: Description) -> None:
        self.images, self.interface = images, description.interface
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._coming = iter(self.images[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._coming, None)
        return None if image is None else {'input': self.interface.pack(image.numpy())}


def _quantize(
    model: Any,
    description: Description,
    images: Sequence[Tensor],
    calibrate_method: str,
    percentile: float,
    **options: Any,
) -> bytes:
    onnx, tools = require('onnx'), require('onnxruntime.quantization')
    key, value = _PREPARED
    model.metadata_props.add(key=key, value=value)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        file = Path(folder, 'int8.onnx')
        tools.quantize_static(
            model,
            file,
            _Reader(images, description),
            op_types_to_quantize=['Conv'],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=getattr(tools.CalibrationMethod, calibrate_method),
            extra_options={
                # Else it holds what all images become before it counts.
                'CalibStridedMinMax': 1,
                'CalibPercentile': percentile,
                'CalibTensorRangeSymmetric': False,
            },
            **options,
        )
        model = onnx.load(file, load_external_data=False)
    _keep_sums(model.graph, options['nodes_to_exclude'])
    description.stamp(model)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _keep_sums(graph: Any, kept: Sequence[str]) -> None:
    """Let all but convolutions take values from before they were rounded to 8 bits.

    onnxruntime gives the rounded ones to sums as well, so that what is passed on from
    block to block is rounded by each. Outputs of convolutions are there in 8 bits only.
    """
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ('Conv', 'QuantizeLinear', 'DequantizeLinear'):
            continue
        for i, name in enumerate(node.input):
            rounded = producers.get(name)
            if rounded is None or rounded.op_type != 'DequantizeLinear':
                continue
            # Weights in 8 bits have nothing before them.
            if rounded.input[0] in producers:
                exact = producers[rounded.input[0]].input[0]
                source = producers[exact]
                if source.op_type != 'Conv' or source.name in kept:
                    node.input[i] = exact


def _ends(graph: Any) -> set[str]:
    """Names of the convolutions before which there is none, and after which."""
    return _without_another(graph.node, 'input', 'output') | _without_another(
        reversed(graph.node), 'output', 'input'
    )


def _without_another(nodes: Any, before: str, after: str) -> set[str]:
    """Those that are reached before another, going in one direction."""
    passed: set[str] = set()  # values that a convolution has been before
    found = set()
    for node in nodes:
        is_passed = bool(passed & set(getattr(node, before)))
        if node.op_type == 'Conv':
            if not is_passed:
                found.add(node.name)
            is_passed = True
        if is_passed:
            passed.update(getattr(node, after))
    return found


@torch.no_grad()
def _psnr(one: OnnxNetwork, other: OnnxNetwork, images: Sequence[Tensor]) -> float:
    errors = [
        (one(x).clamp(0, 1) - other(x).clamp(0, 1)).double().square().mean()
        for x in images
    ]
    error = float(torch.stack(errors).mean())
    return min(-10 * torch.tensor(error).log10().item(), 100.0)
