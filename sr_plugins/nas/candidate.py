"""A network that a search asks to be evaluated, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from .genome import Genome


@dataclass
class Candidate:
    """One network of a search.

    Attributes:
        id: 1, 2, ... in the order in which they were made.
        generation: from 0.
        genome: of the network.
        codes: of its blocks, for `parse_architecture`.
        params: weights, without bias.
        multiply_adds: for an HR image of 1280 x 720.
        operator: how it was made: 'sample', 'mutation' or 'crossover'.
        parents: their ids; for a mutation one, for a crossover two, its own first.
        latency: as measured; None when the space has no ceiling of it.
        fitness: higher is better; None until it was told, and when it failed.
        error: why it failed; None when it did not.
        info: what else was told with the fitness.
    """

    id: int
    generation: int
    genome: Genome
    codes: tuple[str, ...]
    params: int
    multiply_adds: int
    operator: str
    parents: tuple[int, ...] = ()
    latency: float | None = None
    fitness: float | None = None
    error: str | None = None
    info: dict = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether its fitness or its failure was told."""
        return self.fitness is not None or self.error is not None

    @property
    def rank(self) -> float:
        """Fitness; -inf after a failure."""
        return -inf if self.fitness is None else self.fitness

    def to_dict(self) -> dict:
        """As JSON holds it, for `from_dict`."""
        return {
            'id': self.id,
            'generation': self.generation,
            'codes': list(self.codes),
            'params': self.params,
            'multiply_adds': self.multiply_adds,
            'latency': self.latency,
            'fitness': self.fitness,
            'error': self.error,
            'operator': self.operator,
            'parents': list(self.parents),
            'info': self.info,
            'types': list(self.genome.types),
            'active': [int(on) for on in self.genome.active],
        }

    @classmethod
    def from_dict(cls, state: Mapping) -> 'Candidate':
        """Read what `to_dict` wrote."""
        state = dict(state)
        genome = Genome.of(state.pop('types'), state.pop('active'))
        return cls(
            **{
                **state,
                'genome': genome,
                'codes': tuple(state['codes']),
                'parents': tuple(state['parents']),
            }
        )
