"""ROUGE-L F-measure of two texts by their counts of tokens, and what a score above a threshold takes.

In: token counts and a threshold. Out: the reference's own float, and for a text of some length which other lengths
can pass, how many tokens may go unmatched, and how far down its tokens one must look for the first common one.
Does not see texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]


def f_measure(common: int, left: int, right: int) -> float:
    """ROUGE-L F of two texts of `left` and `right` tokens that have `common` tokens in sequence.

    The reference's own order of operations, so that the float is the same one; it is symmetric in the two lengths.
    Without rounding it is 2 * common / (left + right).
    """
    if not common:
        return 0.0
    precision = common / right
    recall = common / left
    return 2 * precision * recall / (precision + recall)


def f_measures(common: Ints, left: int, right: Ints) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`f_measure` of many others at once, the same floats; `common` is at least 1 everywhere."""
    precision = common / right
    recall = common / left
    measures: np.ndarray[Any, np.dtype[np.float64]] = 2 * precision * recall / (precision + recall)
    return measures


@dataclass(frozen=True, slots=True)
class Needs:
    """What a text needs of another one for a score above the threshold; nothing can pass where `reach` is empty.

    `spare[n]`: how many tokens may go unmatched on both sides together when the other text has n; -1 where n is too
    short or too long, as is the last entry, which stands for all longer ones. With our tokens in any fixed order,
    `reach[rank]` is the longest text that can still pass when the first of ours that it holds stands at `rank`.
    """

    shortest: int
    spare: Ints
    reach: Ints


def needs(threshold: float, length: int, longest: int) -> Needs:
    """What a text of `length` tokens needs of others, of which none has more than `longest` tokens."""
    nothing = Needs(1, np.full(1, -1), np.zeros(0, np.int64))
    if not length or not longest:
        return nothing
    first = max(1, int(length * threshold / (2 - threshold)) - 1)
    last = int(min(longest, length * (2 - threshold) / threshold + 2)) if threshold else longest
    others = np.arange(first, last + 1)
    # The least number of tokens in common: floats put the guess off by one at most, so start two below.
    least = np.maximum(1, (threshold * (length + others) / 2).astype(np.int64) - 1)
    for _ in range(3):
        least += f_measures(least, length, others) <= threshold
    good = np.flatnonzero(least <= np.minimum(length, others))
    if not len(good):
        return nothing
    least, others = least[good], others[good]
    spare = np.full(int(others[-1]) + 2, -1)
    spare[others] = length + others - 2 * least
    # A first common token at a rank leaves length - rank tokens that can be common.
    left = length - np.arange(length - int(least[0]) + 1)
    reach = others[np.searchsorted(least, left, side="right") - 1]
    return Needs(int(others[0]), spare, reach)
