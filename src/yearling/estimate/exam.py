"""The teacher's part of the exam: which held-out prompts it will answer, and what that takes.

In: the recipe, the run folder, what is known of its rows. Out: the answers that the ledger holds, and plays of the
rest. Where the held-out rows are there, their very calls are looked up; else their number follows from the recipe, and
their answers are taken to be like those that the rows have, cut at the exam's limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from yearling.errors import UserError
from yearling.estimate.evidence import Known, Unit
from yearling.estimate.pace import Pace
from yearling.estimate.rounds import LIKELY, SEED, UNCERTAIN, WIDTH, Plays, Urn, table
from yearling.ledger import Call, Ledger, Reply
from yearling.measure.accepted import accepted_split
from yearling.recipe import Curate, Eval, Generate, Recipe
from yearling.record import Message, Origin, Record
from yearling.run_folder import Run
from yearling.teachers.ask import exam_request
from yearling.teachers.teacher import Teacher

if TYPE_CHECKING:
    import numpy as np

    from yearling.estimate.rounds import Numbers

ACCEPTED, LEAST_ACCEPTED = 0.9, 0.6  # the share of rows that curate lets pass, where it has not judged yet
BEYOND_LIMIT = 1.5  # an answer that its limit cut off would have been that much longer, where the exam allows it
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Exam:
    """Calls that are known by name (None: only their number is), the answers to them, and units like the others."""

    calls: Sequence[Call] | None
    answered: list[Reply]
    like: list[Unit]


def read_exam(recipe: Recipe, run: Run, teacher: Teacher, ledger: Ledger, known: Known | None) -> Exam:
    """What is known of the exam."""
    assert recipe.eval is not None
    made = recipe.generate or Generate()
    calls = exam_calls(recipe, run, teacher) if known is None or known.born >= made.num else None
    answered = [reply for call in calls or () if (reply := ledger.find(call))]
    like = [Unit(((reply,),), 1) for reply in answered]
    return Exam(calls, answered, like or _alike(known, made, recipe.eval))


def exam_calls(recipe: Recipe, run: Run, teacher: Teacher) -> list[Call] | None:
    """The exam's calls, or None where there are no judged rows yet."""
    settings, made = recipe.eval, recipe.generate or Generate()
    assert settings is not None
    try:
        test = accepted_split(run, recipe, "test")
    except UserError:  # not all of them are judged
        return None
    if not test:
        return None
    rows = sorted(test, key=lambda record: record.id)[: settings.max_rows]
    rows += [Record((Message("user", text),), Origin("question", text, 0)) for text in settings.questions]
    turns = [row.messages[:-1] if row.completion else row.messages for row in rows]
    talks = [[{"role": m.role, "content": m.content} for m in talk] for talk in turns]
    return [teacher.call(exam_request(made, talk, settings.max_tokens), 1) for talk in talks]


def _alike(known: Known | None, made: Generate, settings: Eval) -> list[Unit]:
    """Answers like those of the exam: those that rows were asked for, or, where none was, the rows' own length."""
    if known is None:
        return []
    plain = [reply for call, reply in known.heard.values() if _is_answer(call, made)]
    if not plain:
        pace = sum(r.seconds for r in known.replies) / max(1, sum(r.completion_tokens for r in known.replies))
        plain = [_of_row(record, pace) for record in known.records]
    return [Unit(((_cut(reply, settings.max_tokens),),), 1) for reply in plain]


def _is_answer(call: Call, made: Generate) -> bool:
    request = call.request
    return "messages" in request and "schema" not in request and (
        (request["max_tokens"], request.get("temperature")) == (made.answer.max_tokens, made.answer.temperature)
    )  # fmt: skip


def _of_row(record: Record, pace: float) -> Reply:
    prompt, completion = (len(text) // CHARACTERS_A_TOKEN + 1 for text in (record.prompt, record.completion))
    return Reply("", "stop", prompt, completion, None, completion * pace)


def _cut(reply: Reply, limit: int) -> Reply:
    whole = reply.completion_tokens * (1.0 if reply.finish == "stop" else BEYOND_LIMIT)
    tokens = int(min(whole, limit + reply.reasoning_tokens))
    seconds = reply.seconds * tokens / max(1, reply.completion_tokens)
    return replace(reply, completion_tokens=tokens, seconds=seconds)


def play_exam(recipe: Recipe, run: Run, exam: Exam, pace: Pace) -> Plays:
    """Plays of what the exam still asks."""
    import numpy as np

    units = table(exam.like)

    def many(count: int, anew: bool, random: np.random.Generator) -> Numbers:
        plays = []
        for _ in range(count):
            calls = _count(recipe, run, exam, random, anew) - len(exam.answered)
            plays.append(Urn(units, random, anew).draw(max(0, calls), pace)[0] if len(units) else np.zeros(WIDTH))
        return np.array(plays)

    likely = many(LIKELY, False, np.random.default_rng(SEED))
    return Plays(likely, many(UNCERTAIN, True, np.random.default_rng(SEED)))


def _count(recipe: Recipe, run: Run, exam: Exam, random: np.random.Generator, anew: bool) -> int:
    if exam.calls is not None:
        return len(exam.calls)
    assert recipe.eval is not None and recipe.generate is not None
    imported, judged = run.manifest("import"), run.manifest("curate")
    rows = recipe.generate.num + (imported.counts["rows"] if imported and recipe.import_ else 0)
    if not recipe.curate:
        share = 1.0
    elif judged and judged.counts["in"]:
        share = judged.counts["accepted"] / judged.counts["in"]
    else:
        share = random.uniform(LEAST_ACCEPTED, 1.0) if anew else ACCEPTED
    test = (recipe.curate or Curate()).test
    held_out = int(random.binomial(round(rows * share), test))
    return min(held_out, recipe.eval.max_rows) + len(recipe.eval.questions)
