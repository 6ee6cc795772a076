"""Hooks for mmengine's Runner."""

from .checkpoint_hook import CheckpointHook
from .compile_hook import CompileHook
from .esr_ea_hook import ESREAHook
from .learning_curve_hook import LearningCurveHook
from .save_images_hook import SaveImagesHook

__all__ = [
    'CheckpointHook',
    'CompileHook',
    'ESREAHook',
    'LearningCurveHook',
    'SaveImagesHook',
]
