#!/usr/bin/env python
"""Draw how CSNLN's attention is computed, for docs/csnln.md.

Two patches, the nine products of their pixels, and where those lie in the matrix of
all pixels by all cells; the matrix is a real one, of a small map with noise.

Example:
  python benchmarks/draw_csnln.py --out docs/images/csnln_identity.png
"""

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

HEIGHT, WIDTH, FACTOR = 6, 8, 2
PIXEL, CELL = (3, 4), (1, 2)
COLOURS = ('#d62728', '#1f77b4', '#2ca02c')
SHIFTS = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]


def draw_grid(axes, size, centre, title, names) -> None:
    """A grid of pixels with the 3x3 patch around `centre`, numbered by shift."""
    rows, columns = size
    for i in range(rows):
        for j in range(columns):
            axes.add_patch(Rectangle((j, i), 1, 1, fill=False, ec='0.75'))
    for number, (a, b) in enumerate(SHIFTS, 1):
        i, j = centre[0] + a, centre[1] + b
        axes.add_patch(Rectangle((j, i), 1, 1, fc=COLOURS[a + 1], alpha=0.75, ec='k'))
        axes.text(j + 0.5, i + 0.5, number, ha='center', va='center', color='w')
    axes.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect='equal')
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(names, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_matrix(axes) -> None:
    """All products, and the nine that one score is the sum of."""
    rng = np.random.default_rng(0)
    rows, columns = HEIGHT // FACTOR, WIDTH // FACTOR
    query = rng.standard_normal((HEIGHT * WIDTH, 8))
    products = query @ rng.standard_normal((rows * columns, 8)).T
    axes.imshow(products, cmap='Greys', alpha=0.35, aspect='auto')
    for number, (a, b) in enumerate(SHIFTS, 1):
        p = (PIXEL[0] + a) * WIDTH + PIXEL[1] + b
        cell = (CELL[0] + a) * columns + CELL[1] + b
        axes.add_patch(
            Rectangle((cell - 0.5, p - 0.5), 1, 1, fc=COLOURS[a + 1], alpha=0.85)
        )
        axes.text(
            cell, p + 0.05, number, ha='center', va='center', color='w', fontsize=7
        )
    first, last = (PIXEL[0] - 1) * WIDTH, (PIXEL[0] + 2) * WIDTH
    axes.axhspan(first - 0.5, last - 0.5, fill=False, ec='k', ls=':', lw=1.2)
    axes.set_title(
        'C = Q Kᵀ, all pixels by all cells:\nthe same nine lie on diagonals',
        fontsize=10,
    )
    axes.set_xlabel('cells l, row by row', fontsize=9)
    axes.set_ylabel('pixels p, row by row', fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.text(
        rows * columns - 0.4, first - 0.8, 'band', ha='right', va='bottom', fontsize=8
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', default='docs/images/csnln_identity.png')
    out = Path(parser.parse_args().out)
    figure, axes = plt.subplots(
        1, 3, figsize=(9, 3.8), width_ratios=(4, 2.2, 3), layout='constrained'
    )
    draw_grid(
        axes[0], (HEIGHT, WIDTH), PIXEL, 'patch of Q around pixel p', 'pixels, H x W'
    )
    cells = HEIGHT // FACTOR, WIDTH // FACTOR
    draw_grid(
        axes[1],
        cells,
        CELL,
        'patch of K around cell l',
        'cells, H/s x W/s (here s = 2)',
    )
    draw_matrix(axes[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


if __name__ == '__main__':
    main()
