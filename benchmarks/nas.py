#!/usr/bin/env python
"""How fast does the search find networks that fit, and how soon good ones?

First, networks of 315 to 325 thousand weights a second: ours against the published way,
which flips bits until enough blocks are on and draws types anew until the weights are
in the window. It is written here from its description, with our exact counts and tables
of weights: one network after the other as published, and for thousands side by side, as
the published program does not work. The claim compares a large batch of ours with the
published procedure as it is; the table has small batches, too. Times are those of the
process, so other programs disturb them little.

Second, evaluations until a search has 95 % of what the best network of the window has
over a random one, on landscapes of which the best network is known. On a landscape, a
block is worth what its kind, its layers, its growth rate, its output channels and their
combination are worth, plus what its kind is worth at that depth and after the kind
before; all parts are drawn from one normal distribution, so none was chosen to matter.
The fitness of a network saturates in the mean over its blocks: (1 - exp(-2 z)) / (1 -
exp(-2)), with z = 0 for the mean of random networks and z = 1 for the best one, which
dynamic programming over depth, kind, width and weights finds.

The credits of guided searches assume that traits of blocks are worth something of their
own, as these landscapes have it. Others, 'unrelated', give each combination a worth of
its own with the same spread, so that nothing is learnt of one type from another. The
former were fixed before there were credits, and the constants of the credits chosen on
both kinds with seeds from 100 on; those here start at 0. `--noise` adds noise to what
searches are told, as short trainings have it.

Sides: guided and unguided ESR-EA of `sr_plugins.nas`, networks drawn at random, and
ESR-EA by its published rules, with the published repair and repeated evaluations.

Examples:
  python benchmarks/nas.py
  python benchmarks/nas.py --quick
  python benchmarks/nas.py --plot docs/images/search_synthetic.png
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sr_plugins.nas import ESREA, SearchSpace, best_first
from sr_plugins.nas.reachable import make_grid

RATE, INDIVIDUALS, ELITES = 0.05, 8, 4
GOAL = 0.95
PUBLISHED_BUDGET = 160
TRAITS = ('kind', 'conv_num', 'growth_rate', 'out_channels')
RELATED, UNRELATED = 'related', 'unrelated'
GUIDED, UNGUIDED, RANDOM, PUBLISHED = 'guided', 'unguided', 'random', 'published'
SIDES = (GUIDED, UNGUIDED, RANDOM, PUBLISHED)
COLOURS = dict(zip(SIDES, ('#d62728', '#1f77b4', '#7f7f7f', '#2ca02c'), strict=True))


class Landscape:
    """A fitness of networks, (blocks,) of type indices, by a seed.

    Args:
        space: of the networks.
        seed: of all that is drawn.
        kind: whether types that share traits are `RELATED` or `UNRELATED`.

    Attributes:
        best: what the best network of the window has in the mean over its blocks.
        typical: the same of networks drawn at random.
    """

    def __init__(self, space: SearchSpace, seed: int, kind: str = RELATED) -> None:
        self.space = space
        rng = np.random.default_rng(seed)
        types = space.types
        self.kind = np.array([space.block_type.index(t.kind) for t in types])
        self.worth = rng.normal(size=len(types))
        for name in TRAITS:
            values = [getattr(t, name) for t in types]
            levels = sorted(set(values))
            effects = rng.normal(size=len(levels))
            self.worth += effects[[levels.index(value) for value in values]]
        if kind == UNRELATED:
            # As many parts, all of them of the combination.
            self.worth = rng.normal(size=len(types)) * math.sqrt(1 + len(TRAITS))
        kinds = len(space.block_type)
        self.slope = rng.normal(size=kinds)
        self.after = rng.normal(size=(kinds, kinds))
        sample = space.sampler.sample(rng, 2000)
        self.typical = statistics.fmean(self.mean_worth(g.network) for g in sample)
        self.best = max(map(self._best_of, space.sampler.feasible))

    def mean_worth(self, network) -> float:
        """Mean over the blocks."""
        network = np.asarray(network)
        kind, number = self.kind[network], len(network)
        depth = (2 * np.arange(number) + 1) / number - 1
        total = self.worth[network].sum() + (self.slope[kind] * depth).sum()
        return float(total + self.after[kind[:-1], kind[1:]].sum()) / number

    def __call__(self, network) -> float:
        z = (self.mean_worth(network) - self.typical) / (self.best - self.typical)
        return (1 - math.exp(-2 * z)) / (1 - math.exp(-2))

    def _best_of(self, number: int) -> float:
        """The highest mean worth in the window with so many blocks."""
        space, grid = self.space, make_grid(self.space)
        low, high = grid.window(space)
        kinds, widths = len(space.block_type), len(space.widths)
        # most[k, w, n]: of blocks that cost n steps, the last of kind k and width w.
        most = np.full((kinds, widths, high + 1), -np.inf)
        for block in range(number):
            depth = (2 * block + 1) / number - 1
            following = np.full_like(most, -np.inf)
            for kind in range(kinds):
                if block:
                    before = (most + self.after[:, kind, None, None]).max(0)
                else:
                    before = np.full_like(most[0], -np.inf)
                    before[0, 0] = 0
                for t in np.flatnonzero(self.kind == kind):
                    worth = self.worth[t] + self.slope[kind] * depth
                    for width in range(widths):
                        cost = grid.costs[width, t]
                        target = following[kind, space.out_index[t], cost:]
                        sums = before[width, : len(target)] + worth
                        np.maximum(target, sums, out=target)
            most = following
        return float(most[..., low:].max()) / number


# The published procedure.


def draw(space: SearchSpace, rng: np.random.Generator, shape) -> np.ndarray:
    sums = space.probabilities.cumsum()
    return sums.searchsorted((1 - rng.random(shape)) * sums[-1])


def repair_bits(space: SearchSpace, active: np.ndarray, rng) -> np.ndarray:
    """Flip each bit with the rate until enough are on."""
    while active.sum() < space.min_active:
        active = active ^ (rng.random(len(active)) < RATE)
    return active


def repair_types(space: SearchSpace, types, active, rng) -> np.ndarray:
    """Draw each type that is on with the rate until the weights are in the window."""
    on = np.flatnonzero(active)
    network = types[on]
    while not space.min_params <= space.params(network) <= space.max_params:
        chosen = np.flatnonzero(rng.random(len(on)) < RATE)
        if len(chosen):
            network[chosen] = draw(space, rng, len(chosen))
    types = types.copy()
    types[on] = network
    return types


def published_individual(space: SearchSpace, rng) -> tuple[np.ndarray, np.ndarray]:
    """A random individual: types and bits."""
    active = repair_bits(space, rng.random(space.node_num) < 0.5, rng)
    types = draw(space, rng, space.node_num)
    return repair_types(space, types, active, rng), active


def published_side_by_side(space: SearchSpace, rng, size: int) -> np.ndarray:
    """The same for many, each step of all that are not finished at once.

    Returns:
        (size,) weights.
    """
    active = rng.random((size, space.node_num)) < 0.5
    while len(few := np.flatnonzero(active.sum(1) < space.min_active)):
        active[few] ^= rng.random((len(few), space.node_num)) < RATE
    types = draw(space, rng, active.shape)
    genes = np.arange(1, space.node_num + 1)
    out = np.concatenate([[0], space.out_index])
    done = []
    while len(types):
        # The last gene before each that is on, counted from 1; 0 for none.
        last = np.maximum.accumulate(np.where(active, genes, 0), 1)
        last = np.pad(last, ((0, 0), (1, 0)))[:, :-1]
        before = np.take_along_axis(np.pad(types + 1, ((0, 0), (1, 0))), last, 1)
        # The pad holds 0, for the width that comes first.
        width = np.where(last > 0, out[before], 0)
        costs = np.where(active, space.type_params[width, types], 0)
        params = costs.sum(1) + space.frame_params
        fits = (space.min_params <= params) & (params <= space.max_params)
        done.append(params[fits])
        types, active = types[~fits], active[~fits]
        chosen = active & (rng.random(types.shape) < RATE)
        types[chosen] = draw(space, rng, int(chosen.sum()))
    return np.concatenate(done)


def published_search(space: SearchSpace, rng) -> Iterator:
    """Yield networks; the fitness of each is sent back."""
    population = [published_individual(space, rng) for _ in range(INDIVIDUALS)]
    elites: list = []
    while True:
        told = []
        for types, active in population:
            fitness = yield tuple(types[active].tolist())
            told.append((fitness, types, active))
        pool = elites + told
        order = best_first([fitness for fitness, *_ in pool])
        elites = [pool[i] for i in order[:ELITES]]
        population = []
        for _, types, active in elites:
            active = repair_bits(space, active ^ (rng.random(len(active)) < RATE), rng)
            chosen = active & (rng.random(len(active)) < RATE)
            types = types.copy()
            types[chosen] = draw(space, rng, int(chosen.sum()))
            population.append((repair_types(space, types, active, rng), active))
        for _ in range(INDIVIDUALS // 4):
            population += published_cross(space, elites + told, rng)


def published_cross(space: SearchSpace, pool: list, rng) -> list:
    """Two children of two parents by roulette, which may be the same."""
    fitness = np.array([entry[0] for entry in pool])
    odds = fitness - fitness.min()
    # As published it fails where all are equal.
    odds = odds / odds.sum() if odds.any() else None
    first, second = (pool[rng.choice(len(pool), p=odds)] for _ in range(2))
    length = rng.integers(4, space.node_num // 2)
    start = rng.integers(space.node_num - length)
    segment = slice(start, start + length)
    children = []
    for own, other in ((first, second), (second, first)):
        types, active = own[1].copy(), own[2].copy()
        types[segment], active[segment] = other[1][segment], other[2][segment]
        active = repair_bits(space, active, rng)
        children.append((repair_types(space, types, active, rng), active))
    return children


def our_search(space: SearchSpace, seed: int, guided: bool, limit: int) -> Iterator:
    """As `published_search`, for ESR-EA of the package."""
    search = ESREA(
        space,
        num_generation=-(-limit // INDIVIDUALS),
        num_individual=INDIVIDUALS,
        num_elitism=ELITES,
        mutation_rate=RATE,
        guided=guided,
        seed=seed,
    )
    while not search.done:
        for candidate in search.ask():
            fitness = yield candidate.genome.network
            search.tell(candidate.id, fitness)


def random_search(space: SearchSpace, rng) -> Iterator:
    while True:
        for genome in space.sampler.sample(rng, 64):
            yield genome.network


def start_search(side: str, space: SearchSpace, seed: int, limit: int) -> Iterator:
    rng = np.random.default_rng([seed, SIDES.index(side)])
    if side == PUBLISHED:
        return published_search(space, rng)
    if side == RANDOM:
        return random_search(space, rng)
    return our_search(space, seed, side == GUIDED, limit)


def follow(search: Iterator, fitness: Landscape, limit: int, told) -> list[float]:
    """The best fitness after each evaluation, until the goal or the limit.

    No less than the published number are made. `told` gives what the search is told.
    """
    best, curve = -math.inf, []
    network = next(search)
    while True:
        value = fitness(network)
        best = max(best, value)
        curve.append(best)
        enough = best >= GOAL and len(curve) >= PUBLISHED_BUDGET
        if enough or len(curve) >= limit:
            return curve
        network = search.send(told(network, value))


def run_seed(job: tuple[str, int], limit: int, noise: float) -> dict[str, list[float]]:
    """All sides on one landscape."""
    kind, seed = job
    space = SearchSpace()
    fitness = Landscape(space, seed, kind)
    curves = {}
    for side in SIDES:
        errors = np.random.default_rng([seed, len(SIDES)])
        known: dict[tuple, float] = {}

        def told(network, value, errors=errors, known=known):
            # The same at every evaluation, as a training with a fixed seed.
            return known.setdefault(network, value + noise * errors.normal())

        search = start_search(side, space, seed, limit)
        curves[side] = follow(search, fitness, limit, told)
    return curves


def evaluations(curve: list[float]) -> float:
    """How many until the goal; infinite when it was not reached."""
    return next((n for n, best in enumerate(curve, 1) if best >= GOAL), math.inf)


# What is measured.


def rate_of(make: Callable[[], int]) -> float:
    """Networks a second of processor time."""
    start = time.process_time()
    made = make()
    return made / (time.process_time() - start)


def report_rates(rounds: int, size: int) -> list[str]:
    """Compare how many networks that fit are found; give the claim."""
    space = SearchSpace()
    rng = np.random.default_rng(0)
    start = time.process_time()
    sampler = space.sampler
    table_s = time.process_time() - start
    few = max(1, size // 100)

    def ours(count: int, repeats: int) -> int:
        genomes = [g for _ in range(repeats) for g in sampler.sample(rng, count)]
        assert all(space.fits(g.network) for g in genomes[:100])
        return len(genomes)

    def theirs() -> int:
        for _ in range(few):
            types, active = published_individual(space, rng)
            assert space.fits(types[active])
        return few

    sides = {
        f'ours, {size} at a time': partial(ours, size, 1),
        'ours, 8 at a time': partial(ours, 8, few),
        'ours, one at a time': partial(ours, 1, few),
        'published, one at a time': theirs,
        f'published, {size // 5} side by side': lambda: len(
            published_side_by_side(space, rng, size // 5)
        ),
    }
    rates = {name: [] for name in sides}
    for number in range(-1, rounds):
        for name, make in sides.items():
            rate = rate_of(make)
            # The round before the first warms up.
            if number >= 0:
                rates[name].append(rate)
    reference = rates['published, one at a time']
    rows = []
    for name, values in rates.items():
        faster = statistics.median(
            a / b for a, b in zip(values, reference, strict=True)
        )
        spread = f'{min(values):.0f} - {max(values):.0f}'
        median = f'{statistics.median(values):.0f}'
        rows.append([name, median, spread, f'{faster:.1f}'])
    header = [
        'networks of 315 to 325 K',
        'a second',
        'slowest - fastest',
        'times theirs',
    ]
    print_table(header, rows)
    print(f'Our table takes {table_s:.2f} s, once for a space.')
    start = time.process_time()
    try:
        SearchSpace(min_params=1, max_params=1)
    except ValueError as error:
        print(f'An impossible window fails in {time.process_time() - start:.2f} s:')
        print(f'{error}\n', flush=True)
    first = next(iter(rates.values()))
    faster = statistics.median(a / b for a, b in zip(first, reference, strict=True))
    return [f'candidates_vs_published {faster:.0f} (target >= 100)']


def report_searches(kind: str, results: list[dict], limit: int) -> list[str]:
    """Show how soon searches reach the goal on one kind of landscapes."""
    medians, rows = {}, []
    for side in SIDES:
        curves = [curves[side] for curves in results]
        found = sorted(map(evaluations, curves))
        # A search that did not get there counts with all it was given.
        low, medians[side], high = np.percentile(np.minimum(found, limit), [25, 50, 75])
        numbers = [
            f'>= {n:.0f}' if n >= limit else f'{n:.0f}'
            for n in (medians[side], low, high)
        ]
        early = statistics.median(curve[PUBLISHED_BUDGET - 1] for curve in curves)
        reached = sum(map(math.isfinite, found))
        spread = f'{numbers[1]} - {numbers[2]}'
        row = [side, f'{reached} of {len(found)}', numbers[0], spread, f'{early:.2f}']
        rows.append(row)
    header = [f'types {kind}', 'reached 95 %', 'evaluations', 'quartiles']
    print_table([*header, f'after {PUBLISHED_BUDGET}'], rows)
    if max(medians.values()) >= limit:
        print(f'Without an end after {limit}, ratios to those sides would be larger.\n')
    return [
        f'{name}_vs_{other}_{kind} {medians[other] / medians[name]:.1f} (target >= 1)'
        for name, other in ((GUIDED, PUBLISHED), (GUIDED, UNGUIDED))
    ]


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ['-' * width for width in widths])
    for line in lines:
        cells = [c.ljust(w) for c, w in zip(line, widths, strict=True)]
        print(f'| {" | ".join(cells)} |')
    print(flush=True)


def draw_curves(results: dict[str, list[dict]], path: Path, limit: int) -> None:
    """Draw the best fitness by evaluations: medians and quartiles of all seeds."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(5 * len(results), 3.8), sharey=True, squeeze=False
    )
    for axis, (kind, runs) in zip(axes[0], results.items(), strict=True):
        for side in SIDES:
            # A search that is at the goal stays there.
            curves = [
                np.pad(curves[side], (0, limit - len(curves[side])), 'edge')
                for curves in runs
            ]
            low, median, high = np.percentile(curves, [25, 50, 75], axis=0)
            numbers = np.arange(1, limit + 1)
            axis.plot(
                numbers, np.minimum(median, GOAL), color=COLOURS[side], label=side
            )
            axis.fill_between(
                numbers,
                np.minimum(low, GOAL),
                np.minimum(high, GOAL),
                color=COLOURS[side],
                alpha=0.15,
                linewidth=0,
            )
        axis.axhline(GOAL, color='black', linewidth=0.8, linestyle=':')
        axis.axvline(PUBLISHED_BUDGET, color='black', linewidth=0.8, linestyle=':')
        axis.set_xscale('log')
        axis.set_xlim(INDIVIDUALS, limit)
        axis.set_ylim(0, 1)
        axis.set_xlabel('networks evaluated')
        axis.set_title(f'types {kind}, {len(runs)} seeds', fontsize=10)
    axes[0, 0].set_ylabel('best fitness (0 random, 1 best)')
    axes[0, 0].legend(frameon=False, loc='lower right')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--quick', action='store_true', help='few seeds, short searches'
    )
    parser.add_argument('--seeds', type=int, help='landscapes of each kind (20)')
    parser.add_argument('--limit', type=int, help='evaluations of a search (3000)')
    parser.add_argument('--noise', type=float, default=0.0, help='deviation (0)')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--plot', type=Path, help='draw the searches into this file')
    args = parser.parse_args()
    seeds = args.seeds or (4 if args.quick else 20)
    limit = args.limit or (800 if args.quick else 3000)
    if limit < PUBLISHED_BUDGET:
        parser.error(f'--limit: expected {PUBLISHED_BUDGET} or more, but got {limit}')
    claims = report_rates(3 if args.quick else 9, 5_000 if args.quick else 20_000)
    jobs = [(kind, seed) for kind in (RELATED, UNRELATED) for seed in range(seeds)]
    work = partial(run_seed, limit=limit, noise=args.noise)
    with ProcessPoolExecutor(args.workers, get_context('spawn')) as executor:
        found = dict(zip(jobs, executor.map(work, jobs), strict=True))
    results = {
        kind: [curves for (k, _), curves in found.items() if k == kind]
        for kind in (RELATED, UNRELATED)
    }
    for kind, runs in results.items():
        claims += report_searches(kind, runs, limit)
    if args.plot:
        draw_curves(results, args.plot, limit)
    for claim in claims:
        print(f'claim: {claim}')


if __name__ == '__main__':
    main()
