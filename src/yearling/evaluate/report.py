"""The exam's report: one offline HTML page, the same in Markdown, and a table for the terminal.

In: an `Exam`. Out: `report.html` and `report.md`, every number from the exam and every answer in the order asked.
Measures nothing, picks no answers, fetches nothing; what is missing is called "not measured".
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yearling.evaluate.exam import Answer, Exam, Interval, Line
from yearling.measure.asking import REPEAT_PENALTY, Attempt
from yearling.run_folder import write_text

if TYPE_CHECKING:
    import jinja2
    from rich.table import Table

OPEN_ANSWERS = 20  # answers unfolded in the page; the rest are folded, in the same order
MARKDOWN_ANSWERS = 10
FEW_ROWS = 30  # below this, a bootstrap interval is known to come out too narrow
NOT_MEASURED = "not measured"
COLUMNS = ("Model", "File", "Prompt put as", "Perplexity", "Stopped by itself", "Median words", "Tokens/s")

# Control characters as their visible pictures, so that an answer shows what is in it and breaks no page.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}

Tone = Literal["better", "open", "worse"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar and its interval, in hundredths of the column."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table in words; `cells` are in the order of COLUMNS, an interval is apart from its number."""

    cells: tuple[str, ...]
    perplexity_interval: str
    stopped_interval: str
    perplexity_bar: Bar | None
    stopped_bar: Bar | None


def write_report(exam: Exam, folder: Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` into a folder; returns both paths."""
    page, text = folder / "report.html", folder / "report.md"
    write_text(page, render_html(exam))
    write_text(text, render_markdown(exam))
    return page, text


def render_html(exam: Exam) -> str:
    """The page: style inside, no script, nothing fetched."""
    page = _page().render(
        exam=exam,
        facts=facts(exam),
        verdict=verdict(exam),
        tone=tone(exam.ratio),
        columns=COLUMNS,
        rows=rows(exam),
        method=method(exam),
        open_answers=OPEN_ANSWERS,
    )
    return clean(page)


@cache
def _page() -> jinja2.Template:
    import jinja2

    here = files("yearling.evaluate")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"css": (here / "report.css").read_text(encoding="utf-8"), "attempts": attempts}
    environment.filters["mark"] = mark
    return environment.from_string((here / "report.html.jinja").read_text(encoding="utf-8"))


# -- words


def verdict(exam: Exam) -> str:
    """What the exam shows, in plain words built from its numbers."""
    student = next((line for line in exam.lines if line.name.startswith("student")), None)
    base = next((line for line in exam.lines if line.name == "base"), None)
    return f"{_learnt(exam.ratio)} {_stops(student, base)}"


def _learnt(ratio: Interval | None) -> str:
    if ratio is None or not math.isfinite(ratio.value):
        return "The student's held-out perplexity against the base's was not measured: whether it learnt is not known."
    places = _places(ratio)
    value, low, high = (f"{number:.{places}f}" for number in (ratio.value, ratio.low, ratio.high))
    found = f"The student's held-out perplexity is {value} of the base's (95 % interval {low} to {high}): "
    endings: dict[Tone, str] = {
        "better": "it learnt.",
        "open": "the interval includes 1, so these rows do not show that it learnt.",
        "worse": "it got worse.",
    }
    return found + endings[tone(ratio)]


def tone(ratio: Interval | None) -> Tone:
    """Better or worse only where the whole interval is on one side of 1."""
    if ratio is None or not math.isfinite(ratio.value):
        return "open"
    return "better" if ratio.high < 1 else "worse" if ratio.low > 1 else "open"


def _places(ratio: Interval) -> int:
    """Decimals, at least two, so that no number beside 1 is printed as 1."""
    bounds = [number for number in (ratio.value, ratio.low, ratio.high) if number != 1]
    return next((p for p in range(2, 6) if all(float(f"{number:.{p}f}") != 1 for number in bounds)), 6)


def _stops(student: Line | None, base: Line | None) -> str:
    ours = student.stopped if student else None
    theirs = base.stopped if base else None
    if ours is None:
        return "Whether its answers stop by themselves was not measured."
    beside = f"of the base's, {percent(theirs.value)}" if theirs else "of the base's it was not measured"
    return f"{percent(ours.value)} of its answers stop by themselves; {beside}."


def facts(exam: Exam) -> tuple[tuple[str, str], ...]:
    """What the exam was of, as pairs of a label and a value."""
    cost = "unknown" if exam.cost_usd is None else f"{exam.cost_usd:.{2 if exam.cost_usd >= 1 else 4}f} USD"
    return (
        ("Base", exam.base),
        ("Teacher", exam.teacher),
        ("Held-out rows", str(exam.rows)),
        ("Limit of an answer", f"{exam.max_tokens} tokens"),
        ("Time", duration(exam.seconds)),
        ("Cost", cost),
    )


def method(exam: Exam) -> tuple[str, ...]:
    """How the numbers came about and how far they reach."""
    said = [
        "Perplexity is exp of the mean negative log-likelihood per token of the held-out answer, given its prompt; "
        "the prompt's own tokens are not counted. Lower is better.",
        "Tokens are those of each model's own tokenizer. Base and student share one, so their perplexities compare. "
        "The teacher's does not compare with theirs where its tokenizer is another.",
        f"Intervals are 95 %: of perplexities by bootstrap over the {exam.rows} held-out rows (the ratio's is paired: "
        "each draw takes the same rows for both models), of shares Wilson's. They tell what other rows of this kind "
        "would change, not what another training would.",
        f"An answer may have {exam.max_tokens} tokens of its model's own; one that reached them was cut and counts "
        f"as not stopped. Base and student are asked greedily with a repeat penalty of {REPEAT_PENALTY}, the teacher "
        "as it was for the data. Tokens/s are of one answer alone, on the exam's machine; they are no benchmark.",
    ]
    if exam.rows < FEW_ROWS:
        said.append(f"With fewer than {FEW_ROWS} rows such intervals come out too narrow: take them as rough.")
    if any(line.stopped and line.stopped.low == line.stopped.high for line in exam.lines):
        said.append("An interval of no width means that all rows did alike here, not that others would.")
    puts = {line.name: line.format for line in exam.lines if line.name == "base" or line.name.startswith("student")}
    if len(set(puts.values())) > 1:
        each = ", ".join(f"{name} as {put}" for name, put in puts.items())
        said.append(
            f"The prompt was not put to all in the same form ({each}); part of the difference may be due to it."
        )
    return tuple(said)


def mark(attempt: Attempt) -> str:
    """How an answer ended."""
    if attempt.stopped:
        return f"✓ stopped, {attempt.tokens} tokens"
    return f"… cut at {attempt.tokens} tokens"


def attempts(exam: Exam, answer: Answer) -> list[tuple[str, Attempt | None]]:
    """Every model's attempt in the order of the table; None where a model of the table has none.

    A teacher that was not asked again is left out beside a reference, for the reference is its answer.
    """
    names = list(dict.fromkeys([*(line.name for line in exam.lines), *answer.by_model]))
    given = [(name, answer.by_model.get(name)) for name in names]
    return [(name, attempt) for name, attempt in given if attempt or name != "teacher" or not answer.reference]


# -- numbers


def rows(exam: Exam) -> tuple[Row, ...]:
    """The table in words and bars, a row a model."""
    drawn = [line.perplexity for line in exam.lines if line.perplexity and line.name != "teacher"]
    top = max((p.high for p in drawn if math.isfinite(p.high)), default=0.0)
    return tuple(_row(line, top) for line in exam.lines)


def _row(line: Line, top: float) -> Row:
    perplexity, stopped = line.perplexity, line.stopped
    cells = (
        line.name,
        f"{line.file}, {size(line.size_bytes)}" if line.file else size(line.size_bytes),
        line.format,
        number(perplexity.value if perplexity else None),
        percent(stopped.value) if stopped else NOT_MEASURED,
        NOT_MEASURED if line.median_words is None else f"{line.median_words:g}",
        number(line.tokens_per_s, places=1),
    )
    return Row(
        cells,
        f"{number(perplexity.low)} to {number(perplexity.high)}" if perplexity else "",
        f"{percent(stopped.low)} to {percent(stopped.high)}" if stopped else "",
        _bar(perplexity, top) if line.name != "teacher" else None,
        _bar(stopped, 1.0),
    )


def _bar(found: Interval | None, top: float) -> Bar | None:
    if found is None or top <= 0 or not math.isfinite(found.value):
        return None
    value, low, high = (round(100 * min(max(end, 0.0), top) / top, 2) for end in (found.value, found.low, found.high))
    return Bar(value, low, high)


def number(value: float | None, places: int = 2) -> str:
    """A number with its decimals, fewer as it grows."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "infinite"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    return f"{value:.{places}f}" if abs(value) < 100 else f"{value:,.{max(places - 2, 0)}f}"


def percent(share: float) -> str:
    """A share as per cent; 0 and 100 are printed only where they are exact."""
    whole = f"{100 * share:.0f}"
    exact = whole not in ("0", "100") or share in (0.0, 1.0)
    return f"{whole} %" if exact else f"{100 * share:.1f} %"


def size(count: int | None) -> str:
    """Bytes in the unit that reads best (decimal)."""
    if count is None:
        return "size not known"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.{1 if count < 100 * step else 0}f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clean(text: str) -> str:
    """Text without what breaks a page: control characters as pictures, lone surrogates replaced."""
    plain = text.replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8")
    return plain.translate(_PICTURES)


# -- Markdown


def render_markdown(exam: Exam) -> str:
    """The report as Markdown, with the first answers only."""
    shown = exam.answers[:MARKDOWN_ANSWERS]
    parts = [
        f"# Exam of {_plain(exam.run)}",
        f"**{_plain(verdict(exam))}**",
        "\n".join(f"- {label}: {_plain(value)}" for label, value in facts(exam)),
        "## Results",
        _markdown_table(exam),
        "## How it was measured",
        "\n".join(f"- {_plain(text)}" for text in method(exam)),
        "## Notes",
        "\n".join(f"- {_plain(note)}" for note in exam.notes) or "None.",
        "## Your own questions",
        *(part for place, answer in enumerate(exam.questions, 1) for part in _markdown_answer(exam, answer, place)),
        *(() if exam.questions else ("None were asked; `eval.questions` in the recipe asks yours.",)),
        "## Held-out answers",
        f"The first {len(shown)} of {len(exam.answers)}, in the order asked, none selected; "
        "all are in `report.html` beside this file.",
        *(part for place, answer in enumerate(shown, 1) for part in _markdown_answer(exam, answer, place)),
    ]
    return clean("\n\n".join(parts)) + "\n"


def _markdown_table(exam: Exam) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|--:|--:|--:|--:|"]
    for row in rows(exam):
        cells = [_plain(cell) for cell in row.cells]
        cells[3] += f" ({row.perplexity_interval})" if row.perplexity_interval else ""
        cells[4] += f" ({row.stopped_interval})" if row.stopped_interval else ""
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "In brackets: 95 % intervals."])


def _markdown_answer(exam: Exam, answer: Answer, place: int) -> list[str]:
    parts = [f"### {place}. `{_plain(answer.record)}`" if answer.record else f"### {place}.", "Prompt:"]
    parts.append(_fence(answer.prompt))
    if answer.reference:
        parts += ["Held-out answer (reference):", _fence(answer.reference)]
    for name, attempt in attempts(exam, answer):
        if attempt is None:
            parts.append(f"{_plain(name)}: {NOT_MEASURED}")
        else:
            parts += [f"{_plain(name)} ({mark(attempt)}):", _fence(attempt.text)]
    return parts


def _plain(text: str) -> str:
    """Text on one line that Markdown takes for nothing else."""
    one_line = " ".join(text.split())
    return html.escape(re.sub(r"([\\`*\[\]|~]|\b_|_\b|^[#+-])", r"\\\1", one_line), quote=False)


def _fence(text: str) -> str:
    """Text verbatim, in a fence longer than any run of backticks inside."""
    inside = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, inside + 1)
    return f"{fence}text\n{text}\n{fence}"


# -- terminal


def table(exam: Exam) -> Table:
    """The table for the terminal; the verdict is its caption."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(f"exam of {exam.run}"), caption=Text(verdict(exam)), caption_justify="left")
    # The file's name and the form of the prompt are long and in the report; here they would squeeze the numbers.
    for column in (COLUMNS[0], *COLUMNS[3:]):
        shown.add_column(column, justify="left" if column == COLUMNS[0] else "right", no_wrap=True)
    for row in rows(exam):
        name, _, _, *rest = row.cells
        intervals = (row.perplexity_interval, row.stopped_interval, "", "")
        cells = [f"{cell}\n{extra}" if extra else cell for cell, extra in zip(rest, intervals, strict=True)]
        shown.add_row(*(Text(clean(cell)) for cell in (name, *cells)))
    return shown
