"""A teacher that fails in every way at once: all questions are answered, none is paid for twice, nothing is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import seeded

from yearling.errors import TeacherError
from yearling.ledger import Ledger, Reply
from yearling.recipe import Teacher as Settings
from yearling.teachers import ask, limit
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

if TYPE_CHECKING:
    from openai_server import Fault, OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
PASSING: list[Fault] = ["slow", "429", "500", "drop", "garbage"]
ANSWERED: list[Fault] = ["empty", "null", "length", "slow"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(limit, "PAUSES_S", (0.001,) * 5)


def ask_questions(server: OpenAIServer, project: Path, count: int) -> list[Reply]:
    values: dict[str, Any] = {"model": "openai:test", "base_url": server.url, "concurrency": 16, "price": PRICE}
    with (
        Ledger(project / "ledger.sqlite", "one") as ledger,
        open_teacher(Settings.model_validate(values)) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        asked = [{"messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 40} for n in range(count)]
        return asker.ask([teacher.call(one, 0) for one in asked], lambda reply: None)


def answers(server: OpenAIServer) -> Counter[str]:
    """How often each question was answered in a way that the client could read."""
    return Counter(entry.key for entry in server.bill if entry.fault in (None, *ANSWERED))


@pytest.mark.parametrize("seed", range(5))
def test_every_question_is_answered_once(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(ask, "TRIES", 12)
    server.plan = seeded(seed, 0.6, PASSING)
    replies = ask_questions(server, project, 40)
    assert all(reply.text for reply in replies)
    assert len(server.bill) > 60, "the plan brought faults"
    assert answers(server) == Counter(dict.fromkeys(server.keys, 1))
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.count("settled") == 40
        assert ledger.spent().usd >= server.cost(PRICE["input"], PRICE["output"]) - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_what_a_failed_run_settled_is_never_sent_again(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The run fails as often as it likes: the same command goes on, and the ledger serves what it has."""
    monkeypatch.setattr(ask, "TRIES", 3)
    server.plan = seeded(seed, 0.75, PASSING)
    failures = 0
    while True:
        with Ledger(project / "ledger.sqlite", "one") as ledger:
            settled = ledger.count("settled")
        served = answers(server)
        try:
            replies = ask_questions(server, project, 30)
            break
        except TeacherError:
            failures += 1
            assert failures < 50
        with Ledger(project / "ledger.sqlite", "one") as ledger:
            assert ledger.count("settled") >= settled
            assert sum((answers(server) - served).values()) <= 30 - settled
    assert failures, "the plan made the run fail"
    assert all(replies)
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.spent().usd >= server.cost(PRICE["input"], PRICE["output"]) - 1e-9
    before = len(server.bill)
    assert ask_questions(server, project, 30) == [replace(reply, cached=True) for reply in replies]
    assert len(server.bill) == before


def test_answers_of_every_kind_are_settled_at_the_first_try(server: OpenAIServer, project: Path) -> None:
    server.plan = seeded(1, 0.9, ANSWERED)
    replies = ask_questions(server, project, 40)
    assert all(replies)
    assert set(server.keys.values()) == {1}
    finishes = Counter(reply.finish for reply in replies)
    assert set(finishes) == {"stop", "length", "content_filter"}


def test_one_refusal_ends_the_round_and_keeps_what_was_settled(server: OpenAIServer, project: Path) -> None:
    server.faults = [*[None] * 10, "401 echo"]
    with pytest.raises(TeacherError, match="HTTP 401"):
        ask_questions(server, project, 40)
    sent = len(server.bill)
    assert sent < 40
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert (ledger.count("settled"), ledger.count("failed")) == (sent - 1, 1), "what was in flight has landed"
    assert sum(reply.cached for reply in ask_questions(server, project, 40)) == sent - 1
    assert len(server.bill) == 41
