"""How much of the memory a training takes, and how its updates are cut so that they fit.

In: a model that is loaded, the longest row, the bytes that are free. Out: the most tokens of one pass through the
model, and whether activations are kept or computed again. What a token takes is reckoned from the model's shape, not
measured; half as much again is left free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from yearling.errors import UserError
from yearling.machine import free_memory
from yearling.students.rows import Row
from yearling.train.loss import LOGITS

SPARE = 1.5  # times what is reckoned has to be free
MOMENTS = 3  # of the size of what is trained: gradient and two moments of the optimiser
MOST = 16_384  # tokens of a pass: more are no faster
LEAST = 1 << 30  # bytes that are left for the loss at least
COPIES = 4  # of the logits that the loss holds at once, in 32 bits: they, their exponents, two gradients


class Room(NamedTuple):
    """Tokens that may pass through the model at once, padding counted, and whether activations are made anew."""

    tokens: int
    recompute: bool

    def says(self) -> str:
        """What was decided, for people."""
        how = "activations are computed again in each backward pass" if self.recompute else "activations are kept"
        return f"at most {self.tokens} tokens go through the model at once; {how}"


def find_room(model: Any, rows: Sequence[Row], free: int | None) -> Room:
    """The room for rows on a machine with so many bytes free (None: unknown, and taken for enough).

    Raises UserError where the longest row does not fit, with what would make it fit.
    """
    longest = max(len(row.tokens) for row in rows)
    if free is None:
        return Room(max(MOST, longest), False)
    size = next(model.parameters()).element_size()
    trained = sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.requires_grad)
    fixed = MOMENTS * trained + max(LEAST, COPIES * 4 * LOGITS[model.device.type])
    left = free / SPARE - fixed
    for recompute in (False, True):
        tokens = int((left - _once(model, recompute, size) * longest) / _token(model, recompute, size))
        if tokens >= longest:
            return Room(min(tokens, max(MOST, longest)), recompute)
    needed = fixed + longest * (_token(model, True, size) + _once(model, True, size))
    raise UserError(
        f"this training needs about {SPARE * needed / 1e9:.1f} GB beside the model, {free / 1e9:.1f} GB are free. Take "
        f"a smaller student.base, a student.max_seq_length under {longest}, or another machine"
        + (", or train.method: lora." if trained > 0.5 * size * model.num_parameters() else ".")
    )


def free_bytes(device: str) -> int | None:
    """Bytes free where the model lies."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def _token(model: Any, recompute: bool, size: int) -> float:
    """Bytes that a token's activations take in all layers, from forward to backward."""
    shape = model.config.get_text_config()
    layers, width = shape.num_hidden_layers, shape.hidden_size
    return float(layers * size * (width if recompute else _layer(shape)))


def _once(model: Any, recompute: bool, size: int) -> float:
    """Bytes a token takes in the one layer whose activations are made anew."""
    return float(size * _layer(model.config.get_text_config())) if recompute else 0.0


def _layer(shape: Any) -> int:
    """Numbers that a layer of the LLaMA family keeps of a token: of the norms, of attention, and of the gated MLP."""
    heads = shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    queries, keys = heads * head, (getattr(shape, "num_key_value_heads", None) or heads) * head
    return int(6 * shape.hidden_size + 4 * queries + 4 * keys + 4 * shape.intermediate_size)
