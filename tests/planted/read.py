"""Read what was written by hand in hand/: rows, tables, pairs.

In: text files with one entry a line, fields parted by a broken bar. Out: Row values. It plants nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HAND = Path(__file__).with_name("hand")
SYSTEM = "SYS:"

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """One row on its way into rows.jsonl; key and of are names that last only until ids are given."""

    key: str
    language: str
    turns: Turns
    made: str
    faults: tuple[str, ...] = ()
    near_miss: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def prompt(self) -> str:
        return next(text for role, text in self.turns if role == "user")

    @property
    def answer(self) -> str:
        return self.turns[-1][1]

    def answered(self, answer: str) -> Turns:
        return (*self.turns[:-1], ("assistant", answer))


def fields(name: str) -> Iterator[list[str]]:
    """The entries of one file; headings keep their hash, so that tables can be told apart."""
    for line in (HAND / name).read_text(encoding="utf-8").splitlines():
        yield [part.replace("⏎", "\n").replace("\\|", "|") for part in line.split(" ¦ ")]


def entries(name: str) -> list[list[str]]:
    return [parts for parts in fields(name) if parts[0] and not parts[0].startswith("# ")]


def turns(texts: list[str]) -> Turns:
    """User and assistant in turn, with a system turn where the first text says so."""
    head: Turns = ()
    if texts[0].startswith(SYSTEM):
        head = (("system", texts[0].removeprefix(SYSTEM)),)
        texts = texts[1:]
    return head + tuple((("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def pool() -> list[Row]:
    """The clean rows that are wholly written by hand."""
    rows = entries("pool_en.txt") + entries("pool_world.txt") + entries("pool_more.txt")
    return [Row(f"pool{i}", parts[0], turns(parts[1:]), "hand") for i, parts in enumerate(rows)]


def tables() -> list[Row]:
    """Facts written by hand under questions that share their wording."""
    rows: list[Row] = []
    for name in ("tables_a.txt", "tables_b.txt", "tables_c.txt"):
        language, questions = "", [""]
        for i, parts in enumerate(fields(name)):
            if parts[0].startswith("# "):
                language, questions = parts[0].removeprefix("# "), parts[1:]
                continue
            question = questions[i % len(questions)]
            if language == "en" and parts[0][0] in "aeio":
                question = question.replace(" a {}", " an {}")
            question = question.replace("{}", parts[0])
            rows.append(Row(f"{name}{i}", language, turns([question, parts[1]]), "table"))
    return rows


def negatives() -> list[Row]:
    """Clean rows that look like one kind of fault."""
    rows = [parts for name in sorted(HAND.glob("negatives_*.txt")) for parts in entries(name.name)]
    return [Row(f"miss{i}", p[1], turns(p[2:]), "hand", near_miss=(p[0],)) for i, p in enumerate(rows)]


def faulty() -> list[Row]:
    """Faulty rows that no machine writes honestly: refusals, boilerplate, insults, impossible requests, fragments."""
    rows = entries("faults.txt") + [["too_short", *parts] for parts in entries("short.txt")]
    return [Row(f"bad{i}", p[1], turns(p[2:]), "hand", faults=tuple(p[0].split("+"))) for i, p in enumerate(rows)]


def pairs(name: str, fault: str) -> list[Row]:
    """Lines with two questions and two answers: the second row is a duplicate of the first."""
    rows: list[Row] = []
    for i, p in enumerate(entries(name)):
        first = Row(f"{fault}{i}", p[0], turns(p[1:3]), "hand")
        rows += [first, Row(f"{fault}{i}b", p[0], turns(p[3:5]), "hand", faults=(fault,), of=(first.key,))]
    return rows


def contradictions() -> list[Row]:
    """One question, two answers that cannot both hold: only a reader knows which is wrong, so both are faulty."""
    rows: list[Row] = []
    for i, (language, question, one, other) in enumerate(entries("contradictions.txt")):
        keys = (f"con{i}a", f"con{i}b")
        for key, partner, answer in ((keys[0], keys[1], one), (keys[1], keys[0], other)):
            row = Row(key, language, turns([question, answer]), "hand", faults=("contradiction",), of=(partner,))
            rows.append(row)
    return rows


def parallel() -> list[Row]:
    """Questions answered in the language of a sister row."""
    sets: list[list[list[str]]] = [[]]
    for parts in fields("parallel.txt"):
        if not parts[0]:
            sets.append([])
        elif not parts[0].startswith("# "):
            sets[-1].append(parts)
    rows = []
    for s, group in enumerate(sets):
        for j, (language, question, _) in enumerate(group):
            answer = group[(j + 1 + s % (len(group) - 1)) % len(group)][2]
            rows.append(Row(f"lang{s}.{j}", language, turns([question, answer]), "planted", faults=("language",)))
    return rows
