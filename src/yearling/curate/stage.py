"""The curate stage: every judge speaks on every record, and what it said is kept.

In: `records/` of a run, the recipe's curate section. Out: `verdicts/<judge>/verdicts.parquet`, and
`verdicts/<judge>.json` with its key and counts; a judge whose key stands is not asked again.
Deletes no record, and does not write the accepted ones anywhere: they are a view (`measure/accepted.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from yearling.curate.judges import JUDGES, OFF, Judge, opinions
from yearling.errors import UserError
from yearling.measure.accepted import born, split_records
from yearling.progress import progress
from yearling.recipe import Curate, Recipe
from yearling.record import Record, Verdict, digest, read_verdicts, write_verdicts
from yearling.run_folder import Run, read_json, write_json

# What to change where a judge took too much.
KNOBS = {
    "shape": "curate.shape: false lets such rows through",
    "length": "curate.length holds the limits",
    "refusal": "curate.refusal: false lets such rows through; another teacher or generate.system refuses less",
    "exact": "curate.exact: false keeps duplicates",
    "novelty": "a higher curate.novelty lets closer prompts through",
}


def run_curate(recipe: Recipe, run: Run) -> dict[str, int]:
    """Judge all records; counts in, accepted, train, test, and for each judge those it was the first to fail.

    Raises UserError where there is nothing to judge or nothing is left.
    """
    if recipe.curate is None:
        raise UserError(
            f"recipe {recipe.name} has no `curate:` section. Add `curate: {{}}` to judge with the defaults."
        )
    records = born(run)
    if not records:
        raise UserError(f"no records in {run.records}. Run `yearling generate` or `yearling import` first.")
    failed: dict[str, str] = {}  # record id to the first judge that failed it
    with progress(run, "curate", len(JUDGES), "judges") as advance:
        for done, judge in enumerate(JUDGES, 1):
            for verdict in _judged(judge, records, failed, recipe.curate, run):
                if verdict.state == "fail":
                    failed.setdefault(verdict.record, judge.name)
            advance(done, accepted=len(records) - len(failed))
    return _counts(records, failed, recipe.curate)


def _judged(
    judge: Judge, records: Sequence[Record], failed: Mapping[str, str], settings: Curate, run: Run
) -> list[Verdict]:
    """The judge's verdicts, from its table where its key stands, and written where they changed."""
    gone = failed if judge.ordered and judge.knob(settings) not in OFF else {}
    standing = [record for record in records if record.id not in gone]
    key = _key(judge, records, standing, settings)
    folder, note = run.verdicts / judge.name, run.verdicts / f"{judge.name}.json"
    stored = _stored(judge, key, run)
    run.event("judge", judge=judge.name, asked=stored is None)
    fresh = stored if stored is not None else opinions(judge, standing, settings)
    said = {verdict.record: verdict for verdict in fresh}
    # Which judge failed a record first may change while the survivors, and so the key, do not.
    verdicts = [
        Verdict(record.id, "skipped", f"failed {gone[record.id]}") if record.id in gone else said[record.id]
        for record in records
    ]
    if verdicts != stored:
        note.unlink(missing_ok=True)  # so that a kill between the two files never pairs this table with an old key
        write_verdicts(verdicts, folder / "verdicts.parquet")
        write_json(note, {"judge": judge.name, "version": judge.version, **key, **_tally(verdicts)})
    return verdicts


def _key(judge: Judge, records: Sequence[Record], standing: Sequence[Record], settings: Curate) -> dict[str, Any]:
    parts = {
        "settings": judge.knob(settings),
        "records": digest([[r.id, r.origin.sequence, r.origin.method] for r in records]),
        "standing": digest([record.id for record in standing]) if judge.ordered else None,
    }
    return {"key": digest([judge.name, judge.version, parts]), **parts}


def _stored(judge: Judge, key: Mapping[str, Any], run: Run) -> list[Verdict] | None:
    note = run.verdicts / f"{judge.name}.json"
    if not note.exists() or read_json(note).get("key") != key["key"]:
        return None
    return list(read_verdicts(run.verdicts / judge.name)) or None


def _tally(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """Counts by state, and by reason with ids, numbers and quoted text taken out."""
    reasons = Counter(f"{v.state}: {_kind(v.reason)}" for v in verdicts if v.reason)
    return {"states": dict(Counter(v.state for v in verdicts)), "reasons": dict(reasons.most_common())}


def _kind(reason: str) -> str:
    return re.sub(r"r1:[0-9a-f]+|\d+(?:\.\d+)?", "…", reason.partition(": ")[0])


def _counts(records: Sequence[Record], failed: Mapping[str, str], settings: Curate) -> dict[str, int]:
    chosen = [record for record in records if record.id not in failed]
    took = Counter(failed.values())
    if not chosen:
        most = took.most_common(1)[0][0]
        each = ", ".join(f"{judge.name} {took[judge.name]}" for judge in JUDGES if took[judge.name])
        raise UserError(
            f"curate accepted none of {len(records)} records; failed by {each}. "
            f"{KNOBS[most]}; `yearling trace <id>` shows why one failed."
        )
    sides = split_records(records, chosen, settings)
    counts = {"in": len(records), "accepted": len(chosen), "train": len(sides["train"]), "test": len(sides["test"])}
    return counts | {f"failed_{judge.name}": took[judge.name] for judge in JUDGES}
