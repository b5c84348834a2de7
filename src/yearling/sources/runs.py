"""A finished run as a source: the records that its judges left standing.

In: a run folder. Out: its accepted records, whole or as questions for another teacher, in birth order.
Each new record names the old one as its parent, so that a split never parts them. Changes nothing in the old run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yearling.errors import UserError
from yearling.measure.accepted import accepted
from yearling.recipe_file import load_recipe
from yearling.record import Record, digest
from yearling.run_folder import Run
from yearling.sources.dialogue import last_question
from yearling.sources.found import Found


def is_run(path: Path) -> bool:
    """Whether a path is a run folder."""
    return (path / "run.json").is_file()


def kept_records(path: Path) -> list[Record]:
    """The accepted records of a run; raises UserError where it is not judged or holds none."""
    stored = path / "recipe.yaml"
    if not is_run(path):
        raise UserError(f"{path}: no run folder, there is no run.json in it. `yearling runs` lists the runs there are.")
    if not stored.is_file():
        raise UserError(f"{path}: the run has no recipe.yaml, so what it accepted is not known. Restore that file.")
    # a run may have been moved out of its project; joined to any root, an absolute name is the folder itself
    run = Run(path.parent, str(path.resolve()))
    run.create()
    records = accepted(run, load_recipe(stored))
    if not records:
        raise UserError(f"{path}: the run has no accepted records. `yearling status` shows what its judges failed.")
    return records


def digest_run(path: Path) -> str:
    """One digest for what would be imported."""
    return digest([[record.id, record.kind, record.origin.licence] for record in kept_records(path)])


def read_run(path: Path, prompts: bool) -> Iterator[Found]:
    """The accepted records; with `prompts` each up to its last question."""
    name = path.resolve().name
    for record in kept_records(path):
        problem, messages = "", record.messages
        try:
            messages = last_question(messages, "messages") if prompts else messages
        except UserError as error:
            problem = f"{name} {record.id}: {error}"
        yield Found(
            place=record.id,
            messages=messages,
            problem=problem,
            key=digest(["run", record.id])[:24],
            licence=record.origin.licence,
            teacher="" if prompts else record.origin.teacher,
            parents=(record.id,),
            kind=record.kind,
        )
