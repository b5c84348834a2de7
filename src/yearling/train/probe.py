"""The probe: is it data, epochs or size that the student lacks? It trains on 10, 30 and 100 % of the rows and looks.

In: accepted rows of the train split. Out: held-out perplexities and their ratios with intervals, in `probe.json`.
Its held-out rows are taken from the train split: the exam's are not touched. Leaves no adapter.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.measure.accepted import born, kin_of, place_of, roots
from yearling.measure.perplexity import interval, ratio
from yearling.progress import progress, say
from yearling.recipe import Recipe
from yearling.record import digest
from yearling.run_folder import Run, read_json, write_json
from yearling.students.load import open_student
from yearling.students.rows import Row
from yearling.train.checkpoint import Shelf
from yearling.train.fitting import derive_machine, epochs_of, fit
from yearling.train.loop import Loop
from yearling.train.proof import label_logprobs
from yearling.train.stage import VERSION, proved_rows
from yearling.train.watch import part

if TYPE_CHECKING:
    from rich.table import Table

SHARES = (0.1, 0.3, 1.0)
HELD, FEWEST = 0.15, 60  # share of rows held out; rows under which nothing can be seen


def probe(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Train on each share and compare on the same held-out rows; a share that is done is not trained again.

    Raises UserError where there are too few rows, and what training raises.
    """
    if recipe.train is None or recipe.student is None:
        raise UserError(f"the recipe {recipe.name} has no `train:` section, or no student. Add `train: {{}}`.")
    student = open_student(recipe.student)
    rows, root = proved_rows(recipe, run, student).rows, roots(kin_of(born(run)))
    settings = recipe.train.model_copy(update={"epochs": epochs_of(recipe.train, len(rows))})
    if len(rows) < FEWEST:
        raise UserError(f"a probe needs {FEWEST} rows of the train split, there are {len(rows)}. Generate more.")
    held, pool = part(rows, root, HELD)
    pool.sort(key=lambda row: place_of(root[row.record]))  # families stand together
    folder = run.path / "probe"
    machine = run.freeze("train.machine", derive_machine)
    found = []
    for share in SHARES:
        some = pool[: ceil(share * len(pool))]
        told = settings.model_dump(mode="json", exclude={"save_every", "track"})
        key = digest([VERSION, student.digest, told, machine, *([row.tokens, row.labels] for row in (*some, *held))])
        known = folder / f"{share:g}.json"
        if not known.exists() or read_json(known)["key"] != key:
            say(f"probe: {len(some)} rows, {share:.0%} of {len(pool)}")
            model, room = fit(student, max(len(row.tokens) for row in some), settings, machine, run)
            loop = Loop(model, some, settings, Shelf(folder / f"{share:g}", key), room.tokens)
            middle = _train(loop, run, held, share)
            write_json(known, {"key": key, "rows": len(some), "middle": middle, "end": _logprobs(model, held)})
            shutil.rmtree(loop.shelf.folder, ignore_errors=True)
        found.append(read_json(known))
    result = _read(found, len(held))
    write_json(run.path / "probe.json", result)
    return result


def _train(loop: Loop, run: Run, held: Sequence[Row], share: float) -> list[list[float]]:
    """Train, and score the held-out rows after half of the updates; that score is kept beside the checkpoints."""
    half, known = loop.course.updates // 2, loop.shelf.folder / f"middle-{loop.shelf.key[:16]}.json"
    with progress(run, f"probe {share:.0%}", loop.course.updates, "updates") as advance:

        def told(done: float, total: float | None = None, **facts: object) -> None:
            advance(done, total, **facts)
            if done >= half and not known.exists():
                loop.shelf.folder.mkdir(parents=True, exist_ok=True)
                write_json(known, _logprobs(loop.model, held))

        loop.run(run.path / "probe" / f"{share:g}.losses.jsonl", told)
    middle: list[list[float]] = read_json(known)
    return middle


def _logprobs(model: Any, rows: Sequence[Row]) -> list[list[float]]:
    return [label_logprobs(model, row) for row in rows]


def _read(found: Sequence[dict[str, Any]], held: int) -> dict[str, Any]:
    """Figures and what follows from them."""
    few, some, whole = found
    data, epochs = ratio(whole["end"], some["end"]), ratio(whole["end"], whole["middle"])
    said = []
    for what, (value, low, high) in (("more data", data), ("more epochs", epochs)):
        step = f"{some['rows']} to {whole['rows']} rows" if what == "more data" else "half of the updates to all"
        sure = "would help" if high < 1 else "would hurt" if low > 1 else "would change nothing that can be seen"
        said.append(f"{what} {sure}: from {step} the perplexity went to {value:.3f} ({low:.3f} to {high:.3f}) of it")
    if min(data[2], epochs[2]) >= 1:
        said.append("neither data nor epochs help: a larger student is what is left to try")
    return {
        "held_out": held,
        "shares": [
            {
                "rows": share["rows"],
                "perplexity": dict(zip(("value", "low", "high"), interval(share["end"]), strict=True)),
            }
            for share in (few, some, whole)
        ],
        "data": dict(zip(("ratio", "low", "high"), data, strict=True)),
        "epochs": dict(zip(("ratio", "low", "high"), epochs, strict=True)),
        "says": said,
    }


def view(result: dict[str, Any]) -> Table:
    """The result for a terminal."""
    from rich.table import Table

    table = Table(title=f"held-out perplexity of {result['held_out']} rows", caption="\n".join(result["says"]))
    for heading in ("rows learnt", "perplexity", "95 % interval"):
        table.add_column(heading, justify="right")
    for share in result["shares"]:
        found = share["perplexity"]
        table.add_row(str(share["rows"]), f"{found['value']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}")
    return table
