"""Texts as bags of token numbers, and the search for those that share enough tokens with a given one.

In: the tokens of texts as numbers, and what one of them needs of another (`Needs`). Out: rows that may share as much,
never missing one that does. Does not look at the order of tokens, and forgets nothing.

The newest rows are all looked at. Older rows lie in a few segments, each an inverted index of the rarest tokens of
each row only: with tokens in any fixed order, two bags that share enough share one of their first few. Segments grow
geometrically, and each is built with its own order. What is found is filtered by signatures, words of bits. A token
that a text repeats is one token for signatures and counts, which can only let more through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yearling.measure.rouge import Ints, Needs

WIDE = 256  # bits of a signature; tokens on one bit are taken for one
LOOSE = 2048  # newest rows before they become a segment
GROWTH = 4  # a segment takes in the one before it unless that one is so many times larger
LISTED = 128  # more rows of one token than this are cut by length before anything else
FEW = 12  # more rows than this are filtered once more before they are looked at one by one
BLOCK = 1 << 16  # rows worked on at once where each takes memory

Array = np.ndarray[Any, np.dtype[Any]]


class Column:
    """Numbers of one type that grow at the end, in one block of memory."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._block: Array = np.zeros(1024, dtype)
        self.size = 0

    def extend(self, values: Iterable[int], count: int) -> None:
        """Add `count` values."""
        if self.size + count > len(self._block):
            grown = np.zeros(max(self.size + count, len(self._block) * 3 // 2), self._block.dtype)
            grown[: self.size] = self._block[: self.size]
            self._block = grown
        self._block[self.size : self.size + count] = values
        self.size += count

    @property
    def values(self) -> Array:
        """All of them, without a copy; good until the next `extend`."""
        return self._block[: self.size]


@dataclass(frozen=True, slots=True)
class Bag:
    """The tokens of a text that are known, and how many tokens the whole text has."""

    tokens: Array
    length: int

    @property
    def signature(self) -> Array:
        """WIDE bits, one for each token: those that differ between two bags are tokens that they do not share."""
        flags = np.zeros(WIDE, np.uint8)
        flags[self.tokens % WIDE] = 1
        words: Array = np.packbits(flags).view(np.uint64)
        return words


class Segment:
    """The rows from `start` to `stop`, found by the rarest of their tokens."""

    def __init__(self, start: int, tokens: Array, lengths: Array, depths: Array) -> None:
        """`tokens` of all the rows, one after another; `depths[i]` of the rarest of row i are indexed."""
        self.start, self.stop = start, start + len(lengths)
        counts = np.bincount(tokens)
        self._ranks = np.full(len(counts) + 1, -1, np.int64)  # by token, rare ones first; -1 for all from the last on
        self._ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        ranks, rows = _rarest(self._ranks, tokens, lengths, depths)
        codes = (ranks << 32) | lengths[rows]
        order = np.argsort(codes)
        codes = codes[order]
        # The rows of each rank in turn, shorter ones first, and by rank + 1 where they begin.
        self._rows = (rows[order] + start).astype(np.int32)
        self._lengths = codes.astype(np.int32)
        self._first = np.searchsorted(codes >> 32, np.arange(-1, len(counts) + 1))

    def rows(self, bag: Bag, need: Needs) -> list[Array]:
        """Rows which hold one of the tokens of `bag` that count, some more than once."""
        ranks = self._ranks.take(bag.tokens, mode="clip")
        # Tokens that no row here has are rarer than all others: they take the first places.
        ranks.sort()
        reach = need.reach[bag.length - len(ranks) :]
        ranks = ranks[: len(reach)]
        found = []
        places = zip(self._first[ranks + 1].tolist(), self._first[ranks + 2].tolist(), reach.tolist(), strict=False)
        for first, last, longest in places:
            if last - first > LISTED:
                inside = self._lengths[first:last].searchsorted((need.shortest, longest + 1)).tolist()
                first, last = first + inside[0], first + inside[1]
            if first < last:
                found.append(self._rows[first:last])
        return found


def _rarest(ranks: Array, tokens: Array, lengths: Array, depths: Array) -> tuple[Array, Array]:
    """The `depths[i]` lowest ranks of the tokens of each row i, and the row of each rank."""
    parts = []
    ends = np.cumsum(lengths, dtype=np.int64)
    firsts = ends - lengths
    for start in range(0, len(lengths), BLOCK):
        some = np.arange(start, min(start + BLOCK, len(lengths)))
        rows = np.repeat(some, lengths[some])
        ranked = (rows << 32) | ranks[tokens[firsts[start] : ends[some[-1]]]]
        ranked.sort()
        parts.append(ranked[np.arange(firsts[start], ends[some[-1]]) - firsts[rows] < depths[rows]])
    ranked = np.concatenate(parts)
    return ranked & 0xFFFFFFFF, ranked >> 32


class Pool:
    """Bags of earlier texts, by row."""

    def __init__(self) -> None:
        self._tokens = Column(np.int32)
        self._ends = Column(np.int64)
        self._lengths = Column(np.int32)
        self._wide = Column(np.uint64)  # signatures
        self._narrow = Column(np.uint64)  # the same folded into one word
        self._segments: list[Segment] = []
        self._marked: Array = np.zeros(1024, np.bool_)  # by token; all false between two calls
        self.longest = 0

    def __len__(self) -> int:
        return self._lengths.size

    @property
    def _sealed(self) -> int:
        return self._segments[-1].stop if self._segments else 0

    def tokens(self, row: int) -> list[int]:
        """The tokens of a row, in the order of its text."""
        end = int(self._ends.values[row])
        tokens: list[int] = self._tokens.values[end - int(self._lengths.values[row]) : end].tolist()
        return tokens

    def lengths(self, rows: Array) -> Array:
        """How many tokens each of the rows has."""
        lengths: Array = self._lengths.values[rows]
        return lengths

    def add(self, bag: Bag, depth: Callable[[int], int]) -> None:
        """Let a bag, all of it known, count from now on; `depth(n)` tokens of a row of n are indexed."""
        self._tokens.extend(bag.tokens, bag.length)
        self._ends.extend((self._tokens.size,), 1)
        self._lengths.extend((bag.length,), 1)
        wide = bag.signature
        self._wide.extend(wide, len(wide))
        self._narrow.extend((np.bitwise_or.reduce(wide),), 1)
        self.longest = max(self.longest, bag.length)
        top = int(bag.tokens.max(initial=0))
        if top >= len(self._marked):
            self._marked = np.zeros(2 * top, np.bool_)
        if len(self) - self._sealed >= LOOSE:
            self._seal(depth)

    def candidates(self, bag: Bag, need: Needs) -> Array:
        """Rows that may share as many tokens with `bag` as it needs, some more than once, in no order."""
        listed = [rows for segment in self._segments for rows in segment.rows(bag, need)]
        rows: Array = np.concatenate((*listed, np.arange(self._sealed, len(self))))
        # Each bit that differs is a token that is not shared; those that no row has are not shared either.
        spare = need.spare - (bag.length - len(bag.tokens))
        spare = spare[np.minimum(self._lengths.values[rows], len(spare) - 1)]
        wide = bag.signature
        near = np.bitwise_count(self._narrow.values[rows] ^ np.bitwise_or.reduce(wide)) <= spare
        rows = rows[near]
        if len(rows) > FEW:
            differ = np.bitwise_count(self._wide.values.reshape(-1, len(wide))[rows] ^ wide).sum(axis=1)
            rows = rows[differ <= spare[near]]
        return rows

    def shared(self, bag: Bag, rows: Array) -> Ints:
        """How many tokens of each of the rows, none of them empty, `bag` has too; repeats all count."""
        counts = np.empty(len(rows), np.int64)
        self._marked[bag.tokens] = True
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            lengths = self._lengths.values[some].astype(np.int64)
            ends = np.cumsum(lengths)
            places = np.arange(ends[-1]) + np.repeat(self._ends.values[some] - ends, lengths)
            held = self._marked[self._tokens.values[places]]
            counts[start : start + BLOCK] = np.add.reduceat(held, ends - lengths, dtype=np.int64)
        self._marked[bag.tokens] = False
        return counts

    def _seal(self, depth: Callable[[int], int]) -> None:
        start = self._sealed
        while self._segments and (len(self) - start) * GROWTH >= start - self._segments[-1].start:
            start = self._segments.pop().start
        lengths = self._lengths.values[start:]
        different, which = np.unique(lengths, return_inverse=True)
        depths = np.array([depth(length) for length in different.tolist()])[which]
        first = int(self._ends.values[start]) - int(lengths[0])
        self._segments.append(Segment(start, self._tokens.values[first:], lengths, depths))
