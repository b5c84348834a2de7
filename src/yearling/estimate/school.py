"""What training will take of this machine: memory, time and money; and which rows would not be learnt.

In: a recipe and its run. Out: plain values. What is known of the base is its configuration and its tokenizer: weights
are neither fetched nor loaded. The time is that of real updates here, of the base's first layers with weights by
chance, carried on to all layers. Where the rows are not there yet, the seeds stand for them.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from yearling.errors import UserError
from yearling.generate.seeds import as_records, load_seeds
from yearling.measure.accepted import accepted_split
from yearling.progress import progress
from yearling.recipe import Recipe
from yearling.record import Record
from yearling.run_folder import Run
from yearling.students.load import Student, open_student
from yearling.students.proof import Proved, prove_rows
from yearling.students.rows import Row
from yearling.train.batches import Course
from yearling.train.checkpoint import Shelf
from yearling.train.fitting import cut_to, derive_machine, epochs_of, needs, rate_of, room_of, says, toy
from yearling.train.loop import Loop
from yearling.train.room import Room, free_bytes

UPDATES = 4  # that are timed; the first is not counted
LAYERS = (1, 2)
DICE = 7


def training_ahead(recipe: Recipe, run: Run) -> dict[str, Any]:
    """Rows, settings that are derived, memory, seconds, dollars.

    Raises UserError where the training cannot fit into this machine, ProofError where its rows cannot be learnt.
    """
    assert recipe.student is not None and recipe.train is not None
    student, settings = open_student(recipe.student), recipe.train
    records, whose = _records(recipe, run)
    limit = recipe.student.max_seq_length
    proved = prove_rows(student, records, None if limit == "auto" else limit)
    proved.hold()
    lengths = sorted(len(row.tokens) for row in proved.rows)
    machine = derive_machine()
    takes = needs(student, settings, machine)
    room = room_of(takes, student, settings, machine, lengths[-1])
    count = _count(recipe, run, len(lengths) if whose == "accepted" else None)
    updates = Course(count, settings.batch_size, epochs_of(settings, count), settings.seed).updates
    seconds = updates * _seconds_an_update(student, recipe, machine, room, proved.rows, takes.layers)
    hour = recipe.budget.hour_usd
    return {
        "base": recipe.student.base,
        "parameters": takes.parameters,
        "machine": says(settings, machine),
        "rows": count,
        "rows_from": whose,
        "left_out": len(proved.dropped),
        "tokens": {
            "median": lengths[len(lengths) // 2],
            "p99": lengths[min(int(0.99 * len(lengths)), len(lengths) - 1)],
            "longest": lengths[-1],
        },
        "learning_rate": rate_of(settings, takes.width),
        "updates": updates,
        "room": room._asdict() | {"says": room.says()},
        "memory": {
            "bytes": int(takes.bytes(_most(room, proved, settings.batch_size), lengths[-1], room.recompute)),
            "free": free_bytes(machine["device"]),
        },
        "seconds": seconds,
        "cost_usd": None if hour is None else hour * seconds / 3600,
    }


def _records(recipe: Recipe, run: Run) -> tuple[Sequence[Record], str]:
    """The rows of the train split, where curate has spoken; before it, the seeds. And which of the two they are."""
    born = "generate" if recipe.generate else "import"
    if run.manifest("curate" if recipe.curate else born):
        return accepted_split(run, recipe, "train"), "accepted"
    if recipe.generate is None:
        raise UserError(
            "the rows that are to be learnt are not there yet. Run `yearling import` and `yearling curate` first; they "
            "cost nothing."
        )
    return as_records(load_seeds(recipe.generate.seeds)), "seeds"


def _count(recipe: Recipe, run: Run, known: int | None) -> int:
    """Rows of the train split: those that are `known`, and what is still to be generated, if all of it is accepted."""
    made = run.manifest("generate") if known is not None else None
    wanted = recipe.generate.num if recipe.generate else 0
    coming = wanted - (made.settings["generate"]["num"] if made else 0)
    share = 1 - (recipe.curate.test if recipe.curate else 0.0)
    return (known or 0) + max(round(coming * share), 0 if known else 1)


def _most(room: Room, proved: Proved, batch: int) -> int:
    """Tokens that will go through at once: no more than an update has."""
    longest = sorted((len(row.tokens) for row in proved.rows), reverse=True)[:batch]
    return min(room.tokens, longest[0] * len(longest))


def _seconds_an_update(
    student: Student, recipe: Recipe, machine: dict[str, Any], room: Room, rows: Sequence[Row], all_layers: int
) -> float:
    """Timed on the first layers: what each layer more takes is taken for all."""
    assert recipe.train is not None
    size = recipe.train.batch_size
    some = random.Random(DICE).choices(rows, k=size * UPDATES)
    settings = recipe.train.model_copy(update={"epochs": 1.0, "save_every": UPDATES + 1})
    found = []
    with progress(None, "timing", len(LAYERS) * UPDATES, "updates") as advance:
        for number, layers in enumerate(LAYERS):
            ends: list[float] = []
            model = cut_to(toy(student, settings, machine, layers), room)

            def told(
                done: float, *_: object, before: int = number * UPDATES, ends: list[float] = ends, **__: object
            ) -> None:
                ends.append(time.monotonic())
                advance(before + done)

            with tempfile.TemporaryDirectory() as folder:
                Loop(model, some, settings, Shelf(Path(folder), ""), room.tokens).run(Path(folder) / "losses", told)
            found.append(median(after - before for before, after in pairwise(ends)))
    one, two = found
    return one + max(two - one, 0.0) * (all_layers - 1)
