"""New networks for a generation, none of which was there before."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .candidate import Candidate
from .crossover import cross
from .genome import Genome
from .mutation import mutate
from .selection import roulette
from .space import SearchSpace

_ATTEMPTS = 50
"""To make a network that was not there before, by each way to make one."""

Latency = Callable[[tuple[str, ...]], float]


class Offspring(NamedTuple):
    """A network that is to become a candidate.

    Attributes:
        genome: of it.
        operator: 'sample', 'mutation' or 'crossover'.
        parents: ids of its parents.
        latency: as measured; None without a ceiling.
    """

    genome: Genome
    operator: str
    parents: tuple[int, ...] = ()
    latency: float | None = None


class Breeder:
    """Samples, mutates and crosses until a network is new and fast enough.

    Args:
        space: of the networks.
        mutation_rate: as for `mutate`.
        latency: measures a network by its codes; only called when the space has a
            ceiling, and once a network.

    Attributes:
        seen: all networks that became offspring.
        too_slow: latency of those that did not.
    """

    def __init__(
        self, space: SearchSpace, mutation_rate: float, latency: Latency | None
    ) -> None:
        self.space = space
        self.mutation_rate = mutation_rate
        self.latency = latency
        self.seen: set[Genome] = set()
        self.too_slow: dict[Genome, float] = {}

    def first(self, rng: np.random.Generator, size: int) -> list[Offspring]:
        """Draw the first generation.

        Returns:
            So many, or fewer when no more are found.

        Raises:
            RuntimeError: when none is fast enough, or a ceiling of multiply-adds
                rejects nearly all.
        """
        found: list[Offspring] = []
        for _ in range(_ATTEMPTS):
            for genome in self.space.sampler.sample(rng, size - len(found)):
                found += self._admit(genome, 'sample')
            if len(found) == size:
                break
        if not found and self.too_slow:
            raise RuntimeError(
                f'Expected networks with a latency of at most '
                f'{self.space.max_latency}, but {len(self.too_slow)} drawn at random '
                f'have {min(self.too_slow.values())} and more. Raise `max_latency`, or '
                f'lower the window of weights.'
            )
        return found

    def children(
        self,
        rng: np.random.Generator,
        size: int,
        elites: Sequence[Candidate],
        others: Sequence[Candidate],
        probabilities: np.ndarray | None,
    ) -> list[Offspring]:
        """Make a generation from the last.

        2 * (size // 4) come from crossovers of parents picked by roulette, the rest are
        mutants: of the elites in turn, then of random ones. What cannot be made new is
        replaced by a random network.

        Args:
            rng: draws.
            size: of the generation.
            elites: the best first.
            others: what takes part in the roulette besides them.
            probabilities: (T,) odds of types in mutations; None takes the space's.

        Returns:
            So many, or fewer when no more new ones are found.
        """
        couples = size // 4
        found: list[Offspring] = []
        for number in range(size - 2 * couples):
            if number < len(elites):
                parent = elites[number]
            else:
                parent = elites[rng.integers(len(elites))]
            found += self._tries(1, rng, self._mutants, parent, probabilities)
        for _ in range(couples):
            found += self._tries(2, rng, self._crossed, [*elites, *others])
        return found

    def _tries(self, wanted: int, rng: np.random.Generator, make, *parents) -> list:
        found: list[Offspring] = []
        for attempt in range(2 * _ATTEMPTS):
            if attempt < _ATTEMPTS:
                made = make(rng, *parents)
            else:
                drawn = self.space.sampler.sample(rng, 1)
                made = [Offspring(genome, 'sample') for genome in drawn]
            for child in made:
                if len(found) < wanted:
                    found += self._admit(child.genome, child.operator, child.parents)
            if len(found) == wanted:
                break
        return found

    def _mutants(
        self,
        rng: np.random.Generator,
        parent: Candidate,
        probabilities: np.ndarray | None,
    ) -> Iterator[Offspring]:
        rate = self.mutation_rate
        genome = mutate(self.space, parent.genome, rng, rate, probabilities)
        yield Offspring(genome, 'mutation', (parent.id,))

    def _crossed(
        self, rng: np.random.Generator, pool: Sequence[Candidate]
    ) -> Iterator[Offspring]:
        picked = roulette([c.rank for c in pool], rng, 2)
        # A pool of one is crossed with itself, which gives nothing new.
        first, second = pool[picked[0]], pool[picked[-1]]
        one, other = cross(self.space, first.genome, second.genome, rng)
        yield Offspring(one, 'crossover', (first.id, second.id))
        yield Offspring(other, 'crossover', (second.id, first.id))

    def _admit(
        self, genome: Genome, operator: str, parents: tuple[int, ...] = ()
    ) -> list[Offspring]:
        """One offspring, or none when it was there before or is too slow."""
        if genome in self.seen or genome in self.too_slow:
            return []
        latency = None
        if self.space.max_latency is not None:
            latency = float(self.latency(self.space.codes(genome)))
            if not latency <= self.space.max_latency:
                self.too_slow[genome] = latency
                return []
        self.seen.add(genome)
        return [Offspring(genome, operator, parents, latency)]
