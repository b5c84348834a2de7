"""The mask proof alone: every row checked, and 64 of them shown with the loss in colour.

In: a recipe with its run, or a student's settings with records from anywhere. Out: plain values, a view for the
terminal, one offline HTML page. Trains nothing, and writes nothing into a run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from yearling.errors import ProofError, UserError
from yearling.recipe import Recipe
from yearling.recipe import Student as Settings
from yearling.record import Record, text_digest
from yearling.run_folder import Run
from yearling.students.load import Student, open_student
from yearling.students.proof import Proved, prove_rows
from yearling.students.rows import IGNORE, Row, render_row, special_ids
from yearling.students.same import prove_tokenizer

if TYPE_CHECKING:
    import jinja2
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

Label = Literal["loss", "stop", "special", "none"]
SHOWN = 64  # rows that are shown
FAULTS = 100  # faults that are told; the rest are counted
BEFORE, WITHIN, AFTER = (
    240,
    320,
    120,
)  # characters of a stretch that a terminal shows: of a prompt, of an answer, its end
STYLES: dict[Label, str] = {"loss": "green", "stop": "bold reverse green", "special": "magenta", "none": "dim"}
MEANING: dict[Label, str] = {
    "loss": "learnt",
    "stop": "learnt: the token that ends the answer",
    "special": "special token, not learnt",
    "none": "read, not learnt",
}
# What would move the text around it, or not be seen: controls, marks of direction, spaces of no width, lone surrogates.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as people see it: its own stretch of the text; "" for the later tokens of one letter."""

    text: str
    id: int
    label: Label


def masks(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Prove the mask of the run's accepted rows of the train split; plain values, faults among them.

    Raises UserError where there is no student, or no row yet.
    """
    from yearling.measure.accepted import accepted_split

    if recipe.student is None:
        raise UserError(f"the recipe {recipe.name} has no student. Add `student: {{base: …}}`.")
    records = accepted_split(run, recipe, "train")
    if not records:
        raise UserError("no accepted rows in the train split. Run `yearling curate` first, or name a data file.")
    return prove(recipe.student, records, recipe.name, run)


def prove(settings: Settings, records: Sequence[Record], of: str, run: Run | None = None) -> dict[str, Any]:
    """Prove the mask of records in a student's template, with the tokenizer that `run` began with if one is given."""
    if not records:
        raise UserError(f"{of} holds no rows that have an answer.")
    student = open_student(settings)
    tokenizer = prove_tokenizer(student, run, settings.base, write=False) if run else None
    limit = settings.max_seq_length
    return plain(student, records, prove_rows(student, records, None if limit == "auto" else limit), of) | {
        "tokenizer": tokenizer
    }


def plain(student: Student, records: Sequence[Record], proved: Proved, of: str) -> dict[str, Any]:
    """The proof as plain values, with the rows that are shown."""
    by_id = {record.id: record for record in records}
    return {
        "of": of,
        "base": student.folder if student.gguf is None else student.gguf.name,
        "proved": not proved.faults,
        "facts": proved.facts,
        "records": len(records),
        "faulty": len({fault.record for fault in proved.faults}),
        "faults": [asdict(fault) | {"message": str(fault)} for fault in proved.faults[:FAULTS]],
        "kinds": dict(Counter(fault.kind for fault in proved.faults)),
        "dropped": proved.dropped,
        "shown": [
            {
                "record": row.record,
                "tokens": len(row.tokens),
                "label_tokens": sum(label != IGNORE for label in row.labels),
                "pieces": [asdict(piece) for piece in pieces(student, by_id[row.record], row, proved.facts["stop_id"])],
            }
            for row in drawn(proved.rows)
        ],
    }


def hold(data: Mapping[str, Any]) -> None:
    """Raise ProofError with the first fault, if there is one."""
    if data["faults"]:
        others = data["faulty"] - 1
        more = f" So are {others} more rows." if others else ""
        raise ProofError(f"mask proof: {data['faults'][0]['message']}{more}")


def drawn(rows: Sequence[Row]) -> list[Row]:
    """At most 64 rows, the same each time: those whose ids hash lowest, in the order of the data."""
    chosen = {row.record for row in sorted(rows, key=lambda row: text_digest(row.record))[:SHOWN]}
    return [row for row in rows if row.record in chosen][:SHOWN]


def pieces(student: Student, record: Record, row: Row, stop: int) -> list[Piece]:
    """The row's tokens, each with its stretch of the text and its label; the stretches together are the text."""
    text, _ = render_row(student.template, str(student.tokenizer.convert_ids_to_tokens(stop)), record.messages)
    encoded: Any = student.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    special, cursor = special_ids(student.tokenizer), 0
    found = []
    for place, (token, label) in enumerate(zip(row.tokens, row.labels, strict=True)):
        # the next token's beginning, so that letters which a tokenizer leaves out stay with the token before them
        offsets = encoded["offset_mapping"]
        end = max(offsets[place + 1][0] if place + 1 < len(offsets) else len(text), cursor)
        kind: Label = "none" if token not in special else "special"
        if label != IGNORE:
            kind = "stop" if token == stop else "loss"
        found.append(Piece(text[cursor:end], token, kind))
        cursor = end
    return found


# -- the terminal


@dataclass(frozen=True)
class View:
    """The proof for a terminal: colours where it has them, brackets around what carries loss where not."""

    data: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        colours = console.color_system is not None
        marks = ("⟦", "⟧") if (console.encoding or "").lower().startswith("utf") else ("[[", "]]")
        for row in self.data["shown"]:
            yield Text(f"{row['record']}  {row['tokens']} tokens, {row['label_tokens']} carry loss", "bold")
            yield _line(row["pieces"], colours, marks)
            yield Text()
        if self.data["shown"]:
            yield _legend(colours, marks)
        for said in summary(self.data):
            yield Text(visible(said))


def view(data: Mapping[str, Any]) -> View:
    """What `yearling masks` prints."""
    return View(data)


def summary(data: Mapping[str, Any]) -> list[str]:
    """What the proof found, in sentences."""
    facts = data["facts"]
    if data["proved"]:
        share = facts["label_tokens"] / max(1, facts["tokens"])
        head = (
            f"proved: {facts['rows']} rows of {data['of']} in the template {facts['template']}; "
            f"{facts['label_tokens']} of {facts['tokens']} tokens ({share:.0%}) carry loss, each row ends in "
            f"{facts['stop_token']!r}; longest row {facts['longest']} tokens"
        )
    else:
        head = f"refused: {data['faulty']} of {data['records']} rows of {data['of']} must not be trained on"
    named = [f"{name}: {count} rows" for name, count in facts["variants"].items()]
    told = [fault["message"] for fault in data["faults"][:5]]
    rest = len(data["faults"]) - 5
    return [head, *told, *([f"… and {rest} more, see --json"] if rest > 0 else []), *named, *facts["notes"]]


def visible(text: str) -> str:
    """Text in which what would not be seen, or would move what is around it, is spelt out."""
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def _line(pieces: Sequence[Mapping[str, Any]], colours: bool, marks: tuple[str, str]) -> Text:
    """A row as one wrapped line, long stretches shortened in their middle."""
    from rich.text import Text

    line = Text()
    for learnt, stretch in groupby(pieces, key=lambda piece: piece["label"] in ("loss", "stop")):
        if learnt and not colours:
            line.append(marks[0])
        for text, label in _shortened(list(stretch), learnt):
            line.append(visible(text).replace("\n", "↵").replace("\t", "→"), STYLES[label] if colours else None)
        if learnt and not colours:
            line.append(marks[1])
    return line


def _shortened(stretch: Sequence[Mapping[str, Any]], learnt: bool) -> Iterator[tuple[str, Label]]:
    """The stretch's texts and labels: of a long prompt the end, of a long answer beginning and end."""
    size, at = sum(len(piece["text"]) for piece in stretch), 0
    first, last = (WITHIN, size - AFTER) if learnt else (0, size - BEFORE)
    gap = False
    for piece in stretch:
        inside = first <= at < last
        if inside and not gap:
            yield " … ", "none"
        if not inside:
            yield piece["text"], piece["label"]
        gap, at = inside, at + len(piece["text"])


def _legend(colours: bool, marks: tuple[str, str]) -> Text:
    from rich.text import Text

    if not colours:
        return Text(f"{marks[0]}…{marks[1]} carries loss")
    return Text("  ").join(Text(meaning, STYLES[label]) for label, meaning in MEANING.items())


# -- the page


def render_html(data: Mapping[str, Any]) -> str:
    """The page: style inside, no script, nothing fetched; a token's id shows when it is pointed at."""
    rows = [
        {**row, "pieces": [{**piece, "text": _on_page(piece["text"])} for piece in row["pieces"]]}
        for row in data["shown"]
    ]
    faults = [visible(fault["message"]) for fault in data["faults"]]
    page = _page().render(
        data=data, faults=faults, rows=rows, summary=[visible(said) for said in summary(data)], meaning=MEANING
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _on_page(text: str) -> str:
    return visible(text).replace("\n", "↵\n") or "·"


@cache
def _page() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((files("yearling") / "masks.html.jinja").read_text(encoding="utf-8"))
