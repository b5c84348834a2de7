"""The loss of labelled tokens, without logits where no label is.

In: a causal model, one pass. Out: the summed negative log likelihood. A vocabulary is wide: logits of all tokens are
most of what a small model computes and keeps. Here the body runs over all tokens, the head over those before a label,
some at a time, and their gradient is taken at once (as Liger Kernel does it: Hsu et al. 2024, arXiv 2410.10989).
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from yearling.errors import ProofError
from yearling.students.rows import IGNORE

LOGITS = {"cpu": 1 << 24, "cuda": 1 << 28, "mps": 1 << 26}  # at once: tokens times vocabulary
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 1e-2}  # of the loss, between two ways to it
# of the norm of hidden states, between two layouts of the same rows: on two small models 1e-6 and 0.014 (bfloat16),
# and 0.7 where rows see each other
APART = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.1}


def body_of(model: Any) -> Any:
    """The part of one of transformers' causal models that gives hidden states, under an adapter or without."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(plain, plain.base_model_prefix)


class Head:
    """What turns a model's hidden states into the loss; `model` is one of transformers', with or without an adapter."""

    def __init__(self, model: Any) -> None:
        self.body, self.output = body_of(model), model.get_output_embeddings()
        self.places = "position_ids" in signature(self.body.forward).parameters
        self.cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # Gemma 2

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The sum over the labels of a batch, in nats."""
        targets = batch["labels"][:, 1:]
        total: Tensor = _Loss.apply(self.states(batch), targets[targets != IGNORE], self.cap, *self.output.parameters())
        return total

    def states(self, batch: dict[str, Tensor]) -> Tensor:
        """The hidden states before the labels of a batch, (labels, width)."""
        mask: Tensor | None = batch["attention_mask"]
        places: dict[str, Tensor] = {}
        if "position_ids" in batch:  # joined rows
            mask, places = batch["attention_mask"].to(self.output.weight.dtype), {"position_ids": batch["position_ids"]}
        elif bool(batch["attention_mask"].all()):
            mask = None
        hidden: Tensor = self.body(
            input_ids=batch["input_ids"], attention_mask=mask, use_cache=False, **places
        ).last_hidden_state
        return hidden[:, :-1][batch["labels"][:, 1:] != IGNORE]


class _Loss(torch.autograd.Function):
    """(labels, width) hidden states to one sum; the gradients are made on the way, so no logits are kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, cap: float | None, *given: Tensor) -> Tensor:
        """`given` is the head's weight and, where it has one, its bias."""
        at_once = max(LOGITS[hidden.device.type] // len(given[0]), 1)
        states, total = list[Tensor](), torch.zeros((), device=hidden.device)
        with torch.set_grad_enabled(any(ctx.needs_input_grad)):
            head = [x.detach().requires_grad_(need) for x, need in zip(given, ctx.needs_input_grad[3:], strict=True)]
            sums = [torch.zeros_like(x) for x in head if x.requires_grad]
            for start in range(0, len(targets), at_once):
                inputs = hidden[start : start + at_once].detach().requires_grad_(ctx.needs_input_grad[0])
                logits = functional.linear(inputs, *head).float()
                if cap is not None:
                    logits = cap * torch.tanh(logits / cap)
                part = functional.cross_entropy(logits, targets[start : start + at_once], reduction="sum")
                total += part.detach()
                learnt = [x for x in (inputs, *head) if x.requires_grad]
                grads = list(torch.autograd.grad(part, learnt)) if learnt else []
                if inputs.requires_grad:
                    states.append(grads.pop(0))
                for sum_, grad in zip(sums, grads, strict=True):
                    sum_ += grad
        ctx.states, ctx.sums = torch.cat(states) if states else None, sums
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        states, sums = ctx.states, iter(ctx.sums)
        of_head = [next(sums) * scale if need else None for need in ctx.needs_input_grad[3:]]
        del ctx.states, ctx.sums
        return (None if states is None else states * scale, None, None, *of_head)


def prove_loss(model: Any, head: Head, batch: dict[str, Tensor]) -> float:
    """The mean loss of a batch, found both this way and the model's own; raises ProofError where they differ."""
    labels = int((batch["labels"][:, 1:] != IGNORE).sum())
    with torch.no_grad():
        own, ours = float(model(**batch, use_cache=False).loss), float(head.loss(batch)) / labels
    if not abs(own - ours) <= TOLERANCE[head.output.weight.dtype] * max(own, 1.0):
        raise ProofError(
            f"mask proof: the model gives a batch a loss of {own:.5f}, and its hidden states give {ours:.5f}: this "
            "architecture does more to its logits than is known here. Take a base of the LLaMA family."
        )
    return ours


def is_same(head: Head, one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether a model's hidden states before the labels are the same in two batches of the same rows in one order."""
    with torch.no_grad():
        wanted, got = head.states(one).float(), head.states(other).float()
    return bool((wanted - got).norm() <= APART[head.output.weight.dtype] * wanted.norm())
