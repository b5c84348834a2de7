"""The novelty rule: is a text too close, by ROUGE-L F-measure, to one that came before?

In: texts with ids, in the order in which they count. Out: the closest earlier text above the threshold, or none.
With tokenizer "rouge", scores and decisions equal those of rouge_score 0.1.2 without stemming, bit for bit;
"unicode" applies the same measure to texts of any script. Does not judge meaning, and forgets nothing it was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

from rapidfuzz.distance import LCSseq

from yearling.measure.text import TOKENIZERS, Tokenizer

SLACK = 1e-9  # far above float error, far below the gap between two scores that differ: bounds never prune a hit

Key = tuple[int, int]  # token number, and which occurrence of it in its text: shared keys are shared tokens


@dataclass(frozen=True, slots=True)
class Match:
    """The closest earlier text: its ROUGE-L F-measure and its id."""

    score: float
    id: str


def f_measure(common: int, left: int, right: int) -> float:
    """ROUGE-L F of two texts of `left` and `right` tokens that have `common` tokens in sequence.

    The reference's own order of operations, so that the float is the same one; it is symmetric in the two lengths.
    """
    if not common:
        return 0.0
    precision = common / right
    recall = common / left
    return 2 * precision * recall / (precision + recall)


class NoveltyIndex:
    """Texts seen so far, searchable for the one closest to a new text."""

    def __init__(self, threshold: float = 0.7, tokenizer: Tokenizer = "unicode") -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"a novelty threshold lies between 0 and 1, not {threshold}")
        self.threshold = threshold
        self._tokens = TOKENIZERS[tokenizer]
        self._numbers: dict[str, int] = {}
        self._texts: list[tuple[str, list[int], frozenset[Key]]] = []
        self._holders: dict[Key, list[int]] = {}  # positions in _texts

    def __len__(self) -> int:
        return len(self._texts)

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
        sequence = [self._numbers.setdefault(token, len(self._numbers)) for token in tokens]
        keys = frozenset(_keys(sequence))
        for key in keys:
            self._holders.setdefault(key, []).append(len(self._texts))
        self._texts.append((id, sequence, keys))

    def _nearest(self, tokens: Sequence[str]) -> Match | None:
        # A token never seen gets a number that no text holds.
        sequence = [self._numbers.get(token, len(self._numbers)) for token in tokens]
        keys = frozenset(_keys(sequence))
        best, bar = None, self.threshold
        for position in self._candidates(keys):
            id, other, other_keys = self._texts[position]
            lengths = len(sequence), len(other)
            if f_measure(min(lengths), *lengths) + SLACK <= bar:
                continue
            if f_measure(len(keys & other_keys), *lengths) + SLACK <= bar:
                continue
            score = f_measure(LCSseq.similarity(sequence, other), *lengths)
            if score > bar:
                best, bar = Match(score, id), score
        return best

    def _candidates(self, keys: frozenset[Key]) -> list[int]:
        """Positions, oldest first, of every text that could pass the threshold.

        With c tokens in common F is at most 2c / (m + c), so a hit shares more than t·m / (2 - t) of the m tokens;
        it cannot miss all of the rarest m - that many + 1.
        """
        needed = max(1, floor(self.threshold * len(keys) / (2 - self.threshold) - SLACK) + 1)
        rarest = sorted((self._holders.get(key, []) for key in keys), key=len)[: len(keys) - needed + 1]
        found: set[int] = set()
        return sorted(found.union(*rarest))


def _keys(sequence: Sequence[int]) -> Iterator[Key]:
    seen: Counter[int] = Counter()
    for number in sequence:
        yield number, seen[number]
        seen[number] += 1
