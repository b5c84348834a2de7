"""Nothing is paid for twice, no cap is passed, and what is unknown is never taken for free."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import seeded, words_of

from yearling.errors import BudgetError, UserError
from yearling.ledger import SCHEMA, Call, Ledger, Quote, Reply, Spent
from yearling.recipe import Budget, Teacher
from yearling.teachers import ask
from yearling.teachers.ask import ask_all
from yearling.teachers.teacher import open_teacher

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
QUOTE = Quote(0.5, 100)
REPLY = Reply("Red.", "stop", 7, 3, 0.25, 0.1, '{"raw": 1}')


@pytest.fixture
def ledger(project: Path) -> Iterator[Ledger]:
    with closing(Ledger(project / "ledger.sqlite", "one")) as opened:
        yield opened


def call(text: str = "Name a colour.", **changes: Any) -> Call:
    request = {"messages": [{"role": "user", "content": text}], "max_tokens": 20}
    return Call(**{"endpoint": "e", "model": "m", "request": request, "sample": 0, **changes})


def rows(path: Path, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {columns} FROM calls ORDER BY planned, rowid").fetchall()


def settings(server: OpenAIServer, concurrency: int = 8, price: dict[str, float] | None = None) -> Teacher:
    values = {"model": "openai:test", "base_url": server.url, "concurrency": concurrency, "price": price}
    return Teacher.model_validate(values)


def requests(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 40} for n in range(count)]


def ask_questions(
    path: Path, teacher_settings: Teacher, count: int, budget: Budget | None = None
) -> tuple[Sequence[Reply | None], Spent]:
    with closing(Ledger(path, "one", budget)) as ledger, open_teacher(teacher_settings) as teacher:
        calls = [teacher.call(request, 0) for request in requests(count)]
        try:
            replies = ask_all(teacher, ledger, calls, "generate", lambda reply: None)
        finally:
            spent = ledger.spent()
        return replies, spent


# -- keys


def test_equal_calls_have_equal_keys_and_any_difference_another() -> None:
    first = call()
    turned = {"max_tokens": 20, "messages": [{"content": "Name a colour.", "role": "user"}]}
    assert first.key == call(request=turned).key
    assert re.fullmatch(r"c1:[0-9a-f]{32}", first.key)
    others = [call("Name a color."), call(endpoint="f"), call(model="n"), call(sample=1)]
    others.append(call(request={**first.request, "max_tokens": 21}))
    assert len({first.key, *(other.key for other in others)}) == 6


# -- states


def test_a_settled_call_is_served_as_it_was(ledger: Ledger) -> None:
    ledger.plan([call()], "generate")
    assert ledger.find(call()) is None
    ledger.reserve(call(), QUOTE)
    assert ledger.find(call()) is None
    ledger.settle(call(), REPLY, QUOTE)
    found = ledger.find(call())
    assert found == Reply(**{**REPLY.__dict__, "cached": True})
    assert ledger.find(call("Another.")) is None


def test_a_failure_is_kept_and_never_served(ledger: Ledger, project: Path) -> None:
    ledger.plan([call()], "generate")
    ledger.reserve(call(), QUOTE)
    ledger.fail(call(), "HTTP 500: not now", QUOTE, charged=False)
    assert ledger.find(call()) is None
    assert rows(project / "ledger.sqlite", "state, error, sends") == [("failed", "HTTP 500: not now", 1)]
    ledger.reserve(call(), QUOTE)
    ledger.settle(call(), REPLY, QUOTE)
    assert rows(project / "ledger.sqlite", "state, error, sends") == [("settled", None, 2)]


def test_planning_again_leaves_what_is_settled(ledger: Ledger) -> None:
    ledger.plan([call()], "generate")
    ledger.reserve(call(), QUOTE)
    ledger.settle(call(), REPLY, QUOTE)
    ledger.plan([call(), call("Another.")], "generate")
    assert ledger.find(call()) is not None
    assert (ledger.count("settled"), ledger.count("planned")) == (1, 1)
    assert (ledger.count("planned", "one"), ledger.count("planned", "two")) == (1, 0)


def test_what_is_spent_is_reserved_first_and_corrected_after(ledger: Ledger, project: Path) -> None:
    a, b, c = call("a"), call("b"), call("c")
    ledger.plan([a, b, c], "generate")
    for one in (a, b, c):
        ledger.reserve(one, QUOTE)
    assert ledger.spent() == Spent(1.5, 300, False)
    ledger.settle(a, REPLY, QUOTE)
    assert ledger.spent() == Spent(1.25, 210, False)
    ledger.fail(b, "HTTP 429", QUOTE, charged=False)
    assert ledger.spent() == Spent(0.75, 110, False)
    ledger.fail(c, "ReadError", QUOTE, charged=True)
    assert ledger.spent() == Spent(0.75, 110, False)
    with closing(Ledger(project / "ledger.sqlite", "one")) as again:
        assert again.spent() == Spent(0.75, 110, False)
    with closing(Ledger(project / "ledger.sqlite", "two")) as other:
        assert other.spent() == Spent(0.0, 0, False)


def test_a_call_whose_outcome_is_unknown_keeps_its_reservation(ledger: Ledger, project: Path) -> None:
    ledger.plan([call()], "generate")
    ledger.reserve(call(), QUOTE)
    ledger.close()
    with closing(Ledger(project / "ledger.sqlite", "two")) as other:
        assert other.count("reserved") == 1, "another run's calls in flight are not this run's to end"
    with closing(Ledger(project / "ledger.sqlite", "one")) as again:
        assert again.spent() == Spent(0.5, 100, False)
        assert again.count("failed") == 1
        again.reserve(call(), QUOTE)
        again.settle(call(), REPLY, QUOTE)
        assert again.spent() == Spent(0.75, 110, False)
    assert rows(project / "ledger.sqlite", "lost_usd, lost_tokens, cost_usd, sends") == [(0.5, 100, 0.25, 2)]


# -- caps


def test_a_cap_may_be_reached_and_not_passed(project: Path) -> None:
    with closing(Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=1.0))) as ledger:
        ledger.plan([call("a"), call("b"), call("c")], "generate")
        ledger.reserve(call("a"), QUOTE)
        ledger.reserve(call("b"), QUOTE)
        with pytest.raises(BudgetError, match=r"max_cost_usd.*Raise the cap") as caught:
            ledger.reserve(call("c"), Quote(0.001, 1))
        assert caught.value.exit_code == 3
    assert [state for (state,) in rows(project / "ledger.sqlite", "state")] == ["reserved", "reserved", "planned"]
    with closing(Ledger(project / "tokens.sqlite", "one", Budget(max_tokens=150))) as ledger:
        ledger.plan([call("a"), call("b")], "generate")
        ledger.reserve(call("a"), QUOTE)
        with pytest.raises(BudgetError, match="max_tokens"):
            ledger.reserve(call("b"), QUOTE)
        ledger.reserve(call("b"), Quote(None, 50))


def test_an_unknown_price_under_a_dollar_cap_is_the_users_to_mend(project: Path) -> None:
    with closing(Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=9.0))) as ledger:
        ledger.plan([call()], "generate")
        with pytest.raises(UserError, match="price is unknown") as caught:
            ledger.reserve(call(), Quote(None, 1))
        assert caught.value.exit_code == 2
        assert ledger.count("planned") == 1
    with closing(Ledger(project / "ledger.sqlite", "one")) as free:
        free.reserve(call(), Quote(None, 1))
        assert free.spent().unknown, "an unknown price is never 0"


@pytest.mark.parametrize(
    ("budget", "price"),
    [({"max_cost_usd": 12.0}, PRICE), ({"max_tokens": 8000}, None), ({"max_tokens": 8000}, PRICE)],
    ids=["dollars", "tokens", "tokens-priced"],
)
@pytest.mark.parametrize("faulty", [False, True], ids=["calm", "faults"])
def test_no_cap_is_passed_with_64_in_flight(
    server: OpenAIServer,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    budget: dict[str, Any],
    price: dict[str, float] | None,
    faulty: bool,
) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(ask, "TRIES", 12)  # the cap, not the faults, ends the run
    server.answer = lambda body: words_of(body) * 4  # close to the limit of 40 tokens
    faults = seeded(7, 0.4 if faulty else 0.0, ["drop", "garbage", "500", "429"])
    server.plan = lambda key, attempt: faults(key, attempt) or "slow"
    with pytest.raises(BudgetError):
        ask_questions(project / "ledger.sqlite", settings(server, 64, price), 300, Budget.model_validate(budget))
    assert server.most_in_flight > 8
    assert server.cost(PRICE["input"], PRICE["output"]) <= budget.get("max_cost_usd", float("inf"))
    assert 0 < server.tokens <= budget.get("max_tokens", float("inf"))
    with closing(Ledger(project / "ledger.sqlite", "one")) as ledger:
        assert ledger.spent().tokens >= server.tokens


def test_work_that_may_be_billed_counts_against_a_cap_in_tokens(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are lost with a broken connection whether or not the price is known."""
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    server.plan = lambda key, attempt: "drop" if attempt < 3 else None
    with pytest.raises(BudgetError):
        ask_questions(project / "ledger.sqlite", settings(server, 1), 40, Budget(max_tokens=1000))
    assert server.tokens <= 1000
    with closing(Ledger(project / "ledger.sqlite", "one")) as ledger:
        assert server.tokens <= ledger.spent().tokens <= 1000


def test_reaching_a_cap_keeps_the_answers_in_flight(server: OpenAIServer, project: Path) -> None:
    """Every call that was sent before the cap stopped the run is settled, and served after the cap was raised."""
    server.plan = lambda key, attempt: "slow"
    path = project / "ledger.sqlite"
    with pytest.raises(BudgetError):
        ask_questions(path, settings(server, 4, PRICE), 40, Budget(max_cost_usd=1.0))
    paid = dict(server.keys)
    assert paid
    ask_questions(path, settings(server, 4, PRICE), 40)
    assert {key: server.keys[key] for key in paid} == paid


def test_a_cap_below_the_reservations_of_one_wave_is_still_used(server: OpenAIServer, project: Path) -> None:
    """Calls in flight reserve more than they cost: the next call waits for them before the run gives up."""
    path = project / "ledger.sqlite"
    with pytest.raises(BudgetError):
        ask_questions(path, settings(server, 16, PRICE), 60, Budget(max_cost_usd=1.0))
    paid = server.cost(PRICE["input"], PRICE["output"])
    assert 0.7 < paid <= 1.0
    with closing(Ledger(path, "one")) as ledger:
        assert ledger.spent().usd == pytest.approx(paid), "what was never sent is not lost"


# -- resume

CHILD = """
import sys
from pathlib import Path
from yearling.ledger import Ledger
from yearling.recipe import Teacher
from yearling.teachers.ask import ask_all
from yearling.teachers.teacher import open_teacher

path, url, price = Path(sys.argv[1]), sys.argv[2], {"input": 1000.0, "output": 2000.0}
settings = Teacher.model_validate({"model": "openai:test", "base_url": url, "concurrency": 4, "price": price})
ledger = Ledger(path, "one")
with open_teacher(settings) as teacher:
    asked = [{"messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 40} for n in range(20)]
    replies = ask_all(teacher, ledger, [teacher.call(r, 0) for r in asked], "generate", lambda reply: None)
print(sum(1 for reply in replies if reply), ledger.spent().usd)
ledger.close()
"""


def child(path: Path, server: OpenAIServer) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(path), server.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OPENAI_API_KEY": "x"})


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal")
def test_kill_9_costs_at_most_the_calls_in_flight(server: OpenAIServer, project: Path) -> None:
    path = project / "ledger.sqlite"
    server.hold_after(6)
    with child(path, server) as first:
        server.wait_for(10)  # six answered, four in flight
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = server.keys
    states = [state for (state,) in rows(path, "state")]
    assert {s: states.count(s) for s in set(states)} == {"settled": 6, "reserved": 4, "planned": 10}
    with closing(Ledger(path, "one")) as ledger:
        assert ledger.count("failed") == 4
        lost = sum(row[0] for row in rows(path, "lost_usd"))
        assert lost > 0
        assert ledger.spent().usd >= server.cost(PRICE["input"], PRICE["output"]), "less than the endpoint's bill"
    answered = {entry.key for entry in server.bill[:6]}
    in_flight = set(before) - answered
    server.open.set()
    with child(path, server) as second:
        said, _ = second.communicate(timeout=30)
    assert second.returncode == 0
    assert said.split()[0] == "20"
    assert all(server.keys[key] == 1 for key in answered), "a settled call was sent again"
    assert all(server.keys[key] == 2 for key in in_flight)
    assert (len(server.keys), len(server.bill)) == (20, 24)
    assert float(said.split()[1]) >= server.cost(PRICE["input"], PRICE["output"]) - 1e-9


def test_a_round_is_planned_before_its_first_call_is_sent(server: OpenAIServer, project: Path) -> None:
    path, seen = project / "ledger.sqlite", list[int]()

    def answer(body: object) -> str:
        seen.append(len(rows(path, "key")))
        return "Red."

    server.answer = answer
    ask_questions(path, settings(server, 1), 12)
    assert seen == [12] * 12


def test_settled_calls_are_never_sent_again(server: OpenAIServer, project: Path) -> None:
    path = project / "ledger.sqlite"
    first, _ = ask_questions(path, settings(server), 10)
    again, _ = ask_questions(path, settings(server), 15)
    assert [r.text for r in first if r] == [r.text for r in again[:10] if r]
    assert [r.cached for r in again if r] == [True] * 10 + [False] * 5
    assert set(server.keys.values()) == {1}
    assert len(server.bill) == 15


def test_equal_calls_of_a_round_are_sent_once(server: OpenAIServer, project: Path) -> None:
    with closing(Ledger(project / "l.sqlite", "one")) as ledger, open_teacher(settings(server)) as teacher:
        same = teacher.call(requests(1)[0], 0)
        replies = ask_all(teacher, ledger, [same, same, same], "generate", lambda reply: None)
    assert len({r.text for r in replies if r}) == 1
    assert (len(replies), len(server.bill)) == (3, 1)


# -- the file


def test_a_ledger_of_a_newer_format_is_refused(project: Path) -> None:
    path = project / "ledger.sqlite"
    Ledger(path, "one").close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={SCHEMA + 1}")
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"newer yearling .format {SCHEMA + 1}"):
        Ledger(path, "one")
    assert path.read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused(project: Path) -> None:
    path = project / "ledger.sqlite"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        Ledger(path, "one")
    with pytest.raises(UserError, match="cannot be opened"):
        Ledger(path / "inside" / "ledger.sqlite", "one")
