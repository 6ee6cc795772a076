"""The networks, one family a file."""

from .car import CAR, KGN, USN
from .csnln import CSNLN
from .edsr import EDSR
from .esrn import ESRN
from .mdsr import MDSR

__all__ = ['CAR', 'CSNLN', 'EDSR', 'ESRN', 'KGN', 'MDSR', 'USN']
