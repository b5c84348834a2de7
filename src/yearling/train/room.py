"""How much of the memory a training takes, and how its updates are cut so that they fit.

In: a model's shapes, the longest row, the bytes that are free. Out: the most tokens of one pass through the model, and
whether activations are kept or computed again; or what would make it fit. What a token takes is reckoned from the
model's shape, not measured; half as much again is left free. Loads no weights: shapes on torch's meta device will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from yearling.errors import UserError
from yearling.machine import free_memory
from yearling.train.loss import LOGITS, body_of

SPARE = 1.5  # times what is reckoned beside the weights has to be free
MOMENTS = 3  # of the size of what is trained: gradient and two moments of the optimiser
MOST = 16_384  # tokens of a pass: more are no faster
LEAST = 1 << 30  # bytes that are left for the loss at least
COPIES = 4  # of the logits that the loss holds at once, in 32 bits: they, their exponents, two gradients
FOUR_BITS = 0.52  # bytes of a weight in NF4, its share of the scales counted (Dettmers et al. 2023, section 3)
SHORT, SMALL = 64, 10_000_000  # tokens of a row, parameters of a base: with fewer there is nothing to train


class Room(NamedTuple):
    """Tokens that may pass through the model at once, padding counted; whether activations are made anew, and whether
    the layers' weights are spread over all processes."""

    tokens: int
    recompute: bool
    spread: bool = False

    def says(self) -> str:
        """What was decided, for people."""
        how = "activations are computed again in each backward pass" if self.recompute else "activations are kept"
        where = "; each process holds a part of every layer" * self.spread
        return f"at most {self.tokens} tokens go through the model at once; {how}{where}"


@dataclass(frozen=True)
class Needs:
    """Bytes that a training takes: of the weights, beside them whatever the pass, and for each token of a pass."""

    parameters: int
    width: int
    layers: int
    weights: float
    layered: float  # of them, those of the layers
    fixed: float
    kept: float  # a token, where activations are kept in all layers
    anew: float  # a token, where only what enters each layer is
    once: float  # a token of the longest row, in the one layer that is computed again

    def bytes(self, tokens: int, longest: int, recompute: bool) -> float:
        """What is taken, weights and all, where so many tokens go through at once."""
        each = self.anew * tokens + self.once * longest if recompute else self.kept * tokens
        return self.weights + self.fixed + each

    def asked(self, longest: int) -> float:
        """The least that has to be free before the weights are there."""
        return self.weights + SPARE * (self.bytes(longest, longest, True) - self.weights)

    def room(self, longest: int, free: float | None) -> Room | None:
        """What fits into so many bytes (None: unknown, and taken for enough), if the longest row does."""
        if free is None:
            return Room(max(MOST, longest), False)
        left = (free - self.weights) / SPARE - self.fixed
        for recompute, each, once in ((False, self.kept, 0.0), (True, self.anew, self.once)):
            tokens = int((left - once * longest) / each)
            if tokens >= longest:
                return Room(min(tokens, max(MOST, longest)), recompute)
        return None

    def spread(self, processes: int) -> Needs:
        """The needs of each of so many processes that hold a part of every layer, and two layers whole for a while."""
        held = self.layered / processes + 2 * self.layered / self.layers
        # what is trained is taken for a part of the layers
        fixed = LEAST + (self.fixed - LEAST) / processes
        return replace(self, weights=self.weights - self.layered + held, fixed=fixed)

    def longest(self, free: float) -> int:
        """Tokens of the longest row that fits into so many bytes."""
        return int(((free - self.weights) / SPARE - self.fixed) / (self.anew + self.once))


def needs_of(model: Any, device: str, four_bits: bool = False) -> Needs:
    """The needs of a model, with weights or without, on a device where its layers' weights may have 4 bits."""
    from torch.nn import Linear

    shape = model.config.get_text_config()
    size, layers, width = next(model.parameters()).element_size(), shape.num_hidden_layers, shape.hidden_size
    base = [weight for weight in model.parameters() if not weight.requires_grad]
    trained = sum(weight.numel() * weight.element_size() for weight in model.parameters() if weight.requires_grad)
    weights = sum(weight.numel() * weight.element_size() for weight in base) + trained
    if four_bits:
        head = model.get_output_embeddings()
        inner = [part.weight for part in model.modules() if isinstance(part, Linear) and part is not head]
        weights -= sum(x.numel() * (x.element_size() - FOUR_BITS) for x in inner if not x.requires_grad)
    layer = float(size * _layer(shape))
    layered = sum(weight.numel() * weight.element_size() for weight in body_of(model).layers.parameters())
    return Needs(
        parameters=sum(weight.numel() for weight in base) or model.num_parameters(),
        width=width,
        layers=layers,
        weights=weights,
        layered=min(layered, weights),
        fixed=MOMENTS * trained + max(LEAST, COPIES * 4 * LOGITS[device]),
        kept=layers * layer,
        anew=float(layers * size * width),
        once=layer,
    )


def find_room(
    needs: Needs,
    longest: int,
    free: float | None,
    others: Callable[[], Mapping[str, Needs]] = dict,
    processes: int = 1,
) -> Room:
    """The room for rows of at most so many tokens, on a device with so many bytes free before the weights are there.

    `others` are the needs by what else the recipe could say. Of several `processes`, each with as much free, all hold
    the whole model where they can. Raises UserError where the longest row does not fit, with what would make it fit.
    """
    if room := needs.room(longest, free):
        return room
    if processes > 1 and (room := needs.spread(processes).room(longest, free)):
        return room._replace(spread=True)
    assert free is not None
    fitting = [f"{name} (takes {_gb(n.asked(longest))})" for name, n in others().items() if n.room(longest, free)]
    if (tokens := needs.longest(free)) >= SHORT:
        fitting.append(f"student.max_seq_length: {tokens} (the longest row has {longest}, longer ones are left out)")
    # what a token takes shrinks with the base; what the loss takes does not
    shrunk = needs.parameters * (free - SPARE * LEAST) / (needs.asked(longest) - SPARE * LEAST)
    if shrunk > SMALL:
        fitting.append(f"a student.base of at most {shrunk / 1e6:,.0f} M parameters")
    fitting.append(f"a machine with {_gb(needs.asked(longest))} free")
    raise UserError(
        f"this training needs {_gb(needs.asked(longest))}, {_gb(free)} are free. Any of these makes it fit: "
        f"{'; '.join(fitting[:3])}."
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def free_bytes(device: str) -> int | None:
    """Bytes free where the model will lie."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def _layer(shape: Any) -> int:
    """Numbers that a layer of the LLaMA family keeps of a token: of the norms, of attention, and of the gated MLP."""
    heads = shape.num_attention_heads
    head = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    queries, keys = heads * head, (getattr(shape, "num_key_value_heads", None) or heads) * head
    return int(6 * shape.hidden_size + 4 * queries + 4 * keys + 4 * shape.intermediate_size)
