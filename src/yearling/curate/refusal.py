"""Refusals and assistant boilerplate in the answers of a row, by the phrases of `phrases.txt`.

In: a row. Out: the reason against it in plain words, or None.
Knows some thirty languages, most of them by their commonest phrases only. A row *about* refusals stays: where a
prompt holds such a phrase or names the topic, where it asks for a text in another's voice, and where the phrase
stands in quotes. Whether a refusal was right is not asked.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from yearling.curate.rows import QUOTED, Row, Sign
from yearling.measure.phrase_file import sections as read_sections

_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\u0060\u00b4", "'''''")
# Hamza on alif is left out as often as written; vowel signs, tatweel and zero-width marks only get in the way.
_ALIF = str.maketrans(
    "\u0623\u0625\u0622\u0671\u200c", "\u0627\u0627\u0627\u0627 ", "\u0640\u200b\u200d\u200e\u200f\ufeff"
)
_VOWEL_SIGNS = re.compile("[\u0307\u064b-\u0652\u0670]")
# Before a phrase: the beginning of the text, of a sentence, of a clause, or of a line with or without a list mark.
_OPENING = (
    r"(?:^|[.!?\u3002\u0964\u061f,;:\u060c\u3001\u2013\u2014(][)\]]?[ \n]?|\n(?:[-*\u2022]|\d{1,3}[.)])? ?| - "
    r"| (?:that|because|since|and|but|so|dass|weil|denn|aber|und|que|et|mais|car|pero|porque|y|e|ma|mas) )"
)
# Hints that are words of any answer, and what a phrase that holds one says besides, in the same sentence.
_EVERYDAY = frozenset(
    (
        "i",
        "me",
        "my",
        "m",
        "j",
        "come",
        "question",
        "task",
        "topic",
        "request",
        "let",
        "someone",
        "somebody",
        "training",
    )
) | frozenset(
    ("generated", "prompt", "query", "access", "en", "mi", "ca", "pot", "ben", "size", "bu", "mes", "sont", "ce", "eu")
)
_DENIALS = (
    frozenset(
        (
            "cannot",
            "can",
            "could",
            "t",
            "not",
            "unable",
            "unwilling",
            "rather",
            "prefer",
            "sorry",
            "afraid",
            "apologize",
        )
    )
    | frozenset(
        (
            "apologise",
            "decline",
            "refuse",
            "regret",
            "no",
            "non",
            "ne",
            "nu",
            "pas",
            "beyond",
            "against",
            "unfortunately",
        )
    )
    | frozenset(
        ("must", "have", "stop", "help", "assist", "ai", "violates", "outside", "inappropriate", "ask", "impossible")
    )
)
_MACHINES = frozenset(
    ("ai", "ki", "ia", "llm", "assistant", "chatbot", "bot", "model", "virtual", "digital", "intelligence", "language")
) | frozenset(("assistent", "assistentin", "sprachmodell", "assistante", "modèle", "asistente", "intelligenz"))
_SENTENCE_END = re.compile(r"[.!?\n]+")
_MARKS = "\"'`>\u201c\u201e\u00ab\u300c\u300e"
_RUNS = ("  ", "\n ", " \n", "\n\n", "\t", "\r")
_HEAD = 600
_BLANKED = str.maketrans(dict.fromkeys(".,;:!?()[]-/'\"", " "))
_OTHER_LETTERS = re.compile("[\u0370-\u1dff\u3040-\ud7ff\uf900-\ufdff]")


class _Phrases(NamedTuple):
    """What the file says, compiled. `prompt` finds a phrase of the assistant inside a prompt."""

    start: re.Pattern[str]
    strong: re.Pattern[str]
    own: re.Pattern[str]
    anywhere: re.Pattern[str]
    prompt: re.Pattern[str]
    topic: re.Pattern[str]
    piece: re.Pattern[str]
    scope: re.Pattern[str]
    hints: frozenset[str]
    selves: frozenset[str]


@cache
def _phrases() -> _Phrases:
    found = _sections()
    after = r"[,.!:;]?(?: |(?<=[^\x00-\u02ff]))(?:but |that |aber |mais |pero |ma |mas )?"
    lead = rf"(?:(?:{'|'.join(found['lead'])}){after}){{0,3}}"
    preface = rf"(?:(?:{'|'.join(found['preface'])})[^.!?\u3002\n]{{0,90}}?[,.!\u3002;\u060c] ?)?"
    joined = {name: "|".join(lines) for name, lines in found.items()}
    return _Phrases(
        start=re.compile(rf"\W{{0,3}}{preface}{lead}(?P<phrase>{joined['start']})"),
        strong=re.compile(rf"{_OPENING}{lead}(?P<phrase>{joined['strong']})"),
        own=re.compile(rf"{_OPENING}{lead}(?P<phrase>{joined['self']})"),
        anywhere=re.compile(f"(?P<phrase>{joined['anywhere']})"),
        prompt=re.compile("|".join(joined[name] for name in ("about", "strong", "self"))),
        topic=re.compile(joined["topic"]),
        piece=re.compile(joined["piece"]),
        scope=re.compile(joined["scope"]),
        hints=frozenset(" ".join(found["hint"]).split()),
        selves=frozenset(" ".join(found["selves"]).split()),
    )


def _sections() -> dict[str, list[str]]:
    """The file's sections with the names in angle brackets spelt out."""
    found = read_sections("yearling.curate", "phrases.txt", "NFKC")
    names: dict[str, str] = {}

    def spelt(line: str) -> str:
        return re.sub(r"<(\w+)>", lambda match: names[match[1]], line)

    for line in found.pop("names"):
        name, _, meaning = spelt(line).partition(" = ")
        names[name] = f"(?:{meaning})"
    return {section: [spelt(line) for line in lines] for section, lines in found.items()}


@cache
def sign() -> Sign:
    """A hint, with a word of denial or of itself in its sentence where it is an everyday one: as `_near_denial`."""
    phrases = _phrases()

    def either(words: frozenset[str]) -> str:
        return rf"\b(?:{'|'.join(sorted(filter(str.isascii, words)))})\b"

    telling, everyday = either(phrases.hints - _EVERYDAY), either(phrases.hints & _EVERYDAY)
    beside = either(_DENIALS | phrases.selves)
    within = r"[^.!?\n]*"  # one sentence
    return Sign(f"(?i){telling}|{everyday}{within}{beside}|{beside}{within}{everyday}", ("completion",))


def refusal_in(row: Row) -> str | None:
    """The reason why an answer of the row refuses or talks about the assistant, or None."""
    if len(row.turns) <= 2:  # most rows: nothing to go through
        answers = [(row.completion, 1)]
    else:
        answers = [(turn.content, at) for at, turn in enumerate(row.turns) if turn.role == "assistant"]
    for answer, at in answers:
        if reason := _refusal(answer, row, at):
            return reason
    return None


def _refusal(answer: str, row: Row, at: int) -> str | None:
    phrases = _phrases()
    text = _plain(answer)
    words = text.translate(_BLANKED).split()
    other = not text.isascii() and _OTHER_LETTERS.search(text) is not None
    if not other and (phrases.hints.isdisjoint(words) or not _near_denial(text, words, phrases)):
        return None
    of_itself = other or not phrases.selves.isdisjoint(words)
    if any(mark in text for mark in _MARKS):
        text = QUOTED.sub('""', text)
    asked = _plain("\n".join(turn.content for turn in row.turns[:at] if turn.role == "user"))
    if match := phrases.strong.search(text):
        reason = f"refuses the task: {match['phrase']}"
    elif match := phrases.start.match(text, 0, _HEAD):
        if phrases.piece.search(asked):
            return None
        reason = f"opens with a refusal: {match['phrase']}"
    elif of_itself and (match := phrases.own.search(text) or _anywhere(text, other, words, phrases)):
        if phrases.topic.search(asked) and phrases.piece.search(asked):
            return None
        reason = f"speaks as an assistant in place of an answer: {match['phrase']}"
    else:
        return None
    system = _plain("\n".join(turn.content for turn in row.turns[:at] if turn.role == "system"))
    return None if phrases.prompt.search(asked) or phrases.scope.search(system) else reason


def _anywhere(text: str, other: bool, words: list[str], phrases: _Phrases) -> re.Match[str] | None:
    """A phrase that may stand anywhere; in Latin letters each names a machine."""
    return None if not other and _MACHINES.isdisjoint(words) else phrases.anywhere.search(text)


def _near_denial(text: str, words: list[str], phrases: _Phrases) -> bool:
    """Whether a hint is more than an everyday word, or stands in one sentence with a word of denial or of itself."""
    hints = phrases.hints.intersection(words)
    if not hints <= _EVERYDAY:
        return True
    if _DENIALS.isdisjoint(words) and phrases.selves.isdisjoint(words):
        return False
    for sentence in _SENTENCE_END.split(text):
        said = sentence.translate(_BLANKED).split()
        if not hints.isdisjoint(said) and not (_DENIALS.isdisjoint(said) and phrases.selves.isdisjoint(said)):
            return True
    return False


def _plain(text: str) -> str:
    if text.isascii():
        lowered = text.lower().replace("`", "'")
    else:
        lowered = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES).translate(_ALIF)
        lowered = _VOWEL_SIGNS.sub("", lowered)
    if any(run in lowered for run in _RUNS):
        lowered = re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", lowered))
    return lowered
