"""The judges, in the order in which they speak: those of single rows first, then those that compare, cheap to dear.

In: rows, or a corpus and which of its records still stand. Out: opinions: pass, fail or skipped, with a reason.
A row judge is shown every record; a judge that compares is shown those that all before it let stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from yearling.curate import compare, contamination, reach, refusal
from yearling.curate.corpus import Corpus, Flags, Opinions
from yearling.curate.language import judge_language
from yearling.curate.marks import harm_settings, judge_harm, judge_marks, mark_settings
from yearling.curate.near import band_files
from yearling.curate.reach import out_of_reach
from yearling.curate.reading import Say
from yearling.curate.refusal import refusal_in
from yearling.curate.rows import PASS, Opinion, Row, Sign, failed
from yearling.curate.shape import broken
from yearling.curate.toxic import toxicity
from yearling.measure import personal, personal_sign
from yearling.measure.text import word_count
from yearling.recipe import Curate, Recipe
from yearling.record import file_digest


@dataclass(frozen=True, slots=True)
class RowJudge:
    """A name, what makes the judge ready, the settings it obeys, and what a row shows where it has to be asked.

    `version` is raised by hand whenever the same rows and settings may get another verdict.
    """

    name: str
    make: Callable[[Recipe], Say]
    knob: Callable[[Recipe], Any] = lambda recipe: True
    version: int = 1
    sign: Callable[[], Sign] | None = None


@dataclass(frozen=True, slots=True)
class SetJudge:
    """The same for a judge that compares records, or asks a teacher; `say` is given the standing ones.

    What `prepare` does needs all texts and no verdict: it goes on while the judge before speaks.
    """

    name: str
    say: Callable[[Corpus, Flags, Recipe], Opinions]
    knob: Callable[[Recipe], Any]
    version: int = 1
    prepare: Callable[[Corpus, Recipe], Any] | None = None


def judge_length(row: Row, settings: Curate) -> Opinion:
    """Fail prompts and completions outside the limits.

    Words stand between spaces; two characters of a script without spaces count as one word. The score is the
    completion's words, or the prompt's where that fails.
    """
    limits = settings.length
    words = 0
    for side, text, least, most in (
        ("prompt", row.prompt, limits.min_prompt, limits.max_prompt),
        ("completion", row.completion, limits.min_completion, limits.max_completion),
    ):
        words = word_count(text)
        if words < least:
            return Opinion("fail", f"the {side} has too few words: {words}, min_{side} is {least}", words)
        if words > most:
            return Opinion("fail", f"the {side} has too many words: {words}, max_{side} is {most}", words)
    return Opinion("pass", score=words)


def judge_personal(row: Row, settings: Curate) -> Opinion:
    """Fail what holds personal data or secrets, or say what will be masked."""
    found = sorted({one.kind for one in personal.personal_in(row.turns)})
    if not found:
        return PASS
    return failed(f"holds {', '.join(found)}") if settings.personal == "fail" else Opinion("pass", "is masked")


def _plain(say: Callable[[Row], str | None]) -> Callable[[Recipe], Say]:
    return lambda recipe: lambda row: failed(say(row))


def _set(recipe: Recipe) -> Curate:
    assert recipe.curate is not None
    return recipe.curate


def _language(recipe: Recipe) -> str | None:
    return recipe.language if _set(recipe).language == "recipe" else None


def _by_meaning(recipe: Recipe, bound: Literal["above", "exam", "outlier"]) -> dict[str, Any] | None:
    """What a judge of vectors obeys: its bound and the model."""
    settings = _set(recipe).semantic
    value = getattr(settings, bound)
    return None if value is None else {bound: value, "model": settings.model}


ROW_JUDGES: tuple[RowJudge, ...] = (
    RowJudge("shape", _plain(broken), version=2),
    RowJudge(
        "length", lambda r: lambda row: judge_length(row, _set(r)), lambda r: _set(r).length.model_dump(), version=2
    ),
    RowJudge("refusal", _plain(refusal_in), version=2, sign=refusal.sign),
    RowJudge(
        "language", lambda r: lambda row: judge_language(row, _language(r)), lambda r: _language(r) or "same", version=2
    ),
    RowJudge("reach", _plain(out_of_reach), sign=lambda: Sign(reach.sign(), ("prompt",))),
    RowJudge(
        "personal",
        lambda r: lambda row: judge_personal(row, _set(r)),
        lambda r: _set(r).personal,
        sign=lambda: Sign(personal_sign.sign(), ("prompt", "completion")),
    ),
    RowJudge("toxic", lambda r: toxicity),
)
SET_JUDGES: tuple[SetJudge, ...] = (
    SetJudge("exact", compare.judge_exact, lambda r: True, version=2),
    SetJudge(
        "contamination",
        contamination.judge_contamination,
        lambda r: [
            _set(r).test,
            list(r.eval.questions if r.eval else ()),
            *map(file_digest, _set(r).decontaminate),
            *filter(None, [_by_meaning(r, "exam")]),
        ],
    ),
    SetJudge("contradiction", compare.judge_contradiction, lambda r: True),
    SetJudge(
        "near",
        compare.judge_near,
        lambda r: _set(r).near.model_dump() if _set(r).near.above else None,
        version=2,
        prepare=lambda corpus, r: band_files(corpus, _set(r).near),
    ),
    SetJudge("semantic", compare.judge_semantic, lambda r: _by_meaning(r, "above")),
    SetJudge("novelty", compare.judge_novelty, lambda r: _set(r).novelty, version=2),
    SetJudge("outlier", compare.judge_outlier, lambda r: _by_meaning(r, "outlier")),
    SetJudge("harm", judge_harm, harm_settings),
    SetJudge("score", judge_marks, mark_settings),
    SetJudge("select", compare.judge_select, lambda r: _set(r).select),
)
JUDGES: tuple[RowJudge | SetJudge, ...] = (*ROW_JUDGES, *SET_JUDGES)


def knob_of(judge: RowJudge | SetJudge, recipe: Recipe) -> Any:
    """The settings that a judge obeys, None where it is switched off."""
    return None if judge.name in _set(recipe).off else judge.knob(recipe)
