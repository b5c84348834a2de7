"""The teacher's marks, for quality and for decency: it is shown once, through the ledger, what passed all other judges.

In: a corpus and which of its records still stand. Out: opinions; the mark, 1 to 5, is the score.
After GPT4All's "filter the bad responses by API" and the single-answer grading of Zheng et al. 2023 (MT-Bench).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from yearling.curate.corpus import Corpus, Flags, Opinions
from yearling.ledger import Ledger, Reply
from yearling.recipe import Recipe
from yearling.record import Message, digest
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher
from yearling.teachers.words import text_of

QUALITY, DECENCY = "score.txt", "harm.txt"
DECENT = 3  # the lowest mark for decency that passes
MARK_TOKENS = 96  # of a reason and a mark
ROUND = 1024  # rows that are asked about at once
_MARK = re.compile(r"(?:score|mark|note|punkt\w*)\W{0,8}([1-5])(?![\d.,]*\d)|^\W*([1-5])(?:\s*/\s*5)?\W*$", re.I | re.M)


def mark_settings(recipe: Recipe) -> Any:
    """What decides the marks: the words, the teacher, the least that passes; None where nobody marks."""
    if recipe.curate is None or recipe.curate.judge is None or recipe.teacher is None:
        return None
    judge = recipe.curate.judge
    return _settings(recipe, judge.min_score, text_of(QUALITY, judge.rubric))


def harm_settings(recipe: Recipe) -> Any:
    """The same for decency; None where the lexicon alone is asked."""
    asked = recipe.curate is not None and recipe.curate.toxic == "teacher" and recipe.teacher is not None
    return _settings(recipe, DECENT, text_of(DECENCY, None)) if asked else None


def _settings(recipe: Recipe, least: int, words: str) -> list[Any]:
    assert recipe.teacher is not None
    teacher = recipe.teacher.model_dump(mode="json", include={"model", "base_url", "template", "reasoning"})
    return [least, digest(words), teacher]


def judge_marks(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """Fail what the teacher marks below the recipe's least; say nothing where it gives no mark.

    Raises BudgetError and TeacherError as any asking does; marks that were paid are in the ledger.
    """
    assert recipe.curate is not None and recipe.curate.judge is not None
    judge = recipe.curate.judge
    return _marked(corpus, standing, recipe, text_of(QUALITY, judge.rubric), judge.min_score)


def judge_harm(corpus: Corpus, standing: Flags, recipe: Recipe) -> Opinions:
    """The same for what the teacher finds indecent: insults, contempt, threats, whatever the language."""
    return _marked(corpus, standing, recipe, text_of(DECENCY, None), DECENT)


def _marked(corpus: Corpus, standing: Flags, recipe: Recipe, words: str, least: int) -> Opinions:
    assert recipe.teacher is not None
    said, where = Opinions(len(corpus)), np.flatnonzero(standing)
    texts = corpus.in_order(corpus.texts, "prompt", "completion").take(where)
    with (
        Ledger(corpus.run.ledger, corpus.run.name, recipe.budget) as ledger,
        open_teacher(recipe.teacher) as teacher,
        Asker(teacher, ledger, "curate", recipe.teacher.reasoning.keep) as asker,
    ):
        for start in range(0, len(where), ROUND):
            rows = texts.slice(start, ROUND).to_pylist()
            calls = [teacher.call(_request(words, row["prompt"], row["completion"]), 0) for row in rows]
            replies = asker.ask(calls, lambda reply: None)
            for place, reply in zip(where[start : start + ROUND], replies, strict=True):
                _note(said, int(place), reply, least)
            corpus.told(min(start + ROUND, len(where)), len(where))
    return said


def _request(words: str, prompt: str, answer: str) -> dict[str, Any]:
    turn = Message("user", words.format(prompt=prompt, answer=answer))
    return {
        "messages": [{"role": turn.role, "content": turn.content}],
        "max_tokens": MARK_TOKENS,
        "temperature": 0.0,
        "seed": 0,
    }


def _note(said: Opinions, place: int, reply: Reply, least: int) -> None:
    mark = mark_in(reply.text)
    why = " ".join(reply.text.split())[:200]
    if mark is None:
        one = np.zeros(len(said.states), bool)
        one[place] = True
        said.skip(one, f"the teacher gave no mark: {why}")
        return
    if mark < least:
        said.fail(place, f"marked {mark} of 5: {why}", mark)
    else:
        said.reasons[place], said.scores[place] = f"marked {mark} of 5", mark


def mark_in(text: str) -> int | None:
    """The last mark that a reply gives, None where it gives none."""
    found = [one or other for one, other in _MARK.findall(text)]
    return int(found[-1]) if found else None
