"""Which rows make which update, and how they are laid out; a function of the seed and of nothing else.

In: training rows, settings. Out: for each update its rows, cut into passes through the model. How an update is cut
changes its cost and not its gradient: the loss of an update is one sum over all its labels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any

from yearling.students.rows import IGNORE, Row

if TYPE_CHECKING:
    from torch import Tensor

CLOSE = {"cpu": 0.9, "cuda": 0.5, "mps": 0.5}  # of the longest row of a pass, the least length: the rest is padding
FREE = 48  # tokens of padding that cost less than a pass of their own


@dataclass(frozen=True)
class Course:
    """The updates of a training: `size` rows each, drawn without putting back, `epochs` times over."""

    rows: int
    size: int
    epochs: float
    seed: int

    @property
    def updates(self) -> int:
        """How many there are; the last of an epoch may have fewer rows."""
        whole, part = divmod(self.epochs, 1)
        each = ceil(self.rows / self.size)
        return max(int(whole) * each + ceil(part * each), 1)

    def places(self, update: int) -> list[int]:
        """The rows of an update, counted from 0."""
        epoch, step = divmod(update, ceil(self.rows / self.size))
        return _order(self.rows, self.seed, epoch)[step * self.size : (step + 1) * self.size]

    def epoch(self, update: int) -> float:
        """How often the rows were seen after so many updates."""
        return update / ceil(self.rows / self.size)


@lru_cache(maxsize=1)
def _order(rows: int, seed: int, epoch: int) -> list[int]:
    order = list(range(rows))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order


def passes(rows: Sequence[Row], tokens: int, close: float) -> list[list[Row]]:
    """Rows of like length together: `tokens` at most with padding.

    None is shorter than `close` of the longest beside it, unless it lacks only a few tokens. A row that is longer than
    `tokens` stands alone.
    """
    cut: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        longest = len(cut[-1][0].tokens) if cut else 0
        if not cut or longest * (len(cut[-1]) + 1) > tokens or len(row.tokens) < min(close * longest, longest - FREE):
            cut.append([])
        cut[-1].append(row)
    return cut


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """One pass: `input_ids`, `labels` and `attention_mask`, each (rows, longest); what pads carries no loss."""
    import torch

    longest = max(len(row.tokens) for row in rows)

    def padded(lists: Sequence[list[int]], filler: int) -> Any:
        return torch.tensor([some + [filler] * (longest - len(some)) for some in lists])

    return {
        "input_ids": padded([row.tokens for row in rows], 0),
        "labels": padded([row.labels for row in rows], IGNORE),
        "attention_mask": padded([[1] * len(row.tokens) for row in rows], 0),
    }
