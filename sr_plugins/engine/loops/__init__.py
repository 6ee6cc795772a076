"""Loops for mmengine's Runner."""

from .benchmark_loop import BenchmarkLoop
from .evolution_search_loop import EvolutionSearchLoop
from .resumable_train_loop import ResumableTrainLoop

__all__ = ['BenchmarkLoop', 'EvolutionSearchLoop', 'ResumableTrainLoop']
