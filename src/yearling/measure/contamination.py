"""Does a text hold a question of a test set, word for word or nearly so?

In: questions with names, once; then texts, one turn at a time, or a column of the `unicode_tokens` of many. Out: the
name of the question that a text holds and how much of it, or None. Reads no test set from anywhere, and does not know
paraphrases: what is asked in other words is not found here.

A text holds a question where one of these is true; tokens stand for words, case and punctuation do not count.

1. Thirteen tokens in a row stand in both. This is the rule by which GPT-3's training data was cleaned: Brown et al.
   2020, "Language Models are Few-Shot Learners", appendix C. There N was 13 for longer test sets and less for short
   ones, and N-grams found in more than ten documents were let go, as boilerplate. Here N is 13, rules 2 and 3 are for
   short questions; three tokens that would lead to more than 64 questions lead to none, and numbers alone neither.
2. A question of 5 to 128 tokens stands in the text with a word or two changed: three quarters of its tokens follow in
   order within about its length, all its numbers are there, and where a token is missing three fifths of its words
   that carry meaning, and at least three of them.
3. A question of 3 or 4 tokens, or with fewer than two words that carry meaning, is the whole text but for three tokens.

Rule 1 is kept without exception but for boilerplate. Of rule 2 all is found where at most two places are changed in a
question of nine or more tokens, at most one in six or more; else most. Questions under three tokens are left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import pairwise, repeat
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rapidfuzz.distance import LCSseq

from yearling.errors import UserError
from yearling.measure.text import unicode_tokens

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # of the file
GRAM = 13  # tokens in a row that nothing but the question itself explains
KEY = 3  # tokens in a row by which questions are looked up
PART = 7  # each stretch of so many tokens has a key, so that any 13 in a row hold a whole one
BITS = 21  # of a token's number: three of them fit into one word
WORDS = 0x110000  # different words of all questions, at most: a token's number is also a character
AT_ONCE = 1_000_000  # places where a question may stand that are looked at together; bounds memory
SHARED = 64  # questions with one key; beyond that it is the test set's own wording
PAIRS = 4096  # places of a text that are compared with a question; bounds what a hostile text costs
NEAR = (5, 128)  # tokens of a question that may stand changed
SLACK = 2  # tokens more on either side of a changed question
KEPT, MEANT, FEWEST = 0.75, 0.6, 3  # share of tokens in order; share and least number of words with meaning
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: mixes a key's bits into the upper ones

# Words by which no question is told from another; other languages' are too few to matter.
EMPTY = """
a an the of in on at to for from by with as is are was were be been do does did has have had can could would should
will may might must and or not no if than that this these those it its he she they them his her their there what which
who whom whose when where why how many much some any all into about between you your i me my we us our s t following
please tell name give
der die das den dem des ein eine einen einem einer und oder ist sind war wie wer wo wann warum welche welcher welches
wird werden hat haben im am auf von zu zum zur mit für bei es er sie man viele
le la les l un une du de d et ou est sont que qui quel quelle quels quelles comment pourquoi où quand combien dans
en au aux pour par sur ce cette il elle
el los las una unos del y o son qué cual cuál quien quién cómo por para con donde dónde cuando
cuándo cuánto cuántos cuántas se su
"""
EMPTY_WORDS = frozenset(EMPTY.split())

Array = np.ndarray[Any, np.dtype[Any]]


class Leak(NamedTuple):
    """The question that a text holds, and the share of its tokens that stand there in order."""

    name: str
    share: float


class Keys(NamedTuple):
    """Three tokens in a row as one number, sorted; the question that each leads to, and its place there.

    `others` is another three of the same stretch, which has to be there as well, so many tokens `further` on.
    """

    codes: Array
    questions: Array
    places: Array
    others: Array
    further: Array


class Leaks:
    """The questions of test sets, searchable for those that a text holds."""

    def __init__(self, names: list[str], words: list[str], tokens: Array, ends: Array, keys: Keys) -> None:
        """`tokens` holds the numbers of all questions' words, from 1, one question after another, each to its end."""
        self._names, self._words, self._tokens, self._ends, self._keys = names, words, tokens, ends, keys
        self._numbers = {word: number for number, word in enumerate(words, 1)}
        self._said = _as_text(tokens)
        self._bounds = [0, *ends.tolist()]
        # As characters: numbers, which have to stay, and words that carry meaning.
        self._digits, self._meant = (
            {chr(number) for number, word in enumerate(words, 1) if holds(word)}
            for holds in (str.isdecimal, lambda word: word not in EMPTY_WORDS)
        )
        bits = min(max((len(keys.codes) * 64).bit_length(), 18), 24)
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, np.bool_)  # by the mixed key: may a question have it?
        self._maybe[self._slots(keys.codes)] = True

    def __len__(self) -> int:
        return len(self._names)

    @classmethod
    def build(cls, questions: Iterable[tuple[str, str]]) -> Leaks:
        """From names and questions; of equal questions the first counts."""
        numbers: dict[str, int] = {}
        names: list[str] = []
        seen: set[tuple[int, ...]] = set()
        flat: list[int] = []
        ends: list[int] = []
        for name, question in questions:
            tokens = tuple(numbers.setdefault(token, len(numbers) + 1) for token in unicode_tokens(question))
            if len(tokens) >= KEY and tokens not in seen:
                seen.add(tokens)
                names.append(name)
                flat.extend(tokens)
                ends.append(len(flat))
        if len(numbers) >= WORDS:
            raise UserError(f"the test sets hold {len(numbers)} different words, more than {WORDS}. Take fewer.")
        words, packed, stops = list(numbers), np.array(flat, np.uint32), np.array(ends, np.int64)
        # A run of numbers alone says nothing of where it comes from: length 0 keeps them out of the keys.
        lengths = np.array([0, *(0 if word.isdecimal() else len(word) for word in words)], np.int64)
        return cls(names, words, packed, stops, _keys(packed, stops, lengths))

    def save(self, path: Path) -> None:
        """Write all of it to one file, which `load` reads."""
        about = json.dumps({"version": VERSION, "names": self._names, "words": self._words})
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as file:
            np.savez(
                file,
                about=np.frombuffer(about.encode(), np.uint8),
                tokens=self._tokens,
                ends=self._ends,
                **self._keys._asdict(),
            )
        os.replace(fresh, path)

    @classmethod
    def load(cls, path: Path) -> Leaks:
        """Read what `save` wrote.

        Raises UserError where another version wrote it.
        """
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if about["version"] != VERSION:
                told = f"{path} has format {about['version']}, and this yearling reads {VERSION}."
                raise UserError(f"{told} Delete it to have it made anew.")
            keys = Keys(*(arrays[field] for field in Keys._fields))
            return cls(about["names"], about["words"], arrays["tokens"], arrays["ends"], keys)

    def leak(self, text: str) -> Leak | None:
        """The question that a text holds, the one with the greatest share, or None; one turn is one text."""
        tokens = unicode_tokens(text)
        # 0 for a word that no question has: no key holds it.
        numbers = np.fromiter(map(self._numbers.get, tokens, repeat(0)), np.uint64, len(tokens))
        return self._leaks(numbers, np.array([0]), np.array([len(tokens)]))[0]

    def leaks_in_columns(self, tokens: pa.Array, starts: Array, ends: Array) -> list[Leak | None]:
        """`leak` of each of many texts, at a fraction of what one by one would cost.

        One column holds all their `unicode_tokens`, those of text i from `starts[i]` to before `ends[i]`. Texts are in
        order and share no token; between two there may be tokens that are no words.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        known = pc.index_in(tokens, value_set=pa.array(self._words, tokens.type)).fill_null(-1)
        return self._leaks((known.to_numpy().astype(np.int64) + 1).view(np.uint64), starts, ends)

    def _leaks(self, numbers: Array, starts: Array, ends: Array) -> list[Leak | None]:
        found: list[Leak | None] = [None] * len(ends)
        if not len(self._keys.codes) or len(numbers) < KEY:
            return found
        said = _as_text(numbers)
        of, *places = self._places(_codes(numbers), starts, ends)
        for text, some in _groups(of):
            candidates = zip(*(column.data[some] for column in places), strict=True)
            found[text] = self._greatest(said[starts[text] : ends[text]], candidates)
        return found

    def _slots(self, codes: Array) -> Array:
        slots: Array = ((codes * SPREAD) >> self._shift).view(np.int64)
        return slots

    def _places(self, codes: Array, starts: Array, ends: Array) -> tuple[Array, Array, Array, Array]:
        """In which text, counted from its start: a question that may stand there, where it would begin, where its key
        stands."""
        keys, hits = self._keys, self._maybe[self._slots(codes)].nonzero()[0]
        entries = keys.codes.searchsorted(codes[hits])
        counts = keys.codes.searchsorted(codes[hits], "right") - entries
        found = []
        for part in _parts(counts, AT_ONCE):
            at, many = np.repeat(hits[part], counts[part]), counts[part]
            entry = np.repeat(entries[part] - (many.cumsum() - many), many) + np.arange(len(at))
            of = ends.searchsorted(at, "right")
            beside = at + keys.further[entry]
            inside = (at + KEY <= ends[of]) & (beside >= starts[of]) & (beside + KEY <= ends[of])
            at, entry, of, beside = at[inside], entry[inside], of[inside], beside[inside]
            both = codes[beside] == keys.others[entry]
            at, entry, of = at[both] - starts[of[both]], entry[both], of[both]
            found.append((of, keys.questions[entry], at - keys.places[entry], at))
        of, question, start, at = (np.concatenate(column) for column in zip(*found, strict=True))
        return of, question, start, at

    def _greatest(self, text: str, places: Iterable[tuple[int, int, int]]) -> Leak | None:
        found: dict[int, float] = {}  # of each question that leaks, its share
        compared: set[tuple[int, int]] = set()
        for question, start, at in places:
            if question in found or (question, start) in compared:
                continue
            if len(compared) == PAIRS:
                break
            compared.add((question, start))
            if share := self._share(question, start, text, at):
                found[question] = share
        if not found:
            return None
        question = min(found, key=lambda question: (-found[question], question))
        return Leak(self._names[question], found[question])

    def _share(self, number: int, start: int, text: str, at: int) -> float:
        """The share of a question that stands in the text from `start`, one token of it `at`; 0 if it is no leak."""
        question = self._said[self._bounds[number] : self._bounds[number + 1]]
        length = len(question)
        window = text[max(start - SLACK, 0) : start + length + SLACK]
        if length >= GRAM and _run(question, at - start, text, at):
            return float(LCSseq.similarity(question, window) / length)
        if length > NEAR[1]:
            return 0.0
        common = LCSseq.similarity(question, window, score_cutoff=ceil(length * KEPT))
        if not common:
            return 0.0
        meant = self._meant.intersection(question)
        if length < NEAR[0] or len(meant) < 2:
            holds = common == length and len(text) <= length + 3
        else:
            holds = common == length or self._near(question, meant, set(window))
        return float(common / length) if holds else 0.0

    def _near(self, question: str, meant: set[str], window: set[str]) -> bool:
        if not self._digits.intersection(question) <= window:
            return False
        return len(meant & window) >= max(FEWEST, MEANT * len(meant))


def _as_text(numbers: Array) -> str:
    """Tokens' numbers as a text of one character each: cut, compared and looked through fast."""
    return numbers.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _run(question: str, place: int, text: str, at: int) -> bool:
    """Whether GRAM tokens in a row are the same around a shared one."""
    half = GRAM // 2  # a quick look: so many before it are the same, or more from it on
    after = question[place : place + half + 2] == text[at : at + half + 2]
    if not (after or (min(place, at) >= half and question[place - half : place] == text[at - half : at])):
        return False
    firsts = range(max(1 - GRAM, -place, -at), 1)
    return any(
        question[place + first : place + first + GRAM] == text[at + first : at + first + GRAM]
        for first in firsts
        if place + first + GRAM <= len(question)
    )


def _groups(of: Array) -> Iterator[tuple[int, slice]]:
    """The different entries of `of`, which is in order, and where each stands."""
    edges = [*np.flatnonzero(np.diff(of, prepend=-1)).tolist(), len(of)]
    for start, end in pairwise(edges):
        yield int(of[start]), slice(start, end)


def _parts(counts: Array, most: int) -> Iterator[slice]:
    """Runs of places whose counts come to about `most`; at least one run."""
    sums, start = counts.cumsum(), 0
    while start < len(counts) or start == 0:
        before = sums[start - 1] if start else 0
        end = max(int(sums.searchsorted(before + most, "right")), start + 1)
        yield slice(start, end)
        start = end


def _codes(numbers: Array) -> Array:
    bits = np.uint64(BITS)
    codes: Array = (((numbers[:-2] << bits) | numbers[1:-1]) << bits) | numbers[2:]
    return codes


def _keys(tokens: Array, ends: Array, lengths: Array) -> Keys:
    """The rarest key of each part of each question; of equals that with the longest words, which texts have less often.

    `lengths` is by number of a word. A question has one part up to 5 tokens, two up to 8, then at least three, and at
    least one for each PART tokens.
    """
    if len(tokens) < KEY:
        return Keys(*(np.zeros(0, kind) for kind in (np.uint64, np.int32, np.int32, np.uint64, np.int32)))
    sizes = np.diff(ends, prepend=0)
    parts = np.maximum(np.clip(sizes // KEY, 1, 3), -(-sizes // PART))
    question = np.repeat(np.arange(len(ends)), sizes)
    place = np.arange(len(tokens)) - (ends - sizes)[question]
    part = place * parts[question] // sizes[question] + (np.cumsum(parts) - parts)[question]
    codes = _codes(tokens.astype(np.uint64))
    _, which, counts = np.unique(codes, return_inverse=True, return_counts=True)
    letters = lengths[tokens]
    letters = letters[:-2] + letters[1:-1] + letters[2:]
    inside = ((part[:-2] == part[2:]) & (letters > 0)).nonzero()[0]
    order = inside[np.lexsort((-letters[inside], counts[which[inside]], part[inside]))]
    chosen = order[np.diff(part[order], prepend=-1) != 0]  # one for each part
    edges = np.bincount(part).cumsum()
    low, high = (edges - np.bincount(part))[part[chosen]], edges[part[chosen]] - KEY
    others = np.where(chosen - low > high - chosen, low, high)
    _, which, counts = np.unique(codes[chosen], return_inverse=True, return_counts=True)
    kept = np.argsort(codes[chosen], kind="stable")
    kept = kept[counts[which[kept]] <= SHARED]
    chosen, others = chosen[kept], others[kept]
    columns = (question[chosen], place[chosen], others - chosen)
    questions, places, further = (column.astype(np.int32) for column in columns)
    return Keys(codes[chosen], questions, places, codes[others], further)
