"""Files of a source and the rows in them, whatever the rows mean.

In: a path. Out: its files, how each is laid out, the header of a table, and rows with their numbers; a row that
cannot be parsed carries its problem, so that a file's problems can be shown together.
Does not know alpaca from sharegpt, and leaves XML and runs to their own readers. A JSON array is held in memory as
text; every other layout streams.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from yearling.errors import UserError
from yearling.places import remote
from yearling.recipe_azure import Cloud

Layout = Literal["array", "lines", "csv", "parquet", "xml", "run"]
ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
HUB = "hf:"  # before the name of a data set on the hub
ABOUT = ("dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json")  # of a data set, not of it
DUMP = "posts.xml"  # the one file of a Stack Exchange dump that is read, in any case of its letters
ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z x",
    b"\x1f\x8b": "gzip -d",
    b"PK\x03\x04": "unzip",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
BOM = b"\xef\xbb\xbf"
HEAD = 65536  # bytes that are looked at to tell the layout
BATCH = 512  # Parquet rows turned into Python values at once
CELL_LIMIT = 2**31 - 1  # the largest value that fits the C long of every system
SHOWN_NAMES = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line in a text file that has lines, else its place counted from 1, and its columns or a problem."""

    number: int
    value: dict[str, Any]
    problem: str = ""


def list_files(path: Path, azure: Cloud | None = None) -> tuple[list[Path], list[str]]:
    """The files to import, by name, and the names in the folder that are passed over; fetched where they are afar."""
    if text := remote(path):
        from yearling.cloud.copying import fetch

        path = fetch(text, azure)
    if str(path).startswith(HUB):
        return hub_files(str(path).removeprefix(HUB))
    if not path.exists():
        raise UserError(f"{path}: there is no such file. {_nearest(path)}")
    if not path.is_dir():
        return [path], []
    inside = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    files = [p for p in inside if p.is_file() and (p.suffix.lower() in ENDINGS or p.name.lower() == DUMP)]
    if not files:
        wanted = f"{', '.join(ENDINGS)} file and no Posts.xml"
        raise UserError(f"{path}: the folder holds no {wanted}. It has {names(p.name for p in inside)}.")
    return files, [p.name for p in inside if p not in files]


def hub_files(name: str) -> tuple[list[Path], list[str]]:
    """The data files of a data set on the hub, `org/name` or a folder or file of it, `org/name/data`.

    They stay in the hub's own cache (`HF_HOME`, `HF_TOKEN`). Raises UserError where they cannot be had.
    """
    org, _, rest = name.partition("/")
    title, _, inside = rest.partition("/")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(f"hf:{name} is on the hub: run `pip install huggingface-hub`, or download the files.") from None
    wanted = [f"{inside}*" if Path(inside).suffix else f"{inside}{'/' if inside else ''}**{end}" for end in ENDINGS]
    try:
        folder = Path(snapshot_download(f"{org}/{title}", repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"hf:{name} could not be fetched from the hub: {said[0]}") from None
    there = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [p for p in there if p.suffix.lower() in ENDINGS and p.name not in ABOUT]
    files = [p for p in files if p.relative_to(folder).as_posix().startswith(inside)]
    if not files:
        raise UserError(f"hf:{name} holds no {', '.join(ENDINGS)} file. It has {names(p.name for p in there)}.")
    return files, []


def _nearest(path: Path) -> str:
    folder = next(p for p in path.absolute().parents if p.is_dir())
    if folder != path.absolute().parent:
        return f"The path ends at {folder}, which is there; correct what follows it."
    present = sorted(p.name for p in folder.iterdir())
    near = difflib.get_close_matches(path.name, present, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"{folder} has {names(present)}."


def names(values: Iterable[str]) -> str:
    """Names for a message: a comma between them, odd characters escaped, a long list shortened."""
    listed = [value if value and value.isprintable() else repr(value) for value in values]
    more = f" and {len(listed) - SHOWN_NAMES} more" if len(listed) > SHOWN_NAMES else ""
    return (", ".join(listed[:SHOWN_NAMES]) or "nothing") + more


def layout(file: Path, format: str) -> Layout:
    """How a file is laid out, by its first bytes; its ending decides only where the bytes leave it open."""
    with _open(file) as handle:
        head = handle.read(HEAD)
    text = head.removeprefix(BOM).lstrip()
    if not text and len(head) < HEAD:
        raise UserError(f"{file}: the file is empty. Give a file with rows, or take it out of the recipe.")
    ending = file.suffix.lower()
    packed = next((command for magic, command in ARCHIVES.items() if head.startswith(magic)), None)
    if packed:
        raise UserError(f"{file}: a packed file. Unpack it first: {packed} {file.name}")
    if format == "stackexchange" or (format == "auto" and _is_xml(text, ending)):
        return "xml"
    if format == "csv":
        return "csv"
    if format == "parquet" or head.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"["):
        return "array"
    if text.startswith(b"{"):
        return "lines"
    if ending == ".parquet":
        return "parquet"
    return "csv" if ending == ".csv" or (format == "auto" and ending not in ENDINGS) else "lines"


def _is_xml(text: bytes, ending: str) -> bool:
    return ending == ".xml" or (text.startswith(b"<") and ending not in ENDINGS)


def header(file: Path, layout: Layout) -> list[str] | None:
    """The column names of a table, or None where each row names its own."""
    if layout == "csv":
        found = _csv_header(file)
    elif layout == "parquet":
        found = _parquet_header(file)
    else:
        return None
    twice = [name for name, count in Counter(found).items() if count > 1 and name]
    if twice:
        raise UserError(f"{file}: the column {names(twice)} is there more than once. Rename one of them.")
    return found


def rows(file: Path, layout: Layout, columns: Sequence[str] = ()) -> Generator[Row, None, None]:
    """The rows of a file that is no XML; `columns` spares reading the other columns of a Parquet file.

    Raises UserError where the file as a whole cannot be read.
    """
    if layout == "csv":
        return _csv_rows(file)
    if layout == "parquet":
        return _parquet_rows(file, columns)
    return _array_rows(file) if layout == "array" else _line_rows(file)


def place(file: Path, layout: Layout, number: int) -> str:
    """A row's place as an editor understands it: `name:line`, or `name row n` where rows are no lines."""
    return f"{file.name}:{number}" if layout in ("lines", "csv") else f"{file.name} row {number}"


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    words = {type(None): "null", bool: "true or false", int: "a number", float: "a number"}
    words |= {str: "text", list: "a list", dict: "an object"}
    return words.get(type(value), f"of type {type(value).__name__}")


def _open(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def _decode(file: Path, raw: bytes, offset: int) -> str:
    """Bytes that begin at `offset` of a file, as text without a byte order mark."""
    if offset == 0:
        offset, raw = (len(BOM), raw[len(BOM) :]) if raw.startswith(BOM) else (0, raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at, bad = offset + error.start, raw[error.start]
    with _open(file) as handle:
        wide = handle.read(2) in (b"\xff\xfe", b"\xfe\xff")
    looks = " (it looks like UTF-16)" if wide else ""
    raise UserError(
        f"{file}: not UTF-8 at byte {at}, 0x{bad:02x}{looks}. Open the file in an editor and save it again as UTF-8."
    )


def _lines(file: Path) -> Iterator[str]:
    """Decoded lines with their ends; only a line feed ends one, for JSON text may hold any other separator."""
    offset = 0
    with _open(file) as handle:
        for raw in handle:
            yield _decode(file, raw, offset)
            offset += len(raw)


def _line_rows(file: Path) -> Generator[Row, None, None]:
    for number, line in enumerate(_lines(file), start=1):
        if line.strip():
            yield _object(number, line)


def _object(number: int, line: str) -> Row:
    try:
        value = json.loads(line.rstrip())  # else what is cut off at the end is told as column 1 of a next line
    except json.JSONDecodeError as error:
        hint = " Each line holds one whole JSON object." if line.strip() in ("{", "[") else ""
        return Row(number, {}, f"not JSON: {error.msg} at column {error.colno}.{hint}")
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"not JSON that can be read: {error}.")
    return _checked(number, value)


def _checked(number: int, value: object) -> Row:
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, {}, f"the row is {kind(value)}, not an object with named values.")


def _array_rows(file: Path) -> Generator[Row, None, None]:
    """Elements of a JSON array, one at a time, so that only the text is held and not all its values."""
    with _open(file) as handle:
        text = _decode(file, handle.read(), 0)
    decode = json.JSONDecoder().raw_decode
    position, number = _skip(text, _skip(text, 0) + 1), 0
    while not (number == 0 and text[position : position + 1] == "]"):
        number += 1
        try:
            value, position = decode(text, position)
        except json.JSONDecodeError as error:
            yield Row(number, {}, f"not JSON: {error.msg} at line {error.lineno} column {error.colno}.")
            return
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not JSON that can be read: {error}.")
            return
        yield _checked(number, value)
        position = _skip(text, position)
        if text[position : position + 1] != ",":
            break
        position = _skip(text, position + 1)
    ended = text[position : position + 1] == "]"
    if not ended or _skip(text, position + 1) < len(text):
        line = text.count("\n", 0, position) + 1
        wanted = "text follows the end of the array" if ended else "a comma or ] is missing"
        yield Row(number, {}, f"not JSON: {wanted} at line {line}.")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


def _csv_cells(file: Path) -> Iterator[tuple[int, list[str], str]]:
    """Line, cells and problem of each row of a CSV file that has cells; blank lines are passed over."""
    csv.field_size_limit(CELL_LIMIT)  # the default refuses an answer of more than 128 KiB
    # a quoted cell may hold a bare carriage return, and old files end their lines with one
    lines = (part for line in _lines(file) for part in io.StringIO(line, newline=""))
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield line, [], f"not CSV: {error}. A cell with quotes is quoted, and its quotes are doubled."
            return
        if cells is None:
            return
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            yield line, cells, ""


def _csv_names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _csv_header(file: Path) -> list[str]:
    for line, cells, problem in _csv_cells(file):
        if problem:
            raise UserError(f"{file}:{line}: {problem}")
        for mark, name in ((";", "semicolons"), ("\t", "tabs")):
            if len(cells) == 1 and mark in cells[0]:
                raise UserError(f"{file}:{line}: the cells are parted by {name}. Save the file with commas.")
        return _csv_names(cells)
    raise UserError(f"{file}: the file is empty. Its first line must name the columns.")


def _csv_rows(file: Path) -> Generator[Row, None, None]:
    columns: list[str] = []
    for line, cells, problem in _csv_cells(file):
        if problem:
            yield Row(line, {}, problem)
        elif not columns:
            columns = _csv_names(cells)
        elif len(cells) != len(columns):
            yield Row(
                line, {}, f"the row has {len(cells)} cells, the header has {len(columns)}. Quote cells with commas."
            )
        else:
            yield Row(line, dict(zip(columns, cells, strict=True)))


def _parquet_header(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [str(name) for name in pq.read_schema(file).names]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from None


def _parquet_rows(file: Path, columns: Sequence[str]) -> Generator[Row, None, None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=BATCH, columns=list(columns) or None):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, value)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file}: not a Parquet file that can be read ({error}). Fetch or write the file again.")
