"""The promises of the test teacher: answers and faults that depend on the request alone, and a bill that is right."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_server import digest
from teacher_answers import instance, words_of
from teacher_server import FAULTS, LOST, REFUSALS, Bill, Fault, Row, Serving, Settings, planned_fault, serving

CHAT = "/v1/chat/completions"
Got = tuple[int, dict[str, str], bytes | None]


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "test", "messages": [{"role": "user", "content": text}], "max_tokens": 128, **more}


async def _all(server: Serving, bodies: Sequence[dict[str, Any]], path: str, at_once: int) -> list[Got]:
    found: dict[int, Got] = {}
    waiting = iter(enumerate(bodies))

    async def work(session: aiohttp.ClientSession) -> None:
        for index, body in waiting:
            try:
                async with session.post(f"http://127.0.0.1:{server.port}{path}", json=body) as response:
                    status, headers = response.status, dict(response.headers)
                    found[index] = status, headers, None  # kept where the body breaks off
                    found[index] = status, headers, await response.read()
            except aiohttp.ClientError:
                found.setdefault(index, (0, {}, None))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(at_once)))
    return [found[index] for index in range(len(bodies))]


def ask(server: Serving, bodies: Sequence[dict[str, Any]], path: str = CHAT, at_once: int = 1) -> list[Got]:
    """Status, headers and content of each answer; status 0 where none came, content None where it broke off."""
    return asyncio.run(_all(server, bodies, path, at_once))


def text_of(content: bytes | None) -> str:
    assert content is not None
    choice = json.loads(content)["choices"][0]
    said: str = choice["message"]["content"] if "message" in choice else choice["text"]
    return said


@pytest.fixture(scope="module")
def plain() -> Iterator[Serving]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def tasks() -> Iterator[Serving]:
    with serving(Settings(rule="tasks")) as server:
        yield server


FAULTY = Settings(faults=1.0, clean_after=1, retry_after_s=0.25)  # the first attempt fails, later ones do not


@pytest.fixture(scope="module")
def faulty() -> Iterator[Serving]:
    with serving(FAULTY) as server:
        yield server


def test_an_answer_depends_on_the_request_alone(plain: Serving, tasks: Serving) -> None:
    bodies = [chat(f"word {n}") for n in range(40)]
    first = [content for _, _, content in ask(plain, bodies, at_once=8)]
    again = [content for _, _, content in ask(plain, bodies[::-1])][::-1]
    assert first == again and len(set(first)) == 40
    with serving(Settings(seed=9)) as other:
        assert [text_of(c) for _, _, c in ask(other, bodies)] == [text_of(c) for c in first]
    shuffled = dict(reversed(bodies[0].items()))
    assert ask(plain, [shuffled])[0][2] == first[0]
    assert ask(plain, [chat("word 0", temperature=0.5)])[0][2] != first[0]


def test_answers_have_a_real_size_and_true_usage(plain: Serving) -> None:
    for _, _, content in ask(plain, [chat(f"size {n}") for n in range(60)]):
        assert content is not None
        usage, text = json.loads(content)["usage"], text_of(content)
        assert 15 <= usage["completion_tokens"] <= 70
        assert usage["completion_tokens"] == len(text) // 4 + 1
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_limit_cuts_and_says_so(plain: Serving) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        body = {"model": "test", "messages": [{"role": "user", "content": "long"}], name: 5}
        _, _, content = ask(plain, [body])[0]
        assert content is not None
        answer = json.loads(content)
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 5 and len(text_of(content)) == 20


def test_raw_completion_and_the_list_of_models(plain: Serving) -> None:
    body = {"model": "test", "prompt": "Once", "max_tokens": 128}
    assert text_of(ask(plain, [body], "/v1/completions")[0][2])
    assert asyncio.run(_get(f"{plain.url}/models"))["data"][0]["id"] == "test"
    assert [got[0] for got in ask(plain, [chat("a"), chat("b", stream=True)], "/v1/nothing")] == [404, 404]
    wrong = [chat("a", stream=True), chat("a", n=2), {"model": "test"}, {"messages": "x"}]
    before = plain.bill()
    assert [got[0] for got in ask(plain, wrong)] == [400] * 4
    assert plain.bill() == before


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


def test_tasks_are_numbered_as_asked(tasks: Serving) -> None:
    bodies = [
        chat("Task 1\nInstruction: x\nInput: none\n\nNow write tasks 4 to 6 in the same form."),
        chat("Task 1\nInstruction: x\nInput: none\nOutput: y\n\nNow write tasks 2 to 3."),
        chat("Why is the sky blue?"),
    ]
    without, with_output, words = (text_of(content) for _, _, content in ask(tasks, bodies))
    assert re.findall(r"^Task (\d+)\nInstruction: \w.+\nInput: \w", without, re.M) == ["4", "5", "6"]
    assert "Output:" not in without and with_output.count("\nOutput: ") == 2
    assert "Task" not in words
    raw = {"model": "test", "prompt": "Task 1\nInstruction: x\n\nTask 2\nInstruction:", "max_tokens": 900}
    told = text_of(ask(tasks, [raw], "/v1/completions")[0][2])
    assert re.match(r" \w", told) and re.findall(r"^Task (\d+)", told, re.M)[0] == "3"


SCHEMA = {
    "type": "object",
    "properties": {
        "tasks": {"type": "array", "minItems": 2, "maxItems": 4, "items": {"$ref": "#/$defs/Task"}},
        "kind": {"enum": ["open", "closed"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "done": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
    },
    "$defs": {"Task": {"type": "object", "properties": {"instruction": {"type": "string", "minLength": 200}}}},
}


def admitted(value: Any) -> None:
    assert set(value) == set(SCHEMA["properties"])
    assert 2 <= len(value["tasks"]) <= 4 and all(len(task["instruction"]) >= 200 for task in value["tasks"])
    assert value["kind"] in ("open", "closed") and type(value["score"]) is int and 1 <= value["score"] <= 5
    assert isinstance(value["done"], bool)
    assert value["note"] is None or len(value["note"]) <= 9


@given(st.text(max_size=20))
def test_an_instance_is_admitted_by_its_schema(key: str) -> None:
    admitted(instance(SCHEMA, key, SCHEMA))
    assert instance(SCHEMA, key, SCHEMA) == instance(SCHEMA, key, SCHEMA)


def test_a_schema_in_the_request_is_answered_with_an_instance(tasks: Serving) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    got = ask(tasks, [chat(f"fill {n}", response_format=shape, max_tokens=4000) for n in range(20)])
    values = [json.loads(text_of(content)) for _, _, content in got]
    for value in values:
        admitted(value)
    assert {value["kind"] for value in values} == {"open", "closed"}
    assert {len(value["tasks"]) for value in values} == {2, 3, 4}


@given(st.text(max_size=20), st.integers(1, 30), st.integers(0, 10))
def test_words_are_as_many_as_asked(key: str, least: int, more: int) -> None:
    assert least <= len(words_of(key, least, least + more).split()) <= least + more


def test_faults_depend_on_seed_request_and_attempt_never_on_order() -> None:
    bodies = [chat(f"order {n % 60}") for n in range(180)]  # three attempts each
    settings = Settings(faults=0.5, seed=3)
    bills = []
    for order, at_once in ((bodies, 1), (bodies[::-1], 16)):
        with serving(settings) as server:
            ask(server, order, at_once=at_once)
            bills.append(server.bill(full=True))
    assert bills[0].rows == bills[1].rows and bills[0].faults == bills[1].faults
    assert set(bills[0].faults) == set(FAULTS)
    for key in bills[0].rows:
        met = [planned_fault(settings, key, attempt) for attempt in range(3)]
        assert bills[0].rows[key].delivered == sum(fault not in LOST for fault in met)
    other = Settings(faults=0.5, seed=4)
    assert any(planned_fault(settings, key, 0) != planned_fault(other, key, 0) for key in bills[0].rows)


def test_the_share_of_faults_and_the_attempts_after_which_none_comes() -> None:
    settings = Settings(faults=0.2, clean_after=2)
    met = [planned_fault(settings, str(n), attempt) for n in range(4000) for attempt in range(2)]
    assert 0.17 < sum(fault is not None for fault in met) / len(met) < 0.23
    assert set(met) == {None, *FAULTS}
    assert not any(planned_fault(settings, str(n), 2) for n in range(4000))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_bill_of_each_fault(faulty: Serving, fault: Fault) -> None:
    body = next(
        body
        for body in (chat(f"hello {n}") for n in itertools.count())
        if planned_fault(FAULTY, digest(CHAT, body), 0) == fault
    )
    before = faulty.bill()
    first, second = ask(faulty, [body] * 2)
    bill = faulty.bill(full=True)
    assert second[0] == 200 and text_of(second[2])
    _check_answer(fault, first)
    usage = json.loads(second[2] or b"")["usage"]
    row, billed = bill.rows[digest(CHAT, body)], 1 if fault in REFUSALS else 2
    assert row.attempts == bill.requests - before.requests == 2 and bill.distinct - before.distinct == 1
    assert bill.faults == {**before.faults, fault: 1}
    assert bill.billed - before.billed == billed
    assert row.prompt_tokens == bill.prompt_tokens - before.prompt_tokens == usage["prompt_tokens"] * billed
    first_tokens = 0 if fault in REFUSALS else 1 if fault in ("empty", "blocked") else usage["completion_tokens"]
    assert row.completion_tokens == usage["completion_tokens"] + first_tokens
    assert row.delivered == bill.delivered - before.delivered == (1 if fault in LOST else 2)
    assert bill.delivered_again - before.delivered_again == (0 if fault in LOST else 1)
    assert bill.usd == pytest.approx((bill.prompt_tokens * 0.1 + bill.completion_tokens * 0.4) / 1e6)


def _check_answer(fault: Fault, got: Got) -> None:
    status, headers, content = got
    if fault in REFUSALS:
        assert status == int(fault[:3])
        assert headers.get("Retry-After") == ("0.25" if fault == "429 wait" else None)
    elif fault == "drop":
        assert status == 0
    elif fault == "truncated":
        assert status == 200 and content is None
    elif fault == "garbage":
        with pytest.raises(json.JSONDecodeError):
            json.loads(content or b"")
    elif fault == "blocked":
        choice = json.loads(content or b"")["choices"][0]
        assert choice["message"]["content"] is None and choice["finish_reason"] == "content_filter"
    else:
        assert status == 200 and bool(text_of(content)) == (fault != "empty")


def test_what_a_client_did_not_wait_for_is_billed_and_not_delivered() -> None:
    with serving(Settings(latency_ms=300)) as server:

        async def leave() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)) as session:
                with pytest.raises(TimeoutError):
                    await session.post(f"{server.url}/chat/completions", json=chat("gone"))

        asyncio.run(leave())
        ask(server, [chat(f"stay {n}") for n in range(20)], at_once=20)
        bill = server.bill()
    assert bill.billed == bill.requests == 21 and bill.delivered == 20
    assert bill.in_flight == 0 and bill.most_in_flight in (20, 21)
    assert sum(bill.seconds.values()) == 21


def test_the_short_bill_has_no_rows(plain: Serving) -> None:
    ask(plain, [chat("a row")])
    assert plain.bill().rows == {} and all(isinstance(row, Row) for row in plain.bill(full=True).rows.values())
    assert isinstance(plain.bill(), Bill) and plain.bill().faults == {}


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, teacher_server\n"
        "with teacher_server.serving() as server:\n"
        "    print(server.process.pid, flush=True)\n"
        "    os._exit(0)\n"  # as a killed parent does: nothing is cleaned up
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent, check=True, timeout=60
    )
    pid = int(done.stdout)
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return  # ended; nobody has collected it
        asyncio.run(asyncio.sleep(0.05))
    pytest.fail("the server outlived its parent")


def test_an_unknown_fault_is_told() -> None:
    command = [sys.executable, "-m", "teacher_server", "--port-file", "unused", "--kinds", "fire"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=60)
    assert done.returncode == 2 and "no such fault: fire" in done.stderr
