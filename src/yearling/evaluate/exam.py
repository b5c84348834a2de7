"""What an exam found, as values: the lines of its table and every answer that was given.

In: numbers and texts already measured. Out: the same as plain dicts, and back.
Measures nothing and prints nothing; None stands for what was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from yearling.errors import UserError
from yearling.measure.asking import Attempt

FORMAT = 1
Put = Literal["template", "plain text"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the 95 % interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One model in the table; `format` says how the prompt was put to it, `stopped` is a share from 0 to 1."""

    name: str
    file: str
    size_bytes: int | None
    perplexity: Interval | None
    format: Put
    stopped: Interval | None
    median_words: float | None
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt with every model's attempt, by line name; `reference` is "" for a question of the user's own."""

    record: str
    prompt: str
    reference: str
    by_model: dict[str, Attempt]


@dataclass(frozen=True, slots=True)
class Exam:
    """A whole exam; `ratio` is the student's perplexity over the base's, `cost_usd` None where a price is unknown."""

    run: str
    teacher: str
    base: str
    rows: int
    max_tokens: int
    lines: tuple[Line, ...]
    answers: tuple[Answer, ...]
    questions: tuple[Answer, ...]
    ratio: Interval | None
    notes: tuple[str, ...]
    seconds: float
    cost_usd: float | None


def to_json(exam: Exam) -> dict[str, Any]:
    """The exam as plain dicts, marked with the version of their form."""
    return {"exam": FORMAT, **asdict(exam)}


def from_json(data: Mapping[str, Any]) -> Exam:
    """The exam that `to_json` wrote; raises UserError where the form is another."""
    fields = dict(data)
    found = fields.pop("exam", None)
    if found != FORMAT:
        raise UserError(f"this exam has format {found}, this yearling reads {FORMAT}. Run `yearling eval` again.")
    try:
        fields["lines"] = tuple(_line(line) for line in fields["lines"])
        fields["answers"] = tuple(_answer(answer) for answer in fields["answers"])
        fields["questions"] = tuple(_answer(answer) for answer in fields["questions"])
        fields["ratio"] = _interval(fields["ratio"])
        fields["notes"] = tuple(fields["notes"])
        return Exam(**fields)
    except (KeyError, TypeError) as error:
        raise UserError(f"this exam is damaged ({error}). Run `yearling eval` again.") from None


def _interval(data: Mapping[str, float] | None) -> Interval | None:
    return None if data is None else Interval(**data)


def _line(data: Mapping[str, Any]) -> Line:
    return Line(
        **{**data, "perplexity": _interval(data["perplexity"]), "stopped": _interval(data["stopped"])},
    )


def _answer(data: Mapping[str, Any]) -> Answer:
    attempts = {name: Attempt(**attempt) for name, attempt in data["by_model"].items()}
    return Answer(**{**data, "by_model": attempts})
