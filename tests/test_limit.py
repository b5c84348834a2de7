"""As many calls as the endpoint bears: fewer after a refusal, more after answers, none for a while in an outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_teacher import FakeTeacher, ask_through, replied
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.errors import TeacherError
from yearling.ledger import Call, Ledger, Reply
from yearling.teachers import ask, limit
from yearling.teachers.limit import CUT, TRIP, Bell, Limit, Outcome
from yearling.teachers.teacher import TransientError


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(limit, "time", type("Time", (), {"monotonic": staticmethod(made)}))
    return made


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Waits that take no time to speak of."""
    monkeypatch.setattr(limit, "PAUSES_S", (0.001, 0.002, 0.003))
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.0005)
    yield


def answer(made: Limit) -> None:
    """One call flies and is answered."""
    (began,) = entered(made, 1)
    made.leave(began, "ok")


def entered(made: Limit, count: int) -> list[float]:
    """Times at which that many calls, which all may fly at once, got leave."""

    async def all_() -> list[float]:
        return [await asyncio.wait_for(made.enter(), 1) for _ in range(count)]

    return asyncio.run(all_())


def open_now(made: Limit) -> bool:
    """Whether one more call gets leave without waiting; it takes none."""

    async def one() -> bool:
        task = asyncio.ensure_future(made.enter())
        for _ in range(3):
            await asyncio.sleep(0)
        got = task.done()
        task.cancel()
        made.flying -= got
        return got

    return asyncio.run(one())


def told() -> tuple[list[str], Callable[[str], None]]:
    lines: list[str] = []
    return lines, lines.append


# -- how many


def test_no_more_fly_than_allowed(clock: Clock) -> None:
    made = Limit(3, print)
    times = entered(made, 3)
    assert (made.flying, open_now(made)) == (3, False)
    made.leave(times[0], "ok")
    assert (made.flying, open_now(made)) == (2, True)
    assert made.now == 3.0, "never more than the recipe allows"


def test_a_burst_of_refusals_is_one_cut(clock: Clock) -> None:
    lines, tell = told()
    made = Limit(64, tell)
    times = entered(made, 64)
    clock.now += 1
    assert not any([made.leave(began, "throttled") for began in times])
    assert made.now == 64 * CUT, "what flew when the first refusal came says nothing new"
    assert lines == [], "and however many they are, they are no outage"
    clock.now += 1
    again = entered(made, 2)
    clock.now += 1
    made.leave(again[0], "throttled")
    assert made.now == 64 * CUT * CUT
    made.leave(again[1], "throttled")
    assert made.now == 64 * CUT * CUT and lines == []


def test_a_failure_that_is_no_refusal_cuts_nothing(clock: Clock) -> None:
    made = Limit(8, print)
    (began,) = entered(made, 1)
    made.leave(began, "failed", 0.0, "HTTP 500")
    assert made.now == 8.0


def test_one_call_may_always_fly(clock: Clock) -> None:
    made = Limit(4, print)
    for _ in range(8):
        clock.now += 1
        (began,) = entered(made, 1)
        made.leave(began, "throttled")
    assert made.now == 1.0 and open_now(made)


def test_what_was_cut_grows_again_quickly_and_then_by_one_a_round(clock: Clock) -> None:
    made = Limit(16, print)

    def answered(count: int) -> None:
        for _ in range(count):
            clock.now += 1
            answer(made)

    (began,) = entered(made, 1)
    made.leave(began, "throttled")
    assert made.now == 12.0
    answered(12)
    assert 12.9 < made.now < 13.1, "one more for a full round beyond what was known to be good"
    answered(100)
    assert made.now == 16.0, "up to what the recipe allows"
    for _ in range(TRIP):
        (began,) = entered(made, 1)
        made.leave(began, "failed", None, "HTTP 500")
    assert made.now == 1.0
    clock.now += 60
    answered(4)
    assert made.now == 5.0, "after a pause each answer lets one more fly, up to what was known to be good"
    answered(7)
    assert made.now == 12.0
    answered(1)
    assert 12.0 < made.now < 12.1


@given(st.lists(st.sampled_from(["ok", "throttled", "failed"]), max_size=60), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_whatever_calls_come_to_the_limit_stays_between_one_and_the_recipes(outcomes: list[Outcome], most: int) -> None:
    made = Limit(most, lambda line: None)
    for outcome in outcomes:
        made.flying += 1
        made.leave(time.monotonic(), outcome, None, "x")
        assert 1.0 <= made.now <= most
        assert made.flying == 0


# -- waiting


def test_what_the_endpoint_asks_to_wait_is_waited_by_all(clock: Clock) -> None:
    made = Limit(8, print)
    first, second = entered(made, 2)
    made.leave(first, "throttled", 5.0)
    made.leave(second, "throttled", 2.0)
    clock.now += 4.9
    assert not open_now(made), "a shorter wait does not end a longer one"
    clock.now += 0.1
    assert open_now(made)


def test_a_wait_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody need ring: who waits for a time looks at the clock."""
    made = Limit(1, print)

    async def wait() -> None:
        made.leave(await made.enter(), "throttled", 0.05)
        await asyncio.wait_for(made.enter(), 20)

    began = time.monotonic()
    asyncio.run(wait())
    assert time.monotonic() - began >= 0.05


# -- the breaker


def fail(made: Limit, count: int, why: str = "HTTP 503: down", outcome: Outcome = "failed") -> list[bool]:
    outages = []
    for _ in range(count):
        (began,) = entered(made, 1)
        outages.append(made.leave(began, outcome, None, why))
    return outages


@pytest.mark.parametrize("outcome", ["failed", "throttled"])
def test_the_breaker_opens_after_failures_in_a_row(clock: Clock, outcome: Outcome) -> None:
    lines, tell = told()
    made = Limit(8, tell)
    fail(made, TRIP - 1, outcome=outcome)
    answer(made)
    assert fail(made, TRIP - 1, outcome=outcome) == [False] * (TRIP - 1)
    assert lines == [] and open_now(made), "an answer between them, and it is no outage"
    assert fail(made, 1, outcome=outcome) == [True], "no call pays for an outage with a try of its own"
    assert lines == [
        "the teacher fails: HTTP 503: down. Pausing 15 s, then one call tries again "
        "(pause 1 of 5; Ctrl-C is safe, the same command goes on)"
    ]
    assert not open_now(made)
    clock.now += limit.PAUSES_S[0] - 0.1
    assert not open_now(made)
    clock.now += 0.1
    assert open_now(made)


@pytest.mark.parametrize("outcome", ["failed", "throttled"])
def test_after_each_pause_one_call_tries_and_after_the_last_none(clock: Clock, outcome: Outcome) -> None:
    lines, tell = told()
    made = Limit(64, tell)
    fail(made, TRIP, outcome=outcome)
    for number, seconds in enumerate(limit.PAUSES_S, 1):
        assert len(lines) == number and f"Pausing {seconds:.0f} s" in lines[-1]
        assert f"(pause {number} of {len(limit.PAUSES_S)};" in lines[-1]
        clock.now += seconds
        (probe,) = entered(made, 1)
        assert not open_now(made), "one call alone"
        assert made.broken == ""
        clock.now += 1
        assert made.leave(probe, outcome, None, f"HTTP 503: {number}")
    assert made.broken == "HTTP 503: 5"
    assert len(lines) == len(limit.PAUSES_S), "what ends the run is the run's to tell"
    entered(made, 3)  # who waits is let go, to be told


@pytest.mark.parametrize("last", ["failed", "throttled"])
def test_calls_that_flew_when_the_breaker_opened_do_not_open_it_again(clock: Clock, last: Outcome) -> None:
    lines, tell = told()
    made = Limit(64, tell)
    times = entered(made, 30)
    clock.now += 1
    outages = [made.leave(began, "failed" if n < TRIP else last, None, "drop") for n, began in enumerate(times)]
    assert len(lines) == 1 and made.broken == ""
    assert outages == [False] * (TRIP - 1) + [True] * (30 - TRIP + 1)
    clock.now += limit.PAUSES_S[0]
    answer(made)
    assert open_now(made) and made.now > 1.0, "one answer and it goes on"
    fail(made, TRIP)
    assert "(pause 1 of 5;" in lines[-1], "an outage later starts from the first pause"


def test_a_bell_wakes_all_who_wait() -> None:
    async def wait() -> list[str]:
        bell, woken = Bell(), list[str]()

        async def hear(name: str) -> None:
            await bell.heard()
            woken.append(name)

        tasks = [asyncio.ensure_future(hear(name)) for name in "ab"]
        await asyncio.sleep(0)
        bell.ring()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        await bell.heard(0.001)  # no ring is no error
        return woken

    assert sorted(asyncio.run(wait())) == ["a", "b"]


# -- in a round


def outage(failures: int, error: Callable[[], Exception]) -> Callable[[Call], Any]:
    """A teacher's way: that many failures first."""
    left = [failures]

    async def say(call: Call) -> Reply:
        await asyncio.sleep(0)
        if left[0]:
            left[0] -= 1
            raise error()
        return replied("Red.")

    return say


def down() -> TransientError:
    return TransientError("HTTP 503: down")


@pytest.mark.usefixtures("tiny")
def test_an_outage_that_ends_costs_no_call_its_tries(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many failures as would end every call of the round, but for the pauses."""
    teacher = FakeTeacher(outage(TRIP + 2, down), concurrency=1)
    replies = ask_through(project / "ledger.sqlite", teacher, 12)
    assert [reply.text for reply in replies] == ["Red."] * 12
    assert len(teacher.heard) == 12 + TRIP + 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("the teacher fails: HTTP 503: down. Pausing") for line in said)
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.spent().usd == 12 * 0.25, "what was never done is not paid for"


@pytest.mark.usefixtures("tiny")
def test_no_call_pays_for_an_outage_with_its_tries(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of three calls fails about ten times in all, more often than it may by itself."""
    monkeypatch.setattr(limit, "PAUSES_S", (0.001,) * 40)
    teacher = FakeTeacher(outage(TRIP + 20, down), concurrency=3)
    assert len(ask_through(project / "ledger.sqlite", teacher, 3)) == 3
    assert len(teacher.heard) == 3 + TRIP + 20 > 3 * ask.TRIES


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("throttled", [False, True])
def test_an_outage_that_lasts_ends_the_run_with_one_error(project: Path, throttled: bool) -> None:
    async def say(call: Call) -> Reply:
        if "Question 1?" in str(call.request):
            return replied("Red.")
        raise TransientError("HTTP 503: down", throttled=throttled)

    teacher = FakeTeacher(say, concurrency=2)
    with pytest.raises(
        TeacherError, match=r"the teacher fake:x failed HTTP 503: down\. Run the same command"
    ) as caught:
        ask_through(project / "ledger.sqlite", teacher, 40)
    assert caught.value.exit_code == 5
    assert len(teacher.heard) <= 1 + TRIP + 2 + len(limit.PAUSES_S)
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.count("settled") == 1
        assert ledger.spent().usd == 0.25


@pytest.mark.usefixtures("tiny")
def test_a_teacher_that_bears_less_is_asked_by_less(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It refuses whatever is beyond four at once: all are answered, and it is soon asked no faster than it bears."""
    refused = [0]

    async def say(call: Call) -> Reply:
        if teacher.flying > 4:
            refused[0] += 1
            await asyncio.sleep(0.005)
            raise TransientError("HTTP 429", throttled=True)
        await asyncio.sleep(0.02)
        return replied("Red.")

    teacher = FakeTeacher(say, concurrency=32)
    replies = ask_through(project / "ledger.sqlite", teacher, 200)
    assert len(replies) == 200 and teacher.most > 4
    assert refused[0] < 150
    assert capsys.readouterr().err == "", "that is no outage"


@pytest.mark.usefixtures("tiny")
def test_a_call_gives_up_on_its_own_failures(project: Path) -> None:
    """Others are answered meanwhile, so it is no outage: the call that fails eight times ends the run."""

    async def say(call: Call) -> Reply:
        if "Question 5?" in str(call.request):
            raise TransientError("HTTP 500: this one", billed=True)
        await asyncio.sleep(0.002)
        return replied("Red.")

    teacher = FakeTeacher(say, concurrency=3)
    with pytest.raises(
        TeacherError, match=r"failed 8 times: HTTP 500: this one\. Run the same command again"
    ) as caught:
        ask_through(project / "ledger.sqlite", teacher, 300)
    assert caught.value.exit_code == 5
    assert sum("Question 5?" in str(call.request) for call in teacher.heard) == 8
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.spent().lost_usd == 8.0, "each of them may have been billed"
        assert ledger.count("settled") == len(teacher.heard) - 8 < 299
