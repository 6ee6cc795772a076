"""A space so small that all of its networks can be looked at."""

import itertools

# 2 kinds * 2 numbers of layers * 3 pairs of widths.
TINY = {
    'block_type': ('S', 'C'),
    'conv_num': (1, 3),
    'growth_rate': (8, 16),
    'type_prob': (1, 2),
    'conv_prob': (1, 1),
    'growth_prob': (3, 1),
    'G0': 8,
    'node_num': 3,
    'min_active': 2,
    'min_params': 0,
    'max_params': 1_000_000,
}


def networks(space):
    """All networks of a space, as tuples of type indices."""
    for number in range(space.min_active, space.node_num + 1):
        yield from itertools.product(range(len(space.types)), repeat=number)
