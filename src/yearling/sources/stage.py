"""The import stage: every source of a recipe, as Parquet parts of records in the run.

In: a recipe, a run, and the first free birth sequence. Out: `records/import-<source>-<part>.parquet`, for sources
with `answer: true` the same under `prompts/`, and counts.
Parts are written beside those folders and moved there when the last row was found good, so bad data changes nothing.
Does not write a manifest and does not decide whether the stage is due.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from yearling.errors import UserError
from yearling.progress import Advance, progress, say
from yearling.recipe import Recipe
from yearling.record import Record, write_records
from yearling.run_folder import Run
from yearling.sources.found import Notes, told
from yearling.sources.read import Seen, plan_source, records_of

PROMPTS = "prompts"  # the folder of a run that holds what the teacher will answer
PART = 5000  # records of one Parquet part: what is held in memory at once
STEP = 500  # records between two reports of progress


def run_import(recipe: Recipe, run: Run, first_sequence: int) -> dict[str, int]:
    """Import all sources of a recipe; births are numbered on over records and prompts alike.

    Raises UserError where any of them has a problem, OSError where the disk refuses, with the run as it was.
    """
    staging = run.path / ".import"
    try:
        # a killed import may have left its parts
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        counts = _write_parts(recipe, run, staging, first_sequence)
        run.records.mkdir(parents=True, exist_ok=True)
        for folder in (run.records, run.path / PROMPTS):
            _publish(staging / folder.name, folder)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), error.filename or str(run.path)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return counts


def _write_parts(recipe: Recipe, run: Run, staging: Path, first_sequence: int) -> dict[str, int]:
    for source in recipe.import_:
        if source.path.resolve() == run.path.resolve():
            raise UserError(
                f"import: {source.path} is this very run. Name another run, or give this recipe a new name."
            )
    # all formats are settled before the first long read
    plans = [(source, *plan_source(source)) for source in recipe.import_]
    for _, _, sentence in plans:
        say(sentence)
    counts, seen = Counter(rows=0), Seen()
    with progress(run, "import", None, "rows") as advance:
        for index, (source, readings, _) in enumerate(plans):
            done, notes = counts["rows"] + counts["prompts"], Notes()
            records = _told(records_of(readings, source, first_sequence + done, seen, notes), advance, done)
            folder, part = (PROMPTS if source.answer else run.records.name), 0
            while batch := list(islice(records, PART)):
                write_records(batch, staging / folder / f"import-{index:03d}-{part:05d}.parquet")
                counts["prompts" if source.answer else "rows"] += len(batch)
                part += 1
            for sentence in told(notes):
                say(f"{source.path.name}: {sentence}")
            counts += notes
        done = counts["rows"] + counts["prompts"]
        advance(done, done)
    return {"rows": 0, **counts}


def _told(records: Iterator[Record], advance: Advance, before: int) -> Iterator[Record]:
    for done, record in enumerate(records, start=before + 1):
        if done % STEP == 0:
            advance(done)
        yield record


def _publish(staged: Path, folder: Path) -> None:
    """Move the new parts in, then drop those of an earlier import that no new part replaced."""
    fresh = sorted(staged.glob("*.parquet"))
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
    for part in fresh:
        part.replace(folder / part.name)
    kept = {part.name for part in fresh}
    for old in folder.glob("import-*.parquet"):
        if old.name not in kept:
            old.unlink()
