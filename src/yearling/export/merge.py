"""Merging an adapter into its base, and the proof that the merged model is base plus adapter.

In: both in 32 bits, the base never from weights of fewer bits than it was trained on; some rows. Out: one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yearling.errors import ProofError
from yearling.students.rows import Row

# How far a logit may be off, as floats are added in another order: of what the adapter moves any, and at all.
TOLERANCE, ROUNDING = 2e-3, 5e-4


def merge(model: Any, rows: Sequence[Row]) -> tuple[Any, dict[str, float]]:
    """The merged model, and the greatest difference of a logit to base plus adapter, and to the base alone.

    Raises ProofError where the merged model is another.
    """
    import torch

    model.eval()

    def logits(of: Any) -> list[Any]:
        with torch.no_grad():
            return [of(input_ids=torch.tensor([row.tokens])).logits[0].clone() for row in rows]

    with model.disable_adapter():
        base = logits(model)
    both = logits(model)
    merged = model.merge_and_unload()
    after = logits(merged)
    adds = max(float((one - other).abs().max()) for one, other in zip(both, base, strict=True))
    off = max(float((one - other).abs().max()) for one, other in zip(both, after, strict=True))
    if not off <= max(TOLERANCE * adds, ROUNDING):
        raise ProofError(
            f"merge proof: a logit of the merged model differs by {off:.4g} from that of base plus adapter, and the "
            f"adapter itself moves logits by {adds:.4g} at most. Nothing was written; please report it."
        )
    return merged, {"differs": off, "adapter_moves": adds}
