"""Genomes that miss a limit, made to keep all of them with few changes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .genome import Genome
from .sampling import draw_types

if TYPE_CHECKING:
    from .space import SearchSpace

_PROPOSALS = 512


def repair_active(
    space: 'SearchSpace', active: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Turn as few genes on or off as lead to a possible number of blocks.

    Args:
        space: whose `node_num`, `min_active` and window say which numbers are possible.
        active: (node_num,) bool.
        rng: says which genes.

    Returns:
        (node_num,) bool; `active` itself stays as it is.
    """
    active = active.copy()
    number = int(active.sum())
    wanted = min(space.sampler.feasible, key=lambda n: (abs(n - number), n))
    candidates = np.flatnonzero(active == (wanted < number))
    chosen = rng.choice(candidates, abs(wanted - number), replace=False)
    active[chosen] = wanted > number
    return active


def repair(
    space: 'SearchSpace',
    types: Sequence[int],
    active: Sequence[bool],
    rng: np.random.Generator,
    genes: Sequence[int] = (),
    probabilities: np.ndarray | None = None,
) -> Genome:
    """Draw types of some genes anew, and of more where that cannot keep the limits.

    The number of blocks is set right first. Then the types of `genes` are drawn until
    the network fits; if they alone cannot do it, with those of one more gene, of two,
    four and so on, others in each trial. A few thousand trials are made, all at once
    for each number of genes, so many changes come only where few are not enough. What
    none of them brings into the limits is drawn anew as a whole.

    Args:
        space: with the limits.
        types: (node_num,) of all genes.
        active: (node_num,) whether each is on.
        rng: draws.
        genes: positions that are to be drawn in any case; those that are off have
            types by the same odds.
        probabilities: (T,) odds of the types that are drawn; None takes the space's.

    Returns:
        A genome that keeps every limit.

    Raises:
        RuntimeError: when a ceiling of multiply-adds lets too few pass.
    """
    if probabilities is None:
        probabilities = space.probabilities
    types = np.array(types)
    active = repair_active(space, np.asarray(active, bool), rng)
    genes = np.asarray(genes, int)
    off = genes[~active[genes]]
    types[off] = draw_types(rng, probabilities, len(off))
    on = np.flatnonzero(active)
    # Places of the drawn genes among those that are on.
    drawn = np.searchsorted(on, genes[active[genes]])
    network = types[on]
    if not len(drawn) and space.fits(network):
        return Genome.of(types, active)
    more = 0
    while more <= len(on):
        if more or len(drawn):
            trials = _trials(rng, network, drawn, more, probabilities)
            fits = space.fits(trials)
            if fits.any():
                types[on] = trials[fits.argmax()]
                return Genome.of(types, active)
        more = 2 * more or 1
    found = space.sampler.sample_types(rng, len(on))
    if found is None:
        return space.sampler.sample(rng, 1)[0]
    types[on] = found
    return Genome.of(types, active)


def _trials(
    rng: np.random.Generator,
    network: np.ndarray,
    drawn: np.ndarray,
    more: int,
    probabilities: np.ndarray,
) -> np.ndarray:
    """Networks with the types of `drawn`, and of `more` others, drawn anew."""
    trials = np.tile(network, (_PROPOSALS, 1))
    redraw = np.zeros(trials.shape, bool)
    redraw[:, drawn] = True
    if more:
        order = rng.random(trials.shape)
        # Those drawn anyway do not count.
        order[:, drawn] = 2
        np.put_along_axis(redraw, order.argsort(1)[:, :more], True, 1)
    trials[redraw] = draw_types(rng, probabilities, int(redraw.sum()))
    return trials
