"""The training loop: batches, the loss without spare logits, checkpoints, guards, and the proof of the adapter."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from yearling.errors import ProofError, UserError
from yearling.export.merge import merge
from yearling.recipe import Train
from yearling.students.load import quiet
from yearling.students.rows import IGNORE, Row
from yearling.train import batches, checkpoint, fitting, guards, loop, loss, proof
from yearling.train.batches import Course, collate, passes
from yearling.train.guards import CALM, SPIKES, Guards

CPU = {"device": "cpu", "dtype": "float32"}


def _row(tokens: int, name: str = "") -> Row:
    return Row(name, list(range(tokens)), [IGNORE] * (tokens - 1) + [tokens - 1])


# -- batches


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 5))
def test_every_epoch_has_every_row_once(rows: int, size: int, epochs: int, seed: int) -> None:
    course = Course(rows, size, epochs, seed)
    drawn = [course.places(update) for update in range(course.updates)]
    each = len(drawn) // epochs
    for epoch in range(epochs):
        some = [place for places in drawn[epoch * each : (epoch + 1) * each] for place in places]
        assert sorted(some) == list(range(rows))
    assert max(map(len, drawn)) <= size and course.epoch(course.updates) == epochs


def test_epochs_differ_in_order_and_seeds_do() -> None:
    one, other = Course(50, 50, 2, 1), Course(50, 50, 2, 2)
    assert len({tuple(course.places(update)) for course in (one, other) for update in range(2)}) == 4


def test_a_second_epoch_is_taken_only_where_rows_are_watched() -> None:
    found = [
        fitting.epochs_of(_train(epochs="auto", **more), rows)
        for more, rows in (({}, 200), ({}, 199), ({"watch": 0}, 900))
    ]
    assert found == [2.0, 1.0, 1.0] and fitting.epochs_of(_train(epochs=3), 10) == 3


def test_half_an_epoch_is_half_of_the_updates() -> None:
    assert [Course(40, 4, epochs, 0).updates for epochs in (0.5, 1.5, 0.01)] == [5, 15, 1]


@given(st.lists(st.integers(1, 900), min_size=1, max_size=40), st.integers(1, 2000), st.sampled_from([0.5, 0.9]))
def test_passes_hold_all_rows_and_little_padding(lengths: list[int], tokens: int, close: float) -> None:
    rows = [_row(length, str(place)) for place, length in enumerate(lengths)]
    cut = passes(rows, tokens, close)
    assert Counter(row.record for some in cut for row in some) == Counter(row.record for row in rows)
    for some in cut:
        longest = max(len(row.tokens) for row in some)
        assert len(some) == 1 or len(some) * longest <= tokens
        assert min(len(row.tokens) for row in some) >= min(close * longest, longest - batches.FREE)


def test_padding_is_masked_and_carries_no_loss() -> None:
    batch = collate([_row(5), _row(3)])
    assert batch["input_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batch["labels"][1].tolist() == [IGNORE, IGNORE, 2, IGNORE, IGNORE]


# -- the loss


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients_are_those_of_the_model(family: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.LOGITS, "cpu", 7 * tiny.WORDS)  # several pieces
    model = tiny.model_of(family, tie_word_embeddings=tied).train()
    batch = collate(tiny.rows(5, seed=3))
    labels = int((batch["labels"][:, 1:] != IGNORE).sum())
    torch.autograd.backward(model(**batch, use_cache=False).loss * labels)
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    head = loss.Head(model)
    torch.autograd.backward(head.loss(batch))
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-4, atol=1e-4, msg=name)
    model.eval()
    assert loss.prove_loss(model, head, batch) == pytest.approx(float(model(**batch).loss.detach()), rel=1e-4)


def test_a_head_that_does_more_is_refused() -> None:
    model = tiny.model_of("granite", logits_scaling=8.0, pad_token_id=0)
    with pytest.raises(ProofError, match="does more to its logits than is known here"):
        loss.prove_loss(model.eval(), loss.Head(model), collate(tiny.rows(3)))


# -- the loop


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.saved(tmp_path_factory.mktemp("base"), initializer_range=0.3)


def _train(**more: Any) -> Train:
    given = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "save_every": 3}
    return Train.model_validate(given | more)


ROWS = tiny.rows(30, seed=1)


def _loop(student: Any, folder: Path, settings: Train | None = None, key: str = "k") -> loop.Loop:
    settings = settings or _train(lora={"dropout": 0.1})
    return loop.Loop(
        fitting.load(student, settings, CPU), ROWS, settings, checkpoint.Shelf(folder / "checkpoints", key)
    )


def _run(one: loop.Loop, folder: Path, stop_at: int | None = None) -> list[float]:
    def advance(done: float, *_: object, **__: object) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    return one.run(folder / "losses.jsonl", advance)


def _weights(one: loop.Loop) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in one.trained.items()}


def test_the_student_learns(student: Any, tmp_path: Path) -> None:
    losses = _run(_loop(student, tmp_path, _train(epochs=20)), tmp_path)
    assert losses[-1] < 0.6 * losses[0]
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(losses) + 1))
    assert lines[0]["learning_rate"] < lines[len(lines) // 2]["learning_rate"]
    assert lines[-1]["learning_rate"] < 1e-4 and lines[-1]["epoch"] == 20.0


@pytest.mark.parametrize("stop_at", range(1, 16, 2))
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    student: Any, tmp_path: Path, stop_at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _loop(student, tmp_path / "a")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    losses = _run(whole, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        _run(_loop(student, tmp_path / "b"), tmp_path / "b", stop_at)
    second = _loop(student, tmp_path / "b")
    assert _run(second, tmp_path / "b") == losses
    saved = stop_at // 3 * 3
    assert (f"going on after update {saved} of" in capsys.readouterr().err) == (saved > 0)
    assert all(torch.equal(weight, second.trained[name]) for name, weight in whole.trained.items())
    assert (tmp_path / "a" / "losses.jsonl").read_text() == (tmp_path / "b" / "losses.jsonl").read_text()


def test_how_an_update_is_cut_changes_nothing(student: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _train(epochs=1)
    one = _loop(student, tmp_path, settings)
    first = one._gradient(0)
    wanted = {name: weight.grad.clone() for name, weight in one.trained.items()}
    monkeypatch.setitem(batches.CLOSE, "cpu", 1.0)
    monkeypatch.setattr(batches, "FREE", 0)
    rows = [one.rows[place] for place in one.course.places(0)]
    assert len(passes(rows, one.tokens, 0.9)) > 1
    one.optimiser.zero_grad()
    assert one._gradient(0) == pytest.approx(first, rel=1e-5)
    for name, weight in one.trained.items():
        torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow  # a fresh process
@pytest.mark.parametrize("switch", ["rslora", "dora"])
def test_switches_of_the_adapter_are_trained_and_proved(student: Any, tmp_path: Path, switch: str) -> None:
    one = _loop(student, tmp_path, _train(lora={switch: True}))
    _run(one, tmp_path)
    one.model.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config[f"use_{switch}"] is True
    wanted = proof.mean_loss(one.model, ROWS[:3])
    told = proof.prove_adapter(student, ROWS[:3], wanted, tmp_path / "adapter", proof.Weights("float32"))
    assert told["loss"] == pytest.approx(wanted, rel=1e-4) and told["base_loss"] > told["loss"]


@pytest.mark.slow  # a fresh process
def test_all_weights_can_be_tuned(student: Any, tmp_path: Path) -> None:
    settings = _train(method="full", learning_rate=1e-3, epochs=6)
    one = _loop(student, tmp_path, settings)
    losses = _run(one, tmp_path)
    assert len(one.trained) > 15 and losses[-1] < 0.9 * losses[0]
    one.model.save_pretrained(tmp_path / "adapter")
    wanted = proof.mean_loss(one.model, ROWS[:3])
    told = proof.prove_adapter(student, ROWS[:3], wanted, tmp_path / "adapter", proof.Weights("float32"))
    assert told["loss"] == pytest.approx(wanted, rel=1e-5) and told["base_loss"] > told["loss"]


def test_four_bits_are_refused_where_they_have_no_gradient(student: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"qlora needs a CUDA GPU, this machine trains on cpu\. Take train.method: lora"
    ):
        _loop(student, tmp_path, _train(method="qlora"))


def test_an_adapter_is_gone_on_with(student: Any, trained: tuple[Path, float], tmp_path: Path) -> None:
    settings = _train(lora={"start": trained[0]}, epochs=1)
    one = _loop(student, tmp_path, settings)
    assert proof.mean_loss(one.model, ROWS[:3]) == pytest.approx(trained[1], rel=1e-5)
    _run(one, tmp_path)
    assert proof.mean_loss(one.model, ROWS) < trained[1]


def test_the_usual_rate_is_that_of_the_method_and_of_the_width() -> None:
    assert [fitting.rate_of(Train(method=method), 4096) for method in ("lora", "qlora", "full")] == [2e-4, 2e-4, 2e-5]
    assert fitting.rate_of(Train(), 1024) == 4e-4
    assert fitting.rate_of(Train(learning_rate=1e-3), 64) == 1e-3


# -- guards


def test_a_loss_that_is_no_number_stops_it_and_what_was_learnt_stays(student: Any, tmp_path: Path) -> None:
    one = _loop(student, tmp_path)
    good = _weights(one)

    def poison(done: float, *_: object, **__: object) -> None:
        if done == 4:
            good.update(_weights(one))
            one.model.get_base_model().lm_head.weight.data[5] = float("nan")

    with pytest.raises(ProofError, match=r"the loss is nan at update 5\. Lower .*Saved after update 4: ") as told:
        one.run(tmp_path / "losses.jsonl", poison)
    assert told.value.exit_code == 4
    found = checkpoint.Shelf(tmp_path / "checkpoints", "k").newest()
    assert found is not None and found.update == 4
    assert all(torch.equal(found.tensors[f"weight.{name}"], weight) for name, weight in good.items())


def test_a_gradient_of_zero_stops_it(student: Any, tmp_path: Path) -> None:
    one = _loop(student, tmp_path)
    for weight in one.trained.values():
        weight.data.zero_()  # both halves of the product: neither can move
    with pytest.raises(ProofError, match=r"the gradient is zero at update 1: nothing is learnt.*Saved after update 0"):
        _run(one, tmp_path)


def test_a_student_that_does_not_move_stops_it(student: Any, tmp_path: Path) -> None:
    settings = _train(epochs=8, learning_rate=1e-12)
    with pytest.raises(ProofError, match=r"the adapter does not move\. Raise train.learning_rate"):
        _run(_loop(student, tmp_path, settings), tmp_path)


def test_a_loss_that_rises_and_stays_stops_it_and_a_single_spike_does_not() -> None:
    watch = Guards(3.0)
    for number in range(CALM):
        watch.update(number, 2.0, 1.0)
    watch.update(CALM, 9.0, 1.0)
    for number in range(SPIKES):
        watch.update(CALM + number, 2.5, 1.0)
    with pytest.raises(ProofError, match=r"the loss rose from 2\.\d+ to 9\.00 and stays there \(update 99\)"):
        for _ in range(SPIKES):
            watch.update(99, 9.0, 1.0)


def test_a_gradient_that_is_no_number_is_told_as_one() -> None:
    with pytest.raises(ProofError, match=r"the gradient's norm is inf at update 7"):
        Guards(3.0).update(7, 2.0, float("inf"))


def test_little_memory_stops_it_after_a_save(student: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "free_memory", lambda: 50_000_000)
    with pytest.raises(UserError, match=r"47 MB of memory are left.*Saved after update 0"):
        _run(_loop(student, tmp_path), tmp_path)


# -- checkpoints


def test_half_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for update in (3, 6):
        checkpoint.Shelf(tmp_path, "k").save(update, {"weight.a": torch.tensor([float(update)])})
    newest = tmp_path / "update-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    (tmp_path / "update-00000009.tmp").write_bytes(b"half")
    found = checkpoint.Shelf(tmp_path, "k").newest()
    assert found is not None and found.update == 3 and found.tensors["weight.a"].tolist() == [3.0]
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000003.safetensors"]


def test_a_checkpoint_of_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    checkpoint.Shelf(tmp_path, "other rows").save(3, {"weight.a": torch.zeros(1)})
    assert checkpoint.Shelf(tmp_path, "k").newest() is None and not list(tmp_path.iterdir())


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for update in (1, 2, 3):
        checkpoint.Shelf(tmp_path, "k").save(update, {"weight.a": torch.zeros(1)})
    assert sorted(path.name[-13:-12] for path in tmp_path.iterdir()) == ["2", "3"]


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.Shelf(tmp_path, "k").save(1, {"weight.a": torch.zeros(1)})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Disk", (), {"free": 3}))
    with pytest.raises(UserError, match="goes on from the last checkpoint"):
        checkpoint.Shelf(tmp_path, "k").save(2, {"weight.a": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000001.safetensors"]


def test_a_full_disk_is_told_before_the_first_update(
    student: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = _loop(student, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Disk", (), {"free": 3}))
    monkeypatch.setattr(one, "_gradient", lambda update: pytest.fail("it has begun"))
    with pytest.raises(UserError, match="a checkpoint needs about"):
        _run(one, tmp_path)


# -- the proof of the adapter


@pytest.fixture(scope="module")
def trained(student: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("trained")
    one = _loop(student, folder)
    _run(one, folder)
    one.model.save_pretrained(folder / "adapter")
    return folder / "adapter", proof.mean_loss(one.model, ROWS[:3])


@pytest.mark.slow  # a fresh process
def test_a_sound_adapter_passes(student: Any, trained: tuple[Path, float]) -> None:
    told = proof.prove_adapter(student, ROWS[:3], trained[1], trained[0], proof.Weights("float32"))
    assert told["loss"] == pytest.approx(trained[1], rel=1e-5) and told["largest_b"] > 0


def _copy(trained: tuple[Path, float], tmp_path: Path, change: Any) -> Path:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in trained[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / "adapter_model.safetensors"
    save_file({name: change(name, tensor) for name, tensor in load_file(path).items()}, path)
    return folder


ADAPTERS = {
    "empty (peft 300)": (lambda name, x: x * 0 if "lora_B" in name else x, "is empty: no B matrix differs from zero"),
    "other weights": (lambda name, x: x * 3, r"the loss was [\d.]+ in training and is [\d.]+ after reloading"),
    "no number": (lambda name, x: x * float("nan"), "the reloaded adapter's loss is nan"),
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * c.startswith(("no", "other"))) for c in ADAPTERS]
)
def test_a_broken_adapter_is_refused(student: Any, trained: tuple[Path, float], tmp_path: Path, case: str) -> None:
    change, told = ADAPTERS[case]
    folder = _copy(trained, tmp_path, change)
    with pytest.raises(ProofError, match=told) as error:
        proof.prove_adapter(student, ROWS[:3], trained[1], folder, proof.Weights("float32"))
    assert error.value.exit_code == 4


@pytest.mark.slow  # a fresh process
def test_an_adapter_that_does_not_load_is_told(student: Any, trained: tuple[Path, float], tmp_path: Path) -> None:
    folder = _copy(trained, tmp_path, lambda name, x: x)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ProofError, match="a fresh process cannot load"):
        proof.prove_adapter(student, ROWS[:3], trained[1], folder, proof.Weights("float32"))


# -- the proof of the merge


def _with_adapter(student: Any, trained: tuple[Path, float]) -> Any:
    from peft import PeftModel

    with quiet():
        return PeftModel.from_pretrained(student.weights("float32"), str(trained[0]))


def test_the_merged_model_is_base_plus_adapter(student: Any, trained: tuple[Path, float]) -> None:
    merged, told = merge(_with_adapter(student, trained), ROWS[:3])
    assert told["differs"] < 1e-3 < told["adapter_moves"]
    assert proof.mean_loss(merged, ROWS[:3]) == pytest.approx(trained[1], rel=1e-5)


@pytest.mark.parametrize("part", ["q_proj", "down_proj"])
def test_a_wrong_merge_is_refused(student: Any, trained: tuple[Path, float], part: str) -> None:
    """A layer that is left out, as where its name is no target of the merging tool."""
    model = _with_adapter(student, trained)
    honest = model.merge_and_unload

    def forgetful() -> Any:
        for name, module in model.named_modules():
            if name.endswith(f"layers.0.{'self_attn' if part == 'q_proj' else 'mlp'}.{part}"):
                module.lora_B["default"].weight.data.zero_()
        return honest()

    model.merge_and_unload = forgetful
    with pytest.raises(ProofError, match="a logit of the merged model differs by") as error:
        merge(model, ROWS[:3])
    assert error.value.exit_code == 4
