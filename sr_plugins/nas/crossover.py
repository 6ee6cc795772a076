"""Crossover."""

from typing import TYPE_CHECKING

import numpy as np

from .genome import Genome
from .repair import repair

if TYPE_CHECKING:
    from .space import SearchSpace


def cross(
    space: 'SearchSpace', first: Genome, second: Genome, rng: np.random.Generator
) -> tuple[Genome, Genome]:
    """Swap one segment of genes, types and bits, between two genomes.

    As published the segment is 4 to half as many genes as there are, less one; where
    there are too few for that, from 1 on. Unlike there, it may hold the last gene.

    Args:
        space: whose limits both children keep.
        first: a parent, which stays as it is.
        second: the other.
        rng: draws the segment, and what a repair changes.

    Raises:
        RuntimeError: when a ceiling of multiply-adds lets too few pass.
    """
    number = len(first.types)
    longest = max(1, number // 2 - 1)
    length = int(rng.integers(min(4, longest), longest, endpoint=True))
    start = int(rng.integers(number - length, endpoint=True))
    segment = slice(start, start + length)
    children = []
    for own, other in ((first, second), (second, first)):
        types, active = np.array(own.types), np.array(own.active)
        types[segment] = other.types[segment]
        active[segment] = other.active[segment]
        children.append(repair(space, types, active, rng))
    return children[0], children[1]
