"""Calls through a provider's batch API: half the price, hours of waiting, and nothing is handed over twice.

In: calls that the ledger has no answer to. Out: their answers, settled as they come down.
Each batch is reserved and on the disk before it is sent, and the provider's id of it before the first look; a run
that was killed in between finds its batch at the provider. What failed is asked again, in another batch.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TypeVar

from yearling.errors import BudgetError, TeacherError, UserError
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.progress import say
from yearling.teachers import batch_anthropic, batch_gemini, batch_openai, batch_row
from yearling.teachers.batch_row import Batch
from yearling.teachers.teacher import ParameterError, RefusedError, TransientError
from yearling.teachers.wire import Heard, Look, WireTeacher

PROVIDERS = {"openai": batch_openai, "azure": batch_openai, "anthropic": batch_anthropic, "gemini": batch_gemini}
SHARE = 0.5  # of the price
TRIES = 3  # batches that one call may fail in
MOST_PARAMETERS = 12  # and more, where each teaches a parameter that the endpoint does not take
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 300.0
SETTLE_S = 20.0  # after which a provider lists what it was handed
FAILURES = 30  # in a row, of looking at one batch
PAGE = 500  # answers a transaction

T = TypeVar("T")
Landed = Callable[[Call, Reply], None]


async def ask_batch(teacher: WireTeacher, ledger: Ledger, calls: Sequence[Call], stage: str, landed: Landed) -> None:
    """Answer all calls; `landed` is told of each answer as it is settled.

    Raises BudgetError where not one call fits the caps, TeacherError where the provider refuses or stays away.
    """
    work = _Work(teacher, ledger, stage, landed)
    work.wanted = {call.key: call for call in calls}
    while work.wanted:
        batches = work.batches()
        try:
            async with asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(work.see_through(batch))
        finally:
            ledger.flush()
        if work.wanted and work.tries:
            await asyncio.sleep(FIRST_PAUSE_S)


class _Work:
    """What is still to be answered, how often each call failed, and the first error that ends it."""

    def __init__(self, teacher: WireTeacher, ledger: Ledger, stage: str, landed: Landed) -> None:
        self.wanted: dict[str, Call] = {}
        self.tries = Counter[str]()
        self.end: UserError | None = None
        self._teacher, self._ledger, self._stage, self._landed = teacher, ledger, stage, landed
        self._provider = _provider(teacher)
        self._new: set[str] = set()  # batches that were never sent
        self._without: dict[str, frozenset[str]] = {}  # what each batch was sent without

    def batches(self) -> list[Batch]:
        """Batches of an earlier run that hold calls of ours, and new ones for what is in none, as the caps allow."""
        open_ = batch_row.unfinished(self._ledger, self._teacher.endpoint, self._teacher.model)
        found = [batch for batch in open_ if batch.tickets.keys() & self.wanted.keys()]
        held = {key for batch in found for key in batch.tickets}
        for offers in self._chunks([call for key, call in self.wanted.items() if key not in held]):
            try:
                batch = batch_row.start(self._ledger, offers, self._stage)
            except BudgetError:
                if not found:
                    raise
                break
            found.append(batch)
            self._new.add(batch.name)
            if batch.size < len(offers):
                break
        return found

    def _chunks(self, calls: Sequence[Call]) -> Iterator[list[tuple[Call, Quote]]]:
        """Calls in batches of one route and within the provider's limits, each call with half its quote."""
        chunk: list[tuple[Call, Quote]] = []
        size, route = 0, ""
        for call in sorted(calls, key=lambda call: self._teacher.route(call.request)):
            line = self._provider.line("0" * 64, "0" * 32, self._teacher.body(call.request, frozenset()))
            bytes_ = len(json.dumps(line, ensure_ascii=False).encode()) + 2
            other = self._teacher.route(call.request) != route
            if chunk and (other or len(chunk) == self._provider.MOST or size + bytes_ > self._provider.LARGEST):
                yield chunk
                chunk, size = [], 0
            route, size = self._teacher.route(call.request), size + bytes_
            quote = self._teacher.quote(call)
            chunk.append((call, Quote(None if quote.usd is None else quote.usd * SHARE, quote.tokens)))
        if chunk:
            yield chunk

    async def see_through(self, batch: Batch) -> None:
        """From wherever a batch is to its last answer."""
        self._without[batch.name] = frozenset(self._teacher.refused)
        if not batch.id:
            batch = batch_row.known_as(self._ledger, batch, await self._submitted(batch))
        at = await self._ended(batch)
        answers = await self._patiently(batch, lambda: self._provider.results(self._teacher, at))
        tags, learnt = batch.tags, list[ParameterError]()
        for number, (tag, heard) in enumerate(answers):
            if ticket := tags.pop(tag, 0):
                learnt += self._land(batch, ticket, heard)
            if number % PAGE == PAGE - 1:
                self._ledger.flush()
                await asyncio.sleep(0)  # the other batches are looked at meanwhile
        for ticket in tags.values():
            learnt += self._land(batch, ticket, Heard(503, f"the batch {batch.id} holds no answer: {at.state}"))
        for error in learnt:  # only now: until all have landed, refusals are read by what was sent
            self._learn(error)
        batch_row.end(self._ledger, batch.name)
        if self.end:
            raise self.end  # the other batches go on at the provider, and are picked up

    async def _submitted(self, batch: Batch) -> str:
        """The provider's id of a batch: found, where it may be there already, or new."""
        uncertain, tries, pause = batch.name not in self._new, 0, FIRST_PAUSE_S
        while True:
            try:
                if uncertain:
                    await asyncio.sleep(SETTLE_S)
                    if id := await self._provider.find(self._teacher, batch, batch_row.ids(self._ledger)):
                        return str(id)
                return await self._submit(batch)
            except ParameterError as error:
                self._learn(error)
                self._without[batch.name] = frozenset(self._teacher.refused)
                tries += 1
                if tries > FAILURES:
                    raise TeacherError(self._gave_up(batch, error)) from None
            except RefusedError as error:
                for ticket in batch.tickets.values():
                    self._ledger.fail(ticket, str(error), False)
                batch_row.end(self._ledger, batch.name)
                raise TeacherError(f"the teacher {self._teacher.name} refuses the batch: {error}") from None
            except TransientError as error:
                uncertain = uncertain or not error.throttled
                tries += 1
                if tries > FAILURES:
                    raise TeacherError(self._gave_up(batch, error)) from None
                await asyncio.sleep(pause if error.wait is None else error.wait)
                pause = min(LONGEST_PAUSE_S, pause * 1.5)

    async def _submit(self, batch: Batch) -> str:
        calls = {tag: self._ledger.call(ticket) for tag, ticket in batch.tags.items()}
        first = next(iter(calls.values()))
        route = self._provider.endpoint(self._teacher, self._teacher.route(first.request))
        lines = [self._provider.line(tag, route, self._teacher.body(call.request)) for tag, call in calls.items()]
        say(f"batch {batch.name}: handing {len(lines)} calls to {self._teacher.name}")
        return str(await self._provider.submit(self._teacher, batch.name, route, lines))

    async def _ended(self, batch: Batch) -> Look:
        """Wait for a batch, looking ever less often."""
        pause, told, since = FIRST_PAUSE_S, "", time.strftime("%H:%M", time.localtime(batch.began))
        while True:
            at: Look = await self._patiently(batch, lambda: self._provider.look(self._teacher, batch.id))
            if at.ended:
                return at
            line = f"{at.done} of {batch.size} answered, waiting since {since}; Ctrl-C is safe"
            if line != told:
                say(f"batch {batch.name}: {line}")
                told = line
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 1.5)

    async def _patiently(self, batch: Batch, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask for what costs nothing until it is answered; what the provider refuses ends the run, resumable."""
        pause, failures = FIRST_PAUSE_S, 0
        while True:
            try:
                return await ask()
            except (ParameterError, RefusedError) as error:
                raise TeacherError(
                    f"the teacher {self._teacher.name} does not show batch {batch.id} ({batch.name}): {error}. Use the "
                    "key that handed it over; or set teacher.batch: false to ask its calls anew, at the full price."
                ) from None
            except (TransientError, ValueError, KeyError, TypeError, AttributeError) as error:
                failures += 1
                if failures > FAILURES:
                    raise TeacherError(self._gave_up(batch, error)) from None
                if failures == 1:
                    say(f"batch {batch.name}: {error!s:.200}; trying again, Ctrl-C is safe")
                await asyncio.sleep(getattr(error, "wait", None) or pause)
                pause = min(LONGEST_PAUSE_S, pause * 1.5)

    def _land(self, batch: Batch, ticket: int, heard: Heard) -> list[ParameterError]:
        """Settle or fail one call; what its refusal teaches."""
        call, learnt = self._ledger.call(ticket), list[ParameterError]()
        body, seconds = self._teacher.body(call.request, self._without[batch.name]), time.time() - batch.began
        try:
            reply = self._teacher.reply(body, heard, seconds, SHARE)
        except (ParameterError, TransientError) as error:
            self._ledger.fail(ticket, str(error), isinstance(error, TransientError) and error.billed)
            learnt += [error] if isinstance(error, ParameterError) else []
            self.tries[call.key] += 1
            if self.tries[call.key] >= (MOST_PARAMETERS if learnt else TRIES):
                self.end = self.end or TeacherError(self._gave_up(batch, error))
        except RefusedError as error:
            self._ledger.fail(ticket, str(error), False)
            self.end = self.end or TeacherError(f"the teacher {self._teacher.name} refuses a call: {error}")
        else:
            self._ledger.settle(ticket, reply)
            if self.wanted.pop(call.key, None):
                self._landed(call, replace(reply, raw=""))  # it is in the ledger
        return learnt

    def _learn(self, error: ParameterError) -> None:
        """Leave the parameter out from now on, here and in later runs."""
        teacher = self._teacher
        if error.parameter not in teacher.refused:
            teacher.refused.add(error.parameter)
            self._ledger.remember(teacher.endpoint, teacher.model, f"refuses {error.parameter}", str(error))
            say(f"{teacher.name} does not take {error.parameter}: left out from now on")

    def _gave_up(self, batch: Batch, error: Exception) -> str:
        return (
            f"the teacher {self._teacher.name} failed in batch {batch.name}: {error}. Run the same command again later."
        )


def _provider(teacher: WireTeacher) -> ModuleType:
    provider = PROVIDERS.get(teacher.name.partition(":")[0])
    if provider is None or (provider is batch_gemini and teacher.endpoint.endswith("/openai")):
        raise UserError(
            f"teacher.batch: {teacher.name} at {teacher.endpoint} has no batch API that is known. "
            "Take teacher.batch out."
        )
    return provider
