"""Rows that are not learnt but watched: which they are, and what their loss says while the others are learnt.

In: proved rows and their families; the mean loss of the watched ones, look by look. Out: which weights are the best so
far, and when to stop. Touches no model and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

from yearling.measure.accepted import place_of
from yearling.students.rows import Row

MOST, FEWEST = 64, 200  # rows that are watched at most; rows under which none is spared
LOOKS = 12  # in a training
WORSE, PATIENCE = 1.1, 3  # times the best loss, at so many looks in a row, is no longer chance


def part(rows: Sequence[Row], root: Mapping[str, str], share: float, most: int = MOST) -> tuple[list[Row], list[Row]]:
    """(watched, learnt): whole families to the one side or the other, drawn by hash, the rows' own order kept.

    `root` names each record's family.
    """
    places = {row.record: place_of(root[row.record]) for row in rows}
    wanted = min(most, ceil(share * len(rows)))
    ordered = sorted(places.values())
    edge = ordered[min(wanted, len(rows) - 1)]
    watched = [row for row in rows if places[row.record] < edge]
    return watched, [row for row in rows if places[row.record] >= edge]


@dataclass(frozen=True)
class Looks:
    """What was seen so far: after which update the watched rows' loss was lowest, and how often it was far above."""

    update: int = 0
    loss: float = inf
    worse: int = 0

    def seen(self, update: int, loss: float) -> Looks:
        """One more look."""
        if loss < self.loss:
            return Looks(update, loss)
        return Looks(self.update, self.loss, self.worse + 1 if loss > WORSE * self.loss else 0)

    @property
    def diverging(self) -> bool:
        """Whether going on is of no use."""
        return self.worse >= PATIENCE
