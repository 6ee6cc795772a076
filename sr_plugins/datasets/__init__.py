"""Data sets, their transforms, the sampler that can be resumed, and the LMDB store.

Names are imported when they are used: `lmdb_store` needs no torch, all else does.
"""

from importlib import import_module

_HOMES = {
    'CropToMultiple': 'transforms',
    'DIV2KLMDBDataset': 'div2k_lmdb_dataset',
    'LoadImagePair': 'transforms',
    'OneScaleBatchSampler': 'samplers',
    'PackImagePair': 'packing',
    'PairedCenterCrop': 'transforms',
    'PairedFolderDataset': 'paired_folder_dataset',
    'PairedRandomCrop': 'transforms',
    'ResumableSampler': 'samplers',
    'SeededIndex': 'samplers',
    'seeded': 'samplers',
    'stack_batch': 'packing',
}

__all__ = [
    'CropToMultiple',
    'DIV2KLMDBDataset',
    'LoadImagePair',
    'OneScaleBatchSampler',
    'PackImagePair',
    'PairedCenterCrop',
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
