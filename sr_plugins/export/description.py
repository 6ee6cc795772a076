"""What our ONNX files say of themselves, and how foreign ones are told from them."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from .interface import Interface
from .packages import require

_PRODUCER = 'sr_plugins'
_DIGEST = 'weights_sha256'
_LARGEST = 2**31  # bytes, of any protobuf


@dataclass(frozen=True)
class Description:
    """Of the network in a file.

    Attributes:
        network: name of its class.
        part: 'upscale', or 'downscale' for that half of CAR.
        scale: factor of the sides.
        channels: of the images.
        receptive_field: pixels of the input that it sees beyond one, None for all.
        alignment: of what the first pixel of a tile has to be a multiple.
        interface: how it takes and gives images.
        precision: 'float32', or 'int8' for a quantised one.
    """

    network: str
    part: Literal['upscale', 'downscale']
    scale: int
    channels: int = 3
    receptive_field: int | None = None
    alignment: int = 1
    interface: Interface = field(default_factory=Interface)
    precision: Literal['float32', 'int8'] = 'float32'

    def stamp(self, model: Any) -> None:
        """Write it into an `onnx.ModelProto`, in place of other metadata."""
        fields = asdict(self)
        fields.update(fields.pop('interface'))
        model.producer_name, model.producer_version = _PRODUCER, __version__
        model.doc_string = ''
        model.graph.name = f'{self.network}_x{self.scale}_{self.part}'
        for node in model.graph.node:
            node.doc_string = ''
        fields[_DIGEST] = _digest(model)
        require('onnx').helper.set_model_props(
            model, {key: str(value) for key, value in fields.items()}
        )

    @classmethod
    def of(cls, model: Any, name: str) -> 'Description':
        """Read it from an `onnx.ModelProto` of a file.

        Raises:
            ValueError: when the file is not of ours, its weights are elsewhere or not
                what they were.
        """
        fields = {entry.key: entry.value for entry in model.metadata_props}
        digest = fields.pop(_DIGEST, None)
        if model.producer_name != _PRODUCER or digest is None:
            raise ValueError(
                f'Expected an ONNX file of tools/export.py, but got {name}, which '
                f'{model.producer_name or "an unknown program"} made and which does '
                f'not say what images it takes.'
            )
        # Paths in a file may name any file of the machine.
        if any(t.external_data or t.data_location for t in _tensors(model)):
            raise ValueError(
                f'Expected an ONNX file that holds its weights, but got {name}, which '
                f'refers to other files. They are not read.'
            )
        if digest != _digest(model):
            raise ValueError(
                f'Expected weights as they were exported, but those of {name} have '
                f'changed. Copy or export it again.'
            )
        try:
            return cls._parse(fields)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f'Expected the metadata of {name} to be those of this version of '
                f'sr_plugins, {__version__}, but got {fields} ({error}). Export it '
                f'again.'
            ) from error

    @classmethod
    def _parse(cls, fields: dict[str, str]) -> 'Description':
        interface = Interface(
            fields['dtype'],
            fields['layout'],
            fields['channel_order'],
            int(fields['value_range']),
        )
        reach = fields['receptive_field']
        if fields['part'] not in ('upscale', 'downscale'):
            raise ValueError(f'unknown part {fields["part"]!r}')
        sizes = {key: int(fields[key]) for key in ('scale', 'channels', 'alignment')}
        if min(sizes.values()) < 1:
            raise ValueError('a size below 1')
        return cls(
            network=fields['network'],
            part=fields['part'],
            receptive_field=None if reach == 'None' else int(reach),
            interface=interface,
            precision=fields['precision'],
            **sizes,
        )


def read_model(source: str | Path | bytes) -> tuple[Any, bytes, str]:
    """The `onnx.ModelProto` of a file, its bytes, and how to call it.

    Other files that it names are not opened.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not ONNX, or truncated.
    """
    onnx = require('onnx')
    if isinstance(source, bytes):
        data, name = source, 'the exported graph'
    else:
        path, name = Path(source).expanduser(), str(source)
        if not path.is_file():
            raise FileNotFoundError(
                f'Expected an ONNX file, but there is no {path} (from {Path.cwd()}).'
            )
        too_large = path.stat().st_size >= _LARGEST
        data = b'' if too_large else path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except require('google.protobuf.message').DecodeError:
        model = onnx.ModelProto()
    if not model.graph.node:
        raise ValueError(
            f'Expected a whole ONNX file, but {name} is damaged, truncated or of '
            f'another kind.'
        )
    return model, data, name


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a protobuf message, however deep."""
    if message.DESCRIPTOR.name == 'TensorProto':
        yield message
        return
    for kind, value in message.ListFields():
        if kind.message_type is not None:
            for part in [value] if hasattr(value, 'DESCRIPTOR') else value:
                yield from _tensors(part)


def _digest(model: Any) -> str:
    """Of all tensors in the file."""
    digest = hashlib.sha256()
    for tensor in _tensors(model):
        digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()
