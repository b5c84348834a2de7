"""kill -9 between every two steps of a batch's life: the same run goes on, and nothing is handed over twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer
from scripted_server import ScriptedServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal")

COUNT, PAGE, STOP = 8, 2, 5
PAID = 0.5 * (10 * 1000.0 + 4 * 2000.0) / 1e6
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
CHILD = f"""
import sys, time
from pathlib import Path
from yearling.ledger import Ledger
from yearling.recipe import Teacher
from yearling.teachers import batch, batch_anthropic
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

batch.FIRST_PAUSE_S = batch.SETTLE_S = batch_anthropic.FIND_PAUSE_S = 0.01
batch.PAGE = {PAGE}
path, kind, url, run, stop = Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
values = {{"model": kind + ":m", "base_url": url, "batch": True, "price": {{"input": 1000.0, "output": 2000.0}}}}
seen = []

def landed(reply):
    seen.append(reply)
    if len(seen) == stop:
        print("half", flush=True)
        time.sleep(60)

with Ledger(path, run) as ledger, open_teacher(Teacher.model_validate(values)) as teacher:
    with Asker(teacher, ledger, "generate") as asker:
        turns = [[{{"role": "user", "content": f"Question {{n}}?"}}] for n in range({COUNT})]
        replies = asker.ask([teacher.call({{"messages": t, "max_tokens": 40}}, 0) for t in turns], landed)
    print(sum(reply.text.endswith("Yes.") for reply in replies), sum(r.cached for r in replies), ledger.spent().usd)
"""


@pytest.fixture
def provider() -> BatchServer:
    return BatchServer()


@pytest.fixture
def url(provider: BatchServer) -> Iterator[str]:
    with ScriptedServer(provider.answer) as server:
        yield server.url
        provider.release.set()


@contextmanager
def child(project: Path, kind: str, url: str, run: str = "one", stop: int = 0) -> Iterator[subprocess.Popen[str]]:
    keys = {f"{name}_API_KEY": "key-1234567" for name in ("OPENAI", "ANTHROPIC", "GEMINI")}
    command = [sys.executable, "-c", CHILD, str(project / "ledger.sqlite"), kind, url + BASES[kind], run, str(stop)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **keys}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(project: Path, provider: BatchServer, kind: str, url: str, step: str) -> None:
    """A run that was killed at a step."""
    provider.hold = step if step != "half" else ""
    with child(project, kind, url, stop=STOP if step == "half" else 0) as process:
        if step == "half":
            assert process.stdout and process.stdout.readline() == "half\n"
        else:
            assert provider.held.wait(30), f"{step} was not reached"
        process.send_signal(signal.SIGKILL)
        process.wait()
    provider.held.clear()


def finished(project: Path, kind: str, url: str, run: str = "one") -> tuple[int, int, float]:
    """Answers, those of them that were in the ledger, and what the run has spent."""
    with child(project, kind, url, run) as process:
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    answers, cached, usd = said.split()
    return int(answers), int(cached), float(usd)


def rows(project: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        return db.execute(query).fetchall()


STEPS = [
    *(pytest.param("openai", step) for step in ("file", "create", "created", "look", "results", "half")),
    *(pytest.param("anthropic", step) for step in ("create", "created", "half")),
    *(pytest.param("anthropic", step, marks=pytest.mark.slow) for step in ("look", "results")),
    *(pytest.param("gemini", step) for step in ("created", "half")),
    *(pytest.param("gemini", step, marks=pytest.mark.slow) for step in ("create", "look")),
]


@pytest.mark.parametrize(("kind", "step"), STEPS)
def test_a_killed_run_finds_its_batch(project: Path, provider: BatchServer, url: str, kind: str, step: str) -> None:
    killed(project, provider, kind, url, step)
    arrived = step not in ("file", "create")
    assert len(provider.batches) == arrived, "what the provider had when the client died"
    flying = rows(project, "SELECT count(*) FROM sends WHERE state = 'flying'")[0][0]
    assert flying == (COUNT - STOP // PAGE * PAGE if step == "half" else COUNT)
    known = [id for (id,) in rows(project, "SELECT id FROM batches")]
    assert known == ([provider.batches[0].id] if step in ("look", "results", "half") else [None])

    answers, cached, usd = finished(project, kind, url)
    assert (answers, cached) == (COUNT, COUNT - flying)
    assert len(provider.batches) == 1, "handed over once, whenever the client died"
    assert usd == pytest.approx(COUNT * PAID)
    assert rows(project, "SELECT DISTINCT state FROM sends") == [("settled",)]
    assert rows(project, "SELECT state FROM batches") == [("ended",)]


def test_a_run_killed_twice_still_finds_it(project: Path, provider: BatchServer, url: str) -> None:
    for step in ("created", "list", "look", "half"):
        killed(project, provider, "openai", url, step)
    assert finished(project, "openai", url)[:2] == (COUNT, STOP // PAGE * PAGE)
    assert finished(project, "openai", url)[:2] == (COUNT, COUNT)
    assert len(provider.batches) == 1


def test_another_run_takes_the_answers_and_leaves_the_bill(project: Path, provider: BatchServer, url: str) -> None:
    killed(project, provider, "openai", url, "look")
    assert finished(project, "openai", url, run="two") == (COUNT, 0, 0.0)
    assert len(provider.batches) == 1
    billed = rows(project, "SELECT run, state, sum(usd) FROM sends GROUP BY run, state")
    assert billed == [("one", "settled", pytest.approx(COUNT * PAID))]


def test_a_batch_of_somebody_else_is_not_taken_for_ours(project: Path, provider: BatchServer, url: str) -> None:
    """Anthropic's batches have no names: one of the same size and time is told apart by its tags."""
    (other := project / "other").mkdir()
    assert finished(other, "anthropic", url)[0] == COUNT
    killed(project, provider, "anthropic", url, "create")
    assert len(provider.batches) == 1
    assert finished(project, "anthropic", url)[:2] == (COUNT, 0)
    assert rows(project, "SELECT id, state FROM batches") == [(provider.batches[1].id, "ended")]
    assert rows(project, "SELECT DISTINCT state FROM sends") == [("settled",)]


def test_a_broken_connection_is_looked_into_before_anything_is_handed_over_again(
    project: Path, provider: BatchServer, url: str
) -> None:
    provider.hold = "created"  # the answer comes as HTTP 500, the batch is there
    provider.release.set()
    assert finished(project, "gemini", url)[:2] == (COUNT, 0)
    assert len(provider.batches) == 1
