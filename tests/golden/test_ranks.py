"""Two processes under torchrun train as one does: the same losses within rounding, one adapter, proved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from golden_line import environment, yearling

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRAIN = "{epochs: 3, batch_size: 6, learning_rate: 0.01, save_every: 4}"


def _losses(project: Path) -> list[float]:
    lines = (project / "runs" / "tiny" / "train" / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def _torchrun(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "yearling.cli", *words, "recipe.yaml"]
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, env=environment(), timeout=300, check=False
    )


def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tiny.project(tmp_path / "one", TRAIN), tiny.project(tmp_path / "two", TRAIN)
    for project in (one, two):
        monkeypatch.chdir(project)
        done = yearling(project, "import", "recipe.yaml")
        assert done.code == 0, done.err
    monkeypatch.chdir(one)
    done = yearling(one, "train", "recipe.yaml")
    assert done.code == 0, done.err
    both = _torchrun(two, "train")
    assert both.returncode == 0, both.stderr
    assert both.stderr.count("adapter proved") == 1
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-4)
    assert len(_losses(one)) == 9 and _losses(one)[-1] < 0.9 * _losses(one)[0]
    again = _torchrun(two, "train")
    assert again.returncode == 0 and again.stderr.count("done before, nothing to do") == 1, again.stderr
    assert "torchrun is for `yearling train`" in _torchrun(two, "import").stderr


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
