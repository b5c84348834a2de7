"""The proof of batches: what a trainer makes of rows keeps each token and label, and lets no row see another.

In: rows, and what makes a batch of some. Out: how many were tried, or ProofError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from yearling.errors import ProofError
from yearling.students.rows import IGNORE, Row

BATCHED = 64  # rows tried at most


def prove_batches(collate: Callable[[Sequence[Row]], Any], rows: Sequence[Row]) -> int:
    """Check that batches keep tokens and labels, and pad without loss; the number of rows tried.

    A batch is one of transformers', with a row in each line, or one of rows that are joined in one line (see
    `train.batches.join`). Short rows share batches with long ones: padding is tried.
    """
    ordered = sorted(range(len(rows)), key=lambda place: len(rows[place].tokens))
    tried = ordered if len(ordered) <= BATCHED else ordered[: BATCHED // 2] + ordered[-BATCHED // 2 :]
    for pair in zip(tried, reversed(tried), strict=True):
        batch = collate([rows[place] for place in pair])
        found = _joined(batch) if "position_ids" in batch else _beside(batch)
        for place, (tokens, labels) in zip(pair, found, strict=True):
            row, size = rows[place], len(rows[place].tokens)
            # no token is before the first one, so its label is never looked at
            if tokens[:size] == row.tokens and labels[1:] == row.labels[1:] + [IGNORE] * (len(labels) - size):
                continue
            changed = next(
                (i for i, label in enumerate(labels[:size]) if label != row.labels[i]), min(len(labels), size)
            )
            raise ProofError(
                f"mask proof: row {row.record}: token or label {changed} of {size} is another in its batch (an answer "
                "masked as if it were padding, or a row cut). This is a fault of yearling: please report it."
            )
    return len(tried)


def _beside(batch: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens and labels of each row, padding and all."""
    return zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)


def _joined(batch: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens and labels of each row, as its last token sees them; raises ProofError where a place is miscounted."""
    seen, places = batch["attention_mask"][0, 0] == 0, batch["position_ids"][0]
    if not bool((seen.sum(1) == places + 1).all()):
        raise ProofError("mask proof: a token of joined rows sees more or less than what is before it in its row.")
    for last in (seen.sum(0) == 1).nonzero().flatten():  # no other token sees the last one of a row
        its = seen[last]
        yield batch["input_ids"][0, its].tolist(), batch["labels"][0, its].tolist()
