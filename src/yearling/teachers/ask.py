"""Many questions at once, through the ledger: answered ones cost nothing, new ones are planned before they are sent.

In: rounds of calls. Out: their replies, in the order of the calls.
Retries what may pass, with growing jittered waits; ends the run with one clear error where nothing will. What was
settled until then is kept.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from yearling.errors import BudgetError, TeacherError, UserError
from yearling.ledger import Call, Ledger, Reply
from yearling.progress import say
from yearling.recipe import Generate
from yearling.teachers.batch import ask_batch
from yearling.teachers.limit import Bell, Limit, Outcome
from yearling.teachers.teacher import ParameterError, RefusedError, Teacher, TransientError
from yearling.teachers.wire import WireTeacher

TRIES = 8
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
SETTLE_S = 0.02  # an answer waits this long for a reservation to be written with
_THOUGHTS = re.compile(r"\s*<think>.*?</think>\s*", re.S)
Seen = Callable[[Reply], None]


def answer_request(settings: Generate, messages: Sequence[dict[str, str]], max_tokens: int) -> dict[str, Any]:
    """The request by which the teacher answers a conversation."""
    own, turns = settings.answer.system, list(messages)
    if own and turns and turns[0]["role"] == "system":
        turns[0] = {"role": "system", "content": f"{turns[0]['content']}\n\n{own}"}
    elif own:
        turns.insert(0, {"role": "system", "content": own})
    return {
        "messages": turns,
        "max_tokens": max_tokens,
        "temperature": settings.answer.temperature,
        "seed": settings.seed,
    }


def exam_request(settings: Generate, messages: Sequence[dict[str, str]], max_tokens: int) -> dict[str, Any]:
    """The same for the exam: another seed, so not the draw that became the reference."""
    return {**answer_request(settings, messages, max_tokens), "seed": settings.seed + 1}


def without_thoughts(text: str) -> str:
    """An answer without the thoughts before it; one that never stopped thinking is no answer."""
    if not text.lstrip().startswith("<think>"):
        return text
    stripped, found = _THOUGHTS.subn("", text, count=1)
    return stripped if found else ""


class Asker:
    """Asks a teacher for one stage; connections, and what was learnt of the endpoint, last from round to round."""

    def __init__(self, teacher: Teacher, ledger: Ledger, stage: str, keep_thoughts: bool = False) -> None:
        self.teacher, self.ledger, self.stage = teacher, ledger, stage
        self.limit: Limit | None = None
        self._keep_thoughts = keep_thoughts
        self._runner = asyncio.Runner()

    def __enter__(self) -> Asker:
        known = self.ledger.remembered(self.teacher.endpoint, self.teacher.model)
        self.teacher.refused.update(name.removeprefix("refuses ") for name in known if name.startswith("refuses "))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self.teacher.close())
        finally:
            self._runner.close()

    def ask(self, calls: Sequence[Call], seen: Seen) -> list[Reply]:
        """Answer a round of calls; `seen` is told of each reply as it comes.

        Raises BudgetError before a cap would be passed, TeacherError where the endpoint refuses or stays away.
        """
        found: dict[str, Reply] = {}
        for call in calls:
            if call.key not in found and (reply := self.ledger.find(call)):
                found[call.key] = self._shown(reply)
                seen(found[call.key])
        fresh = list({call.key: call for call in calls if call.key not in found}.values())
        if fresh:
            self.ledger.plan(fresh, self.stage)
            self._runner.run(self._ask_fresh(fresh, found, seen))
        return [found[call.key] for call in calls]

    async def _ask_fresh(self, calls: Sequence[Call], found: dict[str, Reply], seen: Seen) -> None:
        if self.limit is None:
            self.limit = Limit(self.teacher.concurrency, say)
        round_ = _Round(self, self.limit, calls)

        def landed(call: Call, reply: Reply) -> None:
            found[call.key] = self._shown(reply)
            seen(found[call.key])

        try:
            if isinstance(self.teacher, WireTeacher) and self.teacher.batch:
                return await ask_batch(self.teacher, self.ledger, calls, self.stage, landed)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.teacher.concurrency, len(calls))):
                    group.create_task(round_.work(landed))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            round_.close()
            self.ledger.clock(self.stage, time.monotonic() - round_.clocked)
            self.ledger.flush()
        if round_.end:
            raise round_.end

    def _shown(self, reply: Reply) -> Reply:
        return reply if self._keep_thoughts else replace(reply, text=without_thoughts(reply.text))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(order=True)
class _Job:
    due: float
    number: int
    call: Call = field(compare=False)
    tries: int = field(default=0, compare=False)


class _Round:
    """One round in flight: jobs that are ready, jobs that wait for another try, and the first error that ends it."""

    def __init__(self, asker: Asker, limit: Limit, calls: Sequence[Call]) -> None:
        self.end: UserError | None = None
        self.clocked = time.monotonic()
        self._teacher, self._ledger, self._stage = asker.teacher, asker.ledger, asker.stage
        self._limit, self._bell, self._scribe = limit, Bell(), _Scribe(asker.ledger)
        self._ready = deque(_Job(0.0, number, call) for number, call in enumerate(calls))
        self._later: list[_Job] = []
        self._open, self._flying = len(calls), 0

    async def work(self, landed: Callable[[Call, Reply], None]) -> None:
        """Send one job after another until none is left; one of as many as may fly at once."""
        while (job := await self._next()) is not None:
            try:
                reply = await self._send(job)
            except UserError as error:
                self.end = self.end or error  # nothing more is sent; what is in flight is paid for and lands
                reply = None
            if reply is not None:
                self._open -= 1
                landed(job.call, reply)
            self._bell.ring()
        self._bell.ring()

    def close(self) -> None:
        """Write no more by itself."""
        self._scribe.close()

    async def _next(self) -> _Job | None:
        while self._open and not self.end:
            now = time.monotonic()
            if self._later and self._later[0].due <= now:
                return heapq.heappop(self._later)
            if self._ready:
                return self._ready.popleft()
            await self._bell.heard(self._later[0].due - now if self._later else None)
        return None

    async def _send(self, job: _Job) -> Reply | None:
        """The reply, or None where the job waits for another try."""
        began = await self._limit.enter()
        if self._limit.broken or self.end:
            self._limit.leave(began, "ok")
            raise TeacherError(self._gave_up(self._limit.broken))
        try:
            ticket = await self._reserve(job.call)
        except BaseException:
            self._limit.leave(began, "ok")
            raise
        began = time.monotonic()
        try:
            reply = await self._teacher.ask(job.call)
        except ParameterError as error:
            self._land(ticket, str(error))
            self._limit.leave(began, "ok")
            self._learn(error, job)
        except RefusedError as error:
            self._land(ticket, str(error))
            self._limit.leave(began, "ok")
            raise TeacherError(f"the teacher {self._teacher.name} refuses the call: {error}") from None
        except TransientError as error:
            self._land(ticket, str(error), error.billed)
            outcome: Outcome = "throttled" if error.throttled else "failed"
            outage = self._limit.leave(began, outcome, error.wait, str(error))
            self._again(job, error, outage or error.throttled)
        else:
            self._ledger.settle(ticket, reply)
            self._flying -= 1
            self._limit.leave(began, "ok")
            self._scribe.soon()
            return replace(reply, raw="")  # it is in the ledger; a long round keeps texts only
        return None

    async def _reserve(self, call: Call) -> int:
        """Reserve a call, waiting while calls in flight hold more than they will cost."""
        quote = self._teacher.quote(call)
        now = time.monotonic()
        if now - self.clocked > 1.0:
            self._ledger.clock(self._stage, now - self.clocked)
            self.clocked = now
        while True:
            try:
                ticket = self._ledger.reserve(call, quote, self._stage)
            except BudgetError:
                if not self._flying:
                    raise
                await self._bell.heard()
            else:
                self._flying += 1
                await self._scribe.written()
                return ticket

    def _land(self, ticket: int, error: str, billed: bool = False) -> None:
        self._ledger.fail(ticket, error, billed)
        self._flying -= 1
        self._scribe.soon()

    def _learn(self, error: ParameterError, job: _Job) -> None:
        """Leave the parameter out from now on, here and in later runs, and send the call again."""
        teacher = self._teacher
        if error.parameter not in teacher.refused:
            teacher.refused.add(error.parameter)
            self._ledger.remember(teacher.endpoint, teacher.model, f"refuses {error.parameter}", str(error))
            say(f"{teacher.name} does not take {error.parameter}: left out from now on")
        job.tries += 1  # calls that flew meanwhile come here too; each may, as often as there are parameters
        if job.tries > TRIES:
            raise TeacherError(f"the teacher {teacher.name} refuses the call: {error}")
        self._ready.appendleft(job)

    def _again(self, job: _Job, error: TransientError, free: bool) -> None:
        job.tries += not free
        if job.tries >= TRIES:
            raise TeacherError(self._gave_up(f"{TRIES} times: {error}"))
        pause = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**job.tries) * random.uniform(0.5, 1.0)
        job.due = time.monotonic() + (pause if error.wait is None else error.wait)
        heapq.heappush(self._later, job)

    def _gave_up(self, why: str) -> str:
        return f"the teacher {self._teacher.name} failed {why}. Run the same command again later."


class _Scribe:
    """Writes the ledger's queue, as one transaction for all that gathered in a turn of the loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def written(self) -> None:
        """Return when all that is queued now is written."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._write)
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def soon(self) -> None:
        """Write in a while, with the next call that must wait for it if there is one by then."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_S, self._write)

    def close(self) -> None:
        """Write no more; what is queued is the caller's to flush."""
        if self._timer:
            self._timer.cancel()

    def _write(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        error: Exception | None = None
        try:
            self._ledger.flush()
        except (sqlite3.Error, OSError) as refused:  # the queue is kept: the round's last flush tells it again
            error = refused
        for future in waiting:
            if error and not future.done():
                future.set_exception(error)
            elif not future.done():
                future.set_result(None)
