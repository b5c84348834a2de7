"""The eval stage: base, student and teacher side by side on the held-out split.

In: exported files, the base's file, accepted test records, the teacher. Out: `eval/exam.json`, report.html, report.md.
Every student line is measured on the file itself. Nothing is trained, and no row of training is asked.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yearling.errors import ProofError, UserError
from yearling.evaluate.exam import Answer, Exam, Interval, Line, to_json
from yearling.evaluate.report import write_report
from yearling.hub import find_gguf, is_gguf
from yearling.ledger import Ledger
from yearling.measure.accepted import accepted_split
from yearling.measure.asking import Attempt, ask_file, measure_speed
from yearling.measure.perplexity import Scores, in_plain_text, in_template, interval, ratio, score_file, share_interval
from yearling.measure.text import fold
from yearling.progress import progress, say
from yearling.recipe import Eval, Generate, Recipe
from yearling.record import Message, Origin, Record
from yearling.run_folder import Run, write_json
from yearling.students.load import Student, open_student
from yearling.students.template import Template
from yearling.teachers.ask import Asker, exam_request
from yearling.teachers.teacher import open_teacher

LEAK_LIMIT = 0.05
Tick = Callable[[int], None]
Put = Callable[[Template, Record], tuple[str, str]]


@dataclass(frozen=True)
class _Paper:
    """What is asked: held-out records, the user's own questions, and what the leak proof found."""

    records: list[Record]
    questions: list[Record]
    leak: dict[str, Any]

    @property
    def everything(self) -> list[Record]:
        """Records, then questions."""
        return [*self.records, *self.questions]


@dataclass(frozen=True)
class _Measured:
    """One model's line, its scores where there are some, and its attempts: first the records, then the questions."""

    line: Line
    scores: Scores | None
    attempts: list[Attempt]


def run_eval(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Measure and report; counts, results and the leak proof for the manifest.

    Raises UserError where nothing is held out or exported, ProofError where training has seen too many test prompts.
    """
    settings = recipe.eval
    assert settings is not None and recipe.student is not None
    began = time.monotonic()
    student = open_student(recipe.student)
    paper = _paper(recipe, run, settings)
    cost: float | None = 0.0
    with progress(run, "eval", _steps(recipe, settings, paper), "answers") as advance:
        step = itertools.count(1)

        def tick(done: int) -> None:
            advance(next(step))

        base = student.gguf or run.export / "base-F16.gguf"
        measured = [_base_line(student, base, paper, settings, tick)]
        measured += [_student_line(kind, student, run, paper, settings, tick) for kind in settings.on]
        if settings.against == "teacher":
            teacher_line, cost = _teacher_line(recipe, run, paper, tick)
            measured.append(teacher_line)
    exam = _exam(recipe, run, paper, measured, time.monotonic() - began, cost)
    write_json(run.exam / "exam.json", to_json(exam))
    page, _ = write_report(exam, run.exam)
    say(f"eval: the report is {page}")
    return {"rows": len(paper.records), "models": len(measured)}, _results(exam, page, run), {"leak": paper.leak}


def _steps(recipe: Recipe, settings: Eval, paper: _Paper) -> int:
    """Answers to be written and read: the base is read in two formats, a remote teacher cannot be read at all."""
    rows, students, teacher = len(paper.records), len(settings.on), int(settings.against == "teacher")
    read = 2 + students + int(bool(teacher and _teacher_file(recipe)))
    return rows * read + len(paper.everything) * (1 + students + teacher)


def _teacher_file(recipe: Recipe) -> Path | None:
    """The teacher's own file, where it is on this machine and can be scored."""
    assert recipe.teacher is not None
    kind, _, model = recipe.teacher.model.partition(":")
    return find_gguf(model) if kind == "local" and is_gguf(model) else None


def _results(exam: Exam, page: Path, run: Run) -> dict[str, Any]:
    student = exam.lines[1]
    return {
        "ratio": _plain(exam.ratio),
        "student_stopped": _plain(student.stopped),
        "student_median_words": student.median_words,
        "perplexity": {line.name: _plain(line.perplexity) for line in exam.lines},
        "stopped": {line.name: _plain(line.stopped) for line in exam.lines},
        "median_words": {line.name: line.median_words for line in exam.lines},
        "tokens_per_s": {line.name: line.tokens_per_s for line in exam.lines},
        "report": str(page.relative_to(run.path)),
        "cost_usd": exam.cost_usd,
    }


def _paper(recipe: Recipe, run: Run, settings: Eval) -> _Paper:
    """Test records that training has not seen, the first by id hash; more than 5 % seen fails the run."""
    test = sorted(accepted_split(run, recipe, "test"), key=lambda record: record.id)[: settings.max_rows]
    if not test:
        raise UserError("no held-out rows. Raise curate.test or generate.num, and run again.")
    seen = {fold(record.prompt) for record in accepted_split(run, recipe, "train")}
    clean = [record for record in test if fold(record.prompt) not in seen]
    leaked = len(test) - len(clean)
    if leaked > LEAK_LIMIT * len(test):
        raise ProofError(
            f"leak proof: {leaked} of {len(test)} test prompts are in training rows. Raise curate.novelty."
        )
    questions = [Record((Message("user", text),), Origin("question", text, 0)) for text in settings.questions]
    return _Paper(clean, questions, {"rows": len(test), "leaked": leaked, "limit": LEAK_LIMIT})


def _name(kind: str) -> str:
    return "student" if kind == "merged" else f"student {kind}"


def _exported(run: Run, kind: str) -> Path:
    manifest = run.manifest("export")
    relative = manifest.results["files"].get(kind) if manifest else None
    if relative is None or not (run.path / relative).is_file():
        raise UserError(f"no {kind} file of this run. Add it to export.quant and run `yearling export`.")
    return run.path / str(relative)


def _prompts(template: Template, put: Put, records: Sequence[Record]) -> list[str]:
    asked = [
        Record((*r.messages, Message("assistant", "?")), r.origin) if r.messages[-1].role == "user" else r
        for r in records
    ]
    return [put(template, record)[0] for record in asked]


def _base_line(student: Student, file: Path, paper: _Paper, settings: Eval, tick: Tick) -> _Measured:
    """The untuned base, in whichever of the two formats it does better: an opponent at its best."""
    template = student.template
    scored: dict[str, tuple[Put, Scores]] = {}
    for name, put in (("template", in_template), ("plain text", in_plain_text)):
        scored[name] = put, score_file(file, [put(template, r) for r in paper.records], tick)
    best = min(scored, key=lambda name: scored[name][1].perplexity)
    chosen, scores = scored[best]
    prompts = _prompts(template, chosen, paper.everything)
    attempts = ask_file(file, prompts, settings.max_tokens, tick)
    return _line("base", file, best, scores, attempts, measure_speed(file, prompts[0]))


def _student_line(kind: str, student: Student, run: Run, paper: _Paper, settings: Eval, tick: Tick) -> _Measured:
    """The student, from the file itself; the merged model is asked through its F16 file, which parity has proved."""
    file = _exported(run, "f16" if kind == "merged" else kind)
    scores = score_file(file, [in_template(student.template, r) for r in paper.records], tick)
    prompts = _prompts(student.template, in_template, paper.everything)
    attempts = ask_file(file, prompts, settings.max_tokens, tick)
    return _line(_name(kind), file, "template", scores, attempts, measure_speed(file, prompts[0]))


def _teacher_line(recipe: Recipe, run: Run, paper: _Paper, tick: Tick) -> tuple[_Measured, float | None]:
    """The teacher, asked anew through the ledger; scored only where its file is here."""
    assert recipe.teacher is not None and recipe.eval is not None
    settings = recipe.generate or Generate()
    scores = speed = None
    file = _teacher_file(recipe)
    with (
        Ledger(run.ledger, run.name, recipe.budget) as ledger,
        open_teacher(recipe.teacher) as teacher,
        Asker(teacher, ledger, "eval", recipe.teacher.reasoning.keep) as asker,
    ):
        attempts, cost = _ask_teacher(asker, settings, paper, recipe.eval.max_tokens, tick)
        if file:
            template, own_system = teacher.template(), settings.answer.system
            head = (Message("system", own_system),) if own_system else ()
            texts = [in_template(template, Record((*head, *r.messages), r.origin)) for r in paper.records]
            scores = score_file(file, texts, tick)
            speed = measure_speed(file, texts[0][0])
    where = file or Path(recipe.teacher.model)
    own = attempts[: len(paper.records)]
    measured = _line("teacher", where, "template", scores, own, speed)
    return _Measured(measured.line, scores, attempts), cost


def _ask_teacher(
    asker: Asker, settings: Generate, paper: _Paper, limit: int, tick: Tick
) -> tuple[list[Attempt], float | None]:
    calls = [asker.teacher.call(exam_request(settings, _asked(r), limit), 1) for r in paper.everything]
    replies = asker.ask(calls, lambda reply: tick(0))
    attempts = [Attempt(r.text.strip(), r.finish == "stop", r.completion_tokens) for r in replies]
    costs = [r.cost_usd for r in replies]
    return attempts, sum(c or 0.0 for c in costs) if None not in costs else None


def _asked(record: Record) -> list[dict[str, str]]:
    """What stands before a record's last answer."""
    turns = record.messages[:-1] if record.completion else record.messages
    return [{"role": m.role, "content": m.content} for m in turns]


def _line(
    name: str, file: Path, put: str, scores: Scores | None, attempts: list[Attempt], speed: float | None
) -> _Measured:
    own = attempts[: len(scores.logprobs)] if scores else attempts
    line = Line(
        name=name,
        file=file.name,
        size_bytes=file.stat().st_size if file.is_file() else None,
        perplexity=Interval(*interval(scores.logprobs)) if scores else None,
        format="template" if put == "template" else "plain text",
        stopped=Interval(*share_interval(sum(a.stopped for a in own), len(own))),
        median_words=statistics.median(len(a.text.split()) for a in own),
        tokens_per_s=speed,
    )
    return _Measured(line, scores, attempts)


def _exam(
    recipe: Recipe, run: Run, paper: _Paper, measured: Sequence[_Measured], seconds: float, cost: float | None
) -> Exam:
    assert recipe.student is not None and recipe.eval is not None
    base, student = measured[0].scores, measured[1].scores
    assert base is not None and student is not None
    answers = [
        Answer(r.id, r.prompt, r.completion, {m.line.name: m.attempts[place] for m in measured})
        for place, r in enumerate(paper.everything)
    ]
    leak = paper.leak
    return Exam(
        run=run.name,
        teacher=recipe.teacher.model if recipe.teacher else "none",
        base=recipe.student.base,
        rows=len(paper.records),
        max_tokens=recipe.eval.max_tokens,
        lines=tuple(m.line for m in measured),
        answers=tuple(answers[: len(paper.records)]),
        questions=tuple(answers[len(paper.records) :]),
        ratio=Interval(*ratio(student.logprobs, base.logprobs)) if _same_tokens(student, base) else None,
        notes=(f"{leak['leaked']} of {leak['rows']} test prompts occur in the training rows; those were left out.",),
        seconds=seconds,
        cost_usd=cost,
    )


def _same_tokens(left: Scores, right: Scores) -> bool:
    """Whether both scored the same rows; the ratio is paired by row."""
    return len(left.logprobs) == len(right.logprobs)


def _plain(value: Interval | None) -> dict[str, float] | None:
    return {"value": value.value, "low": value.low, "high": value.high} if value else None
