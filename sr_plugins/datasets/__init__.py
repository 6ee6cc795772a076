"""Data sets, their transforms, the sampler that can be resumed, and the LMDB store.

Names are imported when they are used: `lmdb_store` needs no torch, all else does.
"""

from importlib import import_module

_HOMES = {
    'DIV2KLMDBDataset': 'div2k_lmdb_dataset',
    'LoadImagePair': 'transforms',
    'PackImagePair': 'packing',
    'PairedFolderDataset': 'paired_folder_dataset',
    'PairedRandomCrop': 'transforms',
    'ResumableSampler': 'samplers',
    'SeededIndex': 'samplers',
    'seeded': 'samplers',
    'stack_batch': 'packing',
}

__all__ = [
    'DIV2KLMDBDataset',
    'LoadImagePair',
    'PackImagePair',
    'PairedFolderDataset',
    'PairedRandomCrop',
    'ResumableSampler',
    'SeededIndex',
    'seeded',
    'stack_batch',
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_HOMES[name]}', __name__), name)
