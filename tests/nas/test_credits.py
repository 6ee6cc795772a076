"""Credits of block types."""

import numpy as np
import pytest
from nas.spaces import TINY

from sr_plugins.nas import BlockCredits, Candidate, Genome, SearchSpace

SPACE = SearchSpace(**{**TINY, 'node_num': 4})
CODES = [block.code for block in SPACE.types]


def candidate(codes, fitness):
    """A network of four genes; None is one that is off."""
    genome = Genome(
        tuple(0 if code is None else CODES.index(code) for code in codes),
        tuple(code is not None for code in codes),
    )
    return Candidate(1, 0, genome, (), 0, 0, 'mutation', (1,), fitness=fitness)


def learn(credits, before, after, change):
    credits.update(candidate(before, 30.0), candidate(after, 30.0 + change))


BASE = ('S_1_8_8', 'S_1_8_8', 'S_1_8_8', None)


def test_without_mutations_the_odds_are_the_space_s():
    credits = BlockCredits(SPACE)
    assert (credits.values() == 0).all()
    np.testing.assert_array_equal(credits.probabilities(), SPACE.probabilities)


def test_a_type_that_helped_gains_and_one_that_left_loses():
    credits = BlockCredits(SPACE)
    learn(credits, BASE, ('S_1_8_8', 'C_3_16_16', 'S_1_8_8', None), 0.5)
    values = dict(zip(CODES, credits.values(), strict=True))
    assert max(values, key=values.get) == 'C_3_16_16'
    assert min(values, key=values.get) == 'S_1_8_8'
    assert values['C_3_16_16'] == pytest.approx(-values['S_1_8_8'])
    odds = dict(zip(CODES, credits.probabilities(), strict=True))
    own = dict(zip(CODES, SPACE.probabilities, strict=True))
    assert odds['C_3_16_16'] / own['C_3_16_16'] > odds['S_1_8_8'] / own['S_1_8_8']


def test_what_was_never_seen_has_the_credit_of_its_traits():
    credits = BlockCredits(SPACE)
    learn(credits, BASE, ('S_1_8_8', 'C_1_8_8', 'S_1_8_8', None), 0.5)
    values = dict(zip(CODES, credits.values(), strict=True))
    assert values['C_3_16_16'] > 0 > values['S_3_16_16']
    assert values['C_1_8_8'] > values['C_3_16_16']


def test_order_and_unchanged_genes_do_not_matter():
    """A gene that is off before and after says nothing, whatever its type."""
    one, other = BlockCredits(SPACE), BlockCredits(SPACE)
    changes = [
        (BASE, ('S_1_8_8', 'C_1_8_8', 'S_1_8_8', None), 0.25),
        (BASE, ('S_1_8_8', 'S_1_8_8', 'S_1_8_8', 'S_3_8_16'), -0.5),
        (BASE, (None, 'S_1_8_8', 'S_3_8_8', None), 1.0),
    ]
    for change in changes:
        learn(one, *change)
    for change in reversed(changes):
        learn(other, *change)
    np.testing.assert_allclose(one.values(), other.values(), rtol=0, atol=1e-12)


def test_regression_by_another_route():
    """Ridge regression is least squares with rows that hold each part at 0."""
    rng = np.random.default_rng(0)
    credits = BlockCredits(SPACE, ridge=2.0)
    parts = {}
    for code in CODES:
        kind, layers, growth, out = code.split('_')
        parts[code] = {code, f'k{kind}', f'c{layers}', f'g{growth}', f'o{out}'}
    names = sorted(set().union(*parts.values()))
    rows, targets = [], []
    for _ in range(25):
        codes = [CODES[i] for i in rng.integers(len(CODES), size=2)]
        change = float(rng.normal())
        learn(credits, (codes[0], *BASE[1:]), (codes[1], *BASE[1:]), change)
        rows.append(
            [(name in parts[codes[1]]) - (name in parts[codes[0]]) for name in names]
        )
        targets.append(change)
    matrix = np.vstack([rows, np.sqrt(2.0) * np.eye(len(names))])
    weights = np.linalg.lstsq(matrix, [*targets, *[0] * len(names)], rcond=None)[0]
    expected = [
        sum(weights[names.index(name)] for name in parts[code]) for code in CODES
    ]
    np.testing.assert_allclose(credits.values(), expected, rtol=0, atol=1e-10)


def test_odds_keep_their_floor_and_what_is_forbidden():
    space = SearchSpace(**{**TINY, 'node_num': 4, 'conv_prob': (0, 1)})
    credits = BlockCredits(space, sharpness=50.0, patience=0.0, floor=0.2)
    learn(credits, BASE, ('S_1_8_8', 'C_3_16_16', 'S_1_8_8', None), 0.5)
    odds, own = credits.probabilities(), space.probabilities
    assert odds.sum() == pytest.approx(1)
    assert (odds[own == 0] == 0).all()
    assert (odds[own > 0] >= 0.2 * own[own > 0]).all()
    assert odds[CODES.index('C_3_16_16')] == pytest.approx(
        0.8 + 0.2 * own[CODES.index('C_3_16_16')], abs=1e-6
    )


def test_the_unit_of_fitness_does_not_matter_and_trust_grows():
    small, large, many = (BlockCredits(SPACE) for _ in range(3))
    after = ('S_1_8_8', 'C_3_16_16', 'S_1_8_8', None)
    learn(small, BASE, after, 0.01)
    learn(large, BASE, after, 100.0)
    np.testing.assert_allclose(small.probabilities(), large.probabilities(), rtol=1e-4)
    for _ in range(100):
        learn(many, BASE, after, 0.01)
    place = CODES.index('C_3_16_16')
    assert many.probabilities()[place] > 1.5 * small.probabilities()[place]


def test_a_failure_teaches_nothing():
    credits = BlockCredits(SPACE)
    after = candidate(('S_1_8_8', 'C_3_16_16', 'S_1_8_8', None), None)
    credits.update(candidate(BASE, 30.0), after)
    credits.update(after, candidate(BASE, 30.0))
    assert credits.mutations == 0
    assert (credits.values() == 0).all()
