"""A key that the endpoint says back in every way is in no file, no line and no traceback of ours."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from scripted_server import Asked, Said, ScriptedServer

CANARY = "sk-canary/7f3a+9c51=d2e8"
FORMS = (CANARY, quote(CANARY, safe=""), CANARY.replace("/", "\\/"))
QUESTIONS, FAILURES = 100, 25  # of each of four providers: 10,000 errors
KINDS = {
    "openai": ("OPENAI_API_KEY", "/v1"),
    "anthropic": ("ANTHROPIC_API_KEY", "/v1"),
    "gemini": ("GEMINI_API_KEY", "/v1beta"),
    "azure": ("AZURE_OPENAI_API_KEY", "/openai/v1"),
}
QUICK = """
import sys
from yearling.teachers import ask, limit
ask.TRIES, ask.FIRST_WAIT_S, ask.LONGEST_WAIT_S, limit.TRIP = 1000, 0.0005, 0.002, 10**9
"""
CHILD = (
    QUICK
    + """
from pathlib import Path
from yearling.ledger import Ledger
from yearling.recipe import Teacher
from yearling.teachers.teacher import open_teacher
kind, url, count, project = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
values = {"model": kind + ":m", "base_url": url, "concurrency": 32, "price": {"input": 1, "output": 2}}
with Ledger(project / "ledger.sqlite", "one") as ledger, open_teacher(Teacher.model_validate(values)) as teacher:
    with ask.Asker(teacher, ledger, "generate") as asker:
        turns = [[{"role": "user", "content": f"Question {n}?"}] for n in range(count)]
        calls = [teacher.call({"messages": t, "max_tokens": 40, "temperature": 0.5}, 0) for t in turns]
        print([reply.text for reply in asker.ask(calls, lambda reply: None)])
print(ledger.spent())
"""
)
COMMAND = QUICK + "from yearling.cli import main; main()"
RECIPE = "name: one\nteacher: {model: '%s:m', base_url: '%s'}\ngenerate: {method: alpaca, num: 3}\n"


def answered(kind: str, text: str) -> Any:
    """A whole answer in a provider's format, with the key in more than its text."""
    if kind == "anthropic":
        content = [{"type": "text", "text": text}]
        return {"content": content, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2}}
    if kind == "gemini":
        candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}
        return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}, "responseId": CANARY}
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "id": CANARY}


def failed(kind: str, number: int, asked: Asked) -> Said | None:
    """One of the ways in which an endpoint fails, always with the key in its words."""
    echo = {"X-Echo": CANARY, "WWW-Authenticate": f"Bearer {CANARY}"}
    ways: list[Said | None] = [
        Said(429, {"error": {"message": f"slow down, {CANARY}"}}, {**echo, "Retry-After": "0"}),
        Said(429, {"error": CANARY}, {**echo, "Retry-After": CANARY}),
        Said(500, f"<html>{CANARY} at ?key={quote(CANARY, safe='')}</html>".encode(), echo),
        Said(503, (CANARY * 50).encode(), echo),
        Said(200, b"\xff\xfe" + CANARY.encode() + b"\x00\xff <html>", echo),
        Said(200, {"error": f"no answer for {CANARY}", CANARY: CANARY}, echo),
        Said(200, json.dumps({"usage": {"prompt_tokens": CANARY}, "choices": [{"text": ""}]}).encode(), echo),
        Said(200, json.dumps({"key": CANARY}).replace("/", "\\/").encode() + b"{", echo),
        Said(200, f'{{"choices": "{CANARY}'.encode(), {**echo, "Content-Length": "9999", "Connection": "close"}),
        None,
    ]
    if "temperature" in json.dumps(asked.body):
        return Said(400, {"error": {"message": f"temperature is not for {CANARY}"}}, echo)
    return ways[number % len(ways)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def run(kind: str, project: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variable = KINDS[kind][0]
    environment = {name: value for name, value in os.environ.items() if name != "GOOGLE_API_KEY"}
    environment |= {variable: CANARY, "HF_TOKEN": CANARY, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, check=False)


def leaks(project: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Where the key is to be found, in any of its spellings."""
    found = [name for name, said in (("stdout", done.stdout), ("stderr", done.stderr)) if any(f in said for f in FORMS)]
    for path in project.rglob("*"):
        if path.is_file() and any(form.encode() in path.read_bytes() for form in FORMS):
            found.append(str(path))
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            found += [str(path)] if any(form in str(pq.read_table(path).to_pylist()) for form in FORMS) else []
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_said_back_ten_thousand_times_is_nowhere(project: Path, server: ScriptedServer, kind: str) -> None:
    attempts, named = Counter[str](), Counter[bool]()

    def answer(asked: Asked) -> Said | None:
        named[any(CANARY in value for value in asked.headers.values())] += 1
        question = json.dumps(asked.body.get("messages") or asked.body["contents"])
        attempts[question] += 1
        if attempts[question] <= FAILURES:
            return failed(kind, attempts[question] + hash(question) % 10, asked)
        return Said(200, answered(kind, f"Your key is {CANARY}, or {FORMS[1]}."), {"X-Echo": CANARY})

    server.answer = answer
    done = run(kind, project, CHILD, kind, server.url + KINDS[kind][1], str(QUESTIONS), str(project))
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(attempts.values()) == QUESTIONS * (FAILURES + 1)
    assert named == {True: QUESTIONS * (FAILURES + 1)}, "the endpoint was given the key each time"
    assert done.stdout.count("Your key is [secret], or [secret].") == QUESTIONS
    assert leaks(project, done) == []
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM sends WHERE state != 'settled'").fetchone() == (QUESTIONS * FAILURES,)
        raws = [raw for (raw,) in db.execute("SELECT raw FROM calls WHERE state = 'settled'")]
    assert len(raws) == QUESTIONS and all("[secret]" in raw for raw in raws)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *(("openai", status) for status in (307, 400, 401, 403, 404)),
        *((kind, 401) for kind in KINDS if kind != "openai"),
    ],
)
def test_a_refusal_is_told_without_the_key_it_repeats(
    project: Path, server: ScriptedServer, kind: str, status: int
) -> None:
    echo = {"X-Echo": CANARY, "Location": f"/{quote(CANARY)}?key={CANARY}"}
    said = json.dumps({"error": {"message": f"wrong key {CANARY}", "param": FORMS[1], "key": CANARY}})
    server.answer = lambda asked: Said(status, said.replace("/7f3a", "\\/7f3a", status % 2).encode(), echo)
    recipe = project / "r.yaml"
    recipe.write_text(RECIPE % (kind, server.url + KINDS[kind][1]))
    done = run(kind, project, COMMAND, "--debug", "--project", str(project), "generate", str(recipe))
    assert done.returncode == 5, done.stderr[-2000:]
    assert "Traceback" in done.stderr and f"HTTP {status}" in done.stderr and "wrong key [secret]" in done.stderr
    assert server.asked and leaks(project, done) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_no_header_can_hold_is_told_without_it(project: Path, kind: str) -> None:
    recipe = project / "r.yaml"
    recipe.write_text(RECIPE % (kind, "http://127.0.0.1:9/v1"))
    code = f"import os; os.environ[{KINDS[kind][0]!r}] += ' x'\n{COMMAND}"
    done = run(kind, project, code, "--debug", "--project", str(project), "generate", str(recipe))
    assert done.returncode == 2 and f"Set {KINDS[kind][0]} anew" in done.stderr
    assert leaks(project, done) == []
