"""`kill -9` at ten random moments of a training: its weights are bit for bit those of one that nobody disturbed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from yearling.recipe import Student
from yearling.students.load import open_student

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRAINING = """
import os, signal, sys, threading
from pathlib import Path
import tiny, torch
from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import checkpoint, fitting, loop
base, work, after = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(int(sys.argv[4]))
settings = Train.model_validate_json(sys.argv[5])
model = fitting.load(Student(base, None, None, ""), settings, {"device": "cpu", "dtype": "float32"})
one = loop.Loop(model, tiny.rows(30), settings, checkpoint.Shelf(work / "checkpoints", "k"))
timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL))
timer.daemon = True  # a training that ends before is not killed
if after:
    timer.start()
one.run(work / "losses.jsonl", lambda *done, **facts: None)
model.save_pretrained(work / "adapter")
"""


REAL = {"epochs": 1, "batch_size": 3, "save_every": 1, "learning_rate": 1e-3}
TINY = {"epochs": 40, "batch_size": 2, "save_every": 2, "lora": {"r": 4, "dropout": 0.1}}


def _train(base: str, work: Path, after: float, settings: dict[str, Any] = TINY, threads: int = 1) -> int:
    command = [sys.executable, "-c", TRAINING, base, str(work), str(after), str(threads), json.dumps(settings)]
    done = subprocess.run(command, cwd=Path(tiny.__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


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

    student = open_student(Student(base="shipped:smollm2-135m-instruct"))
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
