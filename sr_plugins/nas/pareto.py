"""Which candidates are worth their cost."""

from collections.abc import Iterable

from .candidate import Candidate

_COSTS = ('params', 'multiply_adds')


def pareto_front(
    candidates: Iterable[Candidate], cost: str = 'params'
) -> list[Candidate]:
    """Find those that no other beats in cost and fitness.

    Args:
        candidates: those without a fitness are left out.
        cost: 'params' or 'multiply_adds'.

    Returns:
        Candidates by rising cost and rising fitness; of equal ones the earliest.

    Raises:
        ValueError: on another cost.
    """
    if cost not in _COSTS:
        raise ValueError(
            f'Expected `cost` to be one of {", ".join(_COSTS)}, but got {cost!r}.'
        )
    told = [c for c in candidates if c.fitness is not None]
    front: list[Candidate] = []
    for candidate in sorted(told, key=lambda c: (getattr(c, cost), -c.fitness, c.id)):
        if not front or candidate.fitness > front[-1].fitness:
            front.append(candidate)
    return front
