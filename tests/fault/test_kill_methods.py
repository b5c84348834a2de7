"""kill -9 at more than fifty random moments, every method among them: nothing settled is asked again, no row is lost.

Each method runs against the deterministic teacher, is killed after a random number of further requests, and started
again with the same command, until it ends; its records must be those of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai_server import digest
from teacher_server import Serving, Settings, serving

from yearling.record import read_records
from yearling.students.template import find_template

KILLS = 9  # of each method
RUN = "import sys, yearling; yearling.run(sys.argv[1], root=sys.argv[2])"
METHODS: dict[str, dict[str, Any]] = {
    "magpie": {"num": 70, "answer": {"turns": 2}},
    "alpaca": {"num": 90, "alpaca": {"per_call": 2}},
    "self-instruct": {"num": 70},
    "evolve": {"num": 60, "evolve": {"rounds": 2}},
    "documents": {"num": 200, "documents": {"path": "docs", "words": 40}},
    "answer": {"num": 120},
}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")]


def write_project(folder: Path, method: str, url: str) -> Path:
    """A recipe, and what it reads, in a folder of its own."""
    folder.mkdir(parents=True)
    dice = random.Random(1)
    words = re.findall(
        r"\w+", "river stone candle window garden market silver winter doctor ladder basket copper engine forest"
    )
    rows = [{"instruction": f"Explain {' '.join(dice.sample(words, 6))} {n}", "output": "old"} for n in range(120)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "docs").mkdir()
    text = "\n\n".join(" ".join(dice.choices(words, k=40)).capitalize() + "." for _ in range(80))
    (folder / "docs" / "notes.txt").write_text(text, encoding="utf-8")
    (folder / "chat.jinja").write_text(find_template("chatml"), encoding="utf-8")
    recipe: dict[str, Any] = {
        "name": "one",
        "teacher": {"model": "openai:test", "base_url": url, "template": "chat.jinja", "concurrency": 8},
        "generate": {"method": method, "attempts": 50, **METHODS[method]},
        "curate": {},
    }
    if method == "answer":
        recipe["import"] = [{"path": "prompts.jsonl", "answer": True}]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def start(recipe: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(recipe), str(recipe.parent)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()[-2000:]


def disturbed(recipe: Path, server: Serving, whole: int, dice: random.Random) -> int:
    """Kill the run again and again on its way to the end; how often it was killed in mid-work."""
    kills = 0
    while kills < KILLS:
        target = server.bill().requests + dice.randint(1, max(2, whole // KILLS))
        process = start(recipe)
        while process.poll() is None and server.bill().requests < target:
            time.sleep(dice.uniform(0.001, 0.01))
        if process.poll() is not None:
            finish(process)
            return kills
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    return kills


def born(recipe: Path) -> list[Any]:
    return list(read_records(recipe.parent / "runs" / "one" / "records"))


def check_ledger(recipe: Path, server: Serving, before: dict[str, int]) -> None:
    """No send follows a settled one, and the server saw no request that the ledger does not hold."""
    with closing(sqlite3.connect(recipe.parent / "ledger.sqlite")) as db:
        sends: dict[str, list[str]] = {}
        for key, state in db.execute("SELECT key, state FROM sends ORDER BY id"):
            sends.setdefault(key, []).append(state)
        calls = db.execute("SELECT key, request FROM calls WHERE state != 'planned'").fetchall()
    for states in sends.values():
        assert "settled" not in states[:-1], states
        assert states.count("settled") <= 1 and "flying" not in states
    rows = server.bill(full=True).rows
    for key, text in calls:
        request = json.loads(text)
        route = "/v1/completions" if "prompt" in request else "/v1/chat/completions"
        place = digest(route, wire(request))
        seen = rows[place].attempts - before.get(place, 0) if place in rows else 0
        assert seen <= len(sends[key]), request


def wire(request: dict[str, Any]) -> dict[str, Any]:
    """A ledger's request as it went over the wire."""
    from yearling.recipe import Reasoning
    from yearling.teachers import openai

    return openai.body("test", request, Reasoning(), set())


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_repeats_nothing_and_loses_nothing(method: str, tmp_path: Path) -> None:
    with serving(Settings(rule="grounded", latency_ms=30)) as server:
        whole_recipe = write_project(tmp_path / "whole", method, server.url)
        finish(start(whole_recipe))
        first = server.bill(full=True)
        recipe = write_project(tmp_path / "killed", method, server.url)
        kills = disturbed(recipe, server, first.requests, random.Random(f"kill {method}"))
        finish(start(recipe))
        check_ledger(recipe, server, {key: row.attempts for key, row in first.rows.items()})
        assert kills == KILLS
        # what was in flight when the process died, at most eight calls each time, is all that is asked again
        assert server.bill().requests <= 2 * first.requests + 8 * kills
    assert len(born(recipe)) >= 50
    killed, undisturbed = born(recipe), born(whole_recipe)
    assert [r.messages for r in killed] == [r.messages for r in undisturbed]
