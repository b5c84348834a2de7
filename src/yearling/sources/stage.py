"""The import stage: every source of a recipe, as Parquet parts of records in the run.

In: a recipe, a run, and the first free birth sequence. Out: `records/import-<source>-<part>.parquet` and counts.
Parts are written beside `records/` and moved there when the last row was found good, so bad data changes nothing.
Does not write a manifest and does not decide whether the stage is due.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from yearling.progress import Advance, progress, say
from yearling.recipe import Recipe
from yearling.record import Record, write_records
from yearling.run_folder import Run
from yearling.sources.read import Seen, plan_source, records_of

PART = 5000  # records of one Parquet part: what is held in memory at once
STEP = 500  # records between two reports of progress


def run_import(recipe: Recipe, run: Run, first_sequence: int) -> dict[str, int]:
    """Import all sources of a recipe.

    Raises UserError where any of them has a problem, OSError where the disk refuses, with the run as it was.
    """
    staging = run.path / ".import"
    try:
        # a killed import may have left its parts
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        count = _write_parts(recipe, run, staging, first_sequence)
        _publish(staging, run.records)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), error.filename or str(run.path)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"rows": count}


def _write_parts(recipe: Recipe, run: Run, staging: Path, first_sequence: int) -> int:
    # all formats are settled before the first long read
    plans = [(source, *plan_source(source)) for source in recipe.import_]
    for _, _, sentence in plans:
        say(sentence)
    count, seen = 0, Seen()
    with progress(run, "import", None, "rows") as advance:
        for index, (source, readings, _) in enumerate(plans):
            records = _told(records_of(readings, source, first_sequence + count, seen), advance, count)
            part = 0
            while batch := list(islice(records, PART)):
                write_records(batch, staging / f"import-{index:03d}-{part:05d}.parquet")
                count += len(batch)
                part += 1
        advance(count, count)
    return count


def _told(records: Iterator[Record], advance: Advance, before: int) -> Iterator[Record]:
    for done, record in enumerate(records, start=before + 1):
        if done % STEP == 0:
            advance(done)
        yield record


def _publish(staging: Path, records: Path) -> None:
    """Move the new parts in, then drop those of an earlier import that no new part replaced."""
    fresh = sorted(staging.glob("*.parquet"))
    records.mkdir(parents=True, exist_ok=True)
    for part in fresh:
        part.replace(records / part.name)
    kept = {part.name for part in fresh}
    for old in records.glob("import-*.parquet"):
        if old.name not in kept:
            old.unlink()
