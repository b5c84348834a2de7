"""Paraphrases: rows that ask and answer the same as an earlier one, in other words.

In: prompts, answers, and one vector a row, of `row_text`. Out: for each row the earlier one it repeats, or none.
Embeds nothing, and leaves rows alike in wording to the judge of near duplicates.

Prompt and answer are embedded as one text: on the planted rows that tells paraphrases from neighbouring questions
better than any mean of two cosines did. Vectors do not see what makes two questions of one pattern differ, so a pair
is let go where

- its prompts have different numbers or different quoted words, or its answers have no number in common;
- its prompts hold the same words: several answers to one question are no paraphrase, and "8 - 3" is not "3 - 8";
- its prompts share their wording but for something on either side: "an old dog" for "a puppy";
- its rows are in different languages, or in one that the model does not know.

Rows are taken in order of birth and each is held against those kept before it. What a score means depends on the
model. With word vectors (`static`) paraphrases lie no nearer than neighbours do: they need `multilingual` or better.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from yearling.curate.language import language_of
from yearling.measure.contamination import EMPTY_WORDS
from yearling.measure.neighbours import pairs_above, pairs_across
from yearling.measure.text import unicode_tokens

READ = 4000  # characters of a text that are looked at for what must not differ
REMEMBERED = 50_000  # texts whose facts are held in memory
PATTERN = 0.3  # from this share of common words on, two prompts are of one pattern

_QUOTED = re.compile(
    r"\"([^\"\n]{1,200})\"|`([^`\n]{1,200})`|“([^”\n]{1,200})”|„([^“”\n]{1,200})[“”]"
    r"|«([^»\n]{1,200})»|「([^」\n]{1,200})」|『([^』\n]{1,200})』"
)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
NEGATIONS = """
not no never without cannot nobody nothing neither nor t nicht kein keine keinen keiner ohne nie niemals ne pas sans
jamais sin nunca non senza mai não sem niet geen zonder bez не без нет никогда
"""
NEGATION_WORDS = frozenset(NEGATIONS.split())  # "t" is what tokens leave of n't
Vectors = npt.NDArray[np.floating[Any]]
Places = npt.NDArray[np.int64]


class Repeats(NamedTuple):
    """For each row the earlier row, or the question, that it repeats, -1 for none; and their cosine, else nan."""

    of: Places
    score: npt.NDArray[np.float64]


class Facts(NamedTuple):
    """What two prompts, or two answers, must agree in to say the same; `words` are those outside of quotes."""

    words: frozenset[str]
    numbers: tuple[str, ...]
    quoted: frozenset[str]


def row_text(*parts: str) -> str:
    """What is embedded of a row: its prompt and answer, or one of them."""
    return "\n".join(parts)


def semantic_duplicates(
    prompts: Sequence[str],
    answers: Sequence[str],
    vectors: Vectors,
    threshold: float,
    languages: frozenset[str] | None = None,
) -> Repeats:
    """The rows that repeat an earlier one; `languages` are those that the model knows, None for any.

    Vectors may lie on disk; texts are read of rows that have a near neighbour.
    """
    said = Repeats(np.full(len(vectors), -1, np.int64), np.full(len(vectors), np.nan))
    pairs = pairs_above(vectors, threshold)
    differ = _Differences(prompts, answers, languages)
    for at in np.lexsort((pairs.earlier, -pairs.score, pairs.later)).tolist():
        one, other = int(pairs.earlier[at]), int(pairs.later[at])
        if said.of[one] < 0 and said.of[other] < 0 and not differ(one, other):
            said.of[other], said.score[other] = one, pairs.score[at]
    return said


def questions_asked(
    prompts: Sequence[str], vectors: Vectors, questions: Sequence[str], others: Vectors, threshold: float
) -> Repeats:
    """For each prompt the question that it asks in other words, if any; vectors are of prompts and questions alone."""
    said = Repeats(np.full(len(vectors), -1, np.int64), np.full(len(vectors), np.nan))
    pairs = pairs_across(vectors, others, threshold)
    of_prompt, of_question = (
        lru_cache(REMEMBERED)(lambda place, texts=texts: facts(texts[place])) for texts in (prompts, questions)
    )
    for at in np.lexsort((pairs.earlier, -pairs.score, pairs.later)).tolist():
        question, prompt = int(pairs.earlier[at]), int(pairs.later[at])
        if said.of[prompt] < 0 and not questions_differ(of_prompt(prompt), of_question(question)):
            said.of[prompt], said.score[prompt] = question, pairs.score[at]
    return said


class _Differences:
    """Whether two rows differ in what vectors do not see."""

    def __init__(self, prompts: Sequence[str], answers: Sequence[str], languages: frozenset[str] | None) -> None:
        self._asked = lru_cache(REMEMBERED)(lambda place: facts(prompts[place]))
        self._answered = lru_cache(REMEMBERED)(lambda place: facts(answers[place]))
        self._language = lru_cache(REMEMBERED)(lambda place: language(row_text(prompts[place], answers[place])))
        self._known = languages

    def __call__(self, one: int, other: int) -> bool:
        if questions_differ(self._asked(one), self._asked(other)):
            return True
        if answers_differ(self._answered(one), self._answered(other)):
            return True
        spoken = self._language(one)
        return spoken != self._language(other) or (self._known is not None and spoken not in self._known)


def facts(text: str) -> Facts:
    """What a text is held to."""
    text = text[:READ]
    quoted = frozenset(" ".join(unicode_tokens("".join(found.groups("")))) for found in _QUOTED.finditer(text))
    words = unicode_tokens(_QUOTED.sub(" ", text)) or unicode_tokens(text)
    return Facts(frozenset(words), tuple(sorted(_NUMBER.findall(text))), quoted)


def questions_differ(one: Facts, other: Facts) -> bool:
    """Whether two prompts ask for different things, though they may be alike."""
    if one.numbers != other.numbers or (one.quoted and other.quoted and not one.quoted & other.quoted):
        return True
    only, others = one.words - other.words, other.words - one.words
    if not only and not others:
        return True
    if len(one.words & other.words) < PATTERN * len(one.words | other.words):
        return False
    return bool((only | others) & NEGATION_WORDS) or (_says(only) and _says(others))


def answers_differ(one: Facts, other: Facts) -> bool:
    """Whether two answers give numbers of which none is the other's."""
    return bool(one.numbers and other.numbers and not set(one.numbers) & set(other.numbers))


def _says(words: frozenset[str]) -> bool:
    return bool(words - EMPTY_WORDS)


def language(text: str) -> str:
    """The language of a text as a code; "" where it holds no word."""
    found = language_of(text)
    return found[0] if found else ""
