"""The networks, one family a file."""

from .car import CAR, KGN, USN
from .csnln import CSNLN
from .edsr import EDSR
from .esrn import ESRN

__all__ = ['CAR', 'CSNLN', 'EDSR', 'ESRN', 'KGN', 'USN']
