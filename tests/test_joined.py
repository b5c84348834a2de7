"""Joined rows: what they begin with alike is computed once, no row sees another, and gradients stay what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from yearling.recipe import Train
from yearling.students.batched import prove_batches
from yearling.students.rows import IGNORE, Row
from yearling.train import batches, checkpoint, fitting, loop, loss
from yearling.train.batches import collate, join, joins

CPU = {"device": "cpu", "dtype": "float32"}
ALIKE = [7, 3, 9, 9, 2]
# of a row: what it begins with, what it asks, what it answers
PARTS = st.tuples(st.integers(0, 5), st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), max_size=6))


def _row(begins: int, asked: list[int], said: list[int], name: str = "") -> Row:
    tokens = [*ALIKE[:begins], *asked, *said]
    return Row(name, tokens or [1], ([IGNORE] * (begins + len(asked)) + said) or [IGNORE])


def _rows(count: int = 5) -> list[Row]:
    made = tiny.rows(count, seed=3)
    return [replace(r, tokens=ALIKE + r.tokens, labels=[IGNORE] * len(ALIKE) + r.labels) for r in made]


# -- the layout


def test_a_common_beginning_stands_once() -> None:
    batch = join([_row(2, [5], [6, 8]), _row(2, [4, 4], [1])])
    assert batch["input_ids"].tolist() == [[7, 3, 5, 6, 8, 4, 4, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, IGNORE, 6, 8, IGNORE, IGNORE, 1]]
    sees = (batch["attention_mask"][0, 0] == 0).int().tolist()
    assert sees[4] == [1, 1, 1, 1, 1, 0, 0, 0] and sees[7] == [1, 1, 0, 0, 0, 1, 1, 1]


def test_what_a_label_is_foretold_from_is_its_own_rows() -> None:
    """One question with two answers: the question's last token stands in each, for two labels are foretold from it."""
    batch = join([_row(3, [], [6, 8]), _row(3, [], [1])])
    assert batch["input_ids"].tolist() == [[7, 3, 9, 6, 8, 9, 1]]


@given(st.lists(PARTS.filter(lambda parts: bool(sum(map(bool, parts)))), min_size=2, max_size=6))
def test_every_row_is_whole_in_its_pass(parts: list[Any]) -> None:
    rows = [_row(some[0], some[1], some[2], str(place)) for place, some in enumerate(parts)]
    assert prove_batches(join, rows) == len(rows)
    whole = join(rows)
    labels = sum(label != IGNORE for row in rows for label in row.labels[1:])
    assert int((whole["labels"][:, 1:] != IGNORE).sum()) == labels
    assert whole["input_ids"].shape[1] <= sum(len(row.tokens) for row in rows)


@given(st.lists(PARTS, min_size=1, max_size=20), st.integers(1, 40))
def test_passes_hold_all_rows_and_no_more_than_so_many_tokens(parts: list[Any], tokens: int) -> None:
    rows = [_row(some[0], some[1], some[2], str(place)) for place, some in enumerate(parts)]
    cut = joins(rows, tokens)
    assert sorted(row.record for some in cut for row in some) == sorted(row.record for row in rows)
    assert all(len(some) == 1 or sum(len(row.tokens) for row in some) <= tokens for some in cut)


# -- the gradients


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_gradients_are_those_of_rows_that_lie_apart(family: str) -> None:
    model, rows = tiny.model_of(family).train(), _rows()
    head, grads = loss.Head(model), []
    for way in (collate, join):
        model.zero_grad()
        torch.autograd.backward(head.loss(way(rows)))
        grads.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    beside, joined = grads
    assert beside.keys() == joined.keys() and join(rows)["input_ids"].shape[1] < collate(rows)["input_ids"].numel()
    for name, grad in joined.items():
        torch.testing.assert_close(grad, beside[name], rtol=1e-4, atol=1e-4, msg=name)


# -- the loop


def _loop(folder: Path, family: str = "llama", **more: Any) -> loop.Loop:
    settings = Train.model_validate({"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "watch": 0})
    student = tiny.saved(folder / "base", family, **more)
    shelf = checkpoint.Shelf(folder / "checkpoints", "k")
    return loop.Loop(fitting.load(student, settings, CPU), _rows(8), settings, shelf)


def _train(one: loop.Loop, folder: Path) -> list[float]:
    return one.run(folder / "losses.jsonl", lambda *done, **facts: None)


def test_training_joins_rows_and_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _loop(tmp_path / "a")
    joined = _train(one, tmp_path / "a")
    monkeypatch.setitem(batches.JOINED, "cpu", 0)
    other = _loop(tmp_path / "b")
    beside = _train(other, tmp_path / "b")
    assert (one.joined, other.joined) == (1024, 0) and joined == pytest.approx(beside, rel=1e-5)
    for name, weight in one.trained.items():
        torch.testing.assert_close(weight, other.trained[name], rtol=1e-2, atol=1e-4)


def test_no_row_is_joined_that_a_window_would_cut(tmp_path: Path) -> None:
    one = _loop(tmp_path, "mistral", sliding_window=20)
    _train(one, tmp_path)
    assert one.joined == 20 and any(len(row.tokens) > 20 for row in one.rows)


def test_an_architecture_that_sees_more_keeps_its_rows_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its convolutions read over the end of a row."""
    one = _loop(tmp_path, "lfm2", layer_types=["conv", "full_attention"], initializer_range=0.3)
    _train(one, tmp_path)
    assert one.joined == 0 and "they lie side by side" in capsys.readouterr().err
