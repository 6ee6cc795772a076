"""Whether any network of a space keeps its limits, told at once rather than tried."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .space import SearchSpace

_MAX_STEPS = 1 << 16
"""Finest division of a window: tables over it hold tens of MiB."""


class Grid(NamedTuple):
    """Weights in steps, by which tables go over all that a network can have.

    Attributes:
        unit: weights of a step.
        costs: (W, T) steps of each type after each of the space's widths.
        error: how far a block's steps may be off, in steps; 0 when `unit` divides all.
        most: steps that no network exceeds.
    """

    unit: int
    costs: np.ndarray
    error: float
    most: int

    def window(self, space: 'SearchSpace', slack: float = 0.0) -> tuple[int, int]:
        """First and last step of the window, wider by `slack` at both ends."""
        low = (space.min_params - space.frame_params) / self.unit - slack
        high = (space.max_params - space.frame_params) / self.unit + slack
        return max(0, int(np.ceil(low))), min(self.most, int(np.floor(high)))


def make_grid(space: 'SearchSpace', max_steps: int = _MAX_STEPS) -> Grid:
    """Divide weights as finely as they differ, but into no more steps than asked."""
    usable = space.type_params[:, space.probabilities > 0]
    unit = int(np.gcd.reduce(usable, axis=None))
    most = space.node_num * int(usable.max())
    most = min(space.max_params - space.frame_params, most)
    coarse = -(-most // max_steps)
    if coarse <= unit:
        coarse, error = unit, 0.0
    else:
        error = 0.5
    costs = np.rint(space.type_params / coarse).astype(np.int64)
    most = space.node_num * int(costs[:, space.probabilities > 0].max())
    return Grid(coarse, costs, error, most)


def reachable_params(space: 'SearchSpace', ceiling: int) -> list[int]:
    """Find every number of weights up to `ceiling` that a network can have.

    Networks of `min_active` to `node_num` blocks, whatever the window is.

    Returns:
        Sums in ascending order.
    """
    # No more steps than weights: sums are exact.
    grid = make_grid(space, max_steps=max(ceiling, space.max_params))
    limit = min(grid.most, (ceiling - space.frame_params) // grid.unit)
    if limit < 0:
        return []
    mask = (1 << limit + 1) - 1
    usable = np.flatnonzero(space.probabilities)
    # Bit n of sums[w] says whether some blocks of which the last is widths[w] wide
    # cost n steps; the first width stands before the first block.
    sums = [1] + [0] * (len(space.widths) - 1)
    found = 0
    for number in range(1, space.node_num + 1):
        following = [0] * len(sums)
        for width, bits in enumerate(sums):
            if bits:
                for t in usable:
                    following[space.out_index[t]] |= bits << int(grid.costs[width, t])
        sums = [bits & mask for bits in following]
        if number >= space.min_active:
            for bits in sums:
                found |= bits
    steps = (n for n, digit in enumerate(reversed(bin(found)[2:])) if digit == '1')
    return [space.frame_params + grid.unit * n for n in steps]


def least_multiply_adds(space: 'SearchSpace') -> dict[int, int]:
    """Find the least multiply-adds of the networks in the window of weights.

    Returns:
        The least for each number of blocks with which there are any. Where weights
        differ too finely for a table, networks close to the window count, too.
    """
    grid = make_grid(space)
    low, high = grid.window(space, slack=grid.error * space.node_num)
    if high < low:
        return {}
    usable = np.flatnonzero(space.probabilities)
    never = np.iinfo(np.int64).max // 2
    # least[w, n]: of blocks that cost n steps and end with a width.
    least = np.full((len(space.widths), high + 1), never)
    least[0, 0] = 0
    found = {}
    for number in range(1, space.node_num + 1):
        following = np.full_like(least, never)
        for width, row in enumerate(least):
            if row.min() == never:
                continue
            for t in usable:
                cost = grid.costs[width, t]
                target = following[space.out_index[t], cost:]
                sums = row[: len(target)] + space.type_multiply_adds[width, t]
                np.minimum(target, sums, out=target)
        # What was never reached does not grow.
        least = np.minimum(following, never)
        if number >= space.min_active:
            lowest = int(least[:, low:].min())
            if lowest < never:
                found[number] = lowest + space.frame_multiply_adds
    return found


def check_reachable(space: 'SearchSpace') -> None:
    """Raise ValueError when no network keeps the limits of a space.

    The error names the limit and what is reachable.
    """
    low, high = space.min_params, space.max_params
    reached = reachable_params(space, high)
    if not reached or reached[-1] < low:
        raise ValueError(_out_of_window(space, reached))
    if space.max_multiply_adds is not None:
        least = min(least_multiply_adds(space).values())
        if least > space.max_multiply_adds:
            raise ValueError(
                f'Expected `max_multiply_adds` to be at least {least}, the least of '
                f'networks of {low} to {high} weights, but got '
                f'{space.max_multiply_adds}. Raise it or lower the window of weights.'
            )


def _out_of_window(space: 'SearchSpace', below: list[int]) -> str:
    dearest = space.type_params[:, space.probabilities > 0].max()
    every = reachable_params(space, space.frame_params + space.node_num * int(dearest))
    near = []
    if below:
        near.append(f'{below[-1]} is the next below')
    if len(every) > len(below):
        near.append(f'{every[len(below)]} is the next above')
    return (
        f'Expected `min_params` and `max_params` to hold the weights of a network of '
        f'`min_active` to `node_num` ({space.min_active} to {space.node_num}) blocks, '
        f'but got {space.min_params} and {space.max_params}. Such networks have '
        f'{every[0]} to {every[-1]} weights; {" and ".join(near)}. Move the window, or '
        f'change the number of blocks or their types.'
    )
