"""Pairs of vectors that point nearly the same way, among up to some million of them.

In: vectors of length one, in memory or on disk. Out: pairs (earlier, later, cosine), the same on every machine.
Up to `EXACT` rows each is held against each and nothing is missed. More are put into cells: the vectors of a cell are
those nearest to its centre, a few rounds of k-means over a sample, and a row is held against those of the cells whose
centres are nearest to it (an inverted file: Jégou, Douze, Schmid 2011, "Product quantization for nearest neighbor
search"); a pair is missed where neither row looks into the other's cell. Of a row's earlier neighbours only
the `NEAREST` and the `FIRST` are told, so that a thousand equal rows are not half a million pairs: the first born are
the likeliest to be kept by whoever keeps the first of what is alike.

Components are rounded to 1/2048. Their products and the sums of these are then whole numbers below 2**24, which
float32 holds exactly: no order of summing, no number of threads and no kind of processor changes a result. A cosine
is off by less than 0.001 for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

STEPS = 2048
EXACT = 16_384  # rows up to which each is held against each
BLOCK = 1024  # rows multiplied at a time
CENTRES_OF = 64  # rows of the sample a centre, for k-means
ROUNDS = 4  # of k-means
NEAREST, FIRST = 24, 16  # earlier neighbours of a row that are told
SAMPLE = 4096  # rows that each is held against to tell how unlike all it is
PENDING = 4_000_000  # pairs found before the farther ones of each row are let go

Whole = npt.NDArray[np.float32]  # whole numbers, see above
Vectors = npt.NDArray[np.floating[Any]]
Places = npt.NDArray[np.int64]


class Pairs(NamedTuple):
    """Equally long columns: the earlier row, the later row, their cosine; by later row, then earlier."""

    earlier: Places
    later: Places
    score: npt.NDArray[np.float32]


class Cells(NamedTuple):
    """For each cell, which rows are of it, and which look into it from others; both in order."""

    own: list[Places]
    guests: list[Places]


def pairs_above(vectors: Vectors, threshold: float, looks: int | None = None) -> Pairs:
    """The pairs with a cosine of at least `threshold`; of a row with many earlier neighbours, `NEAREST` and `FIRST`.

    `looks` is the number of cells that a row is held against; by default it follows from the threshold.
    """
    least = np.float32(np.ceil(threshold * STEPS * STEPS))
    found = _Found()
    if len(vectors) <= EXACT:
        _compare_all(vectors, np.arange(len(vectors)), least, found)
        return found.pairs()
    cells = cells_of(vectors, looks or _looks(threshold))
    for own, guests in zip(cells.own, cells.guests, strict=True):
        _compare_all(vectors, own, least, found)
        _compare(vectors, guests, own, least, found)
    return found.pairs()


def pairs_across(vectors: Vectors, others: Vectors, threshold: float) -> Pairs:
    """The pairs of a row of `others` (as `earlier`) and one of `vectors` (`later`) with at least that cosine: all."""
    least, found = np.float32(np.ceil(threshold * STEPS * STEPS)), list[tuple[Places, Places, Whole]]()
    for start in range(0, len(vectors), BLOCK):
        rows = on_grid(vectors[start : start + BLOCK])
        for first in range(0, len(others), BLOCK):
            products = rows @ on_grid(others[first : first + BLOCK]).T
            row, other = np.nonzero(products >= least)
            found.append((first + other, start + row, products[row, other]))
    if not found:
        return _Found().pairs()
    earlier, later, products = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((earlier, later))
    return Pairs(earlier[order], later[order], np.minimum(products[order] / np.float32(STEPS * STEPS), np.float32(1)))


def company(vectors: Vectors, nearest: int = 5) -> npt.NDArray[np.float64]:
    """For each row the mean cosine to the nearest of `SAMPLE` others, at even distances: low where it is unlike all."""
    places = np.unique(np.linspace(0, max(len(vectors) - 1, 0), min(SAMPLE, len(vectors))).astype(np.int64))
    sample = on_grid(vectors[places])
    taken = min(nearest, len(places) - 1)
    scores = np.ones(len(vectors))
    for start in range(0, len(vectors) if taken > 0 else 0, BLOCK):
        products = on_grid(vectors[start : start + BLOCK]) @ sample.T
        itself = np.flatnonzero((places >= start) & (places < start + BLOCK))
        products[places[itself] - start, itself] = -np.inf
        near = np.partition(products, -taken, axis=1)[:, -taken:].astype(np.float64)
        scores[start : start + BLOCK] = near.sum(axis=1) / (taken * STEPS**2)
    return scores


def _looks(threshold: float) -> int:
    return int(np.clip(np.ceil((1.05 - threshold) * 40), 3, 16))


def on_grid(vectors: Vectors) -> Whole:
    """Rows as whole numbers of steps."""
    grid: Whole = np.rint(vectors.astype(np.float32) * np.float32(STEPS))
    return grid


def cells_of(vectors: Vectors, looks: int) -> Cells:
    """The cells of all rows, about as many as make looking up a cell as dear as looking through it."""
    count = len(vectors)
    centres = centres_of(vectors, int(np.sqrt(2 * looks * count)))
    own, seen = np.empty(count, np.int32), np.empty((count, looks), np.int32)
    for start in range(0, count, BLOCK):
        near = _nearest(on_grid(vectors[start : start + BLOCK]) @ centres.T, looks)
        own[start : start + BLOCK], seen[start : start + BLOCK] = near[:, 0], near
    rows = np.repeat(np.arange(count), looks - 1)
    return Cells(by_cell(own, np.arange(count), len(centres)), by_cell(seen[:, 1:].ravel(), rows, len(centres)))


def centres_of(vectors: Vectors, count: int) -> Whole:
    """Centres by k-means from rows at even distances; a centre that no row is nearest to stays where it is."""
    sample = on_grid(vectors[np.linspace(0, len(vectors) - 1, min(count * CENTRES_OF, len(vectors))).astype(np.int64)])
    centres = sample[np.linspace(0, len(sample) - 1, count).astype(np.int64)]
    for _ in range(ROUNDS):
        nearest = np.concatenate(
            [np.argmax(sample[at : at + BLOCK] @ centres.T, axis=1) for at in range(0, len(sample), BLOCK)]
        )
        order = np.argsort(nearest, kind="stable")
        filled, starts = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(sample[order].astype(np.float64), starts, axis=0)  # whole numbers, so exact
        lengths = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
        centres[filled] = np.rint(sums / np.maximum(lengths, 1) * STEPS).astype(np.float32)
    return centres


def nearest_centre(vectors: Vectors, centres: Whole) -> Places:
    """For each row the centre it is nearest to; of equals the first."""
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), BLOCK):
        found[start : start + BLOCK] = np.argmax(on_grid(vectors[start : start + BLOCK]) @ centres.T, axis=1)
    return found


def _nearest(products: Whole, looks: int) -> npt.NDArray[np.int64]:
    """The cells with the greatest products, the greatest first; of equals the first."""
    best = np.empty((len(products), looks), np.int64)
    for rank in range(looks):
        best[:, rank] = np.argmax(products, axis=1)
        np.put_along_axis(products, best[:, rank : rank + 1], -np.inf, axis=1)
    return best


def by_cell(cells: npt.NDArray[Any], rows: Places, count: int) -> list[Places]:
    """The rows of each cell, in order."""
    order = np.argsort(cells, kind="stable")
    return np.split(rows[order], np.searchsorted(cells[order], np.arange(1, count)))


class _Found:
    """Pairs as they are found; a pair may come twice."""

    def __init__(self) -> None:
        self._columns: list[tuple[Places, Places, Whole]] = []
        self._pending = 0

    def add(self, one: Places, other: Places, products: Whole) -> None:
        self._columns.append((np.minimum(one, other), np.maximum(one, other), products))
        self._pending += len(one)
        if self._pending > PENDING:
            self._keep_nearest()
            self._pending = 0

    def _keep_nearest(self) -> None:
        earlier, later, products = (np.concatenate(column) for column in zip(*self._columns, strict=True))
        order = np.lexsort((earlier, -products, later))
        earlier, later, products = earlier[order], later[order], products[order]
        fresh = np.ones(len(later), bool)
        fresh[1:] = (later[1:] != later[:-1]) | (earlier[1:] != earlier[:-1])
        earlier, later, products = earlier[fresh], later[fresh], products[fresh]
        told = _rank(later) < NEAREST
        by_birth = np.lexsort((earlier, later))
        told[by_birth[_rank(later) < FIRST]] = True  # `later` is in the same order either way
        self._columns = [(earlier[told], later[told], products[told])]

    def pairs(self) -> Pairs:
        if not self._columns:
            return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        self._keep_nearest()
        earlier, later, products = self._columns[0]
        order = np.lexsort((earlier, later))
        scores = np.minimum(products[order] / np.float32(STEPS * STEPS), np.float32(1))
        return Pairs(earlier[order], later[order], scores)


def _rank(ordered: Places) -> Places:
    """How many equal values stand before each."""
    return np.arange(len(ordered)) - np.searchsorted(ordered, ordered)


def _compare_all(vectors: Vectors, rows: Places, least: np.float32, found: _Found) -> None:
    """Each of some rows against each."""
    for start in range(0, len(rows), BLOCK):
        one = rows[start : start + BLOCK]
        grid = on_grid(vectors[one])
        for later in range(start, len(rows), BLOCK):
            other = rows[later : later + BLOCK]
            products = grid @ (grid if later == start else on_grid(vectors[other])).T
            if later == start:
                products[np.tril_indices(len(one))] = -np.inf
            _tell(one, other, products, least, found)


def _compare(vectors: Vectors, ones: Places, others: Places, least: np.float32, found: _Found) -> None:
    """Each of some rows against each of others."""
    grid = on_grid(vectors[others])
    for start in range(0, len(ones), BLOCK):
        one = ones[start : start + BLOCK]
        _tell(one, others, on_grid(vectors[one]) @ grid.T, least, found)


def _tell(one: Places, other: Places, products: Whole, least: np.float32, found: _Found) -> None:
    at, to = np.divmod(np.flatnonzero(products >= least), len(other))
    if len(at):
        found.add(one[at], other[to], products[at, to])
