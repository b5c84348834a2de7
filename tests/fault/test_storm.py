"""A storm of faults at full concurrency: every row arrives, nothing settled is asked twice, and the money is right.

The server's own bill is what is asserted: what it did, delivered and charged, never the client's account alone.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai_server import digest
from teacher_server import Bill, Settings, serving

from yearling.errors import BudgetError
from yearling.ledger import Ledger, Reply
from yearling.recipe import Budget, Price
from yearling.recipe import Teacher as TeacherSettings
from yearling.teachers import ask, limit
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

PRICE = Price(input=100.0, output=400.0)  # dear, so that a cent is a matter of a few calls
STORM = Settings(seed=7, faults=0.2, retry_after_s=0.02, usd_in=PRICE.input, usd_out=PRICE.output)
WAYS = 64


def questions(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"Question {n}: what is {n} times 3?"}], "max_tokens": 64}
        for n in range(count)
    ]


def storm(url: str, project: Path, count: int, budget: Budget) -> list[Reply]:
    settings = TeacherSettings(model="openai:test", base_url=url, concurrency=WAYS, price=PRICE)
    with (
        Ledger(project / "ledger.sqlite", "one", budget) as ledger,
        open_teacher(settings) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        return asker.ask([teacher.call(one, 0) for one in questions(count)], lambda reply: None)


def account(project: Path) -> dict[str, tuple[int, float, int]]:
    """Sends, dollars and tokens of the ledger, by what became of them."""
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        query = "SELECT state, count(*), sum(usd), sum(tokens) FROM sends GROUP BY state"
        return {state: (count, usd, tokens) for state, count, usd, tokens in db.execute(query)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(limit, "PAUSES_S", (0.1,) * 50)


def settled_once(bill: Bill, project: Path) -> None:
    """What was delivered whole was delivered once, and the ledger's settled sends are those deliveries."""
    assert bill.delivered_again == 0
    assert account(project)["settled"][0] == bill.delivered


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_wanted_row_arrives_and_the_bills_agree(count: int, project: Path) -> None:
    with serving(STORM) as server:
        replies = storm(server.url, project, count, Budget())
        bill = server.bill(full=True)
    assert len(replies) == count and all(reply.finish in ("stop", "length", "content_filter") for reply in replies)
    assert bill.distinct == count and bill.most_in_flight <= WAYS
    assert {"drop", "truncated", "garbage", "500", "429 wait"} <= bill.faults.keys()
    settled_once(bill, project)
    spent = account(project)
    lost = bill.faults["drop"] + bill.faults["truncated"] + bill.faults["garbage"]
    assert spent["lost"][0] == lost == bill.billed - bill.delivered
    assert spent["settled"][1] + spent["lost"][1] >= bill.usd  # what was lost in the air is held at its bound
    paid_once = 0
    for key, prompt, completion in settled_calls(project):
        row = bill.rows[key]
        if row.prompt_tokens == prompt:  # billed once: no attempt of it was lost
            assert (row.prompt_tokens, row.completion_tokens, row.delivered) == (prompt, completion, 1)
            paid_once += 1
    assert paid_once > count * 0.8


def settled_calls(project: Path) -> list[tuple[str, int, int]]:
    """The ledger's settled calls by the server's own key, with their tokens."""
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        rows = db.execute("SELECT request, prompt_tokens, completion_tokens FROM calls WHERE state = 'settled'")
        return [
            (digest("/v1/chat/completions", {"model": "test", **json.loads(request)}), prompt, completion)
            for request, prompt, completion in rows
        ]


def test_a_binding_cap_holds_against_the_servers_own_bill(project: Path) -> None:
    budget = Budget(max_cost_usd=2.0)
    with serving(STORM) as server:
        with pytest.raises(BudgetError):
            storm(server.url, project, 2000, budget)
        bill = server.bill()
    assert budget.max_cost_usd is not None
    assert budget.max_cost_usd * 0.5 < bill.usd <= budget.max_cost_usd
    settled_once(bill, project)


def test_without_faults_the_two_bills_are_equal(project: Path) -> None:
    calm = Settings(usd_in=PRICE.input, usd_out=PRICE.output)
    with serving(calm) as server:
        storm(server.url, project, 500, Budget())
        bill = server.bill()
    assert account(project).keys() == {"settled"}
    assert account(project)["settled"][1] == pytest.approx(bill.usd, abs=1e-9)


@pytest.mark.slow
def test_memory_is_flat(project: Path) -> None:
    """Ten times the requests take a few megabytes more: the texts themselves, and no tasks, bodies or raw replies."""
    if sys.platform == "win32":
        pytest.skip("getrusage is POSIX")
    with serving(STORM) as server:
        storm(server.url, project / "a", 1000, Budget())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        storm(server.url, project / "b", 10_000, Budget())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000  # KiB on Linux
