"""`yearling audit`: a person reads a draw of rows and says what is right with each, after Self-Instruct's Table 2.

In: a run, its recipe, and lines from a terminal or a pipe. Out: marks in `audit/marks.jsonl`, each written at once, and
from them three shares with their intervals.
What the judges said is not shown, so that a mark is a person's own. Changes no verdict.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yearling.curate.explain import judgement, turns_of
from yearling.curate.explained import CONTROLS
from yearling.errors import UserError
from yearling.look import plain_table, with_interval
from yearling.measure.accepted import accepted
from yearling.measure.perplexity import share_interval
from yearling.measure.personal import mask
from yearling.progress import console, say
from yearling.recipe import Recipe
from yearling.record import Message
from yearling.run_folder import Run

if TYPE_CHECKING:
    from rich.table import Table

Of = Literal["accepted", "dropped"]
Marks = dict[tuple[str, str], str]  # record and question: y, n or s
FILE = "marks.jsonl"
QUESTIONS = {
    "instruction": "Does the instruction describe a valid task?",
    "input": "Does the input fit the instruction? (s where there is none)",
    "answer": "Is the answer a correct and acceptable response?",
}
KEYS = {"y": "yes", "n": "no", "s": "skip", "b": "back", "q": "quit"}
HELP = "y yes, n no, s skip, b back, q quit, then Enter; several letters mark several questions of one row, as yy"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row that a person is asked about; where it has no input, nothing is asked of that."""

    id: str
    turns: tuple[Message, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """An input is what follows the first paragraph of the last prompt."""
        prompt = next((turn.content for turn in reversed(self.turns) if turn.role == "user"), "")
        has_input = any(not line.strip() for line in prompt.strip().splitlines())
        return tuple(name for name in QUESTIONS if has_input or name != "input")


def audit(
    run: Run, recipe: Recipe, of: Of = "accepted", rows: int = 200, seed: int = 42, ask: bool = True
) -> dict[str, Any]:
    """Ask about rows until all are marked or the person leaves, then the report; without `ask` only that.

    Raises UserError where there are no such rows.
    """
    drawn = draw(run, recipe, of, rows, seed)
    if not drawn:
        raise UserError(f"run {run.name} has no {of} rows to audit. `yearling status` shows what it holds.")
    path = run.path / "audit" / FILE
    if ask:
        _ask(drawn, path)
    return {"run": run.name, "of": of, "seed": seed, **report(drawn, read_marks(path))}


def draw(run: Run, recipe: Recipe, of: Of, rows: int, seed: int) -> list[Drawn]:
    """Rows in a random order that the seed decides; more rows, or other records beside them, leave the order as it is.

    Texts are as they are trained on: masked where the recipe says so.
    """
    if recipe.curate is None:
        if of == "dropped":
            raise UserError(f"run {run.name} is not curated, so nothing was dropped. Add `curate: {{}}` to its recipe.")
        texts = {record.id: record.messages for record in accepted(run, recipe)}
        return [Drawn(name, texts[name]) for name in _first(texts, rows, seed)]
    said = judgement(run, ())
    wanted = said.accepted if of == "accepted" else ~said.accepted
    chosen = _first(said.ids.filter(wanted).to_pylist(), rows, seed)
    texts = turns_of(run, chosen)
    if recipe.curate.personal == "mask" and of == "accepted":
        texts = {name: tuple(Message(t.role, mask(t.content)[0]) for t in turns) for name, turns in texts.items()}
    return [Drawn(name, texts[name]) for name in chosen]


def _first(ids: Sequence[str] | Mapping[str, Any], rows: int, seed: int) -> list[str]:
    return heapq.nsmallest(rows, ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


# -- marks


def read_marks(path: Path) -> Marks:
    """The last mark on each question; a line that was cut off in writing is passed over."""
    marks: Marks = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            if said["mark"] in ("y", "n", "s"):
                marks[str(said["record"]), str(said["question"])] = said["mark"]
    return marks


def write_mark(path: Path, record: str, question: str, mark: str) -> None:
    """Append one mark; it is on the disk when this returns."""
    line = json.dumps({"time": round(time.time(), 3), "record": record, "question": question, "mark": mark})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"  # what was cut off stays a line of its own
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


# -- asking


def _ask(drawn: Sequence[Drawn], path: Path) -> None:
    """Ask what is not marked yet, row by row."""
    marks = read_marks(path)
    steps = [(place, question) for place, row in enumerate(drawn) for question in row.questions]

    def open_step(start: int) -> int:
        waiting = (at for at in range(start, len(steps)) if (drawn[steps[at][0]].id, steps[at][1]) not in marks)
        return next(waiting, len(steps))

    at, shown, keys = open_step(0), -1, ""
    say(HELP if at < len(steps) else "all rows are marked")
    while at < len(steps):
        place, question = steps[at]
        row = drawn[place]
        if place != shown:
            if keys:
                say(f"left over and not used: {keys}")
            shown, keys = place, ""
            _show(row, place, len(drawn))
        keys = keys or _keys(question, marks.get((row.id, question)))
        key, keys = keys[:1], keys[1:]
        if key == "q":
            say("stopped; the same command goes on from here")
            return
        if key == "b":
            at = max(at - 1, 0)
            continue
        write_mark(path, row.id, question, key)
        marks[row.id, question] = key
        at = open_step(at + 1)


def _show(row: Drawn, place: int, of: int) -> None:
    from rich.text import Text

    screen = console()
    screen.print(Text(f"\n{place + 1} of {of}  {row.id}", "bold"))
    for turn in row.turns:
        screen.print(Text(turn.role, "bold dim"))
        screen.print(Text(turn.content.translate(CONTROLS)))


def _keys(question: str, before: str | None) -> str:
    """Letters of one line; a line that holds anything else is asked for again. The end of the input quits."""
    marked = f" (so far: {KEYS[before]})" if before else ""
    while True:
        sys.stderr.write(f"{QUESTIONS[question]}{marked} [y/n/s/b/q] ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not sys.stdin.isatty():
            sys.stderr.write("\n")
        if not line:
            return "q"
        word = line.strip().lower()
        word = next((key for key, name in KEYS.items() if name == word), word)
        if word and set(word) <= set(KEYS):
            return word
        say(HELP)


# -- the report


def report(drawn: Sequence[Drawn], marks: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Shares of yes among what was marked yes or no, with Wilson's 95 % interval; what was skipped counts in none.

    All valid is a row that has a yes to each of its questions, among the rows where none was skipped.
    """
    given = [{q: marks.get((row.id, q), "") for q in row.questions} for row in drawn]
    whole = [set(marked.values()) for marked in given if set(marked.values()) <= {"y", "n"}]
    lines = [
        _line(name, asked, [marked[name] for marked in given if name in marked]) for name, asked in QUESTIONS.items()
    ]
    lines.append(_line("all", "All of them", ["n" if "n" in marked else "y" for marked in whole]))
    return {"rows": len(drawn), "marked": sum(all(marked.values()) for marked in given), "questions": lines}


def _line(name: str, asked: str, marks: Sequence[str]) -> dict[str, Any]:
    yes, no = marks.count("y"), marks.count("n")
    value, low, high = share_interval(yes, yes + no)
    share = {"value": value, "low": low, "high": high} if yes + no else None
    return {"question": name, "asked": asked, "yes": yes, "no": no, "skipped": marks.count("s"), "share": share}


def audit_view(data: Mapping[str, Any]) -> Table:
    """The report as a table."""
    rows = [
        [line["asked"].partition(" (")[0], *(f"{line[name]:,}" for name in ("yes", "no", "skipped")), _share(line)]
        for line in data["questions"]
    ]
    title = f"run {data['run']}: {data['marked']} of {data['rows']} {data['of']} rows are marked (seed {data['seed']})"
    left = data["rows"] - data["marked"]
    caption = f"{left} rows wait: `yearling audit {data['run']}` goes on." if left else ""
    return plain_table(("", "yes", "no", "skipped", "yes (95 % interval)"), rows, title, caption)


def _share(line: Mapping[str, Any]) -> str:
    return with_interval(line["share"], ".0%") or "not marked yet"
