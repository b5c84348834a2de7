"""The adapter proof: what was saved is what was trained.

In: the loss of some rows in training and the adapter's folder. Out: facts for the manifest, or a ProofError.
The folder is read back onto a fresh base in a process of its own: nothing of the training can help it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yearling.errors import ProofError
from yearling.students.load import Student
from yearling.students.rows import IGNORE, Row
from yearling.students.trained import ADAPTER, holds_training, is_adapter, open_trained


class Weights(NamedTuple):
    """What a base is loaded as: torch's dtype, the device, and whether in 4 bits."""

    dtype: str
    device: str = "cpu"
    four_bits: bool = False

    @property
    def four_bits_on(self) -> str | None:
        """The device that 4 bits go to, where there are any."""
        return self.device if self.four_bits else None

    def there(self, model: Any) -> Any:
        """A model on the device; 4 bits are there from the start."""
        return model if self.four_bits else model.to(self.device)


PROVED = 8  # rows whose loss is compared
LOSS_TOLERANCE = 0.02  # of the loss: the same weights in the same precision differ by rounding only


def prove_adapter(
    student: Student, rows: Sequence[Row], wanted: float, folder: Path, weights: Weights
) -> dict[str, Any]:
    """Check that the saved adapter is not empty, loads in a fresh process, keeps the loss of `rows`, changes the base.

    `wanted` is that loss as the trained model had it, in nats a label token. Raises ProofError saying what failed.
    """
    if not holds_training(folder):
        raise ProofError(f"adapter proof: nothing was written to {folder}.")
    largest = _largest_b(folder) if is_adapter(folder) else None
    loss, before = in_fresh_process(student, rows, folder, weights)
    if not math.isfinite(loss):
        raise ProofError(
            f"adapter proof: the reloaded adapter's loss is {loss}. Lower train.learning_rate and train anew."
        )
    if abs(loss - wanted) > LOSS_TOLERANCE * max(wanted, 0.1):
        raise ProofError(f"adapter proof: the loss was {wanted:.4f} in training and is {loss:.4f} after reloading.")
    if abs(loss - before) < 1e-6:
        raise ProofError("adapter proof: what was trained changes nothing. Raise train.learning_rate or train.epochs.")
    return {"loss": loss, "trained_loss": wanted, "base_loss": before, "largest_b": largest, "rows": len(rows)}


def in_fresh_process(student: Student, rows: Sequence[Row], folder: Path, weights: Weights) -> tuple[float, float]:
    """The mean loss with the adapter of a folder and without it, as a process that knows nothing else finds them."""
    given = {
        "base": student.folder,
        "adapter": str(folder.resolve()),
        "weights": weights,
        "rows": [[row.tokens, row.labels] for row in rows],
    }
    done = subprocess.run(
        [sys.executable, "-m", "yearling.train.proof"], input=json.dumps(given), capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ProofError(f"adapter proof: a fresh process cannot load {folder}: {last}")
    loss, before = json.loads(done.stdout.splitlines()[-1])
    return float(loss), float(before)


def _main() -> None:
    """The fresh process: what to load comes as JSON, and the two losses go back as JSON."""
    given = json.load(sys.stdin)
    rows = [Row(str(place), tokens, labels) for place, (tokens, labels) in enumerate(given["rows"])]
    base, folder = Student(given["base"], None, None, ""), Path(given["adapter"])
    weights = Weights(*given["weights"])
    loss = mean_loss(weights.there(open_trained(base, folder, weights.dtype, four_bits_on=weights.four_bits_on)), rows)
    print(json.dumps([loss, mean_loss(weights.there(base.weights(weights.dtype, weights.four_bits_on)), rows)]))


def mean_loss(model: Any, rows: Sequence[Row]) -> float:
    """Mean negative log likelihood, in nats a label token, of the labelled tokens of `rows`."""
    found = [value for row in rows for value in label_logprobs(model, row)]
    return -sum(found) / len(found)


def label_logprobs(model: Any, row: Row) -> list[float]:
    """Natural-log probabilities of a row's labelled tokens, each given all before it."""
    import torch

    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.tokens], device=model.device)).logits[0, :-1]
        labels = torch.tensor(row.labels[1:], device=model.device)
        labelled = labels != IGNORE
        lost = torch.nn.functional.cross_entropy(logits[labelled].float(), labels[labelled], reduction="none")
    return [-value for value in lost.tolist()]


def _largest_b(folder: Path) -> float:
    """The largest number in the adapter's B matrices, which start at zero."""
    from safetensors.torch import load_file

    path = folder / ADAPTER
    weights = [tensor.abs().max().item() for name, tensor in load_file(str(path)).items() if "lora_B" in name]
    if not weights or max(weights) == 0.0:
        raise ProofError(f"adapter proof: {path} is empty: no B matrix differs from zero.")
    return float(max(weights))


if __name__ == "__main__":
    _main()
