"""Which candidates go on and which have children."""

from collections.abc import Sequence

import numpy as np


def best_first(fitness: Sequence[float]) -> list[int]:
    """Indices by falling fitness, the earlier first of equal ones."""
    return sorted(range(len(fitness)), key=lambda i: -fitness[i])


def tournament(
    fitness: Sequence[float],
    rng: np.random.Generator,
    count: int = 2,
    size: int = 2,
) -> list[int]:
    """Pick the best of `size` random ones, again and again, each at most once.

    Args:
        fitness: of all; -inf for those that failed.
        rng: draws who meets.
        count: how many to pick.
        size: of a tournament, or all that are left when they are fewer.

    Returns:
        Indices, `count` or as many as there are.
    """
    left = list(range(len(fitness)))
    picked: list[int] = []
    while left and len(picked) < count:
        rivals = rng.choice(len(left), min(size, len(left)), replace=False)
        winner = max((left[i] for i in sorted(rivals)), key=lambda i: fitness[i])
        left.remove(winner)
        picked.append(winner)
    return picked


def roulette(
    fitness: Sequence[float], rng: np.random.Generator, count: int = 2
) -> list[int]:
    """Pick with odds of fitness above the worst, each at most once.

    The worst has no chance, as published, until none but those as bad are left, who
    then have equal ones.

    Args:
        fitness: of all, of any sign; -inf for those that failed, which count as the
            worst.
        rng: draws.
        count: how many to pick.

    Returns:
        Indices, `count` or as many as there are.
    """
    fitness = np.asarray(fitness, float)
    finite = fitness[np.isfinite(fitness)]
    worst = finite.min() if len(finite) else 0.0
    odds = np.where(np.isfinite(fitness), fitness, worst) - worst
    left = np.ones(len(fitness), bool)
    picked: list[int] = []
    while left.any() and len(picked) < count:
        sums = np.cumsum(np.where(left, odds, 0.0))
        if sums[-1] <= 0 or not np.isfinite(sums[-1]):
            sums = np.cumsum(left.astype(float))
        # Above 0 and no more than the sum: never one without odds, never past the end.
        winner = int(sums.searchsorted((1.0 - rng.random()) * sums[-1]))
        left[winner] = False
        picked.append(winner)
    return picked
