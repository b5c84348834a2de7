"""A number of rows that cover the most: few rows far from all of those kept.

In: one vector a row, and how many to keep. Out: the places of the rows that stay, in order. Judges nothing: a row
unlike all others is among the first to be kept, so what is faulty has to be gone before.

Rows are put into cells by k-means, half as many as are to be kept, up to `CELLS`. Of each cell the row nearest its
centre stays, then, as in greedy k-centre (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance";
for training data: Sener and Savarese 2018), the row farthest from those taken, again and again; of all cells those stay
that were the farthest when they were taken. Greedy k-centre alone would keep what lies at the edges: rows then have
their nearest kept one farther away, on average, than from rows drawn by chance. Of equals the first is taken; the
result is the same on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from yearling.measure.neighbours import Places, Vectors, Whole, by_cell, centres_of, nearest_centre, on_grid

CELLS = 2048
DEPTH = 4  # how many times the average one cell may keep


def cover(vectors: Vectors, keep: int) -> Places:
    """The rows that stay, all of them where there are no more than `keep`."""
    count = len(vectors)
    if keep >= count:
        return np.arange(count)
    if keep < 1:
        return np.empty(0, np.int64)
    cells = max(min(keep // 2, CELLS), 1)
    centres = centres_of(vectors, cells)
    depth = DEPTH * -(-keep // cells)
    walked, nearness = [], []
    for centre, rows in zip(centres, by_cell(nearest_centre(vectors, centres), np.arange(count), cells), strict=True):
        if len(rows):
            order, near = farthest_first(on_grid(vectors[rows]), centre, min(depth, len(rows)))
            walked.append(rows[order])
            nearness.append(near)
    return _farthest(np.concatenate(walked), np.concatenate(nearness), keep, count)


def farthest_first(grid: Whole, centre: Whole, depth: int) -> tuple[Places, npt.NDArray[np.float32]]:
    """Rows of a cell, the one nearest the centre first, then the farthest from all before; how near it was to them."""
    order, near = np.empty(depth, np.int64), np.empty(depth, np.float32)
    order[0], near[0] = np.argmax(grid @ centre), -np.inf
    nearest = np.full(len(grid), -np.inf, np.float32)  # to any row taken
    for step in range(1, depth):
        nearest = np.maximum(nearest, grid @ grid[order[step - 1]])
        nearest[order[step - 1]] = np.inf  # never twice
        order[step] = np.argmin(nearest)
        near[step] = nearest[order[step]]
    return order, near


def _farthest(rows: Places, near: npt.NDArray[np.float32], keep: int, count: int) -> Places:
    chosen = rows[np.lexsort((rows, near))[:keep]]
    if len(chosen) < keep:  # cells of very unequal size: fill up with the first of the others
        others = np.setdiff1d(np.arange(count), chosen)
        chosen = np.concatenate([chosen, others[: keep - len(chosen)]])
    return np.sort(chosen)
