"""Networks as ONNX files, and such files as networks."""

from .description import Description
from .interface import Interface
from .network import OnnxCAR, OnnxNetwork, onnx_network
from .to_onnx import Exported, export_onnx

__all__ = [
    'Description',
    'Exported',
    'Interface',
    'OnnxCAR',
    'OnnxNetwork',
    'export_onnx',
    'onnx_network',
]
