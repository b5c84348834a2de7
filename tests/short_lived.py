"""A training that kills its own process after a given update."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import tiny
import torch

from yearling.recipe import Train
from yearling.students.load import Student
from yearling.train import checkpoint, fitting, loop


def train(base: str, work: Path, last: int, settings: dict[str, Any], threads: int) -> None:
    """Train in this process, which is killed somewhere in the update after `last`; 0 lets it be.

    The moment is any of that update's, by a timer; should the update be quicker, its end is the moment.
    """
    torch.set_num_threads(threads)
    told = Train.model_validate(settings)
    model = fitting.load(Student(base, None, None, ""), told, {"device": "cpu", "dtype": "float32"})
    one = loop.Loop(model, tiny.rows(30), told, checkpoint.Shelf(work / "checkpoints", "k"))
    begun = time.monotonic()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def advance(done: int, total: int, **facts: object) -> None:
        nonlocal begun
        took, begun = time.monotonic() - begun, time.monotonic()
        if last and done == last:
            timer = threading.Timer(random.Random(last).random() * took, die)
            timer.daemon = True
            timer.start()
        elif last and done > last:
            die()

    one.run(work / "losses.jsonl", advance)
    model.save_pretrained(work / "adapter")
