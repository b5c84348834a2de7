"""Insults, threats and contempt in the answers of a row, by the lexicon of `toxic.txt`.

In: a row. Out: an Opinion with a score from 0 to 1; from FAILS_AT on the row fails.
A word alone says little: what counts is who is addressed, so each expression holds the second person or a group.
Quoted passages and lines of a play are left out, and a row whose prompt asks for such texts, or about them, stays.
Does not judge what is said politely, and does not read the prompt for insults.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import cache
from itertools import chain
from typing import NamedTuple

from yearling.curate.rows import QUOTED, Opinion, Row
from yearling.measure.phrase_file import sections as read_sections

FAILS_AT = 0.5
REACH = 14  # words that an expression spans at most, as good as always
SLUR, THREAT, INSULT, GROUP, NEAR, WEAK = 1.0, 0.9, 0.8, 0.8, 0.5, 0.3
_WEIGHTS = {
    "threat": (THREAT, "threatens"),
    "insult": (INSULT, "insults"),
    "group": (GROUP, "scorns a group"),
    "near": (NEAR, "insults"),
    "weak": (WEAK, "is rude"),
}

_FOLDED = str.maketrans(
    "\u2019\u2018\u02bc`\u00b4\u0623\u0625\u0622\u0671\uff0c\uff01\uff1f\uff1b\u061f\u060c",
    "'''''\u0627\u0627\u0627\u0627,!?;?,",
    "\u0640\u200b\u200d\u200e\u200f\ufeff",
)
_VOWEL_SIGNS = re.compile("[\u0307\u064b-\u0652\u0670]")
_MARKS = '.,;:!?()[]"*_\u2014\u2013\u2026\u00a1\u00bf\u3002'
_BLANKED = str.maketrans(dict.fromkeys(_MARKS, " "))
_BLANKED_BYTES = bytes(32 if chr(byte) in _MARKS else byte for byte in range(128)) + bytes(128)
# Scripts whose words do not stand between spaces, or carry endings that are written on.
_RUN_ON = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SPOKEN = re.compile(r"(?:^|\n)\W{0,3}[^\W\d][\w .'-]{0,24}(?: \([^)\n]{1,40}\))?\W{0,3}: ?[^\n]*")


class _Lexicon(NamedTuple):
    """What the file says, compiled; `listed` has for each word the expressions that call for it, as two sets of bits.

    An expression is tried where one of its words stands in either set; `alone` are those with no words in the second.
    """

    words: frozenset[str]
    slurs: frozenset[str]
    listed: dict[str, tuple[int, int]]
    alone: int
    run_on: tuple[str, ...]
    patterns: list[tuple[str, str]]
    calls: list[tuple[frozenset[str], frozenset[str]]]
    phrases: list[tuple[str, ...]]  # of each expression: one of them stands wherever it matches
    reported: re.Pattern[str]
    denied: re.Pattern[str]
    asked: re.Pattern[str]


@cache
def _lexicon() -> _Lexicon:
    sections = read_sections("yearling.curate", "toxic.txt")
    names = {name: meaning for name, _, meaning in (line.partition(" = ") for line in sections["names"])}
    either = {name: _either(meaning.split("|")) for name, meaning in names.items()}
    listed: dict[str, tuple[int, int]] = {}
    patterns: list[tuple[str, str]] = []
    called: list[tuple[frozenset[str], frozenset[str]]] = []
    said: list[tuple[str, ...]] = []
    for kind in _WEIGHTS:
        for line in sections[kind]:
            words, _, expression = line.partition(" : ")
            first, second, phrases = f"{words} &  & ".split(" & ")[:3]
            calls, others = _words(first, names), _words(second, names)
            bit = 1 << len(patterns)
            for word in calls | others:
                known = listed.get(word, (0, 0))
                listed[word] = known[0] | bit * (word in calls), known[1] | bit * (word in others)
            called.append((calls, others))
            said.append(tuple(filter(None, phrases.split("|"))))
            patterns.append((kind, re.sub(r"<(\w+)>", lambda match: either[match[1]], expression)))
    slurs = frozenset(codecs.decode(" ".join(sections["slur"]), "rot13").split())
    return _Lexicon(
        words=frozenset(listed) | slurs,
        slurs=slurs,
        listed=listed,
        alone=sum(1 << index for index, (_, others) in enumerate(called) if not others),
        run_on=tuple(word for word, (first, _) in listed.items() if first and _RUN_ON.match(word)),
        patterns=patterns,
        calls=called,
        phrases=said,
        reported=re.compile("|".join(sections["reported"])),
        denied=re.compile("|".join(sections["denied"])),
        asked=re.compile("|".join(sections["asked"])),
    )


def _either(words: list[str]) -> str:
    """The words as alternatives, those with one beginning together: the same matches, found in a fraction of the time.

    What begins differently excludes itself, so that only the order of words with one beginning has to be kept.
    """
    if len(words) < 2 or "" in words:
        return "|".join(words)
    ends: dict[str, list[str]] = {}
    for word in words:
        ends.setdefault(word[0], []).append(word[1:])
    return "|".join(
        f"{letter}(?:{_either(rest)})" if len(rest) > 1 else letter + rest[0] for letter, rest in ends.items()
    )


def _words(part: str, names: dict[str, str]) -> frozenset[str]:
    """The words of a list, @name spelt out; of an entry of several words the first."""
    entries = [entry for word in part.split() for entry in (names[word[1:]].split("|") if word[0] == "@" else [word])]
    return frozenset(entry.split()[0] for entry in entries)


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    """Compiled when first called for: most expressions of most languages never are."""
    return re.compile(expression)


def toxicity(row: Row) -> Opinion:
    """How likely an answer of the row insults, threatens or scorns; the reason names what it found."""
    score, reason = 0.0, ""
    if len(row.turns) <= 2:  # most rows: nothing to go through
        score, reason = _answer(row.completion, row, 1)
    else:
        for at, turn in enumerate(row.turns):
            if turn.role == "assistant":
                score, reason = max((score, reason), _answer(turn.content, row, at))
    return Opinion("fail", reason, score) if score >= FAILS_AT else Opinion("pass", score=score)


def _answer(text: str, row: Row, at: int) -> tuple[float, str]:
    lexicon = _lexicon()
    plain = _plain(text)
    words = _blanked(plain).split()
    met = lexicon.words.intersection(words)
    if not text.isascii() and _RUN_ON.search(plain):
        met = met.union(word for word in lexicon.run_on if word in plain)
    due = [index for index in _due(met, lexicon) if _says(plain, lexicon.phrases[index])]
    if due and text.isascii():
        due = _together(due, words, lexicon)
    if not (due or met & lexicon.slurs) or not _weigh(plain, due, lexicon)[1]:
        return 0.0, ""
    # Quotes and the prompt are looked at last: most rows never get here.
    score, reason = _weigh(_spoken(plain), due, lexicon)
    if not reason:
        return 0.0, ""
    asked = _plain("\n".join(turn.content for turn in row.turns[:at] if turn.role != "assistant"))
    return (0.0, "") if lexicon.asked.search(asked) else (score, reason)


def _due(met: frozenset[str], lexicon: _Lexicon) -> list[int]:
    """The expressions to try: one of their words is there, and one of the others where they name any."""
    first, second = 0, lexicon.alone
    for word in met:
        listed = lexicon.listed.get(word, (0, 0))
        first |= listed[0]
        second |= listed[1]
    left, due = first & second, []
    while left:
        bit = left & -left
        due.append(bit.bit_length() - 1)
        left ^= bit
    return due


def _says(text: str, phrases: tuple[str, ...]) -> bool:
    return not phrases or any(map(text.__contains__, phrases))


def _together(due: list[int], words: list[str], lexicon: _Lexicon) -> list[int]:
    """Of the expressions to try those whose words stand within `REACH` words of one another."""
    wanted = frozenset[str]().union(*chain.from_iterable(lexicon.calls[index] for index in due))
    places = [(place, word) for place, word in enumerate(words) if word in wanted]
    kept = []
    for index in due:
        calls, others = lexicon.calls[index]
        near = [place for place, word in places if word in others]
        if not others or any(abs(place - other) <= REACH for place, word in places if word in calls for other in near):
            kept.append(index)
    return kept


def _weigh(text: str, due: list[int], lexicon: _Lexicon) -> tuple[float, str]:
    """One minus the product of what each find leaves; the reason is the heaviest find."""
    left, finds = 1.0, [(0.0, "")]
    if not lexicon.slurs.isdisjoint(_blanked(text).split()):
        left, finds = 0.0, [(SLUR, "the answer holds a slur")]
    for index in due:
        kind, expression = lexicon.patterns[index]
        weight, verb = _WEIGHTS[kind]
        for match in _compiled(expression).finditer(text):
            before = text[max(0, match.start() - 90) : match.start()]
            # A threat may well begin with "if".
            if not lexicon.reported.search(before) and (kind == "threat" or not lexicon.denied.search(before)):
                left *= 1 - weight
                finds.append((weight, f"the answer {verb}: {match[0].strip()[:80]}"))
                break
    return 1 - left, max(finds)[1]


def _spoken(text: str) -> str:
    """The text without what it quotes, and without the lines of a play where there are two or more."""
    if len(_SPOKEN.findall(text)) > 1:
        text = _SPOKEN.sub("\n", text)
    unquoted = QUOTED.sub('""', text)
    # What is quoted nearly whole is the answer itself, such as a message to be sent.
    return unquoted if len(unquoted) > 0.4 * len(text) else text


def _blanked(text: str) -> str:
    """With spaces in place of marks."""
    return text.encode().translate(_BLANKED_BYTES).decode() if text.isascii() else text.translate(_BLANKED)


def _plain(text: str) -> str:
    if text.isascii():
        lowered = text.lower().replace("`", "'")
    else:
        lowered = _VOWEL_SIGNS.sub("", unicodedata.normalize("NFC", text).lower().translate(_FOLDED))
    return re.sub(r"[^\S\n]+", " ", lowered) if "  " in lowered or "\t" in lowered else lowered
