"""What the ledger answers of a plan, request by request, and where the plan goes on.

In: the generate stage before its first round, with an asker that may be told to send nothing. Out: what each request
for drafts and each draft's answering took and gave. The plan is walked as the run walks it, by the run's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yearling.generate.birth import Birth
from yearling.generate.stage import (
    DRAFTING,
    afresh,
    answers_wanted,
    draft_requests,
    give_answers,
    gives_up,
    write_drafts,
)
from yearling.ledger import Call, Ledger, Reply
from yearling.record import Record
from yearling.teachers.ask import Asker, Seen
from yearling.teachers.teacher import Teacher

FLUSH = 256  # steps
BEYOND = 1 << 40  # the number of a request that no finite method has


class NotAllowedError(Exception):
    """The plan asks for more new calls than may be sent."""


class Sparing(Asker):
    """An asker that sends at most `allowance` new calls, and remembers what was heard, ask by ask."""

    def __init__(self, teacher: Teacher, ledger: Ledger, stage: str, keep_thoughts: bool = False) -> None:
        super().__init__(teacher, ledger, stage, keep_thoughts)
        self.allowance = 0
        self.heard: list[list[tuple[Call, Reply]]] = []

    def __enter__(self) -> Sparing:
        super().__enter__()
        return self

    def ask(self, calls: Sequence[Call], seen: Seen) -> list[Reply]:
        """As any asker; raises NotAllowedError, with nothing sent, where the new ones are too many."""
        fresh = {call.key for call in calls if self.ledger.find(call) is None}
        if len(fresh) > self.allowance:
            raise NotAllowedError
        self.allowance -= len(fresh)
        replies = super().ask(calls, seen)
        if calls:
            self.heard.append(list(zip(calls, replies, strict=True)))
        return replies


@dataclass(frozen=True)
class Unit:
    """What one request for drafts, or the answering of one draft, took, and the drafts or rows it gave."""

    steps: tuple[tuple[Reply, ...], ...]  # calls that were asked together, step by step
    gave: int

    @property
    def replies(self) -> list[Reply]:
        """All of them."""
        return [reply for step in self.steps for reply in step]


@dataclass
class Known:
    """The answered part of a plan, and the round in which it ends."""

    drafts: list[Unit] = field(default_factory=list)
    answers: list[Unit] = field(default_factory=list)
    heard: dict[str, tuple[Call, Reply]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)  # why the most were turned away
    supply: int | None = None  # requests that can be made in all
    # before the round under way
    calls: int = 0
    asked: int = 0
    born: int = 0
    # in it: requests in all and those known, drafts that wait for an answer, those answered and the rows they gave
    size: int = 0
    drafted: int = 0
    waiting: int = 0
    done: int = 0
    rows: int = 0

    @property
    def replies(self) -> list[Reply]:
        """Every answer, once."""
        return [reply for _, reply in self.heard.values()]


def walk(birth: Birth, asker: Sparing) -> Known:
    """Play the rounds from the ledger alone, up to the first that it cannot answer whole."""
    asker.allowance = 0
    walked = _Walk(birth, asker)
    while walked.goes_on() and walked.round():
        continue
    known = walked.known
    known.records, known.reasons = walked.birth.records, dict(walked.birth.reasons.most_common(3))
    return known


class _Walk:
    """A run that asks for one thing at a time, passes over what is not answered, and keeps account."""

    def __init__(self, birth: Birth, asker: Sparing) -> None:
        self.birth, self.asker, self.known = afresh(birth), asker, Known()
        self.birth.told = lambda birth: None
        self.known.supply = _supply(self.birth)

    def goes_on(self) -> bool:
        """Whether the run would play another round."""
        birth, supply = self.birth, self.known.supply
        something = birth.waiting or supply is None or birth.calls < supply
        return bool(something and len(birth.records) < birth.settings.num and not gives_up(birth.settings, birth.calls))

    def round(self) -> bool:
        """One round; whether it was answered whole."""
        birth, known = self.birth, self.known
        self._mark()
        if not birth.waiting:
            known.size = draft_requests(birth.settings, known.calls, known.born)
            if known.supply is not None:
                known.size = min(known.size, known.supply - known.calls)
            known.drafted = sum(self._draft() for _ in range(known.size))
        known.waiting = len(birth.waiting)
        due = min(known.waiting, answers_wanted(birth.settings, known.asked, known.born))
        known.done = sum(self._answer() for _ in range(due))
        known.rows = len(birth.records) - known.born
        whole = known.drafted == known.size and known.done == due
        if whole:
            self._mark()
        return whole

    def _mark(self) -> None:
        birth, known = self.birth, self.known
        known.calls, known.asked, known.born = birth.calls, birth.asked, len(birth.records)
        known.size = known.drafted = known.done = known.rows = 0
        known.waiting = len(birth.waiting)

    def _draft(self) -> bool:
        before, number = len(self.birth.waiting), self.birth.calls
        whole = self._take(lambda: write_drafts(self.birth, 1))
        self.birth.calls = number + 1
        if self.birth.calls % FLUSH == 0:
            self.asker.ledger.flush()  # a method may note something at each step
        if whole:
            self.known.drafts.append(self._unit(len(self.birth.waiting) - before))
        return whole

    def _answer(self) -> bool:
        before, rest, asked = len(self.birth.records), self.birth.waiting[1:], self.birth.asked
        whole = self._take(lambda: give_answers(self.birth, 1))
        self.birth.waiting, self.birth.asked = rest, asked + 1
        if whole:
            self.known.answers.append(self._unit(len(self.birth.records) - before))
        return whole

    def _take(self, step: Callable[[], None]) -> bool:
        self.asker.heard = []
        try:
            step()
        except NotAllowedError:
            return False
        finally:
            self.known.heard |= {call.key: (call, reply) for asked in self.asker.heard for call, reply in asked}
        return True

    def _unit(self, gave: int) -> Unit:
        return Unit(tuple(tuple(reply for _, reply in asked) for asked in self.asker.heard), gave)


def _supply(birth: Birth) -> int | None:
    """Requests that the method can make in all, None where there is no end; the method itself is asked."""
    drafting, _ = DRAFTING[birth.settings.method]

    def last(number: int) -> bool:
        probe = afresh(birth)
        try:
            drafting(probe, range(number, number + 1))
        except NotAllowedError:
            return probe.exhausted
        return probe.exhausted

    if not last(BEYOND):
        return None
    high = 1
    while not last(high - 1):
        high *= 2
    low = high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if last(middle) else (middle + 1, high)
    return low + 1
