"""Many questions at once, through the ledger: answered ones cost nothing, new ones are planned before they are sent.

In: a round of calls. Out: their replies, in the order of the calls.
Retries what may pass, with growing jittered waits; ends the run with one clear error where nothing will.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from yearling.errors import BudgetError, TeacherError, UserError
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.recipe import Generate
from yearling.teachers.teacher import RefusedError, Teacher, TransientError

TRIES = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
Seen = Callable[[Reply], None]


def ask_all(teacher: Teacher, ledger: Ledger, calls: Sequence[Call], stage: str, seen: Seen) -> list[Reply]:
    """Answer a round of calls; `seen` is told of each reply as it comes.

    Raises BudgetError before a cap would be passed, TeacherError where the endpoint refuses or stays away.
    What was settled until then is kept.
    """
    found = {call.key: reply for call in calls if (reply := ledger.find(call))}
    for reply in found.values():
        seen(reply)
    fresh = list({call.key: call for call in calls if call.key not in found}.values())
    if fresh:
        ledger.plan(fresh, stage)
        found.update(asyncio.run(_ask_fresh(teacher, ledger, fresh, seen)))
    return [found[call.key] for call in calls]


def answer_request(settings: Generate, prompt: str, max_tokens: int) -> dict[str, Any]:
    """The request by which the teacher answers a prompt, for a training row and for the exam alike."""
    messages = [{"role": "system", "content": settings.system}] if settings.system else []
    return {
        "messages": [*messages, {"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": settings.answer_temperature,
        "min_p": settings.min_p,
        "seed": settings.seed,
    }


class _Flight:
    """Calls in flight: a cap that they would pass is asked again when one of them lands."""

    def __init__(self) -> None:
        self.count, self._landed = 0, asyncio.Event()

    async def reserve(self, ledger: Ledger, call: Call, quote: Quote) -> None:
        """Reserve a call, waiting while calls in flight hold more than they will cost."""
        while True:
            try:
                ledger.reserve(call, quote)
                self.count += 1
                return
            except BudgetError:
                if not self.count:
                    raise
                await self._landed.wait()

    def land(self) -> None:
        """A call was settled or failed."""
        self.count -= 1
        self._landed.set()
        self._landed = asyncio.Event()


async def _ask_fresh(teacher: Teacher, ledger: Ledger, calls: Sequence[Call], seen: Seen) -> dict[str, Reply]:
    gate, flight = asyncio.Semaphore(teacher.concurrency), _Flight()
    answers: dict[str, Reply] = {}
    ends: list[UserError] = []

    async def one(call: Call) -> None:
        async with gate:
            if ends:
                return
            try:
                reply = await _ask_one(teacher, ledger, call, flight)
            except UserError as error:
                ends.append(error)  # nothing more is sent; what is in flight is paid for and lands
                return
        answers[call.key] = reply
        seen(reply)

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(call))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        await teacher.close()
    if ends:
        raise ends[0]
    return answers


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _ask_one(teacher: Teacher, ledger: Ledger, call: Call, flight: _Flight) -> Reply:
    quote = teacher.quote(call)
    last = ""
    for attempt in range(TRIES):
        await flight.reserve(ledger, call, quote)
        try:
            reply = await teacher.ask(call)
            ledger.settle(call, reply, quote)
            return reply
        except TransientError as error:
            last, wait = str(error), error.wait
            ledger.fail(call, last, quote, charged=_may_be_billed(last))
        except RefusedError as error:
            ledger.fail(call, str(error), quote, charged=False)
            raise TeacherError(f"the teacher {teacher.name} refuses the call: {error}") from None
        finally:
            flight.land()
        pause = wait if wait is not None else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
        if attempt + 1 < TRIES:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0) if wait is None else pause)
    raise TeacherError(f"the teacher {teacher.name} failed {TRIES} times: {last}. Run the same command again later.")


def _may_be_billed(message: str) -> bool:
    """A status refused the work, and what never connected was never sent; a connection that broke may be billed."""
    return not message.startswith(("HTTP ", "ConnectError", "ConnectTimeout", "PoolTimeout"))
