"""A training that kills its own process at a given moment."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import tiny
import torch

from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import checkpoint, fitting, loop


def train(base: str, work: Path, after: float, settings: dict[str, Any], threads: int) -> None:
    """Train in this process, which kills itself `after` so many seconds if it is not done by then; 0 lets it be."""
    torch.set_num_threads(threads)
    told = Train.model_validate(settings)
    model = fitting.load(Student(base, None, None, ""), told, {"device": "cpu", "dtype": "float32"})
    one = loop.Loop(model, tiny.rows(30), told, checkpoint.Shelf(work / "checkpoints", "k"))
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    if after:
        timer.start()
    one.run(work / "losses.jsonl", lambda *done, **facts: None)
    model.save_pretrained(work / "adapter")
