"""mmagic models, where its BaseEditModel does not do."""

from .car_model import CARModel
from .chop import chop_forward
from .downscaling import downscale
from .image_forward import ImageForward, arrange_weights
from .multi_scale_model import MultiScaleModel
from .sr_model import SRModel, image_options
from .tiling import Tiling

__all__ = [
    'CARModel',
    'ImageForward',
    'MultiScaleModel',
    'SRModel',
    'Tiling',
    'arrange_weights',
    'chop_forward',
    'downscale',
    'image_options',
]
