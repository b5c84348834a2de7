"""The judges, in one visible tuple, cheap to dear.

In: records in birth order and the curate section. Out: one verdict a record: pass, fail or skipped, with its reason.
Pure functions: no judge reads or writes a file, and none knows of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from yearling.curate.refusal import refusal_in
from yearling.curate.shape import broken
from yearling.measure.novelty import NoveltyIndex
from yearling.measure.text import fold, word_count
from yearling.recipe import Curate
from yearling.record import Record, Verdict

OFF = (None, False)


@dataclass(frozen=True, slots=True)
class Judge:
    """A name, the function, the knob it obeys, and whether it compares records with earlier ones.

    An ordered judge is shown only records that passed all judges before it. `version` is raised by hand whenever
    the same records and knob may get another verdict.
    """

    name: str
    say: Callable[[Sequence[Record], Curate], list[Verdict]]
    knob: Callable[[Curate], Any]
    ordered: bool = False
    version: int = 1


def judge_shape(records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """Fail what is empty, echoing, malformed, merged, unfinished or looping."""
    return [_verdict(record, broken(record.prompt, record.completion)) for record in records]


def judge_length(records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """Fail prompts and completions outside the limits.

    Words stand between spaces; two characters of a script without spaces count as one word. The score is the
    completion's words, or the prompt's where that fails.
    """
    return [_length(record, settings) for record in records]


def _length(record: Record, settings: Curate) -> Verdict:
    limits = settings.length
    sides = (
        ("prompt", word_count(record.prompt), limits.min_prompt, limits.max_prompt),
        ("completion", word_count(record.completion), limits.min_completion, limits.max_completion),
    )
    words = 0
    for side, words, least, most in sides:
        if words < least:
            return Verdict(record.id, "fail", f"the {side} has too few words: {words}, min_{side} is {least}", words)
        if words > most:
            return Verdict(record.id, "fail", f"the {side} has too many words: {words}, max_{side} is {most}", words)
    return Verdict(record.id, "pass", score=words)


def judge_refusal(records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """Fail refusals and assistant boilerplate."""
    return [_verdict(record, refusal_in(record.prompt, record.completion)) for record in records]


def judge_exact(records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """Fail a record whose turns, folded, are those of an earlier one; system turns do not count."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    verdicts = []
    for record in records:
        turns = tuple((turn.role, fold(turn.content)) for turn in record.messages if turn.role != "system")
        kept = first.setdefault(turns, record.id)
        verdicts.append(_verdict(record, None if kept == record.id else f"the same text as {kept}"))
    return verdicts


def judge_novelty(records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """Fail a prompt whose ROUGE-L F to an earlier prompt is above the threshold; that F is the score."""
    if settings.novelty is None:
        return [Verdict(record.id, "skipped", "switched off") for record in records]
    index = NoveltyIndex(settings.novelty)
    verdicts = []
    for record in records:
        if record.origin.method == "import":
            index.add(record.prompt, record.id)
            verdicts.append(Verdict(record.id, "skipped", "imported rows are not held to the novelty rule"))
        elif match := index.add_if_novel(record.prompt, record.id):
            reason = f"ROUGE-L {match.score:.2f} to {match.id}"
            verdicts.append(Verdict(record.id, "fail", reason, match.score))
        else:
            verdicts.append(Verdict(record.id, "pass"))
    return verdicts


def _verdict(record: Record, reason: str | None) -> Verdict:
    return Verdict(record.id, "fail", reason) if reason else Verdict(record.id, "pass")


JUDGES: tuple[Judge, ...] = (
    Judge("shape", judge_shape, lambda settings: settings.shape),
    Judge("length", judge_length, lambda settings: settings.length.model_dump()),
    Judge("refusal", judge_refusal, lambda settings: settings.refusal),
    Judge("exact", judge_exact, lambda settings: settings.exact, ordered=True),
    Judge("novelty", judge_novelty, lambda settings: settings.novelty, ordered=True),
)


def opinions(judge: Judge, records: Sequence[Record], settings: Curate) -> list[Verdict]:
    """One verdict a record, "switched off" where the knob says so."""
    if judge.knob(settings) in OFF:
        return [Verdict(record.id, "skipped", "switched off") for record in records]
    return judge.say(records, settings)
