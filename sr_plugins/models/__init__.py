"""mmagic models, where its BaseEditModel does not do."""

from .chop import chop_forward
from .sr_model import SRModel

__all__ = ['SRModel', 'chop_forward']
