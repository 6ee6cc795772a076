"""Networks of a space that keep its limits, drawn without trial and error."""

from math import comb, inf
from typing import TYPE_CHECKING

import numpy as np

from .genome import Genome
from .reachable import least_multiply_adds, make_grid

if TYPE_CHECKING:
    from .space import SearchSpace

_ROUNDS = 100
"""Batches before a draw gives up; one is nearly always enough."""

_BATCH = 2048
"""Networks of a batch."""

_MANY = 64
"""Networks for which proposals are worth their overhead."""

_PROPOSALS = 4
"""For each block, before all types are weighed; about half of them are accepted."""

_PILOT = 2000
"""Networks by which the lean is chosen."""


def draw_types(
    rng: np.random.Generator, probabilities: np.ndarray, shape: int | tuple[int, ...]
) -> np.ndarray:
    """Draw indices of types, independently, never one of probability 0."""
    sums = probabilities.cumsum()
    return sums.searchsorted((1.0 - rng.random(shape)) * sums[-1])


class Sampler:
    """Draws genomes as trial and error would, without the errors.

    They are distributed as genes with fair bits and types by the space's probabilities
    are, given that the network keeps every limit. A table holds, for each number of
    blocks still to come, width before them and weights spent so far, the chance to end
    in the window; types are drawn in turn, with their own chance times what the table
    says of the rest.

    A ceiling of multiply-adds is kept by rejection. Where few would pass, types are
    drawn with a lean towards few multiply-adds, which the rejection then makes good, so
    the distribution is that of above all the same.

    Attributes:
        feasible: numbers of blocks with which a network can keep every limit.
    """

    def __init__(self, space: 'SearchSpace') -> None:
        self.space = space
        self._grid = make_grid(space)
        self._tabulate(lean=0.0)
        self.feasible = tuple(np.flatnonzero(self._number_odds).tolist())
        if space.max_multiply_adds is not None:
            least = least_multiply_adds(space)
            ceiling = space.max_multiply_adds
            self.feasible = tuple(
                n for n in self.feasible if least.get(n, inf) <= ceiling
            )
            self._choose_lean()

    def sample(self, rng: np.random.Generator, size: int) -> list[Genome]:
        """Draw genomes, independently of each other.

        Raises:
            RuntimeError: when a ceiling of multiply-adds lets too few pass.
        """
        genomes: list[Genome] = []
        for _ in range(-(-size // _BATCH) + _ROUNDS):
            batch = min(_BATCH, size - len(genomes)) if self._exact else _BATCH
            for number, count in enumerate(rng.multinomial(batch, self._number_odds)):
                if count:
                    networks = self._accept(rng, self._draw(rng, number, count))
                    genomes += self._complete(rng, networks)
            if len(genomes) >= size:
                # They came by their numbers of blocks.
                order = rng.permutation(len(genomes))[:size]
                return [genomes[i] for i in order]
        raise RuntimeError(self._too_few())

    def sample_types(self, rng: np.random.Generator, number: int) -> np.ndarray | None:
        """Draw the types of one network of so many blocks, (number,).

        Returns:
            None when a ceiling of multiply-adds lets none of a batch pass.

        Raises:
            ValueError: when no network of so many blocks keeps every limit.
        """
        if number not in self.feasible:
            raise ValueError(
                f'Expected a number of blocks among {self.feasible}, but got {number}.'
            )
        size = 1 if self._exact else _BATCH
        networks = self._accept(rng, self._draw(rng, number, size))
        return networks[0] if len(networks) else None

    @property
    def _exact(self) -> bool:
        """Whether all that is drawn keeps every limit."""
        return not self._grid.error and self.space.max_multiply_adds is None

    def _tabulate(self, lean: float) -> bool:
        """Set the table for odds that fall by e with each 1 / lean multiply-adds.

        Returns:
            Whether such a lean leaves any odds; if not, nothing is changed.
        """
        space, (unit, costs, error, _) = self.space, self._grid
        low, high = self._grid.window(space, slack=error * space.node_num)
        counts = space.type_multiply_adds
        usable = np.flatnonzero(space.probabilities)
        # Only what exceeds the cheapest way to so many weights lowers the odds of a
        # type, the rest those of the sum of weights: the numbers stay in range.
        spent = unit * costs
        rate = (counts / np.maximum(spent, 1))[:, usable].min()
        odds = space.probabilities * np.exp(-lean * (counts - rate * spent))
        # Past the last step by the costliest type, so that look-ups need no limit.
        length = high + 1 + int(costs[:, usable].max())
        chances = np.zeros((space.node_num + 1, len(space.widths), length))
        chances[0, :, low : high + 1] = np.exp(
            -lean * rate * unit * np.arange(high + 1 - low)
        )
        log_scale, log_odds = 0.0, np.full(space.node_num + 1, -inf)
        for number in range(1, space.node_num + 1):
            rest, row = chances[number - 1], chances[number]
            for width in range(len(space.widths)):
                for t in usable:
                    cost, out = costs[width, t], space.out_index[t]
                    row[width, : high + 1] += (
                        odds[width, t] * rest[out, cost : cost + high + 1]
                    )
            peak = row.max()
            if peak == 0:
                break
            row /= peak
            log_scale += np.log(peak)
            if number >= space.min_active and row[0, 0] > 0:
                ways = comb(space.node_num, number)
                log_odds[number] = np.log(row[0, 0] * ways) + log_scale
        if log_odds.max() == -inf:
            return False
        self._lean, self._chances, self._usable = lean, chances, usable
        self._number_odds = np.exp(log_odds - log_odds.max())
        self._number_odds /= self._number_odds.sum()
        # Where a type that follows a width leads to in the table, and with what odds.
        self._odds = odds[:, usable]
        self._targets = (costs + space.out_index * length)[:, usable]
        return True

    def _draw(self, rng: np.random.Generator, number: int, size: int) -> np.ndarray:
        """Types of networks by the table, (size, number)."""
        space, costs = self.space, self._grid.costs
        networks = np.empty((size, number), np.int64)
        spent = np.zeros(size, np.int64)
        width = np.zeros(size, np.int64)
        for block in range(number):
            rest = self._chances[number - block - 1].reshape(-1)
            types = networks[:, block]
            left = self._propose(rng, rest, width, spent, types)
            if len(left):
                types[left] = self._choose(rng, rest, width[left], spent[left])
            spent += costs[width, types]
            width = space.out_index[types]
        return networks

    def _choose(
        self,
        rng: np.random.Generator,
        rest: np.ndarray,
        width: np.ndarray,
        spent: np.ndarray,
    ) -> np.ndarray:
        """Draw the next type of each network, from the odds of all types.

        Args:
            rng: draws.
            rest: what the table says of the blocks after the next.
            width: (size,) index of the width before it.
            spent: (size,) steps spent before it.
        """
        odds = rest.take(self._targets[width] + spent[:, None])
        odds *= self._odds[width]
        sums = odds.cumsum(1)
        # Above 0, so that a type without odds is never taken.
        points = (1.0 - rng.random((len(sums), 1))) * sums[:, -1:]
        return self._usable[(sums < points).sum(1)]

    def _propose(
        self,
        rng: np.random.Generator,
        rest: np.ndarray,
        width: np.ndarray,
        spent: np.ndarray,
        types: np.ndarray,
    ) -> np.ndarray:
        """Do the same for most networks at less cost, by proposing and rejecting.

        Args:
            rng: draws.
            rest: as for `_choose`.
            width: the same.
            spent: the same.
            types: (size,) filled in where a proposal was accepted.

        Returns:
            Indices of the other networks.
        """
        left = np.arange(len(types))
        if len(left) < _MANY:
            return left
        peak = rest.max()
        own = self.space.probabilities[self._usable]
        keep = self._odds / (own * peak)
        for _ in range(_PROPOSALS):
            picks = draw_types(rng, own, len(left))
            before = width[left]
            chances = rest.take(self._targets[before, picks] + spent[left])
            accepted = rng.random(len(left)) < chances * keep[before, picks]
            types[left[accepted]] = self._usable[picks[accepted]]
            left = left[~accepted]
        return left

    def _accept(self, rng: np.random.Generator, networks: np.ndarray) -> np.ndarray:
        """Those that keep every limit, as often as without a lean."""
        if self._exact:
            return networks
        fits = self.space.fits(networks)
        if self._lean:
            excess = self.space.multiply_adds(networks) - self.space.max_multiply_adds
            odds = np.exp(self._lean * np.minimum(excess, 0))
            fits &= rng.random(len(networks)) < odds
        return networks[fits]

    def _complete(self, rng: np.random.Generator, networks: np.ndarray) -> list[Genome]:
        """Genomes of networks, with what is off drawn by the space's probabilities."""
        space = self.space
        size, number = networks.shape
        shape = (size, space.node_num)
        types = draw_types(rng, space.probabilities, shape)
        genes = np.sort(rng.random(shape).argsort(1)[:, :number], 1)
        active = np.zeros(shape, bool)
        np.put_along_axis(types, genes, networks, 1)
        np.put_along_axis(active, genes, True, 1)
        return [
            Genome(tuple(t), tuple(a))
            for t, a in zip(types.tolist(), active.tolist(), strict=True)
        ]

    def _choose_lean(self) -> None:
        """Find a lean with which one network of twenty passes, or as many as can."""
        rng = np.random.default_rng(0)
        best_rate, best, spread = 0.0, 0.0, 1.0
        for lean in (0, *(4**power for power in range(-1, 8))):
            if lean and not self._tabulate(lean / spread):
                break
            networks = self._draw(rng, int(self._number_odds.argmax()), _PILOT)
            rate = len(self._accept(rng, networks)) / _PILOT
            if lean == 0:
                spread = float(np.std(self.space.multiply_adds(networks))) or 1.0
            if rate > best_rate:
                best_rate, best = rate, self._lean
            if rate >= 0.05:
                return
        self._tabulate(best)

    def _too_few(self) -> str:
        return (
            f'Expected networks below `max_multiply_adds`, '
            f'{self.space.max_multiply_adds}, to be less rare: none was found in '
            f'{_ROUNDS * _BATCH} in the window of weights. Raise it or move the window.'
        )
