"""Adapted layers in fewer steps: the same outputs and gradients as PEFT's own, and only where they are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import fitting
from yearling.train.batches import collate
from yearling.train.loss import Head
from yearling.train.room import Room


def _loaded(folder: Path, dtype: str = "float32", **lora: Any) -> Any:
    settings = Train.model_validate({"precision": dtype, "lora": {"r": 4, "alpha": 12, **lora}})
    model = fitting.load(
        Student(tiny.saved(folder).folder, None, None, ""), settings, {"device": "cpu", "dtype": dtype}
    )
    with torch.no_grad():  # an adapter that is begun is zero, and so are half of its gradients
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def _layers(model: Any) -> list[Any]:
    return [layer for layer in model.modules() if hasattr(layer, "lora_A") and hasattr(layer, "base_layer")]


def _learnt(model: Any) -> dict[str, torch.Tensor]:
    """The loss, and gradients by name."""
    batch = tiny_batch()
    loss = Head(model).loss(batch)
    names, weights = zip(*((n, w) for n, w in model.named_parameters() if w.requires_grad), strict=True)
    grads = torch.autograd.grad(loss, weights)
    assert all(grad.dtype is torch.float32 for grad in grads)
    return {"loss": loss.detach(), **dict(zip(names, grads, strict=True))}


def tiny_batch() -> dict[str, torch.Tensor]:
    return collate(tiny.rows(5))


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_layer_learns_as_peft_has_it(tmp_path: Path, dtype: str, close: float, recompute: bool) -> None:
    model = _loaded(tmp_path, dtype).train()
    if recompute:
        fitting.cut_to(model, Room(100, True))
    assert all("forward" in vars(layer) for layer in _layers(model))
    ours = _learnt(model)
    for layer in _layers(model):
        del layer.forward
    theirs = _learnt(model)
    for name, value in theirs.items():
        assert value.abs().max() > 0
        error = (ours[name] - value).norm() / value.norm()
        assert error < close, (name, float(error))


def test_evaluation_is_pefts_own(tmp_path: Path) -> None:
    model = _loaded(tmp_path, "bfloat16").eval()
    batch = tiny_batch()
    ours = model(**batch).logits
    with model.disable_adapter():
        model.train()
        bare = model(**batch).logits
    model.eval()
    for layer in _layers(model):
        del layer.forward
    assert torch.equal(model(**batch).logits, ours)
    with model.disable_adapter():
        assert torch.equal(model(**batch).logits, bare)
    assert not torch.equal(ours, bare)


@pytest.mark.parametrize("lora", [{"dropout": 0.5}, {"dora": True}])
def test_what_does_more_is_left_to_peft(tmp_path: Path, lora: dict[str, Any]) -> None:
    model = _loaded(tmp_path, **lora)
    assert _layers(model) and not any("forward" in vars(layer) for layer in _layers(model))
