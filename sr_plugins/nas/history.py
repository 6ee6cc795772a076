"""A search by its generations."""

from collections.abc import Iterable, Sequence

from .candidate import Candidate


def describe_generations(
    candidates: Sequence[Candidate], elites: Sequence[Sequence[int]]
) -> list[dict]:
    """Describe each finished generation.

    Args:
        candidates: all, by their ids.
        elites: their ids after each finished generation.

    Returns:
        Dictionaries of `generation`; `best`, the highest fitness so far; `mean` of the
        generation and `elites`, the mean of the elites after it, all three without
        failures and None when there is nothing else; `candidates`, how many so far;
        `failed`, how many in the generation.
    """
    rows = []
    for number, ids in enumerate(elites):
        so_far = [c for c in candidates if c.generation <= number]
        of_it = [c for c in so_far if c.generation == number]
        told = [c.fitness for c in so_far if c.fitness is not None]
        rows.append(
            {
                'generation': number,
                'best': max(told, default=None),
                'mean': _mean(c.fitness for c in of_it),
                'elites': _mean(candidates[id - 1].fitness for id in ids),
                'candidates': len(so_far),
                'failed': sum(c.error is not None for c in of_it),
            }
        )
    return rows


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
