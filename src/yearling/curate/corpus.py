"""The records of a run as columns, in birth order, and what judges say of them, likewise.

In: the Parquet parts of `records/`. Out: arrays with one place a record; verdict tables.
A million records are a few hundred megabytes here: texts are read when a judge asks for them, column by column.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yearling.errors import UserError
from yearling.record import State, read_columns, write_arrow
from yearling.run_folder import Run

if TYPE_CHECKING:
    import pyarrow as pa

STATES: tuple[State, ...] = ("pass", "fail", "skipped")
PASSED, FAILED, SKIPPED = range(3)
Flags = npt.NDArray[np.bool_]


class Opinions:
    """What one judge says of all records: a state, a reason and a score each; at first, that all pass."""

    def __init__(self, count: int) -> None:
        self.states = np.zeros(count, np.int8)
        self.reasons = np.full(count, "", object)
        self.scores = np.full(count, np.nan)

    def fail(self, place: int, reason: str, score: float = np.nan) -> None:
        """Fail one record."""
        self.states[place], self.reasons[place], self.scores[place] = FAILED, reason, score

    def skip(self, places: Flags, reason: str) -> None:
        """Say nothing of some records, and why."""
        self.states[places], self.reasons[places] = SKIPPED, reason

    @property
    def failed(self) -> Flags:
        """Which records fail."""
        failed: Flags = self.states == FAILED
        return failed

    def tally(self) -> dict[str, dict[str, int]]:
        """Counts by state, and by reason with ids, numbers and quoted text taken out."""
        states = {name: int(np.count_nonzero(self.states == code)) for code, name in enumerate(STATES)}
        reasons: Counter[str] = Counter()
        for (code, reason), count in Counter(zip(self.states.tolist(), self.reasons.tolist(), strict=True)).items():
            if reason:
                reasons[f"{STATES[code]}: {_kind(reason)}"] += count
        return {"states": {name: n for name, n in states.items() if n}, "reasons": dict(reasons.most_common())}


def _kind(reason: str) -> str:
    return re.sub(r"r1:[0-9a-f]+|\d+(?:\.\d+)?", "…", reason.partition(": ")[0])


@dataclass(frozen=True)
class Corpus:
    """The records that are judged; `texts` are the files of the reading step once it is done."""

    run: Run
    parts: tuple[Path, ...]
    ids: pa.Array
    methods: npt.NDArray[Any]
    parents: Sequence[Sequence[str]]
    questions: Sequence[tuple[str, str]] = ()  # of exams beside the run's own test split: where from, and the text
    told: Callable[[int, int], None] = lambda done, rows: None  # hears how far the step under way is
    texts: list[Path] = field(default_factory=list)
    _orders: dict[tuple[Path, ...], pa.Array] = field(default_factory=dict)  # of files: where each record stands

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def work(self) -> Path:
        """Where steps leave what only this judgement needs."""
        return self.run.path / "curate" / "work"

    @cached_property
    def digest(self) -> str:
        """Of the records' ids and their order: what follows from both."""
        return id_digest(self.ids.to_pylist())

    def in_order(self, files: Sequence[Path], *columns: str) -> pa.Table:
        """Columns of a step's files that have an `id`, one row a record, in birth order."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        def read(names: Sequence[str]) -> pa.Table:
            return pa.concat_tables([pq.read_table(path, columns=list(names)) for path in files])

        known = tuple(files)
        if known not in self._orders:
            ids = read(["id"])["id"]
            places = pc.index_in(ids.cast(self.ids.type), value_set=self.ids).combine_chunks()
            order = np.full(len(self), -1, np.int64)
            order[places.to_numpy(zero_copy_only=False)] = np.arange(len(ids))
            self._orders[known] = pa.array(order)
        return read(columns).take(self._orders[known])


def id_digest(ids: Iterable[str]) -> str:
    """One digest of ids in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def open_corpus(
    run: Run, questions: Sequence[tuple[str, str]] = (), told: Callable[[int, int], None] = lambda done, rows: None
) -> Corpus:
    """The records of a run, one of each id; raises UserError where there are none, or a part is damaged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = tuple(sorted(run.records.glob("*.parquet")))
    if not parts:
        raise UserError(f"no records in {run.records}. Run `yearling generate` or `yearling import` first.")
    table = pa.concat_tables([read_columns(part, ("id", "sequence", "method", "parents")) for part in parts])
    table = table.take(pc.sort_indices(table, [("sequence", "ascending"), ("id", "ascending")]))
    ids = table["id"].combine_chunks()
    first = np.zeros(len(ids), bool)
    first[pc.index_in(ids, value_set=ids).to_numpy()] = True  # of equal values, the first
    table = table.filter(pa.array(first))
    if not len(table):
        raise UserError(f"no records in {run.records}. Run `yearling generate` or `yearling import` first.")
    methods = table["method"].dictionary_encode().combine_chunks()
    names = np.array(methods.dictionary.to_pylist(), object)
    ids, parents = table["id"].combine_chunks(), table["parents"].to_pylist()
    return Corpus(run, parts, ids, names[methods.indices.to_numpy()], parents, questions, told)


def write_opinions(said: Opinions, ids: pa.Array, path: Path) -> None:
    """The verdict table of one judge."""
    import pyarrow as pa

    from yearling.record import verdict_schema

    states = pa.DictionaryArray.from_arrays(pa.array(said.states), pa.array(STATES)).cast(pa.string())
    scores = pa.array(said.scores, from_pandas=True)
    columns = [ids.cast(pa.string()), states, pa.array(said.reasons, pa.string()), scores]
    write_arrow(pa.Table.from_arrays(columns, schema=verdict_schema()), path)


def read_opinions(folder: Path, ids: pa.Array) -> Opinions | None:
    """What a judge said of these very records, or None where its table is not of them."""
    import pyarrow.compute as pc

    parts = sorted(folder.glob("*.parquet"))
    if len(parts) != 1:
        return None
    table = read_columns(parts[0], ("record", "state", "reason", "score"))
    if len(table) != len(ids) or not table["record"].combine_chunks().equals(ids.cast(table["record"].type)):
        return None
    said = Opinions(len(ids))
    for code, name in enumerate(STATES):
        said.states[pc.equal(table["state"], name).to_numpy()] = code
    said.reasons[:] = table["reason"].to_pylist()
    said.scores[:] = table["score"].to_numpy()
    return said
