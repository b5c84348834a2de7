"""Records, written out in the formats that can be read in.

In: records that end with an answer. Out: one file, put in place by rename, so that it is whole or not there.
A format that would lose turns refuses the record; nothing is cut to fit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, get_args

from yearling.errors import UserError
from yearling.record import Record, Role
from yearling.sources.shapes import storable

Format = Literal["alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet"]
SINGLE: tuple[Format, ...] = ("alpaca", "prompt-completion", "csv")  # one prompt and one answer a row
WHOLE: tuple[Format, ...] = ("sharegpt", "messages", "parquet")  # any conversation
SPOKEN: Mapping[Role, str] = {"system": "system", "user": "human", "assistant": "gpt"}
GROUP = 1000  # records of one Parquet row group


def write_source(records: Iterable[Record], path: Path, format: Format) -> int:
    """Write records to `path`, replacing it only when all of them are written; returns how many.

    Raises UserError where a record cannot be expressed in the format without loss.
    """
    if format not in get_args(Format):
        raise UserError(f"no format {format!r}. There are: {', '.join(get_args(Format))}.")
    counted = _checked(records, format)
    first = next(counted, None)
    if first is None:
        raise UserError(f"{path}: there are no records to write. Run `yearling status` to see what the run holds.")
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count = _WRITERS[format](chain([first], counted), temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Choose a place you may write to.") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return count


def _checked(records: Iterable[Record], format: Format) -> Iterator[Record]:
    for record in records:
        roles = tuple(message.role for message in record.messages)
        if roles[-1:] != ("assistant",) or "user" not in roles:
            raise UserError(f"record {record.id} is no question with its answer; it cannot be written as {format}.")
        if format in SINGLE and roles != ("user", "assistant"):
            why = "has a system turn" if "system" in roles else f"has {len(roles)} turns"
            raise UserError(
                f"record {record.id} {why}, which {format} cannot hold without loss. "
                f"Formats that can: {', '.join(WHOLE)}."
            )
        if not all(storable(message.content) for message in record.messages):
            raise UserError(f"record {record.id} holds half of a character (a lone surrogate) and cannot be stored.")
        yield record


def _alpaca(record: Record) -> dict[str, Any]:
    return {"instruction": record.prompt, "input": "", "output": record.completion}


def _sharegpt(record: Record) -> dict[str, Any]:
    return {"conversations": [{"from": SPOKEN[m.role], "value": m.content} for m in record.messages]}


def _messages(record: Record) -> dict[str, Any]:
    return {"messages": [{"role": m.role, "content": m.content} for m in record.messages]}


def _pair(record: Record) -> dict[str, Any]:
    return {"prompt": record.prompt, "completion": record.completion}


def _write_array(records: Iterable[Record], path: Path) -> int:
    return _write_text(path, (json.dumps(_alpaca(r), ensure_ascii=False) for r in records), ("[\n", ",\n", "\n]\n"))


def _write_lines(shape: Callable[[Record], dict[str, Any]]) -> Callable[[Iterable[Record], Path], int]:
    def write(records: Iterable[Record], path: Path) -> int:
        return _write_text(path, (json.dumps(shape(r), ensure_ascii=False) for r in records), ("", "\n", "\n"))

    return write


def _write_csv(records: Iterable[Record], path: Path) -> int:
    rows = ([record.prompt, record.completion] for record in records)
    lines = (_csv_line(row) for row in chain([["prompt", "completion"]], rows))
    return _write_text(path, lines, ("", "", "")) - 1


def _csv_line(cells: list[str]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _write_text(path: Path, items: Iterable[str], marks: tuple[str, str, str]) -> int:
    """Items between an opening and a closing mark, parted by the middle one; returns how many."""
    opening, between, closing = marks
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for item in items:
            file.write((between if count else opening) + item)
            count += 1
        file.write(closing)
    return count


def _write_parquet(records: Iterable[Record], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema([("messages", pa.list_(message))])
    rest, count = iter(records), 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while group := [_messages(record) for record in islice(rest, GROUP)]:
            file.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


_WRITERS: Mapping[Format, Callable[[Iterable[Record], Path], int]] = {
    "alpaca": _write_array,
    "sharegpt": _write_lines(_sharegpt),
    "messages": _write_lines(_messages),
    "prompt-completion": _write_lines(_pair),
    "csv": _write_csv,
    "parquet": _write_parquet,
}
