"""The networks, one family a file."""

from .csnln import CSNLN
from .edsr import EDSR

__all__ = ['CSNLN', 'EDSR']
