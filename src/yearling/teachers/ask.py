"""Many questions at once, through the ledger: answered ones cost nothing, new ones are planned before they are sent.

In: a round of calls. Out: their replies, in the order of the calls, None where a call failed for good.
Retries what may pass, with growing jittered waits; ends the run with one clear error where nothing will.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from yearling.errors import TeacherError
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.recipe import Generate
from yearling.teachers.teacher import RefusedError, Teacher, TransientError

TRIES = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
Seen = Callable[[Reply], None]


def ask_all(teacher: Teacher, ledger: Ledger, calls: Sequence[Call], stage: str, seen: Seen) -> list[Reply | None]:
    """Answer a round of calls; `seen` is told of each reply as it comes.

    Raises BudgetError before a cap would be passed, TeacherError where the endpoint refuses or stays away.
    What was settled until then is kept.
    """
    found: dict[str, Reply | None] = {call.key: ledger.find(call) for call in calls}
    for reply in found.values():
        if reply:
            seen(reply)
    fresh = list({call.key: call for call in calls if found[call.key] is None}.values())
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


async def _ask_fresh(teacher: Teacher, ledger: Ledger, calls: Sequence[Call], seen: Seen) -> dict[str, Reply | None]:
    gate = asyncio.Semaphore(teacher.concurrency)
    answers: dict[str, Reply | None] = {}

    async def one(call: Call) -> None:
        async with gate:
            answers[call.key] = await _ask_one(teacher, ledger, call)
        reply = answers[call.key]
        if reply:
            seen(reply)

    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(one(call))
    except BaseExceptionGroup as errors:
        # the first cause is the one to show; the group has ended the other calls
        raise _first(errors) from None
    finally:
        await teacher.close()
    return answers


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _ask_one(teacher: Teacher, ledger: Ledger, call: Call) -> Reply | None:
    quote = teacher.quote(call)
    last = ""
    for attempt in range(TRIES):
        ledger.reserve(call, quote)
        try:
            reply = await teacher.ask(call)
        except TransientError as error:
            last = str(error)
            ledger.fail(call, last, quote, charged=_may_be_billed(last, quote))
            pause = error.wait if error.wait is not None else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
            if attempt + 1 < TRIES:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0) if error.wait is None else pause)
        except RefusedError as error:
            ledger.fail(call, str(error), quote, charged=False)
            raise TeacherError(f"the teacher {teacher.name} refuses the call: {error}") from None
        else:
            ledger.settle(call, reply, quote)
            return reply
    raise TeacherError(f"the teacher {teacher.name} failed {TRIES} times: {last}. Run the same command again later.")


def _may_be_billed(message: str, quote: Quote) -> bool:
    """An endpoint that answered with a status refused the work; a connection that broke may have been billed."""
    return not message.startswith("HTTP ") and bool(quote.usd)
