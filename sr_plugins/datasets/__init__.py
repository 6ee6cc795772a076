"""Data sets, their transforms and the sampler that can be resumed."""

from .paired_folder_dataset import PairedFolderDataset
from .samplers import ResumableSampler, SeededIndex, seeded
from .transforms import LoadImagePair, PairedRandomCrop

__all__ = [
    'LoadImagePair',
    'PairedFolderDataset',
    'PairedRandomCrop',
    'ResumableSampler',
    'SeededIndex',
    'seeded',
]
