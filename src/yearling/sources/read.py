"""A source of the recipe, read as records.

In: a source: where it is, its format, and whether only its prompts are taken. Out: records in the order of files and
rows, and one sentence on what was read as what.
Every problem of a file is found before its error is raised; writing nothing until then is the caller's part.
Does not judge the records and does not know the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from yearling.errors import UserError
from yearling.recipe import Source
from yearling.record import Message, Origin, Record, digest, file_digest
from yearling.sources.files import DUMP, list_files, names, place, rows
from yearling.sources.found import Found, Notes
from yearling.sources.plan import Reading, plan_file, plan_run
from yearling.sources.runs import digest_run, is_run, read_run
from yearling.sources.shapes import messages_of, unwrapped
from yearling.sources.stackexchange import read_dump

SHOWN = 5  # problems of a file that are shown
Seen = dict[int, int]  # how often a content came from files of one name; about 100 bytes for each row


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
    if source.format == "run" or (source.format == "auto" and is_run(source.path)):
        readings, passed_over = [plan_run(source.path.resolve(), source.answer)], list[str]()
    else:
        files, passed_over = list_files(source.path, source.azure)
        readings = [plan_file(file, source.format, source.answer) for file in files]
    for hopeless in (reading for reading in readings if not reading.why):
        for _ in _conversations(hopeless, Notes()):
            pass
    _refuse_mixture(source.path, readings)
    first = readings[0]
    as_what = first.layout if first.layout in ("csv", "parquet") else ""
    told = f"{first.file.name}: {f'{as_what}, ' if as_what else ''}{first.shape} ({first.why})"
    told += ", prompts only" if source.answer else ""
    if len(readings) > 1:
        told += f"; alike: {len(readings) - 1} other file{'s' if len(readings) > 2 else ''} of {source.path.name}"
    ignored = dict.fromkeys(name for reading in readings for name in reading.ignored)
    told += f"; columns not used: {names(ignored)}" if ignored else ""
    told += f"; files not read: {names(passed_over)}" if passed_over else ""
    return readings, told


def records_of(
    readings: list[Reading], source: Source, first_sequence: int, seen: Seen, notes: Notes | None = None
) -> Iterator[Record]:
    """Records of planned files, numbered from `first_sequence`; `notes` counts what a user should hear of."""
    sequence, counted = first_sequence, Notes() if notes is None else notes
    for reading in readings:
        file = _named(reading.file)
        for found in _conversations(reading, counted):
            origin = Origin(
                method="import",
                key=found.key or _key(reading.file.name, found.messages, seen),
                sequence=sequence,
                teacher=found.teacher,
                parents=found.parents,
                licence=source.licence if source.licence != "unknown" else found.licence or "unknown",
                cost_usd=0.0,
                source=f"{file}:{found.place}",
            )
            yield Record(found.messages, origin, kind=found.kind)
            sequence += 1


def _named(file: Path) -> str:
    """The file's name; all sites of Stack Exchange call theirs Posts.xml, so there its folder says which site."""
    return f"{file.resolve().parent.name}/{file.name}" if file.name.lower() == DUMP else file.name


def digest_source(source: Source) -> str:
    """One digest for the names and bytes of the files that would be imported, or for the records of a run."""
    if source.format == "run" or (source.format == "auto" and is_run(source.path)):
        return digest_run(source.path)
    files, _ = list_files(source.path, source.azure)
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


def _conversations(reading: Reading, notes: Notes) -> Iterator[Found]:
    """The conversations of one file until the first problem; then only problems are looked for, and raised together."""
    problems: list[str] = []
    count = bad = 0
    for found in _read(reading, notes):
        count += 1
        if found.problem:
            bad += 1
            problems += [found.problem] if bad <= SHOWN else []
        elif not bad:
            yield found
    if bad:
        _refuse(reading.file, problems, bad)
    if not count:
        what = "questions" if reading.prompts else "questions with an accepted answer"
        what = what if reading.layout == "xml" else "rows"
        raise UserError(
            f"{reading.file}: the file holds no {what}. Give one that has some, or take it out of the recipe."
        )


def _read(reading: Reading, notes: Notes) -> Iterator[Found]:
    if reading.layout == "run":
        return read_run(reading.file, reading.prompts)
    if reading.layout == "xml":
        return read_dump(reading.file, reading.prompts, notes)
    return _read_rows(reading, notes)


def _read_rows(reading: Reading, notes: Notes) -> Iterator[Found]:
    for row in rows(reading.file, reading.layout, reading.columns):
        problem, messages = row.problem, tuple[Message, ...]()
        if not problem:
            try:
                opened = unwrapped(reading.shape, row.value, reading.prompts)
                messages = messages_of(reading.shape, row.value if opened is None else opened, reading.prompts)
                notes["unwrapped"] += opened is not None
            except UserError as error:
                problem = str(error)
        if problem:
            problem = f"{place(reading.file, reading.layout, row.number)}: {problem}"
        yield Found(str(row.number), messages, problem)


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
    first = readings[0]
    other = next((reading for reading in readings if reading.manner != first.manner), None)
    if other:
        one, two = (f"{r.file.name} is {' '.join(r.manner)}" for r in (first, other))
        raise UserError(
            f"{path}: mixed formats in one folder: {one}, {two}. Import each format as a source of its own."
        )
