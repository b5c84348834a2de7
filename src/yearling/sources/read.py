"""A source of the recipe, read as records.

In: a path and a format. Out: records in the order of files and rows, and one sentence on what was read as what.
Every problem of a file is found before its error is raised; writing nothing until then is the caller's part.
Does not judge the records and does not know the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from yearling.errors import UserError
from yearling.recipe import Source
from yearling.record import Message, Origin, Record, digest, file_digest
from yearling.sources.files import Layout, header, layout, list_files, names, place, rows
from yearling.sources.shapes import (
    FLAT,
    SHAPES,
    WANTED,
    Shape,
    columns_read,
    columns_used,
    messages_of,
    missing,
)

SAMPLE = 50  # rows that are looked at to tell the shape
SHOWN = 5  # problems of a file that are shown
FORMATS = ("alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet")
Seen = dict[int, int]  # how often a content came from files of one name; about 100 bytes for each row


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file is to be read, and why so."""

    file: Path
    layout: Layout
    shape: Shape
    why: str
    columns: tuple[str, ...]
    ignored: tuple[str, ...]


def read_source(source: Source, first_sequence: int, seen: Seen | None = None) -> tuple[Iterator[Record], str]:
    """Records of one source, and what was decided about it.

    The format is settled before this returns; rows are read as the records are asked for, and UserError is raised at
    the end of the first file that has problems. `seen` is passed on where several sources make one import, so that
    equal rows of two files of one name stay two records.
    """
    readings, sentence = plan_source(source)
    return records_of(readings, source, first_sequence, {} if seen is None else seen), sentence


def plan_source(source: Source) -> tuple[list[Reading], str]:
    """How each file of a source is to be read, and the sentence that says so; reads the first rows only."""
    files, passed_over = list_files(source.path)
    readings = [_plan(file, source.format) for file in files]
    _refuse_mixture(source.path, readings)
    first = readings[0]
    as_what = first.layout if first.layout in ("csv", "parquet") else ""
    told = f"{first.file.name}: {f'{as_what}, ' if as_what else ''}{first.shape} ({first.why})"
    if len(readings) > 1:
        told += f"; alike: {len(readings) - 1} other file{'s' if len(readings) > 2 else ''} of {source.path.name}"
    ignored = dict.fromkeys(name for reading in readings for name in reading.ignored)
    told += f"; columns not used: {names(ignored)}" if ignored else ""
    told += f"; files not read: {names(passed_over)}" if passed_over else ""
    return readings, told


def records_of(readings: list[Reading], source: Source, first_sequence: int, seen: Seen) -> Iterator[Record]:
    """Records of planned files, numbered from `first_sequence`."""
    sequence = first_sequence
    for reading in readings:
        for number, messages in _conversations(reading):
            origin = Origin(
                method="import",
                key=_key(reading.file.name, messages, seen),
                sequence=sequence,
                licence=source.licence,
                cost_usd=0.0,
                source=f"{reading.file.name}:{number}",
            )
            yield Record(messages, origin)
            sequence += 1


def digest_source(source: Source) -> str:
    """One digest for the names and bytes of the files that would be imported."""
    files, _ = list_files(source.path)
    try:
        return digest([[file.name, file_digest(file)] for file in files])
    except OSError as error:
        raise UserError(f"{source.path} cannot be read: {error.strerror}.") from None


def _key(name: str, messages: tuple[Message, ...], seen: Seen) -> str:
    """File name, and how many rows of equal content came before: rows put in or taken out elsewhere change no other id.

    Sixteen hex digits tell contents apart well enough: two that meet only count on, and their ids differ anyway.
    """
    content = int(digest([name, [[m.role, m.content] for m in messages]])[:16], 16)
    seen[content] = occurrence = seen.get(content, 0) + 1
    return digest([name, occurrence])[:24]


def _conversations(reading: Reading) -> Iterator[tuple[int, tuple[Message, ...]]]:
    problems: list[str] = []
    found = count = 0
    for row in rows(reading.file, reading.layout, reading.columns):
        count += 1
        problem = row.problem
        if not problem:
            try:
                messages = messages_of(reading.shape, row.value)
            except UserError as error:
                problem = str(error)
        if problem:
            found += 1
            if found <= SHOWN:
                problems.append(f"{place(reading.file, reading.layout, row.number)}: {problem}")
        elif not found:
            yield row.number, messages
    if found:
        _refuse(reading.file, problems, found)
    if not count:
        raise UserError(
            f"{reading.file}: the file holds no rows. Give one that has some, or take it out of the recipe."
        )


def _refuse(file: Path, problems: list[str], found: int) -> NoReturn:
    if found == 1:
        where = os.path.join(file.parent, problems[0])  # a problem begins with the file's name
        raise UserError(f"{where} 1 problem, nothing was imported: mend the file and run the same command again.")
    shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
    more = f"\n  and {found - SHOWN} more" if found > SHOWN else ""
    raise UserError(
        f"{file}: {found} problems, nothing was imported.{shown}{more}\nMend the file and run the same command again."
    )


def _refuse_mixture(path: Path, readings: list[Reading]) -> None:
    def manner(reading: Reading) -> tuple[str, str]:
        table = reading.layout if reading.layout in ("csv", "parquet") else "json"
        return table, reading.shape

    first = readings[0]
    other = next((reading for reading in readings if manner(reading) != manner(first)), None)
    if other:
        one, two = (f"{r.file.name} is {' '.join(manner(r))}" for r in (first, other))
        raise UserError(
            f"{path}: mixed formats in one folder: {one}, {two}. Import each format as a source of its own."
        )


def _plan(file: Path, format: str) -> Reading:
    found = layout(file, format)
    columns = header(file, found)
    if columns is None:
        return _plan_objects(file, found, format)
    shapes = tuple(s for s in SHAPES if s == format) or (FLAT if found == "csv" else SHAPES)
    fits = [shape for shape in shapes if columns_used(shape, columns)]
    if len(fits) > 1:
        raise _ambiguous(file, fits, columns)
    if not fits:
        raise _unknown(file, shapes, columns)
    used = columns_used(fits[0], columns)
    why = "as the recipe says" if fits[0] == format else f"it has the columns {' and '.join(used)}"
    read = columns_read(fits[0], columns)
    return Reading(file, found, fits[0], why, read, tuple(name for name in columns if name and name not in read))


def _plan_objects(file: Path, found: Layout, format: str) -> Reading:
    with closing(rows(file, found)) as every:
        sample = list(islice(every, SAMPLE))
    objects = [row.value for row in sample if not row.problem]
    named = next((shape for shape in SHAPES if shape == format), None)
    if named:
        shape, why = named, "as the recipe says"
    elif objects:
        shape, why = _decide(file, objects)
    else:
        # no row can be told apart, so any shape shows the same problems, of the whole file
        shape, why = "messages", ""
        for _ in _conversations(Reading(file, found, shape, why, (), ())):
            pass
    columns = list(dict.fromkeys(name for value in objects for name in value))
    read = {name for value in objects for name in columns_read(shape, value)}
    return Reading(file, found, shape, why, (), tuple(name for name in columns if name not in read))


def _decide(file: Path, objects: list[dict[str, Any]]) -> tuple[Shape, str]:
    """The one shape that explains the sampled rows, and why.

    A row that fits no shape does not sway the choice: it is a problem of its own, reported when the rows are read.
    """
    columns = list(dict.fromkeys(name for value in objects for name in value))
    fits = [[shape for shape in SHAPES if columns_used(shape, value)] for value in objects]
    told = [shapes for shapes in fits if shapes]
    if not told:
        raise _unknown(file, SHAPES, columns)
    common = [shape for shape in SHAPES if all(shape in row for row in told)]
    if len(common) > 1:
        raise _ambiguous(file, common, columns)
    if not common:
        kinds = dict.fromkeys(shape for shapes in told for shape in shapes)
        raise UserError(f"{file}: its rows are of several formats ({names(kinds)}). Split it into one file for each.")
    used = next(columns_used(common[0], value) for value in objects if columns_used(common[0], value))
    every = "every one" if len(told) == len(objects) else f"only {len(told)}"
    which = f"{every} of the first {len(objects)} rows" if len(objects) > 1 else "its one row"
    return common[0], f"{which} has {' and '.join(used)}"


def _ambiguous(file: Path, fits: list[Shape], columns: list[str]) -> UserError:
    return UserError(
        f"{file}: its columns fit {' and '.join(fits)} alike: {names(columns)}. Say which with `format: {fits[0]}`."
    )


def _unknown(file: Path, shapes: tuple[Shape, ...], columns: list[str]) -> UserError:
    if len(shapes) == 1:
        return UserError(f"{file}: {missing(shapes[0], columns)} {shapes[0]} needs {WANTED[shapes[0]]}.")
    known = "".join(f"\n  {shape}: {WANTED[shape]}" for shape in shapes)
    return UserError(
        f"{file}: a column is missing, or no known format has these: {names(columns)}. "
        f"Rename them to those of one format ({', '.join(FORMATS)}); what the rows must name:{known}"
    )
