"""What a search of architectures needs besides its algorithm, `sr_plugins.nas`."""

from .candidate_training import CandidateTraining, DivergedError, Evaluation
from .files import BEST, STATE, SearchFiles, load_search
from .latency import measure_latency
from .work_queue import WorkQueue

__all__ = [
    'BEST',
    'STATE',
    'CandidateTraining',
    'DivergedError',
    'Evaluation',
    'SearchFiles',
    'WorkQueue',
    'load_search',
    'measure_latency',
]
