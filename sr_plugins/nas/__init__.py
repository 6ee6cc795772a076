"""Search for networks of ESRN's blocks: spaces, evolution and counts; numpy only."""

from .blocks import BlockType, dense_groups, parse_architecture
from .candidate import Candidate
from .counts import HR_SIZE, count_multiply_adds, count_params, shuffled_channels
from .credits import BlockCredits
from .crossover import cross
from .esrea import ESREA
from .genome import Genome
from .mutation import mutate
from .pareto import pareto_front
from .repair import repair
from .sampling import Sampler
from .selection import best_first, roulette, tournament
from .space import SearchSpace

__all__ = [
    'ESREA',
    'HR_SIZE',
    'BlockCredits',
    'BlockType',
    'Candidate',
    'Genome',
    'Sampler',
    'SearchSpace',
    'best_first',
    'count_multiply_adds',
    'count_params',
    'cross',
    'dense_groups',
    'mutate',
    'pareto_front',
    'parse_architecture',
    'repair',
    'roulette',
    'shuffled_channels',
    'tournament',
]
