"""Images in LMDB: crops straight from the memory map, or PNG files as BasicSR has them.

Imports no torch, so that worker processes start quickly.
"""

from .create import StoreReport, create_store
from .files import LAYOUTS, DamagedStoreError, StoreError, store_path
from .plan import Cut, StorePlan, pair_store, plan_pairs, plan_store, require_room
from .store import Store, StoredImage
from .verify import Verification, verify_store
from .writer import EncodedImage, Source, StoreWriter

__all__ = [
    'LAYOUTS',
    'Cut',
    'DamagedStoreError',
    'EncodedImage',
    'Source',
    'Store',
    'StoreError',
    'StorePlan',
    'StoreReport',
    'StoreWriter',
    'StoredImage',
    'Verification',
    'create_store',
    'pair_store',
    'plan_pairs',
    'plan_store',
    'require_room',
    'store_path',
    'verify_store',
]
