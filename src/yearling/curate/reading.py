"""The reading step: each record read once, for the judges of single rows and for those who compare.

In: records as they lie on disk, the names of row judges. Out: for each record its texts in the forms that are
compared, and what each of those judges says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yearling.curate import engine
from yearling.curate.corpus import STATES, Corpus, Opinions
from yearling.curate.rows import Opinion, Row, row_of
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
Say = Callable[[Row], Opinion]


@dataclass(frozen=True)
class Order:
    """Which row judges speak, and under which recipe; sent to the processes that read."""

    judges: tuple[str, ...]
    recipe: str

    def voices(self) -> list[Say]:
        """The judges, made ready."""
        from yearling.curate.judges import ROW_JUDGES

        recipe = Recipe.model_validate_json(self.recipe)
        return [judge.make(recipe) for judge in ROW_JUDGES if judge.name in self.judges]


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
    table = corpus.in_order(files, f"{name}.state", f"{name}.reason", f"{name}.score")
    said = Opinions(len(corpus))
    said.states[:], said.scores[:] = table[0].to_numpy(), table[2].to_numpy()
    loud = np.flatnonzero(said.states)
    said.reasons[loud] = table[1].take(loud).to_pylist()
    return said


def reader(order: Order) -> engine.Work:
    """The worker of the step."""
    voices = order.voices()
    schema = schema_of(order.judges)

    def work(ids: pa.Array, messages: pa.ListArray) -> pa.StructArray:
        import pyarrow as pa

        columns: list[list[Any]] = [[] for _ in schema.names[1:]]
        for row in rows_of(messages):
            values: list[Any] = [*_texts(row)]
            for say in voices:
                said = say(row)
                values += (STATES.index(said.state), said.reason, said.score)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, list(schema)[1:], strict=True)]
        return pa.StructArray.from_arrays([ids.cast(pa.string()), *arrays], schema.names)

    return work


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
