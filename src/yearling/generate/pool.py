"""Drafts to be shown again: what machines wrote and passed, drawn so that a changed one moves few draws.

In: drafts in the order of the calls that wrote them. Out: for a call, some of those from earlier blocks of calls.
Judges nothing.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from yearling.generate.draft import Draft

# A block of calls is asked at once, and shows what earlier blocks wrote. The source's block is 5 calls; a larger one
# keeps more calls in flight, and lets fewer calls descend from any one seed.
BLOCK = 64


class Pool:
    """Drafts by the call that wrote them; calls come in order."""

    def __init__(self) -> None:
        self._drafts: list[Draft] = []
        self._blocks: list[int] = []
        self._digests = array("Q")

    def add(self, call: int, draft: Draft) -> None:
        """Let a draft be drawn by the calls of later blocks."""
        self._drafts.append(draft)
        self._blocks.append(call // BLOCK)
        self._digests.append(_number(draft.instruction))

    def draw(self, seed: int, call: int, count: int) -> list[Draft]:
        """The `count` drafts of earlier blocks whose text, mixed with the seed and the call, gives the least numbers.

        So a draft that appears, or goes, changes the draws of those calls only that draw it.
        """
        import numpy as np

        known = bisect_left(self._blocks, call // BLOCK)
        count = min(count, known)
        if not count:
            return []
        numbers = np.array(self._digests[:known], dtype=np.uint64) ^ np.uint64(_number(f"{seed}:{call}"))
        # the finaliser of splitmix64: as good as a digest of all three, and quick for the longest runs
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
        numbers ^= numbers >> np.uint64(31)
        least = np.argpartition(numbers, count - 1)[:count]
        return [self._drafts[place] for place in sorted(least.tolist(), key=lambda place: int(numbers[place]))]


def blocks(numbers: range) -> Iterator[range]:
    """Calls k, cut where a block ends."""
    start = numbers.start
    while start < numbers.stop:
        stop = min(numbers.stop, (start // BLOCK + 1) * BLOCK)
        yield range(start, stop)
        start = stop


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
