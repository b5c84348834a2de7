"""`kill -9` at ten random moments of a training: its weights are bit for bit those of one that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import short_lived
import tiny
import torch

from yearling.recipe import Student
from yearling.students import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# Each training is a process of its own, forked from one that has done its imports and nothing else.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "peft", "transformers.models.llama.modeling_llama", "yearling.train.loop"])


REAL = {"epochs": 1, "batch_size": 3, "save_every": 1, "learning_rate": 1e-3}
TINY = {"epochs": 40, "batch_size": 2, "save_every": 2, "lora": {"r": 4, "dropout": 0.1}}


def _train(base: str, work: Path, after: float, settings: dict[str, Any] = TINY, threads: int = 1) -> int:
    process = PROCESSES.Process(target=short_lived.train, args=(base, work, after, settings, threads))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode


def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    student, dice = tiny.saved(tmp_path / "base"), random.Random(4)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for work in (whole, killed):
        work.mkdir()
    assert _train(student.folder, whole, 0) == 0
    for _ in range(10):
        assert _train(student.folder, killed, dice.uniform(0.2, 1.2)) == -signal.SIGKILL, (
            "it ended before it was killed"
        )
    assert list((killed / "checkpoints").glob("update-*.safetensors")), "nothing was saved before the kills"
    assert _train(student.folder, killed, 0) == 0
    adapters = [(work / "adapter" / "adapter_model.safetensors").read_bytes() for work in (whole, killed)]
    assert adapters[0] == adapters[1]
    assert (whole / "losses.jsonl").read_text() == (killed / "losses.jsonl").read_text()


def test_kills_on_a_real_model_change_rounding_at_most(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    student = load.open_student(Student(base="shipped:smollm2-135m-instruct"))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for work in (whole, killed):
        work.mkdir()
    assert _train(student.folder, whole, 0, REAL, 2) == 0
    kills = 0
    for after in range(2, 20):  # seconds: each gets some updates further; the first may be killed before a checkpoint
        if _train(student.folder, killed, after, REAL, 2) == 0:
            break
        kills += bool(list((killed / "checkpoints").glob("update-*.safetensors")))
    else:
        pytest.fail("it never came to its end")
    assert kills, "it was never killed between two checkpoints"
    first, second = (load_file(work / "adapter" / "adapter_model.safetensors") for work in (whole, killed))
    assert first.keys() == second.keys() and any(tensor.abs().max() > 0 for tensor in first.values())
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-6)
