"""Our networks, losses, data and models in BasicSR's registries.

Importing this registers them.
"""

from .. import compat  # noqa: F401  (first: it repairs what follows)
from .car_model import CARModel
from .div2k_lmdb_dataset import DIV2KLMDBDataset
from .names import SUFFIX, register_all

__all__ = ['SUFFIX', 'CARModel', 'DIV2KLMDBDataset', 'register_all']

register_all()
