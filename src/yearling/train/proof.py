"""The adapter proof: what was saved is what was trained.

In: the trained model still in memory and the adapter's folder. Out: facts for the manifest, or a ProofError.
The folder is read back onto a fresh base; nothing of the trained model is used for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yearling.errors import ProofError
from yearling.students.load import Student, quiet
from yearling.students.rows import Row

LOSS_TOLERANCE = 0.02  # of the loss: the same weights in the same precision differ by rounding only


def prove_adapter(student: Student, rows: Sequence[Row], trained: Any, folder: Path) -> dict[str, Any]:
    """Check that the saved adapter is not empty, reloads, keeps the loss of `rows`, and changes the base.

    Raises ProofError saying which of these failed.
    """
    from peft import PeftModel

    largest = _largest_b(folder)
    wanted = mean_loss(trained, rows)
    with quiet():
        base = student.weights(str(next(trained.parameters()).dtype).removeprefix("torch."))
        before = mean_loss(base, rows)
        reloaded = PeftModel.from_pretrained(base, str(folder))
    loss = mean_loss(reloaded, rows)
    if not math.isfinite(loss):
        raise ProofError(
            f"adapter proof: the reloaded adapter's loss is {loss}. Lower train.learning_rate and train anew."
        )
    if abs(loss - wanted) > LOSS_TOLERANCE * max(wanted, 0.1):
        raise ProofError(f"adapter proof: the loss was {wanted:.4f} in training and is {loss:.4f} after reloading.")
    if abs(loss - before) < 1e-6:
        raise ProofError("adapter proof: the adapter changes nothing. Raise train.learning_rate or train.epochs.")
    return {"loss": loss, "trained_loss": wanted, "base_loss": before, "largest_b": largest, "rows": len(rows)}


def mean_loss(model: Any, rows: Sequence[Row]) -> float:
    """Mean negative log likelihood, in nats a label token, of the labelled tokens of `rows`."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            tokens = torch.tensor([row.tokens], device=model.device)
            labels = torch.tensor(row.labels[1:], device=model.device)
            logits = model(input_ids=tokens).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
            count += int((labels != -100).sum())
    return total / count


def _largest_b(folder: Path) -> float:
    """The largest number in the adapter's B matrices, which start at zero."""
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise ProofError(f"adapter proof: {path} was not written.")
    weights = [tensor.abs().max().item() for name, tensor in load_file(str(path)).items() if "lora_B" in name]
    if not weights or max(weights) == 0.0:
        raise ProofError(f"adapter proof: {path} is empty: no B matrix differs from zero.")
    return float(max(weights))
