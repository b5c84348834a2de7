"""A Stack Exchange data dump: the questions of its Posts.xml, alone or with their accepted answers.

In: Posts.xml, read row by row; memory does not grow with the file. Out: conversations with the licence of their rows.
Posts of other kinds are passed over; so are answers that were not accepted. Scores and closed questions are not judged.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

from yearling.errors import UserError
from yearling.record import Message, digest
from yearling.sources.files import names
from yearling.sources.found import Found, Notes
from yearling.sources.markup import html_to_text

QUESTION, ANSWER = "1", "2"  # PostTypeId
WANTED = "the Posts.xml of a Stack Exchange dump"
Row = Mapping[str, str]


def plan_dump(file: Path) -> str:
    """Why a file is taken for a dump; raises UserError where it is none."""
    with closing(_elements(file)) as elements:
        root = next(elements).tag
    if root != "posts":
        raise UserError(f"{file}: its root element is {names([root])}, not posts. Give {WANTED}.")
    return "its root element is posts"


def read_dump(file: Path, prompts: bool, notes: Notes) -> Iterator[Found]:
    """Questions in the order of the file (`prompts`), or pairs in the order of their accepted answers."""
    return _questions(file) if prompts else _pairs(file, notes)


def _elements(file: Path) -> Generator[ElementTree.Element, None, None]:
    """The root as soon as it opens, then each row when it is whole; rows that were used are let go."""
    try:
        with file.open("rb") as handle:
            root = None
            for event, element in ElementTree.iterparse(handle, events=("start", "end")):
                if root is None:
                    root = element
                    yield root
                elif event == "end" and element.tag == "row":
                    yield element
                    root.clear()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file}: not XML that can be read ({error}). Unpack or fetch the file again.") from None


def _rows(file: Path) -> Iterator[Row]:
    elements = _elements(file)
    next(elements)
    return (element.attrib for element in elements)


def _is(row: Row, kind: str) -> bool:
    return "PostTypeId" in row and row["PostTypeId"] == kind


def _questions(file: Path) -> Iterator[Found]:
    return (_found(file, row) for row in _rows(file) if _is(row, QUESTION))


def _pairs(file: Path, notes: Notes) -> Iterator[Found]:
    """Each accepted answer with its question, which waits on disk: most answers come long after their questions."""
    try:
        # a database without a name is SQLite's own temporary file, gone when it is closed
        with closing(sqlite3.connect("")) as waiting:
            waiting.execute("CREATE TABLE asked (answer TEXT PRIMARY KEY, question TEXT)")
            for row in _rows(file):
                if _is(row, QUESTION):
                    notes["unanswered"] += 0 if _put(waiting, row) else 1
                elif question := _take(waiting, row):
                    yield _found(file, question, row)
            if waiting.execute("SELECT 1 FROM asked").fetchone():
                # posts that were merged or moved can stand before their questions
                for row in _rows(file):
                    if question := _take(waiting, row):
                        yield _found(file, question, row)
            notes["unanswered"] += waiting.execute("SELECT count(*) FROM asked").fetchone()[0]
    except sqlite3.Error as error:
        raise UserError(
            f"{file}: questions that wait for their answers could not be put aside ({error}). "
            "Make room in the system's temporary folder and run the same command again."
        ) from None


def _put(waiting: sqlite3.Connection, row: Row) -> bool:
    """Keep a question until its accepted answer comes; False where it has none, or one that is another's."""
    if "AcceptedAnswerId" not in row:
        return False
    kept = (row["AcceptedAnswerId"], json.dumps(dict(row)))
    return waiting.execute("INSERT OR IGNORE INTO asked VALUES (?, ?)", kept).rowcount == 1


def _take(waiting: sqlite3.Connection, row: Row) -> Row | None:
    """The question that accepted this answer, once."""
    if not _is(row, ANSWER) or "Id" not in row:
        return None
    found = waiting.execute("SELECT question FROM asked WHERE answer = ?", (row["Id"],)).fetchone()
    if not found:
        return None
    waiting.execute("DELETE FROM asked WHERE answer = ?", (row["Id"],))
    question: Row = json.loads(found[0])
    return question


def _found(file: Path, question: Row, answer: Row | None = None) -> Found:
    """A question, or a pair; every dump calls its file alike, so that the site is told by the folder's name."""
    named = question.get("Id", "unknown")
    for row, wanted in ((question, ("Id", "Title", "Body")), (answer, ("Body",))):
        absent = [name for name in wanted if row is not None and name not in row]
        if absent:
            which = "its accepted answer: " if row is answer else ""
            return Found(named, problem=f"{file.name} Id {named}: {which}no {' and no '.join(absent)}.")
    asked = "\n\n".join(part for part in (question["Title"].strip(), html_to_text(question["Body"])) if part)
    if not asked:
        return Found(named, problem=f"{file.name} Id {named}: Title and Body hold no text, there is nothing to ask.")
    messages = [Message("user", asked)]
    place = f"Id={named}"
    if answer is not None:
        messages.append(Message("assistant", html_to_text(answer["Body"])))
        place += f", answer Id={answer['Id']}"
    licences = dict.fromkeys(row["ContentLicense"] for row in (question, answer) if row and "ContentLicense" in row)
    return Found(place, tuple(messages), key=digest([file.name, named])[:24], licence=" AND ".join(licences))
