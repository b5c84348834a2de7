"""Near duplicates: rows that share most of their word pairs, found by MinHash and then counted out.

In: a corpus whose texts were read, which of its records stand. Out: those that are nearly an earlier one.
Banded MinHash (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3.4) only proposes pairs; each is verified by
the exact Jaccard likeness of its word pairs, side by side, so that wording that many prompts share joins no rows whose
answers differ. Prompts with different numbers are never the same. What hangs together is one cluster; its first born
is kept.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from math import ceil, log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from yearling.curate import engine
from yearling.curate.corpus import Corpus, Flags
from yearling.recipe import Near

if TYPE_CHECKING:
    import pyarrow as pa

Places = npt.NDArray[np.int64]
SIDES = {"both": ("asked", "answered"), "prompt": ("asked",), "answer": ("answered",)}
HASHES = 128
LOST = 0.02  # of pairs at the very threshold, the share that no band may propose
ALL_PAIRS = 16  # rows of one band hash up to which each is held against each; of more, against some before it
PENDING = 20_000_000  # pairs of several bands that are held before those named twice are let go
REMEMBERED = 50_000  # texts whose word pairs are held in memory

DIGIT = re.compile("[0-9]")


def near_duplicates(corpus: Corpus, standing: Flags, near: Near) -> list[tuple[int, int, float]]:
    """(record, the first born of its cluster, likeness to the nearest of it) of all but the first born."""
    assert near.above is not None
    sides, bands = SIDES[near.on], bands_for(near.above, rows_a_band(near.above))
    files = band_files(corpus, near)
    alike: dict[int, dict[int, float]] = defaultdict(dict)
    for one, other, score in _verified(corpus, sides, proposed(corpus, files, bands, standing), near.above):
        alike[one][other] = alike[other][one] = score
    return [(place, kept, max(alike[place].values())) for place, kept in clusters(alike).items() if place != kept]


def band_files(corpus: Corpus, near: Near) -> list[Path]:
    """The band hashes of all texts, whoever stands."""
    assert near.above is not None
    rows = rows_a_band(near.above)
    bands = bands_for(near.above, rows)
    out = corpus.work / f"bands-{corpus.digest[:16]}-{near.on}-{rows}-{bands}"
    return engine.band_hashes(corpus.texts, SIDES[near.on], bands, rows, out)


def rows_a_band(threshold: float) -> int:
    """Minima of a band, as many as still propose all but `LOST` of the pairs at the threshold."""
    fitting = [rows for rows in (16, 8, 4, 2) if (1 - threshold**rows) ** (HASHES // rows) <= LOST]
    return fitting[0] if fitting else 1


def bands_for(threshold: float, rows: int) -> int:
    """The fewest bands of so many minima that lose no more, `HASHES` minima at most."""
    alike = 1 - threshold**rows
    return min(HASHES // rows, ceil(log(LOST) / log(alike))) if 0 < alike < 1 else 1


def proposed(corpus: Corpus, files: list[Path], bands: int, standing: Flags) -> Places:
    """Pairs of places that agree in a band, the earlier first, each once and in order; one band in memory at a time."""
    where, count = np.flatnonzero(standing), len(corpus)
    found, fresh = np.empty(0, np.int64), list[Places]()
    for band in range(bands):
        hashes = corpus.in_order(files, f"b{band}")[0].to_numpy()[where]
        one, other = agreeing(hashes)
        fresh.append(where[one] * count + where[other])
        if band == bands - 1 or sum(map(len, fresh)) > PENDING:
            found, fresh = np.unique(np.concatenate([found, *fresh])), []
    return np.stack([found // count, found % count], axis=1)


def agreeing(hashes: npt.NDArray[np.uint64]) -> tuple[Places, Places]:
    """Pairs of positions with one hash; in a large group each is held against its first and its latest members."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    ones, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, ALL_PAIRS):  # each with the one `step` before it
        later = np.flatnonzero(ordered[step:] == ordered[:-step]) + step
        if not len(later):
            break
        ones.append(order[later - step])
        others.append(order[later])
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    start_of = np.repeat(starts, np.diff(np.append(starts, len(ordered))))
    for first in range(ALL_PAIRS // 2):
        later = np.flatnonzero(np.arange(len(ordered)) - start_of - first >= ALL_PAIRS)
        ones.append(order[start_of[later] + first])
        others.append(order[later])
    return np.concatenate(ones), np.concatenate(others)


def _verified(corpus: Corpus, sides: tuple[str, ...], pairs: Places, above: float) -> Iterator[tuple[int, int, float]]:
    """The pairs that are alike on each side, with the likeness of the side that is less so."""
    involved, at = np.unique(pairs, return_inverse=True)  # the texts of rows without a neighbour are not held
    texts = [column.combine_chunks() for column in corpus.in_order(corpus.texts, *sides).take(involved).columns]
    ones, others = at.reshape(pairs.shape).T
    if "asked" in sides:
        known: dict[tuple[str, ...], int] = {}
        said = (tuple(numbers(text.as_py())) for text in texts[0])
        codes = np.fromiter((known.setdefault(some, len(known)) for some in said), np.int64, len(involved))
        ones, others = (column[codes[ones] == codes[others]] for column in (ones, others))
    equal = [codes[ones] == codes[others] for codes in map(_codes, texts)]

    @lru_cache(REMEMBERED)
    def shingles(side: int, place: int) -> frozenset[int]:
        return word_pairs(texts[side][place].as_py())

    columns = (column.tolist() for column in (ones, others, *equal))
    for one, other, *same in zip(*columns, strict=True):
        score = 1.0
        for side, alike in enumerate(same):
            score = score if alike else min(score, jaccard(shingles(side, one), shingles(side, other)))
            if score < above:
                break
        else:
            yield int(involved[one]), int(involved[other]), score


def _codes(texts: pa.Array) -> Places:
    """Equal texts have equal numbers."""
    codes: Places = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def word_pairs(text: str) -> frozenset[int]:
    """The pairs of neighbouring tokens as numbers of this process; of a single token, the token."""
    tokens = text.split(" ")
    return frozenset(map(hash, pairwise(tokens) if len(tokens) > 1 else tokens))


def jaccard(pairs: frozenset[int], others: frozenset[int]) -> float:
    """The Jaccard likeness of two sets."""
    shared = len(pairs & others)
    return shared / (len(pairs) + len(others) - shared)


def numbers(text: str) -> list[str]:
    """The tokens with digits, sorted."""
    if not text.isascii():
        return sorted(token for token in text.split(" ") if any(map(str.isdigit, token)))
    return sorted(filter(DIGIT.search, text.split(" "))) if DIGIT.search(text) else []


def clusters(alike: dict[int, dict[int, float]]) -> dict[int, int]:
    """For each record with a neighbour, the first born of all that hang together with it."""
    kept: dict[int, int] = {}
    for start in sorted(alike):
        open_ends = [] if start in kept else [start]
        while open_ends:
            place = open_ends.pop()
            if place not in kept:
                kept[place] = start
                open_ends += alike[place]
    return kept
