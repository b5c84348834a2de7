"""Rows for the curation benchmark: instruction-like texts with planted copies and templates, and the truth of them.

In: a number of rows and a seed. Out, in a folder: `records/` as an import leaves them, `texts/` with the same texts as
columns `id` and `text`, `truth.parquet`, and `made.json`, written last. The first rows are the same however many
follow, so a sample is the first rows; a copy always comes after its original.

The texts say nothing. They have the lengths, the openings and the Zipf words of instructions (the shipped seeds' words
by their frequency, then made-up ones), about 25 words a prompt and 75 an answer. Of a hundred about

  80  of their own
   5  an earlier row with one to five of its words changed, lost or added: at least 0.8 of the word pairs of the prompt,
      of those of the answer, and of the 5-grams of both as one text are the same (Jaccard); the truth has all three
   5  an earlier row to the letter
  10  of a template: 50 to 60 % of the words of prompt and answer are those of all its rows, the rest is their own. Some
      templates have thousands of rows. These are no copies.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from yearling.measure.text import rouge_tokens
from yearling.record import Message, Origin, Record, write_arrow, write_records

SEEDS = Path(__file__).resolve().parents[1] / "src/yearling/generate/seeds.jsonl"
VERSION = 1  # of the texts: raised whenever the same seed makes others
PART = 5000  # rows of a file
ALIKE = 0.8  # likeness of a near copy to its original, at least
KINDS = ("own", "near", "exact", "template")
SHARES = (0.80, 0.05, 0.05, 0.10)
POOL = 20_000  # rows that a copy may be of, held in memory
TEMPLATES, IN_PROMPT, IN_ANSWER = 2000, 24, 76  # and the words of their rows
FRAME = (0.5, 0.6)  # share of a template row's words that are the template's

WORDS = 40_000  # different words; those of the seeds by their frequency, then made-up ones
SYLLABLES = ("ba", "ko", "ri", "ten", "mu", "sal", "ve", "dor", "pin", "ga", "lo", "chi", "fen", "tru", "as", "wy")
OPENING = 6  # words of a seed's beginning, at most
SHORTEST = 4  # words of a sentence
PLAIN, CAPITAL, COMMA, STOP = range(4)  # forms of a word: as it is, beginning a sentence, before a mark
Codes = npt.NDArray[np.int64]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Words:
    """All words in all forms (`forms[word * 4 + form]`), what of chance each has, the beginnings of seeds."""

    forms: pa.Array
    chance: npt.NDArray[np.float64]
    openings: Codes  # padded with -1

    def drawn(self, rng: np.random.Generator, shape: Any) -> Codes:
        """Words by chance; one of a hundred is a number."""
        codes = np.searchsorted(self.chance, rng.random(shape), side="right")
        numbers = rng.integers(WORDS, WORDS + 98, shape)
        return np.where(rng.random(shape) < 0.01, numbers, np.minimum(codes, WORDS - 1)).astype(np.int64)


@dataclass(frozen=True)
class Templates:
    """For each template its words, which of them all its rows share, and the forms of its words."""

    words: Codes
    shared: npt.NDArray[np.bool_]
    forms: Codes
    chance: npt.NDArray[np.float64]


@dataclass
class Maker:
    """The state that goes from part to part: chance, the rows that may be copied, how many were made."""

    words: Words
    templates: Templates
    rng: np.random.Generator
    fine: random.Random
    made: int = 0
    pool: list[tuple[int, Pair]] = field(default_factory=list)


@dataclass
class Part:
    """The rows of one file and the truth of each."""

    first: int
    texts: list[Pair] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)


def make(folder: Path, rows: int, seed: int = 1) -> None:
    """Write so many rows, a multiple of `PART`; a folder that has them already is left as it is."""
    if rows % PART:
        raise ValueError(f"rows come in parts of {PART}")
    mark, asked = folder / "made.json", {"version": VERSION, "seed": seed}
    known = json.loads(mark.read_text(encoding="utf-8")) if mark.exists() else {}
    if known.get("rows", 0) >= rows and {name: known[name] for name in asked} == asked:
        return
    mark.unlink(missing_ok=True)
    maker, truth = maker_of(seed), []
    while maker.made < rows:
        part = next_part(maker)
        name = f"part-{part.first // PART:05d}.parquet"
        write_records(_records(part), folder / "records" / name)
        ids = pa.array([str(part.first + place) for place in range(len(part.texts))])
        write_arrow(pa.table({"id": ids, "text": [whole(*pair) for pair in part.texts]}), folder / "texts" / name)
        truth.append(pa.Table.from_pylist(part.truth))
    write_arrow(pa.concat_tables(truth), folder / "truth.parquet")
    mark.write_text(json.dumps(asked | {"rows": rows}), encoding="utf-8")


def parts_of(folder: Path, kind: str, rows: int) -> list[Path]:
    """The files of the first rows; `kind` is "records" or "texts"."""
    return sorted((folder / kind).glob("*.parquet"))[: -(-rows // PART)]


def truth_of(folder: Path, rows: int) -> pa.Table:
    """What is known of the first rows: row, kind, of (the original, or the row itself), template, likenesses."""
    return pq.read_table(folder / "truth.parquet").slice(0, rows)


def score(truth: pa.Table, kept: Codes) -> dict[str, float]:
    """How right it is that each row has the same text as the row `kept` names (itself, or the first of its cluster).

    `recall` is of the near copies, `recall_exact` of the exact ones; `precision` is of all rows that something else
    is kept for, the share that are copies of just that; `templates` counts the rows of templates among the rest.
    """
    kinds, of = np.array(truth["kind"].to_pylist()), truth["of"].to_numpy()
    joined = kept == kept[of]
    lost = np.flatnonzero(kept != np.arange(len(kept)))
    right = of[lost] == of[kept[lost]]
    return {
        "recall": float(joined[kinds == "near"].mean()),
        "recall_exact": float(joined[kinds == "exact"].mean()),
        "precision": float(right.mean()) if len(lost) else 1.0,
        "lost": len(lost),
        "wrong": int(np.count_nonzero(~right)),
        "templates": int(np.count_nonzero(kinds[lost[~right]] == "template")),
    }


def whole(prompt: str, answer: str) -> str:
    """Prompt and answer as one text."""
    return f"{prompt}\n\n{answer}"


def maker_of(seed: int) -> Maker:
    """The maker before its first part."""
    rng = np.random.default_rng(seed)
    words = _words()
    return Maker(words, _templates(words, rng), rng, random.Random(seed))


def next_part(maker: Maker) -> Part:
    """The next `PART` rows."""
    kinds = maker.rng.choice(len(KINDS), PART, p=SHARES)
    own = iter(_own(maker, int(np.count_nonzero(kinds != KINDS.index("template")))))
    framed = iter(_framed(maker, int(np.count_nonzero(kinds == KINDS.index("template")))))
    part = Part(maker.made)
    for row, number in enumerate(kinds.tolist(), maker.made):
        kind, of, likeness, template = KINDS[number], row, (1.0, 1.0, 1.0), -1
        if kind == "template":
            template, pair = next(framed)
        elif kind == "own" or not maker.pool:
            kind, pair = "own", next(own)
            _remember(maker, row, pair)
        else:
            of, pair = _taken(maker)
            if kind == "near":
                pair, likeness = nearly(pair, maker.fine, maker.words)
        part.texts.append(pair)
        sides = dict(zip(("prompt", "answer", "text"), likeness, strict=True))
        part.truth.append({"row": row, "kind": kind, "of": of, "template": template, **sides})
    maker.made += PART
    return part


def _remember(maker: Maker, row: int, pair: Pair) -> None:
    if len(maker.pool) < POOL:
        maker.pool.append((row, pair))
    else:
        maker.pool[maker.fine.randrange(POOL)] = row, pair


def _taken(maker: Maker) -> tuple[int, Pair]:
    """A row to copy; no row is copied twice."""
    place = maker.fine.randrange(len(maker.pool))
    maker.pool[place], maker.pool[-1] = maker.pool[-1], maker.pool[place]
    return maker.pool.pop()


# -- words


def _words() -> Words:
    rows = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    text = " ".join(" ".join((row["instruction"], row["input"], row["output"])) for row in rows)
    known = [word for word, _ in Counter(re.findall(r"[a-z]+", text.lower())).most_common()]
    made = ("".join(parts) for count in (3, 4) for parts in itertools.product(SYLLABLES, repeat=count))
    ranked = list(itertools.islice(dict.fromkeys(itertools.chain(known, made)), WORDS))
    weights = np.arange(2.7, WORDS + 2.7) ** -1.1
    place = {word: number for number, word in enumerate(ranked)}
    openings = np.full((len(rows), OPENING), -1, np.int64)
    for number, row in enumerate(rows):
        first = re.findall(r"[a-z]+", row["instruction"].lower())[: 3 + number % (OPENING - 2)]
        openings[number, : len(first)] = [place[word] for word in first]
    forms = [
        form
        for word in [*ranked, *map(str, range(2, 100))]
        for form in (word, word.capitalize(), f"{word},", f"{word}.")
    ]
    return Words(pa.array(forms), np.cumsum(weights / weights.sum()), openings)


def _forms(place: Codes, length: Codes, sentence: Codes, commas: npt.NDArray[np.bool_]) -> Codes:
    """The form of each word, from its place in its text, the text's length and that of its sentences."""
    left = length - place
    begins = (place % sentence == 0) & (left >= SHORTEST)
    ends = ((place + 1) % sentence == 0) & (left > SHORTEST) | (left == 1)
    return np.where(ends, STOP, np.where(begins, CAPITAL, np.where(commas, COMMA, PLAIN)))


def _joined(words: Words, codes: Codes, forms: Codes, lengths: Codes) -> list[str]:
    """Texts of so many words each."""
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = words.forms.take(pa.array(codes * 4 + forms))
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), tokens), " ").to_pylist()


# -- rows of their own


def _own(maker: Maker, count: int) -> list[Pair]:
    rng = maker.rng
    lengths = np.stack([rng.integers(12, 39, count), rng.integers(40, 111, count)], axis=1).ravel()
    starts = np.cumsum(lengths) - lengths
    codes = maker.words.drawn(rng, int(lengths.sum()))
    chosen = maker.words.openings[rng.integers(0, len(maker.words.openings), count)]
    chosen[rng.random(count) < 0.3] = -1  # no beginning of a seed
    for place in range(OPENING):
        here = chosen[:, place] >= 0
        codes[starts[::2][here] + place] = chosen[here, place]
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    sentence = np.repeat(rng.integers(8, 15, len(lengths)), lengths)
    forms = _forms(place, np.repeat(lengths, lengths), sentence, rng.random(len(codes)) < 0.06)
    texts = _joined(maker.words, codes, forms, lengths)
    return list(zip(texts[::2], texts[1::2], strict=True))


# -- rows of templates


def _templates(words: Words, rng: np.random.Generator) -> Templates:
    shared = np.stack(
        [np.concatenate([_frame(rng, size) for size in (IN_PROMPT, IN_ANSWER)]) for _ in range(TEMPLATES)]
    )
    sentence = rng.integers(8, 15, (TEMPLATES, 1))
    forms = [
        _forms(np.arange(size)[None, :], np.full((1, 1), size), sentence, rng.random((TEMPLATES, size)) < 0.06)
        for size in (IN_PROMPT, IN_ANSWER)
    ]
    chance = np.cumsum(1 / np.arange(10, TEMPLATES + 10))
    return Templates(words.drawn(rng, shared.shape), shared, np.concatenate(forms, axis=1), chance / chance[-1])


def _frame(rng: np.random.Generator, size: int) -> npt.NDArray[np.bool_]:
    """Which words of a text the template holds: some runs of them, a share within `FRAME`."""
    while True:
        runs, held = rng.integers(4, 13, size), rng.random() < 0.5
        mask = np.repeat((np.arange(size) % 2).astype(bool) ^ held, runs)[:size]
        if FRAME[0] <= mask.mean() <= FRAME[1]:
            return mask


def _framed(maker: Maker, count: int) -> list[tuple[int, Pair]]:
    """Rows of templates, and which template each is of."""
    held, rng = maker.templates, maker.rng
    which = np.minimum(np.searchsorted(held.chance, rng.random(count)), TEMPLATES - 1)
    codes = np.where(held.shared[which], held.words[which], maker.words.drawn(rng, (count, IN_PROMPT + IN_ANSWER)))
    lengths = np.tile([IN_PROMPT, IN_ANSWER], count)
    texts = _joined(maker.words, codes.ravel(), held.forms[which].ravel(), lengths)
    return list(zip(which.tolist(), zip(texts[::2], texts[1::2], strict=True), strict=True))


# -- near copies


def nearly(pair: Pair, rng: random.Random, words: Words) -> tuple[Pair, tuple[float, float, float]]:
    """The row with some words changed, lost or added, and how alike prompt, answer and the whole still are."""
    for most in itertools.chain((5, 5, 4, 4, 3, 3, 2, 2), itertools.repeat(1)):
        sides = [text.split() for text in pair]
        for _ in range(rng.randint(1, most)):
            _edit(sides[rng.random() < 0.7], rng, words)
        copy = " ".join(sides[0]), " ".join(sides[1])
        found = likenesses(pair, copy)
        if copy != pair and min(found) >= ALIKE:
            return copy, found
    raise AssertionError


def _edit(parts: list[str], rng: random.Random, words: Words) -> None:
    """Change, lose or add one word that is no number; marks and capitals stay where they are."""
    place = rng.randrange(len(parts))
    old = parts[place]
    if not old.rstrip(",.").isalpha():
        return
    new = words.forms[min(int(np.searchsorted(words.chance, rng.random())), WORDS - 1) * 4].as_py()
    how = rng.random()
    if how < 0.2:
        parts.insert(place, new if place else new.capitalize())
    elif how < 0.35 and old.islower() and old.isalpha():
        del parts[place]
    else:
        parts[place] = (new if old.islower() else new.capitalize()) + old[len(old.rstrip(",.")) :]


def likenesses(pair: Pair, other: Pair) -> tuple[float, float, float]:
    """Jaccard likeness by the word pairs of the prompts, by those of the answers, and by the 5-grams of the wholes."""
    tokens, tokens2 = ([rouge_tokens(text) for text in texts] for texts in (pair, other))
    prompt, answer = (jaccard(one, two, 2) for one, two in zip(tokens, tokens2, strict=True))
    return prompt, answer, jaccard(tokens[0] + tokens[1], tokens2[0] + tokens2[1], 5)


def jaccard(one: Sequence[str], other: Sequence[str], size: int) -> float:
    """The plain definition, in sets of runs of `size` tokens."""
    a, b = (set(zip(*(tokens[start:] for start in range(size)), strict=False)) for tokens in (one, other))
    return len(a & b) / len(a | b)


def _records(part: Part) -> list[Record]:
    """The rows as an import leaves them."""
    return [
        Record(
            (Message("user", prompt), Message("assistant", answer)),
            Origin("import", f"bench-{row}", row, source=f"bench.jsonl row {row + 1}"),
        )
        for row, (prompt, answer) in enumerate(part.texts, part.first)
    ]


def main() -> None:
    """Make a folder of rows by hand."""
    parser = argparse.ArgumentParser(prog="benchmarks/curation_data.py", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    make(given.folder, given.rows)


if __name__ == "__main__":
    main()
