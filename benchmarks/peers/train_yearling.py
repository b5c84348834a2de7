"""Training by yearling: its loop on rows that are tokens and labels already.

In: a file of settings and rows, an empty folder. Out there: `adapter`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from asked import clock, tell

from yearling.recipe import Train
from yearling.students.load import Student
from yearling.students.rows import Row
from yearling.train.checkpoint import Shelf
from yearling.train.fitting import derive_machine, load
from yearling.train.loop import Loop


def main() -> None:
    """Train and say how long it took."""
    given, work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    rows = [Row(str(place), tokens, labels) for place, (tokens, labels) in enumerate(given["rows"])]
    settings = Train.model_validate(given["settings"])
    machine = derive_machine() | given["more"]
    model = load(Student(given["base"], None, None, ""), settings, machine)
    loop = Loop(model, rows, settings, Shelf(work / "checkpoints", ""))
    began = clock()
    losses = loop.run(work / "losses.jsonl", lambda *done, **facts: None)
    ended = clock()
    model.save_pretrained(work / "adapter")
    tell(began, len(losses), version("yearling"), ended)


if __name__ == "__main__":
    main()
