"""A description of records, shown: one offline HTML page with a sunburst of verbs and nouns, tables for the terminal.

In: a `Description`. Out: the page as text, and Rich tables.
Counts nothing but angles, and fetches nothing; the page holds no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import cos, pi, sin
from typing import TYPE_CHECKING

from yearling.measure.describe import Asks, Description, Spread, Texts

if TYPE_CHECKING:
    import jinja2
    from rich.console import Group
    from rich.table import Table

INNER, OUTER = (74.0, 176.0), (180.0, 306.0)  # radii of the two rings
LETTER = 6.7  # width of a letter, about
LINE, LEAST = 12.0, 7.5  # height of a label, and of the smallest that is still read
KINDS = 20  # kinds of work that are shown; the rest are summed
VERBS, NOUNS = "verb", "its most frequent objects"

# Control characters as their visible pictures, so that text from anywhere breaks no page.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}


@dataclass(frozen=True, slots=True)
class Arc:
    """A piece of a ring: its outline, its colour, what it says when pointed at, and its label of a size that fits."""

    path: str
    hue: int
    ring: str
    title: str
    label: str
    transform: str
    size: float


def render_html(description: Description) -> str:
    """The page: style inside, no script, nothing fetched."""
    page = _page().render(
        description=description,
        arcs=sunburst(description.asks),
        asked=asked_for(description.asks, description.records),
        facts=facts(description),
        sides=sides(description),
        kinds=kinds(description),
        verbs=verbs(description.asks),
        notes=notes(description),
    )
    return page.encode("utf-8", "replace").decode("utf-8").translate(_PICTURES)


@cache
def _page() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((files("yearling.curate") / "describe.html.jinja").read_text(encoding="utf-8"))


# -- the sunburst


def sunburst(asks: Asks) -> tuple[Arc, ...]:
    """Verbs within, their objects without; angles are counts, and objects that are not shown leave a pale rest."""
    total = sum(verb.with_object for verb in asks.top)
    arcs, start = [], 0.0
    for place, verb in enumerate(asks.top):
        hue, turn = round(360 * place / len(asks.top)), verb.with_object / total
        told = f"{verb.verb}: {verb.with_object} of {total} shown"
        arcs.append(_arc(INNER, (start, start + turn), hue, told, verb.verb))
        begin = start
        for noun, count in verb.nouns:
            end = begin + count / total
            arcs.append(_arc(OUTER, (begin, end), hue, f"{verb.verb} {noun}: {count}", noun))
            begin = end
        rest = verb.with_object - sum(count for _, count in verb.nouns)
        if rest:
            arcs.append(_arc(OUTER, (begin, start + turn), hue, f"{verb.verb}, other objects: {rest}", ""))
        start += turn
    return tuple(arcs)


def _arc(ring: tuple[float, float], turns: tuple[float, float], hue: int, title: str, label: str) -> Arc:
    """One piece of a ring, from turn to turn (1 is the whole round, clockwise from the top)."""
    (near, far), middle = ring, sum(turns) / 2
    # an arc of the whole round would begin where it ends and be drawn as nothing
    start, end = turns[0], min(turns[1], turns[0] + 0.99999)
    large = int(end - start > 0.5)
    path = (
        f"M{_point(near, start)}L{_point(far, start)}A{far:g} {far:g} 0 {large} 1 {_point(far, end)}"
        f"L{_point(near, end)}A{near:g} {near:g} 0 {large} 0 {_point(near, start)}Z"
    )
    # the label runs along the radius, so the near end of it is the narrowest place
    size = min(LINE, (end - start) * 2 * pi * (near + 12))
    room = int((far - near - 8) / LETTER * LINE / max(size, LEAST))
    shown = label if len(label) <= room else f"{label[: room - 1]}…"
    lies = middle * 360 - 90
    turned = f"rotate({lies:.2f}) translate({(near + far) / 2:g} 0)" + (" rotate(180)" if middle > 0.5 else "")
    name = "rest" if not label else "inner" if ring == INNER else "outer"
    return Arc(path, hue, name, title, shown if size >= LEAST else "", turned, round(size, 1))


def _point(radius: float, turn: float) -> str:
    return f"{radius * sin(2 * pi * turn):.2f} {-radius * cos(2 * pi * turn):.2f}"


# -- words and numbers


def asked_for(asks: Asks, records: int) -> str:
    """In how many prompts a verb and its object were found, and in how many not."""
    return (
        f"Of {records:,} prompts, {asks.with_object:,} ({share(asks.with_object, records)}) have a root verb with a "
        f"noun as its object, {asks.verb_alone:,} a verb without one, {asks.no_verb:,} no verb but “be” or none; "
        f"not English, left out: {asks.not_english:,}. "
        f"Different verbs: {asks.distinct_verbs:,}, different pairs: {asks.distinct_pairs:,}."
    )


def facts(description: Description) -> tuple[tuple[str, str], ...]:
    """What the set is, as pairs of a label and a value."""
    turns = description.turns
    several = f", more than one question: {share(description.more_turns, description.records)}"
    return (
        ("Records", f"{description.records:,}"),
        ("Turns a conversation", f"{spread(turns)}{several}" if turns else "none"),
        ("With a system turn", share(description.with_system, description.records)),
    )


def sides(description: Description) -> tuple[tuple[str, ...], ...]:
    """The rows of prompts and completions: how many, words, distinct-1, -2, -3."""
    return (_side("prompts", description.prompts), _side("completions", description.completions))


def _side(name: str, texts: Texts) -> tuple[str, ...]:
    shares = ("none" if value is None else f"{value:.3f}" for value in texts.distinct)
    return (name, f"{texts.count:,}", spread(texts.words), *shares)


def kinds(description: Description) -> tuple[tuple[str, str, str], ...]:
    """Kinds of work with their counts and shares; the rare ones in one row."""
    shown = list(description.kinds[:KINDS])
    others = description.kinds[KINDS:]
    if others:
        shown.append((f"{len(others)} other kinds", sum(count for _, count in others)))
    return tuple((name, f"{count:,}", share(count, description.records)) for name, count in shown)


def verbs(asks: Asks) -> tuple[tuple[str, str, str, str], ...]:
    """The verbs in words: with an object, without one, and the objects."""
    return tuple(
        (
            verb.verb,
            f"{verb.with_object:,}",
            f"{verb.without_object:,}",
            ", ".join(f"{noun} {count:,}" for noun, count in verb.nouns),
        )
        for verb in asks.top
    )


def notes(description: Description) -> tuple[str, ...]:
    """How the numbers came about and how far they reach."""
    given, guessed = description.kinds_given, description.records - description.kinds_given
    return (
        "Verb and object are those of the first sentence of a prompt that commands or asks, found by rules over an "
        "English dictionary. On 226 published instructions that the rules had not seen, 97 % of the verbs and 93 % of "
        "the objects were right, and 92 % had both right. Names, numbers, pronouns and clauses are no objects.",
        "The picture holds the 20 verbs that most often have an object, each with its 4 most frequent ones; pale arcs "
        "are all its other objects.",
        "Distinct-n is the number of different runs of n words by the number of all such runs. It falls as a set "
        "grows, so compare sets of like size only. Scripts without spaces count by character.",
        "Lengths are in words; of the three numbers, 5, 50 and 95 of a hundred texts are no longer. Empty texts are "
        "left out.",
        f"The kind of work is named in {given:,} records; in {guessed:,} it is guessed from the grammar: command, "
        "question or other.",
    )


def share(part: int, whole: int) -> str:
    """A share as per cent; 0 and 100 are printed only where they are exact."""
    if not whole:
        return "none"
    text = f"{100 * part / whole:.0f}"
    return f"{text} %" if text not in ("0", "100") or part in (0, whole) else f"{100 * part / whole:.1f} %"


def spread(found: Spread | None) -> str:
    """The three numbers of a spread."""
    return f"{found.low:,} / {found.median:,} / {found.high:,}" if found else "none"


# -- terminal


def tables(description: Description) -> Group:
    """The tables for the terminal."""
    from rich.console import Group
    from rich.text import Text

    texts = _table(description.of, ("", "texts", "words (5 / 50 / 95 %)", "distinct-1", "-2", "-3"), sides(description))
    pairs = _table("", (VERBS, "with object", "without", NOUNS), verbs(description.asks))
    work = _table("", ("kind of work", "records", "share"), kinds(description))
    told = "   ".join(f"{label}: {value}" for label, value in facts(description))
    asked = Text(asked_for(description.asks, description.records))
    if not description.asks.top:
        return Group(texts, Text(told), asked, work)
    return Group(texts, Text(told), asked, pairs, work)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE)
    for place, column in enumerate(columns):
        words = place == 0 or column == NOUNS
        table.add_column(Text(column), justify="left" if words else "right", overflow="fold")
    for row in rows:
        # texts are shown as they are: square brackets are no colours, control characters do nothing
        table.add_row(*(Text(cell.translate(_PICTURES)) for cell in row))
    return table
