"""How other packages name the weights of our networks; one family a file."""

from .car import CAR, KGN
from .csnln import CSNLN
from .dialect import Dialect
from .edsr import EDSR
from .esrn import ESRN
from .family import Architecture, Family, Part
from .mdsr import MDSR

__all__ = [
    'FAMILIES',
    'PACKAGES',
    'Architecture',
    'Dialect',
    'Family',
    'Part',
]

PACKAGES = ('sr_plugins', 'published', 'basicsr', 'mmagic')
"""Who loads files of weights: this package, the authors' code, BasicSR, mmagic."""

FAMILIES = {family.network: family for family in (EDSR, MDSR, CSNLN, KGN, CAR, ESRN)}
