"""The reading step: each record read once, for the judges of single rows and for those who compare.

In: records as they lie on disk, the names of row judges. Out: for each record its texts in the forms that are
compared, and what each of those judges says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yearling.curate import engine
from yearling.curate.corpus import STATES, Corpus, Flags, Opinions
from yearling.curate.rows import PASS, Opinion, Row, Sign, row_of
from yearling.measure.text import fold, fold_marks, unicode_tokens
from yearling.recipe import Recipe
from yearling.record import Message

if TYPE_CHECKING:
    import pyarrow as pa

# The last prompt and answer as they are; `folded` is that prompt folded; `asked` and `answered` are the tokens of all
# user and all assistant turns, one space between two, and a line break for a token between turns; `twin` is a digest
# of all turns but the system's, folded.
TEXTS = ("prompt", "completion", "folded", "asked", "answered", "twin")
BETWEEN = " \n "
CODES = {state: code for code, state in enumerate(STATES)}
Say = Callable[[Row], Opinion]


@dataclass(frozen=True)
class Order:
    """Which row judges speak, and under which recipe; sent to the processes that read."""

    judges: tuple[str, ...]
    recipe: str

    def voices(self) -> list[tuple[Say, Sign | None]]:
        """The judges, made ready, and their signs."""
        from yearling.curate.judges import ROW_JUDGES

        recipe = Recipe.model_validate_json(self.recipe)
        judges = (judge for judge in ROW_JUDGES if judge.name in self.judges)
        return [(judge.make(recipe), judge.sign() if judge.sign else None) for judge in judges]


def schema_of(judges: Sequence[str]) -> pa.Schema:
    """One row a record: id, texts, and three columns a judge."""
    import pyarrow as pa

    columns = [("id", pa.string()), *((name, pa.binary() if name == "twin" else pa.string()) for name in TEXTS)]
    for name in judges:
        columns += [(f"{name}.state", pa.int8()), (f"{name}.reason", pa.string()), (f"{name}.score", pa.float64())]
    return pa.schema(columns)


def read_all(corpus: Corpus, judges: Sequence[str], recipe: Recipe, key: str) -> dict[str, Opinions]:
    """Do the step; its files become the corpus's texts. What each judge says, by its name."""
    order = Order(tuple(judges), recipe.model_dump_json(by_alias=True))
    out = corpus.work / f"reading-{key[:16]}"
    worker = (reader, order)
    files = engine.map_files(corpus.parts, ("id", "messages"), worker, schema_of(judges), out, corpus.told)
    corpus.texts[:] = files
    return {name: _opinions(corpus, files, name) for name in judges}


def _opinions(corpus: Corpus, files: Sequence[Path], name: str) -> Opinions:
    import pyarrow.compute as pc

    table = corpus.in_order(files, f"{name}.state", f"{name}.reason", f"{name}.score")
    said = Opinions(len(corpus))
    said.states[:], said.scores[:] = table[0].to_numpy(), table[2].to_numpy()
    loud = np.flatnonzero(pc.not_equal(table[1], "").to_numpy())
    said.reasons[loud] = table[1].take(loud).to_pylist()
    return said


def reader(order: Order) -> engine.Work:
    """The worker of the step."""
    voices = order.voices()
    schema = schema_of(order.judges)

    def work(ids: pa.Array, messages: pa.ListArray) -> pa.StructArray:
        import pyarrow as pa

        rows = list(rows_of(messages))
        texts = zip(*map(_texts, rows), strict=True) if rows else [()] * len(TEXTS)
        columns = [pa.array(column, schema.field(name).type) for name, column in zip(TEXTS, texts, strict=True)]
        sides = dict(zip(TEXTS, columns, strict=True))
        unusual = ~np.fromiter(map(_usual, rows), bool, len(rows))
        for say, sign in voices:
            places = range(len(rows)) if sign is None else np.flatnonzero(unusual | _shown(sign, sides)).tolist()
            columns += _said(say, rows, places)
        return pa.StructArray.from_arrays([ids.cast(pa.string()), *columns], schema.names)

    return work


def _usual(row: Row) -> bool:
    """Whether a sign can speak of a row: a prompt and an answer, both in ASCII."""
    return [turn.role for turn in row.turns] == ["user", "assistant"] and all(t.content.isascii() for t in row.turns)


def _shown(sign: Sign, sides: Mapping[str, pa.Array]) -> Flags:
    """Which rows show a judge's sign."""
    import pyarrow.compute as pc

    shown: Flags = np.logical_or.reduce([pc.match_substring_regex(sides[side], sign.pattern) for side in sign.sides])
    return shown


def _said(say: Say, rows: Sequence[Row], places: Iterable[int]) -> list[pa.Array]:
    """State, reason and score of each row, where a judge is asked about some and the others pass."""
    import pyarrow as pa

    states, reasons = bytearray(len(rows)), [""] * len(rows)
    scores: list[float | None] = [None] * len(rows)
    for place in places:
        said = say(rows[place])
        if said is not PASS:
            states[place], reasons[place], scores[place] = CODES[said.state], said.reason, said.score
    flags = pa.array(np.frombuffer(states, np.int8))
    return [flags, pa.array(reasons, pa.string()), pa.array(scores, pa.float64())]


def rows_of(messages: Any) -> Iterator[Row]:
    """The rows of a column of messages."""
    turns = messages.flatten()
    roles, texts = turns.field("role").to_pylist(), turns.field("content").to_pylist()
    ends = messages.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64).cumsum().tolist()
    start = 0
    for end in ends:
        yield row_of([Message(roles[i], texts[i]) for i in range(start, end)])
        start = end


def _texts(row: Row) -> tuple[str, str, str, str, str, bytes]:
    turns = [(turn.role, turn.content) for turn in row.turns if turn.role != "system"]
    asked, answered = (
        BETWEEN.join(" ".join(unicode_tokens(text)) for role, text in turns if role == who)
        for who in ("user", "assistant")
    )
    folded = fold(row.prompt)
    # turns of the two roles must not run into each other
    said = "\x1e".join(f"{role}\x1f{fold_marks(text)}" for role, text in turns)
    twin = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return row.prompt, row.completion, folded, asked, answered, twin
