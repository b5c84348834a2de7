"""Refusals and assistant boilerplate in a completion, by the phrases of `phrases.txt`.

In: a prompt and a completion. Out: the reason against the row in plain words, or None.
Knows English, German, French, Spanish and Chinese. A row *about* refusals stays: where its prompt holds such a
phrase or names the topic, and where the phrase stands in quotes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\u0060\u00b4", "'''''")
_QUOTED = re.compile(
    r'"[^"\n]*"|\u201c[^\u201d\n]*\u201d|\u201e[^\u201c\u201d\n]*[\u201c\u201d]|\u00ab[^\u00bb\n]*\u00bb|\u300c[^\u300d\n]*\u300d'
)
# Before a phrase: the text's beginning, the end of a sentence, or a new line with or without a list mark.
_SENTENCE = r"(?:^|[.!?\u3002][)\]]?\s*|\n\s*(?:[-*\u2022]|\d+[.)])?\s*)"


@cache
def _sections() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    section: list[str] = []
    for line in files("yearling.curate").joinpath("phrases.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = found.setdefault(heading[1], [])
        elif line and not line.startswith("#"):
            section.append(line)
    return found


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """The phrases at a sentence's start, at the text's start, and in a prompt."""
    lead, sentence, start, about = (_sections()[name] for name in ("lead", "sentence", "start", "about"))
    before = rf"(?:(?:{'|'.join(lead)})[,.]? ?(?:but |that |aber |mais |pero )?)?"
    return (
        re.compile(rf"{_SENTENCE}{before}(?P<phrase>{'|'.join(sentence)})"),
        re.compile(rf"\s*{before}(?P<phrase>{'|'.join(start)})"),
        re.compile("|".join([*about, *sentence, *start])),
    )


def refusal_in(prompt: str, completion: str) -> str | None:
    """The reason why the completion refuses or talks about itself, or None."""
    in_sentence, at_start, about = _patterns()
    text = _QUOTED.sub('""', _plain(completion))
    if match := at_start.match(text):
        kind = "opens with a refusal"
    elif match := in_sentence.search(text):
        kind = "speaks as an assistant in place of an answer"
    else:
        return None
    # The prompt is looked at last: most rows never get here.
    return None if about.search(_plain(prompt)) else f"{kind}: {match['phrase']}"


def _plain(text: str) -> str:
    lowered = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", lowered))
