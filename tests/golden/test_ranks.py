"""Two processes under torchrun train as one does: the same losses within rounding, one adapter, proved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from golden_line import environment, yearling
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRAIN = "{epochs: 3, batch_size: 6, learning_rate: 0.01, save_every: 4, precision: float32}"
PAIR = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def _losses(project: Path) -> list[float]:
    lines = (project / "runs" / "tiny" / "train" / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def _torchrun(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *PAIR, "-m", "yearling.cli", *words, "recipe.yaml"]
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=environment(), timeout=300, check=False
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A project that one process trained, one that two did, and what those two said."""
    one, two = (tiny.project(tmp_path_factory.mktemp("ranks") / name, TRAIN) for name in ("one", "two"))
    for project, verbs in ((one, ("import", "train")), (two, ("import",))):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project)
            for verb in verbs:
                done = yearling(project, verb, "recipe.yaml")
                assert done.code == 0, done.err
    together = _torchrun(two, "train")
    assert together.returncode == 0, together.stderr
    return one, two, together.stderr


def test_two_processes_train_as_one(both: tuple[Path, Path, str]) -> None:
    one, two, said = both
    assert said.count("adapter proved") == 1
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-4)
    assert len(_losses(one)) == 9 and _losses(one)[-1] < 0.9 * _losses(one)[0]
    again = _torchrun(two, "train")
    assert again.returncode == 0 and again.stderr.count("done before, nothing to do") == 1, again.stderr
    assert "torchrun is for `yearling train`" in _torchrun(two, "import").stderr


def test_layers_that_are_spread_over_two_processes_train_as_one(both: tuple[Path, Path, str], tmp_path: Path) -> None:
    one, before, _ = both
    two = tmp_path / "two"
    shutil.copytree(before, two)
    # as if the model had not fitted into one process
    frozen = two / "runs" / "tiny" / "frozen.json"
    told = json.loads(frozen.read_text(encoding="utf-8"))
    (name,) = (name for name in told if name.startswith("train.room-"))
    told[name] = [60, True, True]
    frozen.write_text(json.dumps(told), encoding="utf-8")
    adapter = two / "runs" / "tiny" / "adapter" / "adapter_model.safetensors"
    together = load_file(adapter)
    adapter.unlink()
    again = _torchrun(two, "train")
    assert again.returncode == 0, again.stderr
    assert "each process holds a part of every layer" in again.stderr and again.stderr.count("adapter proved") == 1
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-4) and len(_losses(one)) == 9
    for name, tensor in load_file(adapter).items():
        torch.testing.assert_close(tensor, together[name], rtol=1e-2, atol=1e-4)


def _spawned(*words: object) -> subprocess.CompletedProcess[str]:
    """Python with these words, beside the test helpers."""
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=Path(tiny.__file__).parent, env=environment() | {"PYTHONPATH": "."},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


SPREAD = """
import os, signal, sys
from pathlib import Path
import tiny
from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import checkpoint, fitting, loop, ranks, shard
base, work, stop_at, method = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
both = ranks.join_ranks("cpu")
told = {"method": method, "epochs": 4, "batch_size": 4, "save_every": 2, "learning_rate": 0.01}
settings = Train.model_validate(told)
model = fitting.load(Student(base, None, None, ""), settings, {"device": "cpu", "dtype": "float32"})
if both.size > 1:
    model = shard.spread(model, "cpu")
shelf = checkpoint.Shelf(work / "checkpoints", "k")
one = loop.Loop(model, tiny.rows(20), settings, shelf, 80, both).watch(tiny.rows(6, 5))
def stop(done, *_, **__):
    if done == stop_at:
        os._exit(0)
losses = one.run(work / "losses.jsonl", stop)
state = one.gathered()
if both.first:
    model.save_pretrained(work / "saved", **state)
both.leave()
"""


@pytest.mark.parametrize(("method", "stops"), [("lora", [7, 0]), ("full", [0])])
def test_spread_layers_are_gone_on_with_after_a_stop(tmp_path: Path, method: str, stops: list[int]) -> None:
    student = tiny.saved(tmp_path / "base")
    script = tmp_path / "spread.py"
    script.write_text(SPREAD, encoding="utf-8")
    for name, how, each in (("alone", (), [0]), ("spread", PAIR, stops)):
        (tmp_path / name).mkdir()
        for stop_at in each:
            done = _spawned(*how, script, student.folder, tmp_path / name, stop_at, method)
            assert done.returncode == 0, done.stderr
    alone, spread = (load_file(next((tmp_path / n / "saved").glob("*model.safetensors"))) for n in ("alone", "spread"))
    assert alone.keys() == spread.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(spread[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
    one, two = ((tmp_path / n / "losses.jsonl").read_text(encoding="utf-8") for n in ("alone", "spread"))
    losses = [[json.loads(line)["loss"] for line in lines.splitlines()] for lines in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and len(losses[0]) == 20


APART = """
import sys
from dataclasses import replace
from pathlib import Path
import tiny
from safetensors.torch import save_file
from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import checkpoint, fitting, loop, ranks
base, work = sys.argv[1], Path(sys.argv[2])
both = ranks.join_ranks("cpu")
settings = Train.model_validate({"epochs": 3, "batch_size": 4, "learning_rate": 0.01})
model = fitting.load(Student(base, None, None, ""), settings, {"device": "cpu", "dtype": "float32"})
contrary = [replace(row, labels=[label if label < 0 else 299 for label in row.labels]) for row in tiny.rows(6, 5)]
disk = work / str(both.rank)
one = loop.Loop(model, tiny.rows(20), settings, checkpoint.Shelf(disk, "k"), 80, both).watch(contrary)
one.run(work / "losses.jsonl", lambda *done, **facts: None)
save_file({name: weight.data.clone() for name, weight in one.trained.items()}, disk / "ended.safetensors")
(disk / "update").write_text(f"{one.looks.update}")
both.leave()
"""


def test_processes_with_a_disk_each_go_back_to_the_same_weights(tmp_path: Path) -> None:
    """What is watched gets worse after the first look; only the first process wrote the weights of that one."""
    student, script = tiny.saved(tmp_path / "base"), tmp_path / "apart.py"
    script.write_text(APART, encoding="utf-8")
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    done = _spawned(*PAIR, script, student.folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / rank / "update").read_text(encoding="utf-8") for rank in ("0", "1")] == ["2", "2"]
    assert not (tmp_path / "1" / "best.safetensors").exists()
    names = ("0/best", "0/ended", "1/ended")
    best, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in names)
    assert best.keys() == first.keys() and all(
        torch.equal(best[name], first[name]) and torch.equal(best[name], second[name]) for name in best
    )


def test_weights_that_were_deleted_are_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.project(tmp_path / "p", TRAIN)
    monkeypatch.chdir(project)
    for verb in ("import", "train"):
        done = yearling(project, verb, "recipe.yaml")
        assert done.code == 0, done.err
    weights = project / "runs" / "tiny" / "adapter" / "adapter_model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    again = yearling(project, "train", "recipe.yaml", "--json")
    assert again.code == 0 and "done before" not in again.err, again.err
    assert json.loads(again.out) and weights.read_bytes() == before
