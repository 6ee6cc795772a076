"""Loops for mmengine's Runner."""

from .benchmark_loop import BenchmarkLoop
from .resumable_train_loop import ResumableTrainLoop

__all__ = ['BenchmarkLoop', 'ResumableTrainLoop']
