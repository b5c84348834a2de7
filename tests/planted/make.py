"""Write rows.jsonl and contaminated.jsonl: two thousand rows of instruction data with planted faults.

In: the hand-written texts in hand/. Out: the two files beside this one, the same bytes on every machine; order and
choice come from SHA-256 of a row's key. It judges nothing. Run from tests/: `python -m planted.make`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from planted import private, read, sums, twins
from planted.read import Row
from planted.spoil import BY_MACHINE, Spoil

HERE = Path(__file__).parent
TOTAL = 2000
EXACT, NEAR = 54, 42


def mixed(rows: list[Row], salt: str) -> list[Row]:
    """The rows in an order that looks random and never changes."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{salt}:{row.key}".encode()).digest())


def plant(rows: list[Row], name: str, spoil: Spoil, count: int) -> tuple[list[Row], list[Row]]:
    """The first rows in which the fault can be planted, spoiled; and the rest."""
    bad: list[Row] = []
    rest: list[Row] = []
    for row in mixed(rows, name):
        spoiled = spoil(row, len(bad)) if len(bad) < count else None
        if spoiled is None:
            rest.append(row)
        else:
            bad.append(Row(row.key, row.language, spoiled, "planted", faults=(name,)))
    return bad, rest


def doubled(rows: list[Row]) -> list[Row]:
    """Exact and near duplicates of clean rows, no row doubled twice."""
    order = mixed(rows, "twins")
    again = [twins.exact(row, n) for n, row in enumerate(order[:EXACT])]
    alike = [twin for row in order[EXACT:] if (twin := twins.near(row))]
    return again + alike[:NEAR]


def carriers() -> list[Row]:
    rows = read.entries("carriers.txt")
    texts = [[private.fill(text, i, p[0]) for text in p[1:]] for i, p in enumerate(rows)]
    return [
        Row(f"card{i}", p[0], read.turns(t), "planted", faults=("personal",))
        for i, (p, t) in enumerate(zip(rows, texts, strict=True))
    ]


def gather() -> list[Row]:
    """All rows, in no order."""
    fixed = read.negatives() + read.faulty() + read.contradictions() + read.parallel() + carriers() + twins.leaks()
    fixed += read.pairs("near.txt", "near_duplicate") + read.pairs("paraphrases.txt", "semantic_duplicate")
    bases = read.pool() + read.tables()
    bases += sums.sums(TOTAL - len(fixed) - len(bases) - EXACT - NEAR)
    bad: list[Row] = []
    for name, spoil, count in BY_MACHINE:
        planted, bases = plant(bases, name, spoil, count)
        bad += planted
    return fixed + bad + bases + doubled(bases)


def numbered(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows in their final order with their ids; a duplicate stands after its original."""
    order = mixed(rows, "order")
    place = {row.key: i for i, row in enumerate(order)}
    for row in rows:
        if row.of and not any("contradiction" in fault for fault in row.faults):
            mine, first = place[row.key], place[row.of[0]]
            if mine < first:
                order[mine], order[first] = order[first], order[mine]
                place[row.key], place[row.of[0]] = first, mine
    ids = {row.key: f"p{i:04d}" for i, row in enumerate(order)}
    return [written(row, ids) for row in order]


def written(row: Row, ids: dict[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": ids[row.key], "language": row.language, "made": row.made}
    line["messages"] = [{"role": role, "content": text} for role, text in row.turns]
    line["faults"] = list(row.faults)
    if row.of:
        line["of"] = [ids[key] for key in row.of]
    if row.near_miss:
        line["near_miss"] = list(row.near_miss)
    if "leaks" in row.data:
        line["leaks"] = f"t{row.data['leaks']:02d}"
    return line


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def files() -> dict[str, bytes]:
    """Both files as bytes, by name."""
    return {"rows.jsonl": lines(numbered(gather())), "contaminated.jsonl": lines(list(twins.test_set()))}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content)
