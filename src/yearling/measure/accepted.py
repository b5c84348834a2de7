"""What judgement left standing, and on which side of the split each record falls.

In: a run folder whose records were judged. Out: accepted records in birth order, whole or by split.
Does not judge, and writes nothing: accepted is a view of the verdict tables and of what a person kept against them,
the split a function of the records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from yearling.errors import UserError
from yearling.measure.personal import mask
from yearling.measure.text import fold
from yearling.recipe import Curate, Recipe
from yearling.record import Message, Record, read_columns, read_records
from yearling.run_folder import Run, read_json

Split = Literal["train", "test"]
KEPT = "kept.json"  # in a run's curate folder: ids that a person kept, whatever the judges say


class Kin(NamedTuple):
    """What decides a record's family."""

    id: str
    folded: str  # its prompt, folded
    parents: Sequence[str]


def birth(record: Record) -> tuple[int, str]:
    """Sorts records by the order in which they were born."""
    return record.origin.sequence, record.id


def born(run: Run) -> list[Record]:
    """All records of a run in birth order; one read twice (the same id) counts once."""
    records = sorted(read_records(run.records), key=birth)
    return list({record.id: record for record in reversed(records)}.values())[::-1]


def accepted(run: Run, recipe: Recipe) -> list[Record]:
    """Records that no judge failed or that a person kept, in birth order, masked where the recipe says so.

    Without a `curate` section: every record that has a prompt and an answer.
    Raises UserError where a record has not been judged.
    """
    records = born(run)
    if not recipe.curate:
        return [record for record in records if record.prompt and record.completion]
    standing = _standing(records, run)
    return [masked(record) for record in standing] if recipe.curate.personal == "mask" else standing


def masked(record: Record) -> Record:
    """The record with personal data and secrets masked: a child of its own id; itself where it holds none."""
    turns = tuple(Message(turn.role, mask(turn.content)[0]) for turn in record.messages)
    if turns == record.messages:
        return record
    return Record(turns, replace(record.origin, parents=(record.id, *record.origin.parents)), kind=record.kind)


def accepted_split(run: Run, recipe: Recipe, split: Split) -> list[Record]:
    """Accepted records of one side of the split, in birth order."""
    return split_records(born(run), accepted(run, recipe), recipe.curate or Curate())[split]


def split_records(everyone: Sequence[Record], chosen: Sequence[Record], settings: Curate) -> dict[Split, list[Record]]:
    """`chosen` by split; ancestors are looked up among `everyone`, so a rejected parent still holds its children."""
    known = roots(kin_of(everyone))
    sides: dict[Split, list[Record]] = {"train": [], "test": []}
    for record in chosen:
        sides[split_of(record, settings, known)].append(record)
    return sides


def split_of(record: Record, settings: Curate, roots: Mapping[str, str]) -> Split:
    """The record's side, from its root's place (`roots` maps ids to those).

    The same on every machine, and for every record of one family.
    """
    known = next((name for name in (record.id, *record.origin.parents[:1]) if name in roots), None)
    return "test" if place_of(roots[known] if known else fold(record.prompt)) < settings.test else "train"


def place_of(root: str) -> float:
    """A root's place between 0 and 1, by hash; the test split is what lies below the test share."""
    head = hashlib.sha256(root.encode("utf-8", "surrogatepass")).digest()[:8]
    return int.from_bytes(head, "big") / 2**64


def kin_of(records: Iterable[Record]) -> list[Kin]:
    """What decides the families of records, in birth order."""
    return [Kin(r.id, fold(r.prompt), r.origin.parents) for r in sorted(records, key=birth)]


def roots(ordered: Sequence[Kin]) -> dict[str, str]:
    """For each record id, the folded prompt of its root ancestor; `ordered` is in birth order.

    A step up goes to the first parent that is present; where none is, the last one named stands for the family.
    Records with one and the same folded prompt are one family,
    that of the first born, so a prompt never stands on both sides, even where it was both evolved and imported.
    A record born later changes nobody's root, unless it is itself a missing parent.
    """
    by_id = {kin.id: kin for kin in ordered}
    first: dict[str, Kin] = {}
    born_at: dict[str, int] = {}
    for place, kin in enumerate(ordered):
        if first.setdefault(kin.folded, kin) is kin:
            born_at[kin.folded] = place
    found: dict[str, str] = {}
    for prompt, kin in first.items():
        if not kin.parents:  # most records of most sets
            found.setdefault(prompt, prompt)
            continue
        path: list[str] = []
        while prompt not in path and prompt not in found:
            path.append(prompt)
            parents = first[prompt].parents
            parent = next((by_id[p] for p in parents if p in by_id), None)
            if parent is None:
                if parents:
                    found[prompt] = parents[-1]
                break
            prompt = parent.folded
        # Only a damaged table has a ring of parents; then its first born is the root of all in it.
        ring = path[path.index(prompt) :] if prompt in path else []
        root = found[prompt] if prompt in found else min(ring, key=lambda p: born_at[p])
        found.update(dict.fromkeys(path, root))
    return {kin.id: found[kin.folded] for kin in ordered}


def kept(run: Run) -> set[str]:
    """Ids of records that a person kept."""
    path = run.path / "curate" / KEPT
    return set(read_json(path)) if path.exists() else set()


def _standing(records: Sequence[Record], run: Run) -> list[Record]:
    folders = sorted(path for path in run.verdicts.glob("*") if path.is_dir())
    failed: set[str] = set()
    for folder in folders:
        judged, lost = _judged(folder)
        unjudged = {record.id for record in records} - judged
        if unjudged:
            raise UserError(
                f"{folder} has no verdict on {len(unjudged)} of {len(records)} records. Run `yearling curate` first."
            )
        failed |= lost
    if records and not folders:
        raise UserError(f"the records of {run.name} have not been judged. Run `yearling curate` first.")
    failed -= kept(run)
    return [record for record in records if record.id not in failed]


def _judged(folder: Path) -> tuple[set[str], set[str]]:
    """Ids that a judge spoke on, and those it failed."""
    import pyarrow.compute as pc

    judged: set[str] = set()
    failed: set[str] = set()
    for part in sorted(folder.glob("*.parquet")):
        table = read_columns(part, ("record", "state"))
        judged.update(table["record"].to_pylist())
        failed.update(table.filter(pc.equal(table["state"], "fail"))["record"].to_pylist())
    return judged, failed
