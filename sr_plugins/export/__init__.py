"""Networks as ONNX files, and such files as networks."""

from .calibration import calibration_images
from .comparison import Candidate, compare_candidates, write_comparison
from .description import Description
from .interface import Interface
from .network import OnnxCAR, OnnxNetwork, onnx_network
from .options import add_interface_options, parse_interface
from .quantization import Quantized, quantize_exported, quantize_onnx
from .to_onnx import Exported, export_onnx

__all__ = [
    'Candidate',
    'Description',
    'Exported',
    'Interface',
    'OnnxCAR',
    'OnnxNetwork',
    'Quantized',
    'add_interface_options',
    'calibration_images',
    'compare_candidates',
    'export_onnx',
    'onnx_network',
    'parse_interface',
    'quantize_exported',
    'quantize_onnx',
    'write_comparison',
]
