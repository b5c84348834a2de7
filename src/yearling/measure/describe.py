"""How varied a set of records is: verbs and nouns of its instructions, distinct n-grams, lengths, kinds of work, turns.

In: any records. Out: a `Description`, plain values that go into JSON as they are; every prompt is counted once in
`Asks`: with a verb and its object, with a verb alone, with neither, or in another language than English.
Finds no duplicates and judges nothing. Distinct-n falls as a set grows, so it compares sets of like size only. How
often verb and object are right is said in `verbs.py`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from yearling.measure.english import is_english
from yearling.measure.text import unicode_tokens, word_count
from yearling.measure.verbs import Asked, asked
from yearling.record import Record

TOP_VERBS, TOP_NOUNS = 20, 4  # as in the published pictures
SIZES = 3  # distinct-1 to distinct-3
QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e")  # Latin, full-width, Arabic, Greek


@dataclass(frozen=True, slots=True)
class Spread:
    """The values below which 5, 50 and 95 of a hundred lie (nearest rank)."""

    low: int
    median: int
    high: int


@dataclass(frozen=True, slots=True)
class Texts:
    """One side of the records: how many are not empty, their lengths in words, their distinct-1, -2 and -3."""

    count: int
    words: Spread | None
    distinct: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Verb:
    """A root verb: prompts where it has an object, where it has none, and its most frequent objects."""

    verb: str
    with_object: int
    without_object: int
    nouns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Asks:
    """What the prompts ask for; the first four numbers add up to all prompts."""

    with_object: int
    verb_alone: int
    no_verb: int
    not_english: int
    distinct_verbs: int
    distinct_pairs: int
    top: tuple[Verb, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What a set of records, called `of`, is made of.

    `kinds_given` of its kinds of work were named, the others are guessed; `more_turns` conversations have more than one
    question and answer.
    """

    of: str
    records: int
    asks: Asks
    prompts: Texts
    completions: Texts
    kinds: tuple[tuple[str, int], ...]
    kinds_given: int
    turns: Spread | None
    more_turns: int
    with_system: int

    def plain(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def describe(records: Sequence[Record], of: str = "") -> Description:
    """What a set of records, to be called `of`, is made of."""
    found = [asked(record.prompt) if is_english(record.prompt) else None for record in records]
    kinds = Counter(record.kind or _guess(record.prompt, ask) for record, ask in zip(records, found, strict=True))
    turns = [sum(message.role != "system" for message in record.messages) for record in records]
    return Description(
        of=of,
        records=len(records),
        asks=_asks(records, found),
        prompts=_texts([record.prompt for record in records]),
        completions=_texts([record.completion for record in records]),
        kinds=_ordered(kinds),
        kinds_given=sum(bool(record.kind) for record in records),
        turns=_spread(turns),
        more_turns=sum(count > 2 for count in turns),
        with_system=sum(any(message.role == "system" for message in record.messages) for record in records),
    )


def _guess(prompt: str, ask: Asked | None) -> str:
    """A first guess at the kind of work, where none is named: by grammar, or by the mark at the end."""
    if ask is not None and ask.mood != "statement":
        return ask.mood
    return "question" if prompt.rstrip("\"'”’»)] \n").endswith(QUESTION_MARKS) else "other"


def _asks(records: Sequence[Record], found: Sequence[Asked | None]) -> Asks:
    known = [ask for ask in found if ask]
    pairs = Counter((ask.verb, ask.noun) for ask in known if ask.verb and ask.noun)
    alone = Counter(ask.verb for ask in known if ask.verb and not ask.noun)
    verbs: Counter[str] = Counter()
    nouns: dict[str, Counter[str]] = {}
    for (verb, noun), count in pairs.items():
        verbs[verb] += count
        nouns.setdefault(verb, Counter())[noun] += count
    top = tuple(
        Verb(verb, count, alone[verb], _ordered(nouns[verb])[:TOP_NOUNS]) for verb, count in _ordered(verbs)[:TOP_VERBS]
    )
    # a prompt without letters is in no language, so it counts as one without a verb
    foreign = sum(
        ask is None and any(c.isalpha() for c in record.prompt) for record, ask in zip(records, found, strict=True)
    )
    with_object, verb_alone = pairs.total(), alone.total()
    no_verb = len(records) - with_object - verb_alone - foreign
    return Asks(with_object, verb_alone, no_verb, foreign, len(verbs.keys() | alone.keys()), len(pairs), top)


def _ordered(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    """The most frequent first; those of equal counts by name, so that the order of the records does not matter."""
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _texts(texts: Sequence[str]) -> Texts:
    told = [text for text in texts if text.strip()]
    return Texts(len(told), _spread([word_count(text) for text in told]), distinct(told))


def _spread(values: Sequence[int]) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    low, median, high = (ordered[ceil(share * len(ordered) / 100) - 1] for share in (5, 50, 95))
    return Spread(low, median, high)


def distinct(texts: Iterable[str]) -> tuple[float | None, ...]:
    """Distinct-1, -2 and -3: n-grams of words that differ, by all n-grams; None where there is none that long.

    No n-gram runs from one text into the next. Exact, in about 50 bytes a word of all texts together.
    """
    import numpy as np

    numbers: dict[str, int] = {}
    stream = array("q", [-1])  # word numbers, -1 between texts
    for text in texts:
        stream.extend(numbers.setdefault(token, len(numbers)) for token in unicode_tokens(text))
        stream.append(-1)
    words = np.frombuffer(stream, dtype=np.int64)
    grams, shares = words, []
    for size in range(1, SIZES + 1):
        whole = grams >= 0
        seen = np.unique(grams[whole])
        shares.append(len(seen) / int(whole.sum()) if len(seen) else None)
        # the next size: which n-gram it begins with, and the word that follows
        rank, following = np.where(whole, np.searchsorted(seen, grams), -1)[:-1], words[size:]
        grams = np.where((rank >= 0) & (following >= 0), rank * len(numbers) + following, -1)
    return tuple(shares)
