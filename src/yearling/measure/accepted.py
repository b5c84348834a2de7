"""What judgement left standing, and on which side of the split each record falls.

In: a run folder whose records were judged. Out: accepted records in birth order, whole or by split.
Does not judge, and writes nothing: accepted is a view of the verdict tables, the split a function of the records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from yearling.errors import UserError
from yearling.measure.text import fold
from yearling.recipe import Curate, Recipe
from yearling.record import Record, read_records, read_verdicts
from yearling.run_folder import Run

Split = Literal["train", "test"]


def birth(record: Record) -> tuple[int, str]:
    """Sorts records by the order in which they were born."""
    return record.origin.sequence, record.id


def born(run: Run) -> list[Record]:
    """All records of a run in birth order; one read twice (the same id) counts once."""
    records = sorted(read_records(run.records), key=birth)
    return list({record.id: record for record in reversed(records)}.values())[::-1]


def accepted(run: Run, recipe: Recipe) -> list[Record]:
    """Records that no judge failed, in birth order.

    Without a `curate` section: every record that has a prompt and an answer.
    Raises UserError where a record has not been judged.
    """
    records = born(run)
    return _standing(records, run) if recipe.curate else [r for r in records if r.prompt and r.completion]


def accepted_split(run: Run, recipe: Recipe, split: Split) -> list[Record]:
    """Accepted records of one side of the split, in birth order."""
    return split_records(born(run), accepted(run, recipe), recipe.curate or Curate())[split]


def split_records(everyone: Sequence[Record], chosen: Sequence[Record], settings: Curate) -> dict[Split, list[Record]]:
    """`chosen` by split; ancestors are looked up among `everyone`, so a rejected parent still holds its children."""
    known = roots(everyone)
    sides: dict[Split, list[Record]] = {"train": [], "test": []}
    for record in chosen:
        sides[split_of(record, settings, known)].append(record)
    return sides


def split_of(record: Record, settings: Curate, roots: Mapping[str, str]) -> Split:
    """The record's side, from the hash of its root's folded prompt (`roots` maps ids to those).

    The same on every machine, and for every record of one family.
    """
    root = roots[record.id] if record.id in roots else fold(record.prompt)
    head = hashlib.sha256(root.encode("utf-8", "surrogatepass")).digest()[:8]
    return "test" if int.from_bytes(head, "big") / 2**64 < settings.test else "train"


def roots(records: Sequence[Record]) -> dict[str, str]:
    """For each record id, the folded prompt of its root ancestor.

    A step up goes to the first parent that is present; where none is, the last one named stands for the family.
    Records with one and the same folded prompt are one family,
    that of the first born, so a prompt never stands on both sides, even where it was both evolved and imported.
    A record born later changes nobody's root, unless it is itself a missing parent.
    """
    ordered = sorted(records, key=birth)
    by_id = {record.id: record for record in ordered}
    first: dict[str, Record] = {}
    for record in ordered:
        first.setdefault(fold(record.prompt), record)
    found: dict[str, str] = {}
    for prompt in first:
        path: list[str] = []
        while prompt not in path and prompt not in found:
            path.append(prompt)
            parents = first[prompt].origin.parents
            parent = next((by_id[p] for p in parents if p in by_id), None)
            if parent is None:
                if parents:
                    found[prompt] = parents[-1]
                break
            prompt = fold(parent.prompt)
        # Only a damaged table has a ring of parents; then its first born is the root of all in it.
        ring = path[path.index(prompt) :] if prompt in path else []
        root = found[prompt] if prompt in found else min(ring, key=lambda p: birth(first[p]))
        found.update(dict.fromkeys(path, root))
    return {record.id: found[fold(record.prompt)] for record in records}


def _standing(records: Sequence[Record], run: Run) -> list[Record]:
    folders = sorted(path for path in run.verdicts.glob("*") if path.is_dir())
    failed: set[str] = set()
    for folder in folders:
        verdicts = list(read_verdicts(folder))
        unjudged = {record.id for record in records} - {verdict.record for verdict in verdicts}
        if unjudged:
            raise UserError(
                f"{folder} has no verdict on {len(unjudged)} of {len(records)} records. Run `yearling curate` first."
            )
        failed.update(verdict.record for verdict in verdicts if verdict.state == "fail")
    if records and not folders:
        raise UserError(f"the records of {run.name} have not been judged. Run `yearling curate` first.")
    return [record for record in records if record.id not in failed]
