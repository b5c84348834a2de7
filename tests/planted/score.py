"""How well each judge finds its kinds of planted fault: precision and recall, as docs/judges.md shows them.

In: the planted rows, judged alone or by the whole stage. Out: counts, and the document's table.
Rows of other kinds are left out, as the README of this folder says. `python -m planted.score` writes the table anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yearling.curate.rows import Row, row_of
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, read_verdicts, write_records
from yearling.run_folder import Run

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "judges.md"
BEGIN, END = "<!-- scores: written by `make docs` -->", "<!-- end of scores -->"
# Who is to find what. Either row of a contradiction may be failed, and counts for both.
KINDS: Mapping[str, tuple[str, ...]] = {
    "shape": ("empty", "too_short", "unfinished", "loop", "merged", "encoding", "markup", "no_input", "echo"),
    "refusal": ("refusal", "boilerplate"),
    "language": ("language",),
    "reach": ("impossible",),
    "personal": ("personal",),
    "toxic": ("toxic",),
    "exact": ("exact_duplicate",),
    "contamination": ("contamination",),
    "contradiction": ("contradiction",),
    "near": ("near_duplicate",),
}
Line = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """Rows of the kind, those of them failed; clean rows, those of them failed; near misses of the kind, likewise."""

    rows: int
    found: int
    clean: int
    wrong: int
    missed: int
    missed_wrong: int

    @property
    def recall(self) -> float:
        """Share of the faulty rows that are failed."""
        return self.found / self.rows

    @property
    def precision(self) -> float:
        """Share of the failed rows, among faulty ones of the kind and clean ones, that are faulty."""
        return self.found / max(self.found + self.wrong, 1)


def lines() -> list[Line]:
    """All rows, in order."""
    return [json.loads(line) for line in (HERE / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def row(line: Line) -> Row:
    """A planted row as a judge sees it."""
    return row_of([Message(turn["role"], turn["content"]) for turn in line["messages"]])


def score(fails: Callable[[Line], bool], kinds: Collection[str], half: int | None = None) -> Score:
    """The score on some kinds; `half` 0 or 1 takes rows of even or odd number only."""
    faulty, clean = list(_of(lambda one: set(kinds) & set(one["faults"]), half)), list(_of(_is_clean, half))
    wrong = [one["id"] for one in clean if fails(one)]
    near = [one for one in clean if set(kinds) & set(one.get("near_miss", ()))]
    found = sum(fails(one) for one in faulty)
    return Score(len(faulty), found, len(clean), len(wrong), len(near), sum(one["id"] in wrong for one in near))


def _is_clean(one: Line) -> bool:
    return not one["faults"]


def _of(wanted: Callable[[Line], Any], half: int | None) -> Iterator[Line]:
    return (one for one in lines() if wanted(one) and half in (None, int(one["id"][1:]) % 2))


def judged(root: Path, curate: Mapping[str, Any] | None = None) -> dict[str, set[str]]:
    """For each judge the ids of the planted rows that it fails, when the whole stage judges all of them as imported."""
    from yearling.curate.stage import run_curate

    run = Run(root, "planted")
    run.create()
    records = [Record(row(one).turns, Origin("import", one["id"], place)) for place, one in enumerate(lines())]
    write_records(records, run.records / "part-0.parquet")
    names = {record.id: record.origin.key for record in records}
    exam = [json.loads(line) for line in (HERE / "contaminated.jsonl").read_text(encoding="utf-8").splitlines()]
    recipe = Recipe.model_validate({"name": "planted", "curate": {"test": 0.0, **(curate or {})}})
    run_curate(recipe, run, [(question["id"], question["question"]) for question in exam])
    verdicts = {name: read_verdicts(run.verdicts / name) for name in KINDS}
    return {name: {names[v.record] for v in said if v.state == "fail"} for name, said in verdicts.items()}


def scores(failed: Mapping[str, set[str]], half: int | None = None) -> dict[tuple[str, str], Score]:
    """The score of each judge on each of its kinds, over all rows or one half of them."""

    def by(judge: str) -> Callable[[Line], bool]:
        taken = failed[judge]
        return lambda one: one["id"] in taken or (judge == "contradiction" and bool(taken & set(one.get("of", ()))))

    return {(judge, kind): score(by(judge), [kind], half) for judge, kinds in KINDS.items() for kind in kinds}


def table(failed: Mapping[str, set[str]]) -> str:
    """The scores as Markdown."""
    head = ("judge", "planted fault", "rows", "recall", "precision", "near misses failed", "recall, odd rows alone")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    odd = scores(failed, 1)
    for (judge, kind), one in scores(failed).items():
        numbers = f"{one.rows} | {one.recall:.2f} | {one.precision:.2f} | {one.missed_wrong} of {one.missed}"
        rows.append(f"| `{judge}` | {kind.replace('_', ' ')} | {numbers} | {odd[judge, kind].recall:.2f} |")
    return "\n".join(rows)


def written(text: str, failed: Mapping[str, set[str]]) -> str:
    """The document with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(failed)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        told = written(DOCUMENT.read_text(encoding="utf-8"), judged(Path(folder)))
        DOCUMENT.write_text(told, encoding="utf-8")
