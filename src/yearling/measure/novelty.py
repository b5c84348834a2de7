"""The novelty rule: is a text too close, by ROUGE-L F-measure, to one that came before?

In: texts with ids, in the order in which they count. Out: the closest earlier text above the threshold, or none.
With tokenizer "rouge", scores and decisions equal those of rouge_score 0.1.2 without stemming, bit for bit;
"unicode" applies the same measure to texts of any script. Does not judge meaning, and forgets nothing it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import LCSseq

from yearling.measure.postings import FEW, Array, Bag, Pool
from yearling.measure.rouge import Needs, f_measure, f_measures, needs
from yearling.measure.text import TOKENIZERS, Tokenizer

REMEMBERED = 1 << 21  # numbers in the needs that are kept for texts of the same length


@dataclass(frozen=True, slots=True)
class Match:
    """The closest earlier text: its ROUGE-L F-measure and its id."""

    score: float
    id: str


class NoveltyIndex:
    """Texts seen so far, searchable for the one closest to a new text."""

    def __init__(self, threshold: float = 0.7, tokenizer: Tokenizer = "unicode") -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"a novelty threshold lies between 0 and 1, not {threshold}")
        self.threshold = threshold
        self._tokens = TOKENIZERS[tokenizer]
        self._numbers: dict[str, int] = {}  # of the tokens of all texts
        self._pool = Pool()
        self._ids: list[str] = []
        self._same: dict[int, int] = {}  # hash of a text's tokens to the first row that has it
        self._needs: dict[int, Needs] = {}
        self._remembered = 0
        self._limit = 1  # no text has more tokens: what `_needs` was made for

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(self, text: str) -> Match | None:
        """The earlier text of the highest score above the threshold (of equals, the first added), or None."""
        return self._nearest(self._tokens(text))

    def add(self, text: str, id: str) -> None:
        """Let `text` count from now on."""
        self._add(self._tokens(text), id)

    def add_if_novel(self, text: str, id: str) -> Match | None:
        """None where `text` was novel and now counts; else the match that speaks against it."""
        tokens = self._tokens(text)
        match = self._nearest(tokens)
        if match is None:
            self._add(tokens, id)
        return match

    def _add(self, tokens: Sequence[str], id: str) -> None:
        numbers = [self._numbers.setdefault(token, len(self._numbers)) for token in tokens]
        self._same.setdefault(hash(tuple(numbers)), len(self._ids))
        self._ids.append(id)
        bag = Bag(np.array(numbers, np.int64), len(tokens))
        self._pool.add(bag, lambda length: len(self._need(length).reach))

    def _nearest(self, tokens: Sequence[str]) -> Match | None:
        # A token that no text has cannot match: it counts in the length only.
        known = [self._numbers[token] for token in tokens if token in self._numbers]
        row = self._same.get(hash(tuple(known))) if tokens and len(known) == len(tokens) else None
        if row is not None and self._pool.tokens(row) == known:  # nothing scores higher, and it is the first
            return Match(1.0, self._ids[row]) if self.threshold < 1.0 else None
        need = self._need(len(tokens))
        if not len(need.reach):
            return None
        bag = Bag(np.array(known, np.int64), len(tokens))
        rows = self._pool.candidates(bag, need)
        return self._closest(known, bag, rows) if len(rows) else None

    def _closest(self, known: list[int], bag: Bag, rows: Array) -> Match | None:
        """The best of the rows, compared in sequence; one by one in an order in which most need not be looked at."""
        most = [1.0] * len(rows)
        if len(rows) > FEW:
            rows = np.unique(rows)
            shared = self._pool.shared(bag, rows)
            rows, shared = rows[shared > 0], shared[shared > 0]
            highest = f_measures(shared, bag.length, self._pool.lengths(rows))
            order = np.argsort(-highest, kind="stable")
            rows, most = rows[order], highest[order].tolist()
        best, bar = -1, self.threshold
        for row, bound in zip(rows.tolist(), most, strict=True):
            if bound < bar or (bound == bar and best < 0):
                break
            other = self._pool.tokens(row)
            score = f_measure(LCSseq.similarity(known, other), bag.length, len(other))
            if score > bar or (score == bar and row < best):  # of equals the first added
                best, bar = row, score
        return Match(bar, self._ids[best]) if best >= 0 else None

    def _need(self, length: int) -> Needs:
        if self._pool.longest > self._limit or self._remembered > REMEMBERED:
            self._limit = max(self._limit, 2 * self._pool.longest)
            self._needs.clear()
            self._remembered = 0
        if length not in self._needs:
            self._needs[length] = needs(self.threshold, length, self._limit)
            self._remembered += len(self._needs[length].spare)
        return self._needs[length]
