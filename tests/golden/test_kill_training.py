"""`kill -9` in ten random updates of a training: its weights are bit for bit those of one that nobody disturbed."""

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


ROWS = 30  # of each training
REAL = {"epochs": 1, "batch_size": 3, "save_every": 1, "learning_rate": 1e-3}
TINY = {"epochs": 40, "batch_size": 2, "save_every": 2, "lora": {"r": 4, "dropout": 0.1}}


def _train(base: str, work: Path, last: int, settings: dict[str, Any], threads: int) -> None:
    """Train to the end (`last` 0), or into the update after `last`, in which it is killed."""
    process = PROCESSES.Process(target=short_lived.train, args=(base, work, last, settings, threads))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if last else 0)


def _twice(base: str, folder: Path, settings: dict[str, Any], kills: int, threads: int) -> tuple[Path, Path]:
    """The folders of two trainings: one that nobody disturbed, and one that was killed so many times."""
    whole, killed = folder / "whole", folder / "killed"
    updates = int(settings["epochs"] * ROWS / settings["batch_size"])
    for work in (whole, killed):
        work.mkdir()
    _train(base, whole, 0, settings, threads)
    for last in sorted(random.Random(4).sample(range(1, updates), kills)):
        _train(base, killed, last, settings, threads)
    assert list((killed / "checkpoints").glob("update-*.safetensors")), "nothing was saved before the kills"
    _train(base, killed, 0, settings, threads)
    return whole, killed


def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    both = _twice(tiny.saved(tmp_path / "base").folder, tmp_path, TINY, 10, 1)
    adapters = [(work / "adapter" / "adapter_model.safetensors").read_bytes() for work in both]
    assert adapters[0] == adapters[1]
    losses = [(work / "losses.jsonl").read_text() for work in both]
    assert losses[0] == losses[1]


def test_kills_on_a_real_model_change_rounding_at_most(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    student = load.open_student(Student(base="shipped:smollm2-135m-instruct"))
    both = _twice(student.folder, tmp_path, REAL, 3, 2)
    first, second = (load_file(work / "adapter" / "adapter_model.safetensors") for work in both)
    assert first.keys() == second.keys() and any(tensor.abs().max() > 0 for tensor in first.values())
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-6)
