"""The same recipe here and on two Ray nodes on loopback: the same rows; a worker that dies in the middle loses none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from planted.score import lines, row

from yearling.curate.stage import run_curate
from yearling.measure.accepted import accepted
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, write_records
from yearling.run_folder import Run

SCRIPT = Path(__file__).parents[1] / "ray_cluster.py"
RECIPE = Recipe.model_validate({"name": "x", "curate": {}})


def planted(project: Path, more: int = 0) -> Run:
    """A run with the planted rows, and so many rows of made-up words, of which every fifth has a near twin."""
    run, dice = Run(project, "x"), random.Random(7)
    run.create()
    records = [Record(row(one).turns, Origin("import", one["id"], place)) for place, one in enumerate(lines())]
    words = ["".join(dice.choices("bcdfghjklmnprst", k=3)) + dice.choice(["a", "e", "o"]) for _ in range(3000)]
    for number in range(more):
        said = [" ".join(dice.choices(words, k=size)).capitalize() + "." for size in (15, 60)]
        texts = [said, [f"Please, {said[0]}", said[1]]] if number % 5 == 0 else [said]
        for prompt, answer in texts:
            turns = (Message("user", prompt), Message("assistant", answer))
            records.append(Record(turns, Origin("import", f"more-{len(records)}", len(records))))
    for start in range(0, len(records), 5000):
        write_records(records[start : start + 5000], run.records / f"part-{start:06d}.parquet")
    return run


def here(project: Path, more: int = 0) -> list[str]:
    run = planted(project, more)
    run_curate(RECIPE, run)
    return [record.id for record in accepted(run, RECIPE)]


def on_cluster(project: Path, *how: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    command = [sys.executable, str(SCRIPT), project.name, *how]  # a path that is not whole, as a user gives it
    done = subprocess.run(
        command, cwd=project.parent, capture_output=True, text=True, timeout=600, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_accept_the_same_rows(tmp_path: Path) -> None:
    planted(tmp_path / "cluster")
    wanted = here(tmp_path / "here")
    assert len(wanted) > 500
    assert on_cluster(tmp_path / "cluster")["accepted"] == wanted


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the engine leaves its pipes open
def test_a_worker_that_dies_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    planted(tmp_path / "cluster", more=20_000)
    wanted = here(tmp_path / "here", more=20_000)
    told = on_cluster(tmp_path / "cluster", "kill")
    assert told["killed"] == [True], "the step was over before its worker died"
    assert told["accepted"] == wanted
