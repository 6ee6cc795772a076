"""What is drawn fits, with the odds that trial and error would give."""

import math
from collections import Counter

import numpy as np
import pytest
from nas.spaces import TINY, networks

from sr_plugins.nas import SearchSpace


def exact_odds(space):
    """Odds of each network among genomes with fair bits, given that it fits."""
    odds = {}
    for network in networks(space):
        if space.fits(network):
            ways = math.comb(space.node_num, len(network))
            odds[network] = ways * math.prod(space.probabilities[t] for t in network)
    total = sum(odds.values())
    return {network: value / total for network, value in odds.items()}


def chi_square(counts, odds, size):
    """In deviations from what chance gives; networks that are rare go together."""
    rare = [n for n, p in odds.items() if p * size < 5]
    groups = [[n] for n, p in odds.items() if p * size >= 5] + ([rare] if rare else [])
    statistic = 0.0
    for group in groups:
        expected = size * sum(odds[n] for n in group)
        statistic += (sum(counts[n] for n in group) - expected) ** 2 / expected
    freedom = len(groups) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


WINDOW = {'min_params': 8_000, 'max_params': 9_500}


@pytest.mark.parametrize('batch', [20_000, 20])
def test_odds_are_those_of_trial_and_error(batch):
    """In batches that are drawn by proposals and in smaller ones that are not."""
    space = SearchSpace(**{**TINY, **WINDOW})
    odds = exact_odds(space)
    assert len(odds) > 50
    rng = np.random.default_rng(0)
    size = 20_000 if batch > 1000 else 4_000
    counts = Counter(
        genome.network
        for _ in range(size // batch)
        for genome in space.sampler.sample(rng, batch)
    )
    assert set(counts) <= set(odds)
    assert chi_square(counts, odds, size) < 4


@pytest.mark.parametrize('passing', [0.5, 0.01])
def test_a_ceiling_does_not_change_the_odds_below_it(passing):
    """Also where networks are drawn with a lean towards few multiply-adds."""
    kwargs = {**TINY, 'growth_prob': (1, 1), 'node_num': 4, 'min_active': 3}
    space = SearchSpace(**kwargs)
    odds = exact_odds(space)
    order = sorted(odds, key=space.multiply_adds)
    sums = np.cumsum([odds[network] for network in order])
    ceiling = int(space.multiply_adds(order[int(np.searchsorted(sums, passing))]))
    space = SearchSpace(**kwargs, max_multiply_adds=ceiling)
    assert (space.sampler._lean > 0) == (passing < 0.05)
    odds = exact_odds(space)
    assert len(odds) > 10
    sample = space.sampler.sample(np.random.default_rng(0), 10_000)
    counts = Counter(genome.network for genome in sample)
    assert set(counts) <= set(odds)
    assert chi_square(counts, odds, 10_000) < 4


def test_bits_and_idle_genes_are_even():
    space = SearchSpace(**{**TINY, **WINDOW})
    genomes = space.sampler.sample(np.random.default_rng(1), 20_000)
    for number in space.sampler.feasible:
        rows = np.array([g.active for g in genomes if len(g.network) == number])
        share = rows.mean(0)
        deviation = 0.5 / math.sqrt(len(rows))
        assert np.abs(share - number / space.node_num).max() < 5 * deviation
    idle = [
        t for g in genomes for t, on in zip(g.types, g.active, strict=True) if not on
    ]
    share = np.bincount(idle, minlength=len(space.types)) / len(idle)
    assert np.abs(share - space.probabilities).max() < 5 * 0.5 / math.sqrt(len(idle))


def test_the_published_window():
    space = SearchSpace()
    genomes = space.sampler.sample(np.random.default_rng(0), 3_000)
    assert len(genomes) == 3_000
    assert all(space.fits(genome.network) for genome in genomes)
    assert len(set(genomes)) == 3_000
    # Both ends of the window are reached, and every type and number of blocks up to 18.
    params = [int(space.params(genome.network)) for genome in genomes]
    assert min(params) < 315_100
    assert max(params) > 324_900
    assert {t for genome in genomes for t in genome.network} == set(range(90))
    assert {16, 17, 18} <= {len(genome.network) for genome in genomes}


def test_the_same_seed_draws_the_same():
    space = SearchSpace()
    one, other = (
        [(g.types, g.active) for g in space.sampler.sample(rng, 100)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert one == other


def test_a_window_of_one_number():
    space = SearchSpace(min_params=320_008, max_params=320_008)
    genomes = space.sampler.sample(np.random.default_rng(0), 20)
    assert {int(space.params(genome.network)) for genome in genomes} == {320_008}


def test_a_window_without_an_end():
    """Tables go as far as networks do, not as far as the window."""
    space = SearchSpace(**{**TINY, 'max_params': 10**12})
    sample = space.sampler.sample(np.random.default_rng(0), 2_000)
    counts = Counter(genome.network for genome in sample)
    assert chi_square(counts, exact_odds(space), 2_000) < 4


def test_weights_that_differ_finely():
    """The table is coarse, so what it gives is looked at again."""
    space = SearchSpace(G0=31, min_params=1_010_000, max_params=1_010_400)
    assert space.sampler._grid.error
    genomes = space.sampler.sample(np.random.default_rng(0), 100)
    assert len(set(genomes)) == 100
    assert all(space.fits(genome.network) for genome in genomes)


def test_numbers_of_blocks_that_cannot_fit():
    space = SearchSpace(**{**TINY, 'max_params': 5_100})
    assert space.sampler.feasible == (2,)
    network = space.sampler.sample_types(np.random.default_rng(0), 2)
    assert space.fits(network)
    with pytest.raises(ValueError, match=r'among \(2,\), but got 3'):
        space.sampler.sample_types(np.random.default_rng(0), 3)
