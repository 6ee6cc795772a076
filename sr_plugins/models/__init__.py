"""mmagic models, where its BaseEditModel does not do."""

from .car_model import CARModel
from .chop import chop_forward
from .sr_model import SRModel

__all__ = ['CARModel', 'SRModel', 'chop_forward']
