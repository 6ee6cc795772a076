"""Search spaces: their fields, their tables, and limits that nothing keeps."""

import json

import numpy as np
import pytest
from nas.spaces import TINY, networks

from sr_plugins.nas import (
    Genome,
    SearchSpace,
    count_multiply_adds,
    count_params,
)
from sr_plugins.nas.reachable import least_multiply_adds, reachable_params


def test_the_published_space():
    space = SearchSpace()
    assert len(space.types) == 90
    assert len(set(space.types)) == 90
    assert space.probabilities == pytest.approx(1 / 90)
    assert {t.out_channels >= t.growth_rate for t in space.types} == {True}
    assert space.widths == (32, 8, 16, 24)


def test_odds_of_types_multiply():
    space = SearchSpace(**TINY)
    odds = {t.code: p for t, p in zip(space.types, space.probabilities, strict=True)}
    assert sum(odds.values()) == pytest.approx(1)
    assert odds['C_1_8_8'] == pytest.approx(2 * odds['S_1_8_8'])
    assert odds['S_3_8_8'] == pytest.approx(3 * odds['S_3_8_16'])
    assert odds['S_3_8_8'] == pytest.approx(9 * odds['S_3_16_16'])


@pytest.mark.parametrize('kwargs', [{}, {'scale': 4}, {**TINY, 'G0': 12, 'scale': 3}])
def test_tables_count_as_the_network(kwargs):
    space = SearchSpace(**kwargs)
    rng = np.random.default_rng(0)
    for number in rng.integers(1, 21, 50):
        types = rng.integers(len(space.types), size=number)
        blocks = [space.types[t] for t in types]
        assert space.params(types) == count_params(blocks, space.G0, space.scale)
        expected = count_multiply_adds(blocks, space.G0, space.scale)
        assert space.multiply_adds(types) == expected
    many = rng.integers(len(space.types), size=(4, 5, 6))
    assert space.params(many).shape == (4, 5)
    assert space.params(many)[1, 2] == space.params(many[1, 2])


def test_what_fits():
    space = SearchSpace(**{**TINY, 'min_params': 8_000, 'max_params': 9_000})
    every = list(networks(space))
    fitting = [n for n in every if 8_000 <= space.params(n) <= 9_000]
    assert 0 < len(fitting) < len(every)
    assert [n for n in every if space.fits(n)] == fitting
    ceiling = int(np.median([space.multiply_adds(n) for n in fitting]))
    space = SearchSpace(**{**space.to_dict(), 'max_multiply_adds': ceiling})
    below = [n for n in fitting if space.multiply_adds(n) <= ceiling]
    assert [n for n in every if space.fits(n)] == below
    assert not space.fits(fitting[0][:1]), 'too few blocks'


def test_reachable_weights_are_all_there_are():
    space = SearchSpace(**TINY)
    sums = sorted({int(space.params(n)) for n in networks(space)})
    assert reachable_params(space, 10**6) == sums
    assert reachable_params(space, sums[20]) == sums[:21]
    assert reachable_params(space, 100) == []


def test_reachable_weights_are_exact_below_a_high_window():
    """Odd widths, so that weights differ finely."""
    odd = {'block_type': ('S',), 'type_prob': (1,), 'growth_rate': (5, 7), 'G0': 3}
    space = SearchSpace(**{**TINY, **odd})
    sums = sorted({int(space.params(n)) for n in networks(space)})
    assert reachable_params(space, sums[40]) == sums[:41]


@pytest.mark.parametrize('window', [(0, 10**6), (9_000, 9_200), (12_000, 20_000)])
def test_least_multiply_adds(window):
    low, high = window
    space = SearchSpace(**{**TINY, 'min_params': low, 'max_params': high})
    least = {}
    for network in networks(space):
        if space.fits(network):
            number, count = len(network), space.multiply_adds(network)
            least[number] = min(count, least.get(number, count))
    assert least_multiply_adds(space) == least


def test_types_without_odds_are_not_reachable():
    space = SearchSpace(**{**TINY, 'growth_prob': (0, 1)})
    wide = [t for t, p in enumerate(space.probabilities) if p]
    assert all(space.types[t].growth_rate == 16 for t in wide)
    sums = {int(space.params(n)) for n in networks(space) if set(n) <= set(wide)}
    assert reachable_params(space, 10**6) == sorted(sums)


def test_a_window_that_nothing_hits():
    with pytest.raises(
        ValueError, match=r'98536 to 2443752 weights; 98536 is the'
    ) as e:
        SearchSpace(min_params=1, max_params=1)
    assert '(16 to 20) blocks, but got 1 and 1' in str(e.value)
    with pytest.raises(ValueError, match=r'2443752 is the next below'):
        SearchSpace(min_params=5_000_000, max_params=6_000_000)
    # All counts of the published space are multiples of 8.
    with pytest.raises(ValueError, match=r'315000 is the next below and 315016'):
        SearchSpace(min_params=315_001, max_params=315_010)


def test_a_ceiling_that_nothing_keeps():
    space = SearchSpace(**TINY)
    least = min(int(space.multiply_adds(n)) for n in networks(space))
    SearchSpace(**TINY, max_multiply_adds=least)
    with pytest.raises(ValueError, match=f'`max_multiply_adds` to be at least {least}'):
        SearchSpace(**TINY, max_multiply_adds=least - 1)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('block_type', ('S', 'X'), "S, G or C, but got 'X'"),
        ('block_type', 'SGC', "a list, but got 'SGC'"),
        ('block_type', (), 'at least one'),
        ('conv_num', (4, 4, 6), 'different values'),
        ('conv_num', (4, 0, 6), 'at least 1, but got 0'),
        ('conv_num', 4, 'a list, but got 4'),
        ('growth_rate', (8, 16.0, 24, 32), r'at least 1, but got 16\.0'),
        ('growth_rate', (6, 8, 16, 24), 'multiple of 4'),
        ('type_prob', (1, 1), r'3 numbers, .*`block_type`, but got \[1, 1\]'),
        ('conv_prob', (1, -1, 1), 'at least 0, but got -1'),
        ('conv_prob', (1, float('nan'), 1), 'but got nan'),
        ('growth_prob', (0, 0, 0, 0), 'a number above 0'),
        ('growth_prob', 1, 'a list, but got 1'),
        ('G0', 0, 'at least 1, but got 0'),
        ('scale', 5, 'one of 2, 3, 4, but got 5'),
        ('node_num', True, 'at least 1, but got True'),
        ('min_active', 21, 'at most `node_num`, 20, .* but got 21'),
        ('min_active', 0, 'at least 1, but got 0'),
        ('min_params', 325_001, 'at most `max_params`, 325000, but got 325001'),
        ('max_params', '325k', "but got '325k'"),
        ('max_multiply_adds', 7e10, 'an integer'),
        ('max_latency', -1.0, r'at least 0, but got -1\.0'),
    ],
)
def test_wrong_fields(field, value, message):
    with pytest.raises(ValueError, match=message) as error:
        SearchSpace.from_config({field: value})
    if field != 'growth_rate' or value[0] != 6:
        assert f'`{field}`' in str(error.value)


def test_an_unknown_field_has_a_neighbour():
    with pytest.raises(
        ValueError, match=r"got 'max_param'\. Did you mean `max_params`"
    ):
        SearchSpace.from_config({'max_param': 1})
    with pytest.raises(TypeError, match='dictionary, but got list'):
        SearchSpace.from_config([])


def test_a_space_survives_json():
    space = SearchSpace(**TINY, max_multiply_adds=10**12, max_latency=3.5)
    again = SearchSpace.from_config(json.loads(json.dumps(space.to_dict())))
    assert again == space


def test_genomes_are_their_networks():
    one = Genome((1, 2, 3), (True, False, True))
    assert one == Genome((1, 7, 3), (True, False, True))
    assert one == Genome((1, 3, 9), (True, True, False))
    assert len({one, Genome((0, 1, 3), (False, True, True))}) == 1
    assert one != Genome((3, 2, 1), (True, False, True))
    assert one.network == (1, 3)
    assert one.genes == (1, None, 3)
    with pytest.raises(ValueError, match='as many bits as types, but got 1 and 2'):
        Genome((1, 2), (True,))
    with pytest.raises(AttributeError):
        one.types = (1, 2, 3)


def test_codes_of_a_genome():
    space = SearchSpace(**TINY)
    genome = Genome((0, 11, 5), (True, False, True))
    assert space.codes(genome) == (space.types[0].code, space.types[5].code)
    assert [b.code for b in space.blocks(genome)] == list(space.codes(genome))
