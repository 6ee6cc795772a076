"""Who has children and who goes on."""

from collections import Counter

import numpy as np
import pytest

from sr_plugins.nas import Candidate, Genome, best_first, pareto_front
from sr_plugins.nas import roulette as spin
from sr_plugins.nas import tournament as meet

INF = float('inf')


def shares(pick, count=4000):
    rng = np.random.default_rng(0)
    counts = Counter(i for _ in range(count) for i in pick(rng))
    return {i: n / count for i, n in counts.items()}


def test_best_first():
    assert best_first([1.0, 3.0, -INF, 3.0, 2.0]) == [1, 3, 4, 0, 2]


@pytest.mark.parametrize('shift', [0, -50, 37])
def test_roulette_by_fitness_above_the_worst(shift):
    fitness = [shift + x for x in (0.0, 1.0, 2.0, 5.0)]
    found = shares(lambda rng: spin(fitness, rng, 1))
    assert found == pytest.approx({1: 1 / 8, 2: 2 / 8, 3: 5 / 8}, abs=0.04)


@pytest.mark.parametrize('fitness', [[0.0] * 4, [38.1] * 4, [-INF] * 4, [-2.0] * 4])
def test_roulette_of_equals(fitness):
    found = shares(lambda rng: spin(fitness, rng, 1))
    assert found == pytest.approx(dict.fromkeys(range(4), 0.25), abs=0.04)


def test_roulette_takes_each_once():
    rng = np.random.default_rng(0)
    # After the first only the worst are left, who are equal.
    found = shares(lambda rng: spin([1.0, 1.0, 9.0], rng, 2))
    assert found == pytest.approx({0: 0.5, 1: 0.5, 2: 1.0}, abs=0.04)
    assert sorted(spin([3.0, 1.0, 2.0], rng, 3)) == [0, 1, 2]
    assert spin([3.0], rng, 2) == [0]
    assert spin([], rng, 2) == []


def test_roulette_counts_failures_as_the_worst():
    found = shares(lambda rng: spin([-INF, 1.0, 2.0, 3.0], rng, 1))
    assert found == pytest.approx({2: 1 / 3, 3: 2 / 3}, abs=0.04)


def test_roulette_stays_inside():
    """Sums of odds end a little below or above 1."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        fitness = rng.normal(size=12) * 10.0 ** rng.integers(-12, 12)
        picked = spin(fitness, rng, 11)
        assert len(set(picked)) == 11
        assert int(np.argmin(fitness)) not in picked


def test_tournament():
    fitness = [0.0, -1.0, 5.0, 3.0]
    # The chance that the best of two different ones is the one.
    found = shares(lambda rng: meet(fitness, rng, 1))
    assert found == pytest.approx({0: 1 / 6, 2: 3 / 6, 3: 2 / 6}, abs=0.04)
    rng = np.random.default_rng(0)
    assert meet(fitness, rng, 4, size=4) == [2, 3, 0, 1]
    assert meet(fitness, rng, 9, size=9) == [2, 3, 0, 1]
    assert len(set(meet([-INF] * 5, rng, 3))) == 3


def candidate(id, params, fitness, multiply_adds=0):
    return Candidate(
        id, 0, Genome((0,), (True,)), (), params, multiply_adds, 'sample', (),
        fitness=fitness,
    )  # fmt: skip


def test_pareto_front_by_looking_at_all_pairs():
    rng = np.random.default_rng(0)
    candidates = [
        candidate(i + 1, int(rng.integers(30)), float(rng.integers(30)))
        for i in range(60)
    ]
    front = pareto_front([*candidates, candidate(61, 0, None)])
    best = {
        (c.params, c.fitness)
        for c in candidates
        if not any(
            d.params <= c.params
            and d.fitness >= c.fitness
            and (d.params, d.fitness) != (c.params, c.fitness)
            for d in candidates
        )
    }
    assert [(c.params, c.fitness) for c in front] == sorted(best)
    assert len(front) > 2


def test_pareto_front_by_another_cost():
    one, two = candidate(1, 5, 1.0, multiply_adds=9), candidate(2, 4, 2.0, 12)
    assert pareto_front([one, two]) == [two]
    assert pareto_front([one, two], 'multiply_adds') == [one, two]
    with pytest.raises(ValueError, match="params, multiply_adds, but got 'latency'"):
        pareto_front([one], 'latency')
