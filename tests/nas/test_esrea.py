"""The search as a whole: who is asked when, what depends on what, and going on."""

import json
import random

import numpy as np
import pytest
from nas.spaces import TINY, networks

from sr_plugins.nas import ESREA, SearchSpace

SPACE = SearchSpace(max_params=325_000)


def fitness_of(candidate):
    """Some fitness with a structure: pooled blocks early, fewer multiply-adds."""
    pooled = sum(
        code[0] == 'C' and i < 8 for i, code in enumerate(candidate.codes)
    ) / len(candidate.codes)
    return 38 + pooled - candidate.multiply_adds / 1e11


def run(search, fitness=fitness_of):
    while not search.done:
        for candidate in search.ask():
            search.tell(candidate.id, fitness(candidate))
    return search


def summary(search):
    return [c.to_dict() for c in search.candidates], search.state_dict()


@pytest.fixture(scope='module')
def whole():
    return run(ESREA(SPACE, num_generation=8, seed=3))


def test_a_search_by_numbers(whole):
    assert whole.done
    assert whole.num_candidates == 64
    assert [c.id for c in whole.candidates] == list(range(1, 65))
    assert [c.generation for c in whole.candidates] == [i // 8 for i in range(64)]
    assert whole.ask() == []
    assert whole.generation == 7
    assert len({c.codes for c in whole.candidates}) == 64, 'evaluated twice'
    for c in whole.candidates:
        assert SPACE.fits(c.genome.network)
        assert c.params == SPACE.params(c.genome.network)
        assert c.multiply_adds == SPACE.multiply_adds(c.genome.network)


def test_elites_are_the_best_so_far(whole):
    for number, row in enumerate(whole.generations()):
        told = [c for c in whole.candidates if c.generation <= number]
        best = sorted(told, key=lambda c: -c.fitness)[:4]
        assert row['generation'] == number
        assert row['best'] == best[0].fitness
        assert row['elites'] == pytest.approx(np.mean([c.fitness for c in best]))
        new = [c.fitness for c in told if c.generation == number]
        assert row['mean'] == pytest.approx(np.mean(new))
        assert (row['candidates'], row['failed']) == (len(told), 0)
    assert whole.elites == best
    assert whole.best == best[0]
    assert whole.best.fitness > whole.generations()[0]['best']


def test_the_pareto_front_is_of_all(whole):
    front = whole.pareto_front('multiply_adds')
    assert front[-1] == whole.best
    assert front[0].multiply_adds == min(c.multiply_adds for c in whole.candidates)


def test_parents_are_those_that_the_rules_allow(whole):
    elites = {0: []}
    for number in range(8):
        told = [c for c in whole.candidates if c.generation <= number]
        elites[number + 1] = sorted(told, key=lambda c: -c.fitness)[:4]
    for c in whole.candidates:
        if c.operator == 'sample':
            assert c.generation == 0
            assert c.parents == ()
        elif c.operator == 'mutation':
            place = (c.id - 1) % 8
            assert c.parents == (elites[c.generation][place].id,)
        else:
            last = [p.id for p in whole.candidates if p.generation == c.generation - 1]
            pool = {p.id for p in elites[c.generation]} | set(last)
            assert len(set(c.parents)) == 2
            assert set(c.parents) <= pool


@pytest.mark.parametrize('number', range(1, 12))
def test_any_number_of_individuals(number):
    search = run(ESREA(SPACE, num_generation=3, num_individual=number, num_elitism=2))
    assert len(search.candidates) == 3 * number
    crossed = 2 * (number // 4)
    for generation in (1, 2):
        made = [c.operator for c in search.candidates if c.generation == generation]
        assert made == ['mutation'] * (number - crossed) + ['crossover'] * crossed


def test_neither_order_nor_workers_matter(whole):
    """One worker, three that finish in any order, and all at once."""
    for workers in (1, 3, 8):
        search = ESREA(SPACE, num_generation=8, seed=3)
        chance = random.Random(workers)
        working = []
        while not search.done:
            if len(working) < workers:
                working += search.ask(workers - len(working))
            candidate = working.pop(chance.randrange(len(working)))
            search.tell(candidate.id, fitness_of(candidate))
        assert summary(search) == summary(whole)


def test_resumed_after_every_tell(whole):
    search = ESREA(SPACE, num_generation=8, seed=3)
    while not search.done:
        waiting = search.ask(2)
        for candidate in waiting[::-1]:
            search.tell(candidate.id, fitness_of(candidate))
            search = ESREA.from_state(json.loads(json.dumps(search.state_dict())))
    assert summary(search) == summary(whole)


def test_what_was_not_told_is_asked_again_after_a_resume():
    search = ESREA(SPACE, seed=1)
    first, second, third = search.ask(3)
    search.tell(second.id, 1.0)
    search = ESREA.from_state(search.state_dict())
    assert [c.id for c in search.ask(2)] == [first.id, third.id]
    assert len(search.pending) == 7


def test_a_generation_is_a_barrier():
    search = ESREA(SPACE, seed=1)
    candidates = search.ask()
    assert len(candidates) == 8
    assert search.ask() == []
    for candidate in candidates[1:]:
        search.tell(candidate.id, 1.0)
        assert search.ask() == []
    assert search.elites == []
    search.tell(candidates[0].id, 2.0)
    assert search.elites[0].id == candidates[0].id
    assert {c.generation for c in search.ask()} == {1}


def test_release():
    search = ESREA(SPACE, seed=1)
    search.ask(3)
    search.release([2])
    assert [c.id for c in search.ask(2)] == [2, 4]
    search.release()
    assert [c.id for c in search.ask()] == list(range(1, 9))


def test_another_seed_is_another_search(whole):
    other = run(ESREA(SPACE, num_generation=2, seed=4))
    codes = {c.codes for c in whole.candidates}
    assert not codes & {c.codes for c in other.candidates}


def test_guidance_changes_mutation_only():
    guided, unguided = (
        run(ESREA(SPACE, num_generation=3, seed=3, guided=on)) for on in (True, False)
    )
    codes, others = ([c.codes for c in s.candidates] for s in (guided, unguided))
    # Without a mutation there are no credits yet.
    assert codes[:16] == others[:16]
    assert codes[16:] != others[16:]
    assert unguided.credits.mutations == guided.credits.mutations == 8


def test_guidance_finds_what_helps():
    """With fitness that counts one kind, mutation comes to prefer that kind."""

    def pooled(candidate):
        return float(sum(code[0] == 'C' for code in candidate.codes))

    search = run(ESREA(SPACE, num_generation=12, seed=0), pooled)
    odds = search.credits.probabilities()
    kinds = np.array([block.kind for block in SPACE.types])
    assert odds[kinds == 'C'].sum() > 0.7


def test_failures_rank_last():
    search = ESREA(SPACE, num_generation=4, seed=2)
    reasons = {1: 'out of memory', 2: None, 3: None}
    while not search.done:
        for c in search.ask():
            if c.id == 1:
                search.tell(c.id, error=reasons[1])
            elif c.id in (2, 3):
                search.tell(c.id, float('nan') if c.id == 2 else float('-inf'))
            else:
                search.tell(c.id, -100.0 - c.id, info={'seconds': 2.5})
    failed = [c for c in search.candidates if c.error is not None]
    assert [c.error for c in failed] == [
        'out of memory',
        'its fitness is nan',
        'its fitness is -inf',
    ]
    assert all(c.fitness is None and c.done for c in failed)
    assert search.best.id == 4
    assert [c.id for c in search.elites] == [4, 5, 6, 7]
    assert search.generations()[0]['failed'] == 3
    assert search.candidate(9).info == {'seconds': 2.5}
    json.dumps(search.state_dict(), allow_nan=False)


def test_a_search_in_which_all_fail_goes_on():
    search = ESREA(SPACE, num_generation=3, seed=2)
    while not search.done:
        for c in search.ask():
            search.tell(c.id, error='diverged')
    assert len(search.candidates) == 24
    assert search.best is None
    assert search.generations()[-1]['best'] is None
    assert search.generations()[-1]['elites'] is None


def test_a_space_that_is_used_up_ends_the_search():
    kwargs = {**TINY, 'block_type': ('S',), 'conv_num': (1,), 'conv_prob': (1,)}
    space = SearchSpace(**{**kwargs, 'type_prob': (1,), 'node_num': 2})
    count = len(list(networks(space)))
    assert count == 9
    search = run(ESREA(space, num_generation=50, num_individual=4))
    assert search.done
    assert len(search.candidates) == count
    assert {c.genome.network for c in search.candidates} == set(networks(space))
    again = ESREA.from_state(search.state_dict())
    assert again.done
    assert again.ask() == []


def test_a_ceiling_of_latency():
    """Measured once a network, kept by all, and saved with the rest."""
    calls = []

    def latency(codes):
        calls.append(codes)
        return sum(int(code.split('_')[1]) for code in codes) / 10

    space = SearchSpace(max_latency=8.5)
    with pytest.raises(ValueError, match=r'`latency`, a function .*max_latency=8\.5'):
        ESREA(space)
    whole = run(ESREA(space, num_generation=5, seed=1, latency=latency))
    assert len(calls) == len(set(calls)) > len(whole.candidates)
    assert all(c.latency == latency(c.codes) <= 8.5 for c in whole.candidates)
    search = ESREA(space, num_generation=5, seed=1, latency=latency)
    while not search.done:
        for c in search.ask():
            search.tell(c.id, fitness_of(c))
            state = json.loads(json.dumps(search.state_dict()))
            search = ESREA.from_state(state, latency)
    assert summary(search) == summary(whole)


def test_a_ceiling_of_latency_that_nothing_keeps():
    search = ESREA(SearchSpace(max_latency=1.0), latency=lambda codes: 2.0)
    with pytest.raises(RuntimeError, match=r'at most 1\.0, but \d+ drawn .* have 2\.0'):
        search.ask()


def test_wrong_tells():
    search = ESREA(SPACE, seed=1)
    with pytest.raises(ValueError, match='1 to 0, but got 1'):
        search.tell(1, 2.0)
    search.ask()
    search.tell(1, 2.0)
    with pytest.raises(ValueError, match='not told yet, but got 1 again'):
        search.tell(1, 2.0)
    for wrong in (9, 0, '1', None):
        with pytest.raises(ValueError, match='1 to 8, but got'):
            search.tell(wrong, 2.0)
    with pytest.raises(ValueError, match='either a fitness or an error of candidate 2'):
        search.tell(2)
    with pytest.raises(ValueError, match='either a fitness or an error of candidate 2'):
        search.tell(2, 1.0, error='x')
    assert not search.candidate(2).done
    with pytest.raises(ValueError, match='`count` to be an integer of at least 1'):
        search.ask(0)


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('num_generation', 0),
        ('num_individual', 2.5),
        ('num_elitism', 0),
        ('mutation_rate', 1.5),
        ('mutation_rate', '0.05'),
        ('guided', 'yes'),
        ('seed', -1),
    ],
)
def test_wrong_settings(field, value):
    with pytest.raises(ValueError, match=f'Expected `{field}` to be .* but got'):
        ESREA(SPACE, **{field: value})


def test_groups_of_a_config():
    search = ESREA.from_config(
        search_space={'block_type': ['S', 'G'], 'type_prob': [1, 1], 'scale': 4},
        range={'min_params': 400_000, 'max_params': 420_000},
        policy={'num_individual': 5, 'guided': False, 'seed': 7},
    )
    assert search.space.scale == 4
    assert search.space.min_params == 400_000
    assert (search.num_individual, search.num_generation) == (5, 20)
    assert not search.guided
    assert ESREA.from_config().space == SearchSpace()
    with pytest.raises(ValueError, match='Did you mean `num_individual`'):
        ESREA.from_config(policy={'num_individuals': 8})
    with pytest.raises(ValueError, match='Did you mean `min_active`'):
        ESREA.from_config(range={'min_activ': 8})
    with pytest.raises(TypeError, match=r'config of policy .* but got list'):
        ESREA.from_config(policy=[('seed', 1)])


def test_the_state_of_something_else():
    with pytest.raises(ValueError, match='in format 1, but got None'):
        ESREA.from_state({'state_dict': {}})
    with pytest.raises(TypeError, match='but got str'):
        ESREA.from_state('search.json')
