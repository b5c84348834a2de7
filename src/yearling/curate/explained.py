"""An explanation of judgement and its two views: one offline HTML page, tables for the terminal.

In: an `Explanation`, as `explain.py` makes it. Out: the page as text, and Rich tables.
Reads no files. The page fetches nothing; its one script, allowed by its digest, filters rows that are there anyway.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from yearling.curate.picture import share
from yearling.record import Message

if TYPE_CHECKING:
    import jinja2
    from rich.console import Group
    from rich.table import Table

PLOT = (640.0, 110.0)  # width and height of the bars of a histogram
NAME_WIDTH = 110.0  # of the name of a limit there, about
LONGEST = 50_000  # characters of one turn on the page
EXAMPLES = 4  # rows shown with a judge
TOLD, SHORT = 2, 120  # the same in the terminal, and characters of a text of theirs

# Control characters as visible pictures: text from anywhere breaks no page and gives a terminal no orders.
CONTROLS: dict[int, str | int] = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
CONTROLS |= {0x7F: 0x2421} | {code: "�" for code in range(0x80, 0xA0)}


@dataclass(frozen=True, slots=True)
class Shown:
    """A row, with what a judge said of it; `other` and its turns are the row that the reason names."""

    id: str
    judge: str
    reason: str
    score: float | None
    turns: tuple[Message, ...]
    other: str = ""
    other_turns: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Scores counted between edges, those passed and those failed; what lies further out counts in the end bars."""

    edges: tuple[float, ...]
    passed: tuple[int, ...]
    failed: tuple[int, ...]
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of reason, under which state it was given and how often."""

    state: str
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One judge: what it said, of how many records it was the first to fail, and rows to look at.

    `unheard` are those that it was not shown, as an earlier judge had failed them; `skipped` has them too.
    """

    name: str
    off: bool
    settings: Any
    passed: int
    failed: int
    skipped: int
    unheard: int
    reasons: tuple[Reason, ...]
    scores: Histogram | None
    limits: tuple[tuple[str, float], ...] = ()
    first: int = 0
    left: int = 0  # records that stand after it
    dropped: tuple[Shown, ...] = ()  # a draw, where there are many
    close: tuple[Shown, ...] = ()  # accepted rows whose score is next to a limit


@dataclass(frozen=True, slots=True)
class Explanation:
    """What judgement did with the records of a run."""

    run: str
    records: int
    accepted: int
    kept_by_hand: int
    overruled: int  # kept by hand, and failed by a judge
    judges: tuple[Heard, ...]
    kept: tuple[Shown, ...]  # those with the first judge that failed them, or some of them

    def plain(self) -> dict[str, Any]:
        """Values for JSON, with a few rows a judge; the page has more, the verdict tables all."""
        few = [replace(heard, dropped=heard.dropped[:EXAMPLES]) for heard in self.judges]
        return asdict(replace(self, judges=tuple(few)))


# -- the page


def render_html(explanation: Explanation) -> str:
    """The page: style and script inside, nothing fetched."""
    page = _page().render(
        x=explanation,
        examples=EXAMPLES,
        share=share,
        bars=bars,
        places=limit_places,
        number=number,
        opening=opening,
        cut=cut,
    )
    return page.encode("utf-8", "replace").decode("utf-8").translate(CONTROLS)


@cache
def _page() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sha256"] = lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return environment.from_string((files("yearling.curate") / "explain.html.jinja").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands, how high its failed and, on top of it, its passed part is, what it says."""

    x: float
    width: float
    failed: float
    passed: float
    title: str


def bars(scores: Histogram) -> list[Bar]:
    """The bars of a histogram in the measures of its picture."""
    wide, high = PLOT
    count, most = len(scores.passed), max(p + f for p, f in zip(scores.passed, scores.failed, strict=True))
    found = []
    for place, (passed, failed) in enumerate(zip(scores.passed, scores.failed, strict=True)):
        # a handful among thousands is still seen
        heights = [max(1.5, high * part / most) if part else 0.0 for part in (failed, passed)]
        told = (
            f"{number(scores.edges[place])} to {number(scores.edges[place + 1])}: {passed:,} passed, {failed:,} failed"
        )
        found.append(Bar(wide * place / count + 1, wide / count - 2, heights[0], heights[1], told))
    return found


def limit_places(heard: Heard) -> list[tuple[float, str]]:
    """Where the limits lie that fall into the picture of a judge's scores, and what they are called."""
    if heard.scores is None:
        return []
    low, high = heard.scores.edges[0], heard.scores.edges[-1]
    lines: list[float] = []
    names: list[str] = []
    for name, value in sorted(heard.limits, key=lambda limit: limit[1]):
        if not low <= value <= high:
            continue
        lines.append(round(PLOT[0] * (value - low) / (high - low), 1))
        names.append(f"{name} {number(value)}")
        if len(lines) > 1 and lines[-1] - lines[-2] < NAME_WIDTH:  # two names would lie on one another
            names[-2:] = "", f"{names[-2]}, {names[-1]}"
    return list(zip(lines, names, strict=True))


def number(value: float) -> str:
    """A score, as short as it can be read."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def opening(turns: Sequence[Message], role: str, limit: int = 160) -> str:
    """The beginning of the last turn of a role, on one line."""
    text = next((turn.content for turn in reversed(turns) if turn.role == role), "")
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) < limit and len(text) <= 4 * limit else f"{line[: limit - 1]}…"


def cut(text: str) -> str:
    """A turn for the page: whole, unless it alone would make a page that no browser opens."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… [cut: it has {len(text):,} characters; `yearling trace --json` shows all]"


# -- the terminal


def tables(explanation: Explanation) -> Group:
    """The same for a terminal of 80 columns, with a few rows of each judge."""
    from rich.console import Group
    from rich.text import Text

    x = explanation
    dropped = x.records - x.accepted
    told = f"run {x.run}: {x.records:,} records, {x.accepted:,} accepted ({share(x.accepted, x.records)}), {dropped:,} "
    told += f"dropped, {x.kept_by_hand:,} kept by hand"
    parts: list[Any] = [Text(_clean(told)), _judges(x.judges)]
    rows = [
        (heard.name if not place else "", f"{reason.count:,}", reason.text)
        for heard in x.judges
        for place, reason in enumerate([r for r in heard.reasons if r.state == "fail"][:3])
    ]
    if rows:
        parts.append(_table(("judge", "records", "most frequent reasons"), rows, numbers=(1,)))
    parts += [line for heard in x.judges for row in heard.dropped[:TOLD] for line in _row(row, "dropped by")]
    parts += [line for row in x.kept[:TOLD] for line in _row(row, "kept by hand against")]
    if dropped:
        parts.append(Text("`yearling curate --keep <id>` keeps a row against the judges."))
    return Group(*parts)


def _judges(judges: Sequence[Heard]) -> Table:
    rows = []
    for heard in judges:
        counts = [heard.first, heard.left, heard.failed, heard.passed]
        limits = ", ".join(f"{name} {number(value)}" for name, value in heard.limits)
        rows.append((heard.name, *(f"{count:,}" for count in counts), "off" if heard.off else limits))
    return _table(("judge", "first", "left", "fails", "passes", "limits"), rows, numbers=(1, 2, 3, 4))


def _row(row: Shown, what: str) -> list[Any]:
    from rich.text import Text

    score = "" if row.score is None else f" (score {number(row.score)})"
    head = Text(f"{row.id}  {what} {row.judge}{score}", "bold")
    lines = [row.reason, f"prompt: {opening(row.turns, 'user', SHORT)}"]
    lines += [f"answer: {opening(row.turns, 'assistant', SHORT)}"]
    return [head, *(Text(f"  {_clean(line)}") for line in lines), Text("")]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for place, column in enumerate(columns):
        justify: Literal["right", "left"] = "right" if place in numbers else "left"
        # words give way to numbers
        table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=column != columns[-1])
    for row in rows:
        table.add_row(*(Text(_clean(cell)) for cell in row))
    return table


def _clean(text: str) -> str:
    return text.translate(CONTROLS).replace("\n", " ")
