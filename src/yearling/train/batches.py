"""Which rows make which update, and how they are laid out; a function of the seed and of nothing else.

In: training rows, settings. Out: for each update its rows, cut into passes through the model. How an update is cut
changes its cost and not its gradient: the loss of an update is one sum over all its labels.

A pass lays its rows side by side and fills the shorter ones up, or it joins them: what they begin with alike (a system
turn, say) once, then the rest of each, which sees the beginning and itself (Liu et al. 2025, arXiv 2506.05433, do so
with answers to one question). Joined rows need no filling, and a beginning is computed once and not once a row; but
attention looks at all of a pass, so it pays for short passes only.
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
JOINED = {"cpu": 1024, "cuda": 0, "mps": 0}  # tokens of a pass of joined rows, at most; 0: measured nowhere, never done


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


def joins(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Rows that begin alike together, `tokens` at most counted one by one; a row that is longer stands alone."""
    cut: list[list[Row]] = []
    held = 0
    for row in sorted(rows, key=lambda row: row.tokens):
        held += len(row.tokens)
        if not cut or held > tokens:
            cut.append([])
            held = len(row.tokens)
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


def join(rows: Sequence[Row]) -> dict[str, Tensor]:
    """One pass of joined rows: `input_ids`, `labels` and `position_ids`, each (1, tokens), and what to add to the
    attention's scores as `attention_mask`, (1, 1, tokens, tokens): 0 where a token sees another, else minus infinity.

    What all rows begin with stands first and once, as far as no label is in it or right behind it; so the token before
    a label is always of the label's own row.
    """
    import torch

    least, most = min(row.tokens for row in rows), max(row.tokens for row in rows)  # what these share, all share
    alike = next((place for place, token in enumerate(least) if token != most[place]), len(least))
    for row in rows:
        first = next((place for place, label in enumerate(row.labels) if label != IGNORE), len(row.labels))
        alike = min(alike, first - 1)
    alike = max(alike, 0)
    tokens, labels = list(rows[0].tokens[:alike]), [IGNORE] * alike
    places, owners = list(range(alike)), [0] * alike
    for owner, row in enumerate(rows, start=1):
        tokens += row.tokens[alike:]
        labels += [IGNORE, *row.labels[alike + 1 :]]
        places += range(alike, len(row.tokens))
        owners += [owner] * (len(row.tokens) - alike)
    its = torch.tensor(owners)
    seen = ((its == 0) | (its == its[:, None])).tril()
    batch = {"input_ids": tokens, "labels": labels, "position_ids": places}
    mask = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))
    return {name: torch.tensor([numbers]) for name, numbers in batch.items()} | {"attention_mask": mask[None, None]}
