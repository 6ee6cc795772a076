"""Mutation."""

from typing import TYPE_CHECKING

import numpy as np

from .genome import Genome
from .repair import repair

if TYPE_CHECKING:
    from .space import SearchSpace


def mutate(
    space: 'SearchSpace',
    genome: Genome,
    rng: np.random.Generator,
    rate: float,
    probabilities: np.ndarray | None = None,
) -> Genome:
    """Switch genes on or off and draw types anew, each gene with the same rate.

    As published: bits of all genes, then types of those that are on. A mutant that
    would equal its parent has one type drawn anew.

    Args:
        space: whose limits the mutant keeps.
        genome: the parent, which stays as it is.
        rng: draws.
        rate: chance of a gene to be switched, and of one that is on to be drawn anew.
        probabilities: (T,) odds of new types; None takes the space's.

    Raises:
        RuntimeError: when a ceiling of multiply-adds lets too few pass.
    """
    active = np.array(genome.active)
    active ^= rng.random(len(active)) < rate
    chosen = active & (rng.random(len(active)) < rate)
    if not chosen.any() and np.array_equal(active, genome.active):
        chosen[rng.choice(np.flatnonzero(active))] = True
    genes = np.flatnonzero(chosen)
    return repair(space, genome.types, active, rng, genes, probabilities)
