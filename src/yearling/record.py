"""The one value that crosses stage borders: a conversation with its origin, and what judges say of it.

In: plain values. Out: Arrow tables and Parquet files, the same schema everywhere.
Does not know about runs, stages, tokens or models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yearling.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

Role = Literal["system", "user", "assistant"]
State = Literal["pass", "fail", "skipped"]
LATER = ("traits", "passage")  # columns that tables of format 1 lack
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from; `key` makes two equal texts of two births two records.

    `source` names the file and row, or the demonstrations; `traits` what was drawn for variety; `passage` is the text
    that a question is about.
    """

    method: str
    key: str
    sequence: int
    teacher: str = ""
    parents: tuple[str, ...] = ()
    licence: str = "unknown"
    cost_usd: float | None = None
    calls: tuple[str, ...] = ()
    prompt_digest: str = ""
    source: str = ""
    traits: str = ""
    passage: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation that ends with the assistant's answer, its origin and its kind of work."""

    messages: tuple[Message, ...]
    origin: Origin
    kind: str = ""
    id: str = field(default="")

    def __post_init__(self) -> None:
        expected = record_id(self.messages, self.origin.key)
        if self.id and self.id != expected:
            raise UserError(
                f"record {self.id} was altered: its content hashes to {expected}. Restore the file or import it anew."
            )
        object.__setattr__(self, "id", expected)

    @property
    def prompt(self) -> str:
        """The last user turn."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def completion(self) -> str:
        """The last assistant turn, or "" where the record still waits for its answer."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge says of one record; `score` is in the judge's own unit."""

    record: str
    state: State
    reason: str = ""
    score: float | None = None


def digest(value: Any) -> str:
    """SHA-256, in hex, of a value's canonical JSON."""
    return text_digest(canonical(value))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces, the same for equal values everywhere."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_digest(text: str) -> str:
    """SHA-256, in hex, of a text as UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def record_id(messages: Sequence[Message], origin_key: str) -> str:
    """The tagged content hash of a record: `r1:` and 24 hex digits."""
    turns = [[m.role, m.content] for m in messages]
    return "r1:" + digest([turns, origin_key])[:24]


def record_schema() -> pa.Schema:
    """The Arrow schema of `records/`, one row a record."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    strings = pa.list_(pa.string())
    return pa.schema(
        [
            ("id", pa.string()),
            ("messages", pa.list_(message)),
            ("kind", pa.string()),
            ("method", pa.string()),
            ("key", pa.string()),
            ("sequence", pa.int64()),
            ("teacher", pa.string()),
            ("parents", strings),
            ("licence", pa.string()),
            ("cost_usd", pa.float64()),
            ("calls", strings),
            ("prompt_digest", pa.string()),
            ("source", pa.string()),
            *((name, pa.string()) for name in LATER),
        ],
        metadata={"yearling.records": "2"},
    )


def verdict_schema() -> pa.Schema:
    """The Arrow schema of `verdicts/<judge>/`, one row a record."""
    import pyarrow as pa

    columns = [("record", pa.string()), ("state", pa.string()), ("reason", pa.string()), ("score", pa.float64())]
    return pa.schema(columns, metadata={"yearling.verdicts": "1"})


def _row(record: Record) -> dict[str, Any]:
    origin = record.origin
    return {
        "id": record.id,
        "messages": [{"role": m.role, "content": m.content} for m in record.messages],
        "kind": record.kind,
        "method": origin.method,
        "key": origin.key,
        "sequence": origin.sequence,
        "teacher": origin.teacher,
        "parents": list(origin.parents),
        "licence": origin.licence,
        "cost_usd": origin.cost_usd,
        "calls": list(origin.calls),
        "prompt_digest": origin.prompt_digest,
        "source": origin.source,
        "traits": origin.traits,
        "passage": origin.passage,
    }


def _record(row: Mapping[str, Any]) -> Record:
    origin = Origin(
        method=row["method"],
        key=row["key"],
        sequence=row["sequence"],
        teacher=row["teacher"],
        parents=tuple(row["parents"]),
        licence=row["licence"],
        cost_usd=row["cost_usd"],
        calls=tuple(row["calls"]),
        prompt_digest=row["prompt_digest"],
        source=row["source"],
        traits=row["traits"] or "",
        passage=row["passage"] or "",
    )
    messages = tuple(Message(m["role"], m["content"]) for m in row["messages"])
    return Record(messages, origin, kind=row["kind"], id=row["id"])


def write_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write rows as one Parquet file."""
    import pyarrow as pa

    write_arrow(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write a table as one Parquet file, by rename, so that a half-written file is never seen."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(folder: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Rows of all Parquet parts of a folder, in the order of their names."""
    for part in sorted(folder.glob("*.parquet")):
        yield from read_columns(part, schema.names, schema).to_pylist()


def read_columns(part: Path, names: Sequence[str], schema: pa.Schema | None = None) -> pa.Table:
    """Some columns of one Parquet part; those of `LATER` are null where it is an older one.

    Raises UserError where it is damaged or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        missing = set(names) - set(pq.read_schema(part).names) - set(LATER)
        if missing:
            raise UserError(f"{part} lacks {', '.join(sorted(missing))}. Delete it and run the same command again.")
        return pq.read_table(part, schema=schema) if schema else pq.read_table(part, columns=list(names))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{part} cannot be read ({error}). Delete it and run the same command again.") from error


def write_records(records: Sequence[Record], path: Path) -> None:
    """Write one Parquet part of records."""
    write_table([_row(record) for record in records], record_schema(), path)


def read_records(folder: Path) -> Iterator[Record]:
    """All records of a folder of parts, ids verified against the content.

    Raises UserError where a part is unreadable or a record was altered.
    """
    return map(_record, read_table(folder, record_schema()))


def write_verdicts(verdicts: Iterable[Verdict], path: Path) -> None:
    """Write one judge's verdicts as one Parquet file."""
    rows = [{"record": v.record, "state": v.state, "reason": v.reason, "score": v.score} for v in verdicts]
    write_table(rows, verdict_schema(), path)


def read_verdicts(folder: Path) -> Iterator[Verdict]:
    """One judge's verdicts."""
    return (Verdict(**row) for row in read_table(folder, verdict_schema()))
