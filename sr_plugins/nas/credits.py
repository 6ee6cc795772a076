"""Credits of block types, earned in evaluations, by which mutation chooses."""

from typing import TYPE_CHECKING

import numpy as np

from .candidate import Candidate

if TYPE_CHECKING:
    from .space import SearchSpace

_TRAITS = ('kind', 'conv_num', 'growth_rate', 'out_channels')


class BlockCredits:
    """What block types did to fitness when mutations brought them in.

    The paper says that a credit reflects the effect of a block, is earned while
    networks are evaluated and weighs what mutation samples; the authors' code has no
    credits, and their formula is not known to us. This is our reading. The fitness of a
    mutant less that of its parent is put down to the types that came and, negatively,
    to those that went. As many types are seen once or never, the credit of a type is
    the sum of five parts: of its kind, its layers, its growth rate, its output channels
    and of itself. Ridge regression over all mutations so far finds the parts; a type
    that was never seen has the credit of its traits.

    Odds of types are those of the space times a softmax of the credits, in units of
    their standard deviation, so the unit of fitness does not matter. The softmax grows
    sharper as mutations are seen, and a share of the odds stays the space's, so no type
    dies out.

    Args:
        space: of the types.
        sharpness: how much a standard deviation of credits raises the odds, as a power
            of e, after many mutations.
        patience: mutations until half of the sharpness is reached.
        floor: share of the space's own odds, 0 to 1.
        ridge: how strongly parts are held at 0, in mutations.
    """

    def __init__(
        self,
        space: 'SearchSpace',
        sharpness: float = 3.0,
        patience: float = 20.0,
        floor: float = 0.1,
        ridge: float = 3.0,
    ) -> None:
        self.space = space
        self.sharpness = sharpness
        self.patience = patience
        self.floor = floor
        self.mutations = 0
        # (T, F): which parts a type has.
        columns = [np.eye(len(space.types))]
        for trait in _TRAITS:
            values = [getattr(block, trait) for block in space.types]
            levels = sorted(set(values))
            columns.append(np.eye(len(levels))[[levels.index(v) for v in values]])
        self._parts = np.concatenate(columns, 1)
        size = self._parts.shape[1]
        self._moments = ridge * np.eye(size)
        self._effects = np.zeros(size)

    def update(self, parent: Candidate, child: Candidate) -> None:
        """Learn from a mutation; from a failure there is nothing to learn."""
        if parent.fitness is None or child.fitness is None:
            return
        change = np.zeros(len(self._effects))
        for sign, one, other in ((1, child, parent), (-1, parent, child)):
            genes = zip(one.genome.genes, other.genome.genes, strict=True)
            for gene, before in genes:
                if gene != before and gene is not None:
                    change += sign * self._parts[gene]
        self._moments += np.outer(change, change)
        self._effects += (child.fitness - parent.fitness) * change
        self.mutations += 1

    def values(self) -> np.ndarray:
        """(T,) credit of each type, in the unit of fitness."""
        return self._parts @ np.linalg.solve(self._moments, self._effects)

    def probabilities(self) -> np.ndarray:
        """(T,) odds of types for mutation, which sum to 1."""
        own = self.space.probabilities
        values = self.values()
        usable = own > 0
        values = values - values[usable].mean()
        deviation = values[usable].std()
        if not deviation:
            return own
        # Rounded, since solvers differ in the last digits with the number of threads.
        values = np.round(values / deviation, 6)
        trust = self.mutations / (self.mutations + self.patience)
        odds = own * np.exp(self.sharpness * trust * (values - values[usable].max()))
        return self.floor * own + (1 - self.floor) * odds / odds.sum()
