"""Rows that are watched and not learnt: which they are, and that the weights they like best are those that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.recipe import Train
from yearling.students.rows import Row
from yearling.train import checkpoint, fitting, loop
from yearling.train.watch import PATIENCE, Looks, part

CPU = {"device": "cpu", "dtype": "float32"}
ROWS, OTHERS = tiny.rows(24, seed=1), tiny.rows(10, seed=2)


def _contrary(rows: list[Row]) -> list[Row]:
    """The same prompts with answers of another rule: the better ROWS are learnt, the worse these are foretold."""
    return [
        Row(r.record, r.tokens, [label if label < 0 else 290 - place for place, label in enumerate(r.labels)])
        for r in rows
    ]


# -- which rows


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.floats(0, 0.5))
def test_families_stand_on_one_side(families: list[int], share: float) -> None:
    rows = [Row(str(place), [], []) for place in range(len(families))]
    root = {str(place): f"family {family}" for place, family in enumerate(families)}
    watched, learnt = part(rows, root, share)
    assert sorted(int(row.record) for row in (*watched, *learnt)) == list(range(len(rows)))
    assert not {root[row.record] for row in watched} & {root[row.record] for row in learnt}
    assert len(watched) <= min(64, -(-share * len(rows) // 1)) and learnt
    assert learnt == sorted(learnt, key=lambda row: int(row.record))


def test_a_row_more_moves_no_other_to_the_other_side_of_the_hash() -> None:
    rows = [Row(str(place), [], []) for place in range(400)]
    root = {row.record: row.record for row in rows}
    few, many = (part(some, root, 0.1)[0] for some in (rows[:300], rows))
    assert len(few) == 30 and len(many) == 40
    assert {row.record for row in few} & {row.record for row in rows[:300]} >= {
        r.record for r in many if int(r.record) < 300
    }


# -- what the looks say


def test_the_lowest_loss_is_kept_and_chance_is_no_divergence() -> None:
    looks = Looks()
    for update, loss in enumerate([2.0, 1.0, 1.05, 1.2, 1.2, 1.0, 1.3, 1.3], 1):
        looks = looks.seen(update, loss)
        assert not looks.diverging
    assert (looks.update, looks.loss) == (2, 1.0)
    assert looks.seen(9, 1.3).diverging and PATIENCE == 3


# -- the training


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.saved(tmp_path_factory.mktemp("base"), initializer_range=0.3)


def _loop(student: Any, folder: Path, watched: list[Row], **more: Any) -> loop.Loop:
    given = {"epochs": 6, "batch_size": 4, "learning_rate": 0.01, "save_every": 3, "schedule": "constant"}
    settings = Train.model_validate(given | more)
    folder.mkdir(exist_ok=True)
    shelf = checkpoint.Shelf(folder / "checkpoints", "k")
    return loop.Loop(fitting.load(student, settings, CPU), ROWS, settings, shelf).watch(watched)


def _weights(one: loop.Loop) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in one.trained.items()}


def test_watched_rows_are_not_learnt(student: Any, tmp_path: Path) -> None:
    plain, watching = _loop(student, tmp_path / "a", []), _loop(student, tmp_path / "b", OTHERS)
    lines: list[Any] = []
    losses = plain.run(tmp_path / "a.jsonl", lambda *a, **k: None)
    assert watching.run(tmp_path / "b.jsonl", lambda *a, **k: None, lines.append) == losses
    seen = [line["step"] for line in lines if "watched_loss" in line]
    assert seen == list(range(3, 37, 3)) and watching.looks.loss < lines[2]["watched_loss"]


def test_the_best_weights_are_kept_and_a_rising_loss_ends_it(
    student: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = _loop(student, tmp_path / "a", _contrary(OTHERS), epochs=40)
    at: dict[int, Any] = {}
    lines: list[Any] = []

    def hear(line: Any) -> None:
        lines.append(line)
        at[line["step"]] = _weights(one)

    losses = one.run(tmp_path / "losses.jsonl", lambda *a, **k: None, hear)
    assert len(losses) < one.course.updates and one.looks.diverging
    best = min((line for line in lines if "watched_loss" in line), key=lambda line: line["watched_loss"])["step"]
    assert best == one.looks.update < len(losses)
    for name, weight in one.trained.items():
        assert torch.equal(weight, at[best][name])
    assert f"was lowest after update {best} of" in capsys.readouterr().err


@pytest.mark.parametrize("stop_at", [2, 7, 20, 25])
def test_a_stop_changes_neither_the_best_nor_the_end(student: Any, tmp_path: Path, stop_at: int) -> None:
    whole, broken = (_loop(student, tmp_path / name, _contrary(OTHERS)) for name in "ab")
    losses = whole.run(tmp_path / "a.jsonl", lambda *a, **k: None)

    def stop(done: float, *_: object, **__: object) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(tmp_path / "b.jsonl", stop)
    again = _loop(student, tmp_path / "b", _contrary(OTHERS))
    assert again.run(tmp_path / "b.jsonl", lambda *a, **k: None) == losses
    assert again.looks == whole.looks
    for name, weight in _weights(again).items():
        assert torch.equal(weight, whole.trained[name])


def test_best_weights_that_were_deleted_are_told(student: Any, tmp_path: Path) -> None:
    one = _loop(student, tmp_path / "a", _contrary(OTHERS), epochs=40)

    def delete(done: float, *_: object, **__: object) -> None:
        if one.looks.worse == PATIENCE:
            (tmp_path / "a" / "checkpoints" / "best.safetensors").unlink()

    with pytest.raises(UserError, match="has lost its best weights"):
        one.run(tmp_path / "losses.jsonl", delete)
