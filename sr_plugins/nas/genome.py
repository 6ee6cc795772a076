"""What evolution changes: a row of genes, each a block type that may be off."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Genome:
    """A gene has a type, an index into the types of its space, and is on or off.

    Genes that are off cost nothing and are kept, since a later mutation may turn them
    on. Two genomes of one network are equal: only genes that are on count.

    Attributes:
        types: one a gene.
        active: whether each gene is on.
    """

    types: tuple[int, ...]
    active: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.types) != len(self.active):
            raise ValueError(
                f'Expected as many bits as types, but got {len(self.active)} and '
                f'{len(self.types)}.'
            )

    @cached_property
    def network(self) -> tuple[int, ...]:
        """The types of the genes that are on, which alone make the network."""
        return tuple(t for t, on in zip(self.types, self.active, strict=True) if on)

    @property
    def genes(self) -> tuple[int | None, ...]:
        """The type of each gene, None where it is off."""
        genes = zip(self.types, self.active, strict=True)
        return tuple(t if on else None for t, on in genes)

    @classmethod
    def of(cls, types: Iterable[int], active: Iterable[bool]) -> 'Genome':
        """Make one from arrays or lists."""
        return cls(tuple(map(int, types)), tuple(map(bool, active)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Genome):
            return NotImplemented
        return self.network == other.network

    def __hash__(self) -> int:
        return hash(self.network)
