"""Nothing is paid for twice, no cap is passed, and what is unknown is never taken for free."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import seeded, words_of

from yearling.errors import BudgetError, UserError
from yearling.ledger import Call, Ledger, Quote, Reply, Spent
from yearling.ledger_tables import SCHEMA
from yearling.recipe import Budget, Teacher
from yearling.teachers import ask, limit
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
QUOTE = Quote(0.5, 100)
REPLY = Reply("Red.", "stop", 7, 3, 0.25, 0.1, 2, '{"raw": 1}')


@pytest.fixture
def ledger(project: Path) -> Iterator[Ledger]:
    opened = Ledger(project / "ledger.sqlite", "one")
    yield opened
    with suppress(sqlite3.ProgrammingError):  # some tests close it themselves
        opened.close()


def call(text: str = "Name a colour.", **changes: Any) -> Call:
    request = {"messages": [{"role": "user", "content": text}], "max_tokens": 20}
    return Call(**{"endpoint": "e", "model": "m", "request": request, "sample": 0, **changes})


def rows(path: Path, columns: str, table: str = "calls") -> list[tuple[Any, ...]]:
    """What another process sees."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()


def settings(server: OpenAIServer, concurrency: int = 8, price: dict[str, float] | None = None) -> Teacher:
    values = {"model": "openai:test", "base_url": server.url, "concurrency": concurrency, "price": price}
    return Teacher.model_validate(values)


def requests(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 40} for n in range(count)]


def ask_questions(path: Path, teacher_settings: Teacher, count: int, budget: Budget | None = None) -> list[Reply]:
    with (
        Ledger(path, "one", budget) as ledger,
        open_teacher(teacher_settings) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        calls = [teacher.call(request, 0) for request in requests(count)]
        return asker.ask(calls, lambda reply: None)


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
    ticket = ledger.reserve(call(), QUOTE, "generate")
    ledger.flush()
    assert ledger.find(call()) is None
    assert ledger.call(ticket) == call()
    ledger.settle(ticket, REPLY)
    ledger.flush()
    found = ledger.find(call())
    assert found == Reply(**{**REPLY.__dict__, "raw": "", "cached": True}), "all but the bytes, which stay on the disk"
    assert ledger.find(call("Another.")) is None


def test_a_failure_is_kept_and_never_served(ledger: Ledger, project: Path) -> None:
    path = project / "ledger.sqlite"
    ledger.plan([call()], "generate")
    ledger.fail(ledger.reserve(call(), QUOTE, "generate"), "HTTP 500: not now", billed=False)
    ledger.flush()
    assert ledger.find(call()) is None
    assert rows(path, "state, error") == [("failed", "HTTP 500: not now")]
    assert rows(path, "state", "sends") == [("free",)]
    ledger.settle(ledger.reserve(call(), QUOTE, "generate"), REPLY)
    ledger.flush()
    assert rows(path, "state, error, raw") == [("settled", None, REPLY.raw)]
    assert rows(path, "state, usd, tokens", "sends") == [("free", 0.5, 100), ("settled", 0.25, 10)]


def test_planning_again_leaves_what_is_settled(ledger: Ledger) -> None:
    ledger.plan([call()], "generate")
    ledger.settle(ledger.reserve(call(), QUOTE, "generate"), REPLY)
    ledger.plan([call(), call("Another.")], "generate")
    assert ledger.find(call()) is not None
    assert (ledger.count("settled"), ledger.count("planned")) == (1, 1)
    assert (ledger.count("planned", "one"), ledger.count("planned", "two")) == (1, 0)


def test_what_is_spent_is_reserved_first_and_corrected_after(ledger: Ledger, project: Path) -> None:
    a, b, c = call("a"), call("b"), call("c")
    ledger.plan([a, b, c], "generate")
    tickets = [ledger.reserve(one, QUOTE, "generate") for one in (a, b, c)]
    assert ledger.spent() == Spent(1.5, 300)
    ledger.settle(tickets[0], REPLY)
    assert ledger.spent() == Spent(1.25, 210)
    ledger.fail(tickets[1], "HTTP 429", billed=False)
    assert ledger.spent() == Spent(0.75, 110)
    ledger.fail(tickets[2], "ServerDisconnectedError", billed=True)
    expected = Spent(0.75, 110, False, lost_usd=0.5, lost_tokens=100)
    assert ledger.spent() == expected, "what may be billed stays reserved, and is told apart"
    ledger.close()
    with Ledger(project / "ledger.sqlite", "one") as again:
        assert again.spent() == expected
        assert again.spent("generate") == expected and again.spent("eval") == Spent()
    with Ledger(project / "ledger.sqlite", "two") as other:
        assert other.spent() == Spent()


def test_each_send_of_a_call_is_paid_for_by_itself(ledger: Ledger, project: Path) -> None:
    """A call that was lost twice and then answered has cost three times, in whichever stage it was."""
    ledger.plan([call()], "generate")
    ledger.fail(ledger.reserve(call(), QUOTE, "generate"), "drop", billed=True)
    ledger.fail(ledger.reserve(call(), QUOTE, "eval"), "drop", billed=True)
    ledger.settle(ledger.reserve(call(), QUOTE, "eval"), REPLY)
    assert ledger.spent() == Spent(1.25, 210, False, 1.0, 200)
    assert ledger.spent("generate") == Spent(0.5, 100, False, 0.5, 100)
    ledger.close()
    with Ledger(project / "ledger.sqlite", "one") as again:
        assert again.spent() == Spent(1.25, 210, False, 1.0, 200)
        assert again.spent("eval") == Spent(0.75, 110, False, 0.5, 100)


def test_a_call_whose_outcome_is_unknown_keeps_its_reservation(ledger: Ledger, project: Path) -> None:
    ledger.plan([call()], "generate")
    ledger.reserve(call(), QUOTE, "generate")
    ledger.close()
    with Ledger(project / "ledger.sqlite", "two") as other:
        assert (other.count("sent"), other.count("failed")) == (0, 1), "who holds the lock knows that nobody asks"
        assert other.spent() == Spent(), "another run's loss is not this run's"
    with Ledger(project / "ledger.sqlite", "one") as again:
        assert again.spent() == Spent(0.5, 100, False, 0.5, 100)
        assert again.find(call()) is None
        again.settle(again.reserve(call(), QUOTE, "generate"), REPLY)
        assert again.spent() == Spent(0.75, 110, False, 0.5, 100)
    assert rows(project / "ledger.sqlite", "state, error") == [("settled", None)]
    assert rows(project / "ledger.sqlite", "state, usd, tokens", "sends") == [("lost", 0.5, 100), ("settled", 0.25, 10)]


def test_what_is_queued_is_seen_by_others_after_flush(ledger: Ledger, project: Path) -> None:
    path = project / "ledger.sqlite"
    ledger.plan([call()], "generate")
    assert rows(path, "state") == [("planned",)], "a plan is written at once"
    ticket = ledger.reserve(call(), QUOTE, "generate")
    assert rows(path, "state", "sends") == []
    ledger.flush()
    assert rows(path, "state") == [("sent",)]
    assert rows(path, "state, usd, tokens", "sends") == [("flying", 0.5, 100)]
    ledger.settle(ticket, REPLY)
    ledger.close()
    assert rows(path, "state") == [("settled",)], "closing writes what is queued"


def test_what_the_disk_refuses_stays_queued(ledger: Ledger, project: Path) -> None:
    path = project / "ledger.sqlite"
    ledger.plan([call()], "generate")
    ledger.settle(ledger.reserve(call(), QUOTE, "generate"), REPLY)
    ledger.write("no statement")
    with pytest.raises(sqlite3.OperationalError):
        ledger.flush()
    assert rows(path, "state") == [("planned",)], "all of it or nothing"
    ledger._queue.pop()
    ledger.flush()
    assert rows(path, "state, text") == [("settled", "Red.")]


def test_what_is_learnt_of_an_endpoint_is_kept_for_it_alone(ledger: Ledger, project: Path) -> None:
    ledger.remember("e", "m", "refuses seed", "HTTP 400")
    ledger.remember("e", "m", "refuses seed", "HTTP 400: again")
    ledger.close()
    with Ledger(project / "ledger.sqlite", "two") as other:
        assert other.remembered("e", "m") == {"refuses seed": "HTTP 400: again"}
        assert other.remembered("e", "n") == other.remembered("f", "m") == {}


# -- caps


def test_a_cap_may_be_reached_and_not_passed(project: Path) -> None:
    with Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=1.0)) as ledger:
        ledger.plan([call("a"), call("b"), call("c")], "generate")
        ledger.reserve(call("a"), QUOTE, "generate")
        ledger.reserve(call("b"), QUOTE, "generate")
        said = (
            r"the next call may cost \$0\.0010 and \$1\.0000 of budget\.max_cost_usd \$1\.0000 is used\. Raise the cap"
        )
        with pytest.raises(BudgetError, match=said) as caught:
            ledger.reserve(call("c"), Quote(0.001, 1), "generate")
        assert caught.value.exit_code == 3
        ledger.flush()
        assert [state for (state,) in rows(project / "ledger.sqlite", "state")] == ["sent", "sent", "planned"]
        assert ledger.spent() == Spent(1.0, 200), "what was refused is not reserved"
    with Ledger(project / "tokens.sqlite", "one", Budget(max_tokens=150)) as ledger:
        ledger.plan([call("a"), call("b")], "generate")
        ledger.reserve(call("a"), QUOTE, "generate")
        with pytest.raises(BudgetError, match=r"100 tokens and 100 of budget\.max_tokens 150 are used\. Raise the cap"):
            ledger.reserve(call("b"), QUOTE, "generate")
        ledger.reserve(call("b"), Quote(None, 50), "generate")


def test_a_share_of_a_cap_binds_its_stage_alone(project: Path) -> None:
    budget = Budget(max_cost_usd=2.0, max_tokens=1000, share={"generate": 0.5, "eval": 0.25})
    with Ledger(project / "ledger.sqlite", "one", budget) as ledger:
        ledger.reserve(call("a"), QUOTE, "generate")
        ledger.reserve(call("b"), QUOTE, "generate")
        said = r"\$1\.0000 of generate's share of budget\.max_cost_usd \$1\.0000 is used"
        with pytest.raises(BudgetError, match=said) as caught:
            ledger.reserve(call("c"), Quote(0.01, 1), "generate")
        assert caught.value.exit_code == 3
        with pytest.raises(BudgetError, match=r"100 of eval's share of budget\.max_tokens 250 are used"):
            ledger.reserve(call("d"), Quote(0.1, 100), "eval")
            ledger.reserve(call("e"), Quote(0.1, 151), "eval")
        ledger.reserve(call("f"), QUOTE, "curate")
        with pytest.raises(BudgetError, match=r"\$1\.6000 of budget\.max_cost_usd"):
            ledger.reserve(call("g"), QUOTE, "curate")  # the whole cap still holds for all stages together
    with (
        Ledger(project / "ledger.sqlite", "one", budget) as again,
        pytest.raises(BudgetError, match="generate's share"),
    ):
        again.reserve(call("h"), Quote(0.01, 1), "generate")


def test_minutes_of_asking_are_a_cap(project: Path) -> None:
    path = project / "ledger.sqlite"
    budget = Budget(max_minutes=2.0, share={"eval": 0.5})
    with Ledger(path, "one", budget) as ledger:
        ledger.clock("generate", 50.0)
        ledger.clock("eval", 61.0)
        ledger.reserve(call("a"), Quote(None, 1), "generate")
        said = r"1\.0 minutes of asking, eval's share of budget\.max_minutes 1 is used\. Raise the cap"
        with pytest.raises(BudgetError, match=said) as caught:
            ledger.reserve(call("b"), Quote(None, 1), "eval")
        assert caught.value.exit_code == 3
        ledger.clock("generate", 10.0)
    assert sorted(rows(path, "stage, seconds", "clock")) == [("eval", 61.0), ("generate", 60.0)]
    with (
        Ledger(path, "one", budget) as again,
        pytest.raises(BudgetError, match=r"2\.0 minutes of asking, budget\.max_minutes 2 is used"),
    ):
        again.reserve(call("b"), Quote(None, 1), "generate")
    with Ledger(path, "two", budget) as other:
        other.reserve(call("b"), Quote(None, 1), "generate")


def test_time_spent_asking_is_counted(server: OpenAIServer, project: Path) -> None:
    """A cap in minutes is one of asking: it ends a round under way, and what flies lands and is kept."""
    path = project / "ledger.sqlite"
    server.plan = lambda key, attempt: "slow"
    with pytest.raises(BudgetError, match=r"budget\.max_minutes"):
        ask_questions(path, settings(server, 1), 60, Budget(max_minutes=0.5 / 60))
    assert 1 <= len(server.bill) < 60
    with Ledger(path, "one") as ledger:
        assert ledger.count("settled") == len(server.bill)
    ((stage, seconds),) = rows(path, "stage, seconds", "clock")
    assert stage == "generate" and seconds > 0.5
    before = len(server.bill)
    with pytest.raises(BudgetError):
        ask_questions(path, settings(server, 1), 60, Budget(max_minutes=0.5 / 60))
    assert len(server.bill) == before, "a second run has no more time than the first"
    assert len(ask_questions(path, settings(server, 8), 60)) == 60
    assert set(server.keys.values()) == {1}


def test_an_unknown_price_under_a_dollar_cap_is_the_users_to_mend(project: Path) -> None:
    with Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=9.0)) as ledger:
        ledger.plan([call()], "generate")
        with pytest.raises(UserError, match=r"price is unknown\. Add `price: ") as caught:
            ledger.reserve(call(), Quote(None, 1), "generate")
        assert caught.value.exit_code == 2
        assert ledger.count("planned") == 1
    with Ledger(project / "ledger.sqlite", "one") as free:
        ticket = free.reserve(call(), Quote(None, 1), "generate")
        assert free.spent().unknown, "an unknown price is never 0"
        free.settle(ticket, Reply("Red.", "stop", 7, 3, None, 0.1))
        assert free.spent() == Spent(0.0, 10, unknown=True)
    with Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=9.0)) as capped:
        with pytest.raises(UserError, match=r"already holds calls whose price was unknown") as caught:
            capped.reserve(call("b"), QUOTE, "generate")
        assert caught.value.exit_code == 2
    with Ledger(project / "ledger.sqlite", "two", Budget(max_cost_usd=9.0)) as other:
        other.reserve(call("b"), QUOTE, "generate")


def test_a_failure_of_an_unknown_price_that_was_not_billed_leaves_no_doubt(project: Path) -> None:
    """A refused call of an endpoint without a price costs nothing: a later cap in dollars can be kept."""
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        ledger.fail(ledger.reserve(call(), Quote(None, 1), "generate"), "HTTP 401", billed=False)
    with Ledger(project / "ledger.sqlite", "one", Budget(max_cost_usd=9.0)) as capped:
        assert not capped.spent().unknown
        capped.reserve(call("b"), QUOTE, "generate")


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
    monkeypatch.setattr(limit, "PAUSES_S", (0.001,) * 50)
    monkeypatch.setattr(ask, "TRIES", 12)  # the cap, not the faults, ends the run
    server.answer = lambda body: words_of(body) * 4  # close to the limit of 40 tokens
    faults = seeded(7, 0.4 if faulty else 0.0, ["drop", "garbage", "500", "429"])
    server.plan = lambda key, attempt: faults(key, attempt) or "slow"
    with pytest.raises(BudgetError):
        ask_questions(project / "ledger.sqlite", settings(server, 64, price), 300, Budget.model_validate(budget))
    assert server.most_in_flight > 8
    assert server.cost(PRICE["input"], PRICE["output"]) <= budget.get("max_cost_usd", float("inf"))
    assert 0 < server.tokens <= budget.get("max_tokens", float("inf"))
    with Ledger(project / "ledger.sqlite", "one") as ledger:
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
    with Ledger(project / "ledger.sqlite", "one") as ledger:
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
    with Ledger(path, "one") as ledger:
        assert ledger.spent().usd == pytest.approx(paid), "what was never sent is not lost"


# -- resume

CHILD = """
import sys
from pathlib import Path
from yearling import ledger as module
from yearling.ledger import Ledger
from yearling.recipe import Teacher
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

path, url, run, price = Path(sys.argv[1]), sys.argv[2], sys.argv[3], {"input": 1000.0, "output": 2000.0}
module.ANOTHER_S = 0.1
settings = Teacher.model_validate({"model": "openai:test", "base_url": url, "concurrency": 4, "price": price})
with Ledger(path, run) as ledger, open_teacher(settings) as teacher, Asker(teacher, ledger, "generate") as asker:
    asked = [{"messages": [{"role": "user", "content": f"Question {n}?"}], "max_tokens": 40} for n in range(20)]
    replies = asker.ask([teacher.call(request, 0) for request in asked], lambda reply: None)
    print(len(replies), sum(reply.cached for reply in replies), ledger.spent().usd)
"""


def child(path: Path, server: OpenAIServer, run: str = "one") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(path), server.url, run]
    own = {**os.environ, "OPENAI_API_KEY": "x"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal")
def test_kill_9_costs_at_most_the_calls_in_flight(server: OpenAIServer, project: Path) -> None:
    path = project / "ledger.sqlite"
    server.hold_after(6)
    with child(path, server) as first:
        server.wait_for(10)  # six answered, four in flight
        first.send_signal(signal.SIGKILL)
        first.wait()
    before = server.keys
    for table, expected in (
        ("calls", {"settled": 6, "sent": 4, "planned": 10}),
        ("sends", {"settled": 6, "flying": 4}),
    ):
        states = [state for (state,) in rows(path, "state", table)]
        assert {s: states.count(s) for s in set(states)} == expected
    with Ledger(path, "one") as ledger:
        assert ledger.count("failed") == 4
        assert ledger.spent().lost_usd > 0
        assert ledger.spent().usd >= server.cost(PRICE["input"], PRICE["output"]), "less than the endpoint's bill"
    answered = {entry.key for entry in server.bill[:6]}
    in_flight = set(before) - answered
    server.open.set()
    with child(path, server) as second:
        said, _ = second.communicate(timeout=30)
    assert second.returncode == 0
    assert said.split()[:2] == ["20", "6"]
    assert all(server.keys[key] == 1 for key in answered), "a settled call was sent again"
    assert all(server.keys[key] == 2 for key in in_flight)
    assert (len(server.keys), len(server.bill)) == (20, 24)
    assert float(said.split()[2]) >= server.cost(PRICE["input"], PRICE["output"]) - 1e-9


def test_two_runs_that_want_the_same_answers_pay_for_them_once(server: OpenAIServer, project: Path) -> None:
    """The second waits, says so, and then finds what the first was told."""
    path = project / "ledger.sqlite"
    server.hold_after(6)
    with child(path, server) as first:
        server.wait_for(10)
        with child(path, server, "two") as second:
            assert second.stderr and first.stderr
            said = second.stderr.readline()
            assert "two: another run of this project is asking its teacher; waiting for it" in said
            assert (second.poll(), len(server.bill)) == (None, 10)
            server.open.set()
            answers, rest = second.communicate(timeout=30)
        assert first.communicate(timeout=30)[0].split()[:2] == ["20", "0"]
    assert (first.returncode, second.returncode, rest) == (0, 0, "")
    answered, found, spent = map(float, answers.split())
    assert (answered, found, spent) == (20, 20, 0), "all found, none sent, nothing spent"
    assert set(server.keys.values()) == {1} and len(server.bill) == 20


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a signal")
def test_the_lock_of_a_killed_process_is_free(server: OpenAIServer, project: Path) -> None:
    path = project / "ledger.sqlite"
    server.hold_after(0)
    with child(path, server) as first:
        server.wait_for(4)
        first.send_signal(signal.SIGKILL)
        first.wait()
    server.open.set()
    with child(path, server, "two") as second:
        said, told = second.communicate(timeout=30)
    assert (second.returncode, said.split()[:2], told) == (0, ["20", "0"], "")


def test_the_lock_is_given_back_where_the_ledger_cannot_be_opened(project: Path) -> None:
    path = project / "ledger.sqlite"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        Ledger(path, "one")
    path.unlink()
    with Ledger(path, "one") as ledger:  # it would wait for ever
        assert ledger.count("planned") == 0


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
    first = ask_questions(path, settings(server), 10)
    again = ask_questions(path, settings(server), 15)
    assert [r.text for r in first] == [r.text for r in again[:10]]
    assert [r.cached for r in again] == [True] * 10 + [False] * 5
    assert set(server.keys.values()) == {1}
    assert len(server.bill) == 15


def test_equal_calls_of_a_round_are_sent_once(server: OpenAIServer, project: Path) -> None:
    with (
        Ledger(project / "l.sqlite", "one") as ledger,
        open_teacher(settings(server)) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        same = teacher.call(requests(1)[0], 0)
        replies = asker.ask([same, same, same], lambda reply: None)
    assert len({r.text for r in replies}) == 1
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
