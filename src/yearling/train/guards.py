"""What stops a training that has gone wrong, before it costs hours.

In: loss and gradient of each update. Out: nothing, or a ProofError with one line: what was seen, and what to change.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from statistics import median

from yearling.errors import ProofError, UserError
from yearling.machine import free_memory

CALM = 20  # updates whose losses say what is usual
SPIKE, SPIKES = 2.0, 5  # times the usual loss, at so many updates in a row
FLAT_AFTER = 30  # updates with a learning rate after which a loss has to have moved
FLAT = 1e-5  # of the loss: less is rounding
SCARCE = 200_000_000  # bytes of memory: with less, the system begins to kill


class Guards:
    """Told of each update before its weights move; what it raises leaves weights that are still good."""

    def __init__(self, first: float) -> None:
        """`first` is the mean loss of some rows before the first update."""
        self._first = first
        self._calm: deque[float] = deque(maxlen=CALM)
        self._high = 0

    def update(self, number: int, loss: float, norm: float) -> None:
        """Hear of an update: its mean loss in nats a label, and the norm of its gradient."""
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
            raise ProofError(f"{what} at update {number}. Lower train.learning_rate.")
        if norm == 0.0:
            raise ProofError(
                f"the gradient is zero at update {number}: nothing is learnt. Take other train.lora.targets."
            )
        usual = median(self._calm) if len(self._calm) == CALM else math.inf
        if loss > max(SPIKE * usual, usual + 1.0):
            self._high += 1
        else:
            self._high = 0
            self._calm.append(loss)
        if self._high == SPIKES:
            raise ProofError(
                f"the loss rose from {usual:.2f} to {loss:.2f} and stays there (update {number}). Lower "
                "train.learning_rate, or raise train.warmup."
            )

    def moved(self, number: int, loss: float) -> None:
        """Hear of the same rows' loss after FLAT_AFTER updates."""
        if abs(loss - self._first) <= FLAT * self._first:
            raise ProofError(
                f"the loss of the same rows is {loss:.5f} before the first update and after {number}: the adapter does "
                "not move. Raise train.learning_rate."
            )


def check_memory(most: Callable[[int], int] = int) -> None:
    """Raise UserError where this machine's memory is about to run out; `most` is the greatest of all processes' values.

    All of them stop then, for none could go on alone.
    """
    known = free_memory()
    free = -most(-known) if known is not None else None
    if free is not None and free < SCARCE:
        raise UserError(
            f"{free >> 20} MB of memory are left. Close other programs, or take a smaller train.batch_size: training "
            "goes on where it was."
        )
