"""What a run will still ask of its teacher, and what training will take; and whether the budget bears it.

In: a recipe and a project folder. Out: plain values, low, expected and high, that go into JSON as they are.
It asks a few calls itself, through the ledger and under the recipe's budget; the run finds them answered.
Nine times in ten the truth should lie between low and high, as far as those calls can tell: an endpoint that becomes
slower, or instructions that become less novel as they become many, are not foreseen.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yearling.errors import BudgetError, UserError
from yearling.estimate.budget import check_budget
from yearling.estimate.evidence import Known, Sparing, walk
from yearling.estimate.exam import exam_calls, play_exam, read_exam
from yearling.estimate.numbers import Ahead, Terms, stage_numbers, terms_of, total_numbers
from yearling.estimate.pace import Pace, pace_of
from yearling.estimate.pilot import ask_pilot, missing
from yearling.estimate.rounds import ROWS, play_all
from yearling.generate.birth import Birth
from yearling.generate.stage import open_birth
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.pipeline import run_stages
from yearling.progress import progress, say
from yearling.recipe import Recipe
from yearling.run_folder import Run
from yearling.students.load import require_train
from yearling.teachers.teacher import Teacher, open_teacher

MOST = 20  # pilot calls
GIVES_UP = 0.05  # of the plays; above that it is said that the run may give up
MANY = 500  # rows; above that novelty is said to be taken as it is at the beginning


@dataclass(frozen=True)
class _Seen:
    """Who was asked, what is ahead, how many calls the estimate sent, and what there is to say about it."""

    ledger: Ledger
    teacher: Teacher
    start_s: float
    sent: list[Reply]
    stages: list[Ahead]
    calls: Sequence[Call]
    notes: list[str]


def estimate(recipe: Recipe, root: Path, pilot: int = MOST) -> dict[str, Any]:
    """Low, expected and high of what is to come, beside what is answered and the budget; `pilot` 0 asks nothing.

    Under `training`, what the train section will take of this machine. Raises UserError where nothing asks a teacher
    and nothing is trained, nothing is known, or the training cannot fit.
    """
    asks = recipe.teacher is not None and (recipe.generate is not None or _against_teacher(recipe))
    if not asks and not (recipe.train and recipe.student):
        raise UserError(
            f"nothing in the recipe {recipe.name} asks a teacher, and nothing is trained: there is nothing to estimate."
            " What asks is `generate`, and `eval: {against: teacher}`; what trains is `train` with a `student`."
        )
    run = Run(root, recipe.name)
    training = _training(recipe, run)
    if not asks:
        return {"run": recipe.name, "teacher": None, "stages": [], "budget": [], "notes": [], "training": training}
    assert recipe.teacher is not None
    if recipe.generate and any(source.answer for source in recipe.import_):
        run_stages(recipe, root, ["import"])  # what is borrowed decides what is asked
    # the pilot does not wait for a batch; what is asked, and so its key, is the same
    direct = recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"batch": False})})
    with (_of_generate if recipe.generate else _of_exam)(direct, run, pilot) as seen:
        return _report(recipe, seen) | {"training": training}


def _training(recipe: Recipe, run: Run) -> dict[str, Any] | None:
    if not (recipe.train and recipe.student):
        return None
    try:
        require_train()
    except UserError as error:
        say(f"estimate: training is left out: {error}")
        return None
    from yearling.estimate.school import training_ahead

    return training_ahead(recipe, run)


def _against_teacher(recipe: Recipe) -> bool:
    return recipe.eval is not None and recipe.eval.against == "teacher"


@contextmanager
def _of_generate(recipe: Recipe, run: Run, pilot: int) -> Iterator[_Seen]:
    """The generate stage, and the exam where the teacher sits it."""
    began = time.monotonic()
    with open_birth(recipe, run, lambda birth: None, Sparing) as birth:
        start_s = time.monotonic() - began
        asker = birth.asker
        assert isinstance(asker, Sparing)
        known, sent = _known(birth, asker, pilot)
        pace = _pace(asker, known.heard)
        stages = [Ahead("generate", known.replies, play_all(known, birth.settings, pace), _units(known))]
        if _against_teacher(recipe):
            exam = read_exam(recipe, run, asker.teacher, asker.ledger, known)
            stages.append(Ahead("eval", exam.answered, play_exam(recipe, run, exam, pace), len(exam.like)))
        calls = [call for call, _ in known.heard.values()]
        yield _Seen(asker.ledger, asker.teacher, start_s, sent, stages, calls, _notes(recipe, stages[0]))


def _known(birth: Birth, asker: Sparing, pilot: int) -> tuple[Known, list[Reply]]:
    """What the ledger knows of the plan, once the pilot has asked; and the pilot's answers."""
    known = before = walk(birth, asker)
    if wanted := min(pilot, missing(known, pilot)):
        try:
            with progress(None, "pilot", wanted, "calls") as advance:
                birth.told = lambda asking: advance(asking.tally.sent)
                ask_pilot(birth, asker, wanted)
        except BudgetError as error:
            if not known.answers:
                raise
            say(f"the pilot ends early: {error}")
        known = walk(birth, asker)
    _check(known, pilot)
    return known, [reply for key, (_, reply) in known.heard.items() if key not in before.heard]


def _check(known: Known, pilot: int) -> None:
    if known.answers:
        return
    if not known.heard and not pilot:
        raise UserError(
            "nothing is known of this plan: the ledger holds no answer to it. "
            f"Leave --no-pilot out: at most {MOST} calls are asked, and the run will not ask them again."
        )
    if known.waiting or not known.drafts:
        raise UserError("too few answers are known for an estimate. Allow more calls with --pilot.")
    why = ", ".join(f"{reason} {count}" for reason, count in known.reasons.items())
    raise UserError(
        f"none of what {len(known.drafts)} requests for instructions brought is worth an answer: {why}. "
        "The run would not get far; look at the recipe and the teacher first."
    )


def _units(known: Known) -> int:
    """How many answers, or requests that hold them, the numbers rest on."""
    return len([unit for unit in known.answers if unit.steps] or known.drafts)


def _pace(asker: Sparing, heard: Mapping[str, object]) -> Pace:
    teacher = asker.teacher
    rows = asker.ledger.read(
        "SELECT key, settled - seconds, settled FROM calls "
        "WHERE endpoint = ? AND model = ? AND state = 'settled' AND batch IS NULL",
        *(teacher.endpoint, teacher.model),
    )
    return pace_of([(begin, end) for key, begin, end in rows if key in heard], teacher.concurrency)


@contextmanager
def _of_exam(recipe: Recipe, run: Run, pilot: int) -> Iterator[_Seen]:
    """The exam alone, over rows that were imported and judged; the pilot asks its first calls."""
    assert recipe.teacher is not None
    began = time.monotonic()
    with (
        Ledger(run.ledger, run.name, recipe.budget) as ledger,
        open_teacher(recipe.teacher) as teacher,
        Sparing(teacher, ledger, "eval", recipe.teacher.reasoning.keep) as asker,
    ):
        start_s = time.monotonic() - began
        calls = exam_calls(recipe, run, teacher)
        if calls is None:
            raise UserError(
                "the rows that the teacher will be asked about are not there yet. "
                "Run `yearling import` and `yearling curate` first; they cost nothing."
            )
        new = [call for call in calls[:pilot] if ledger.find(call) is None]
        asker.allowance = len(new)
        with progress(None, "pilot", len(new), "calls") as advance:
            count = itertools.count(1)
            sent = asker.ask(new, lambda reply: advance(next(count)))
        exam = read_exam(recipe, run, teacher, ledger, None)
        if not exam.answered:
            raise UserError(
                "nothing is known of this exam: the ledger holds no answer to it. "
                f"Leave --no-pilot out: at most {MOST} calls are asked, and the run will not ask them again."
            )
        pace = _pace(asker, {call.key: call for call in calls})
        stages = [Ahead("eval", exam.answered, play_exam(recipe, run, exam, pace), len(exam.like))]
        yield _Seen(ledger, teacher, start_s, sent, stages, calls, [])


def _report(recipe: Recipe, seen: _Seen) -> dict[str, Any]:
    assert recipe.teacher is not None
    terms = terms_of(recipe.teacher, seen.start_s)
    stages, total = [stage_numbers(ahead, terms) for ahead in seen.stages], total_numbers(seen.stages, terms)
    quotes = [seen.teacher.quote(call) for call in seen.calls]
    largest = Quote(max((q.usd or 0.0 for q in quotes), default=0.0), max((q.tokens for q in quotes), default=0))
    costs = [reply.cost_usd for reply in seen.sent]
    return {
        "run": recipe.name,
        "teacher": recipe.teacher.model,
        "pilot": {"calls": len(seen.sent), "cost_usd": None if None in costs else sum(c or 0.0 for c in costs)},
        "stages": stages,
        "total": total,
        "budget": check_budget(recipe.budget, seen.ledger, stages, total, largest),
        "notes": seen.notes + _about_terms(terms),
    }


def _notes(recipe: Recipe, ahead: Ahead) -> list[str]:
    assert recipe.generate is not None
    notes = []
    if ahead.plays.gives_up > GIVES_UP:
        notes.append(
            f"In {ahead.plays.gives_up:.0%} of the plays the run gives up: too few answers are good. "
            "Raise generate.answer.max_tokens, ask for shorter answers, or raise generate.attempts."
        )
    rows, num = float(ahead.plays.likely[:, ROWS].mean()), recipe.generate.num
    if rows < num * (1 - GIVES_UP) and not notes:
        notes.append(f"There is enough to ask about for some {rows:.0f} rows, not for the {num} that are wanted.")
    if num > MANY:
        notes.append("Instructions are taken to stay as novel as the first ones; a small teacher repeats itself.")
    return notes


def _about_terms(terms: Terms) -> list[str]:
    notes = []
    if terms.input_usd is None:
        notes.append("The price is unknown: write `price: {input: …, output: …}` into the teacher, in $ per million.")
    if terms.batch:
        notes.append(
            "The batch API answers when the provider has time, most promise a day; the pilot is asked at once."
        )
    return notes
