"""The train stage: an adapter on a base, by rows and masks made by `students`.

In: accepted rows of the train split. Out: `adapter/`, and in `train/` the rows, the losses and checkpoints.
The mask is proved over all rows before the first step, the adapter after the last. Makes no rows of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from yearling.errors import UserError
from yearling.measure.accepted import accepted_split, born, kin_of, roots
from yearling.progress import progress, say
from yearling.recipe import Recipe, Train
from yearling.record import digest
from yearling.run_folder import Run
from yearling.students.batched import prove_batches
from yearling.students.load import Student, open_student, quiet
from yearling.students.proof import Proved, prove_rows
from yearling.students.rows import IGNORE, Row
from yearling.students.same import prove_tokenizer
from yearling.students.trained import is_adapter
from yearling.train.batches import collate, join
from yearling.train.checkpoint import Shelf
from yearling.train.fitting import derive_machine, epochs_of, fit, says, weights_of
from yearling.train.loop import Loop
from yearling.train.proof import PROVED, mean_loss, prove_adapter
from yearling.train.ranks import Ranks, join_ranks
from yearling.train.track import check_tracker, tracked
from yearling.train.watch import FEWEST, part

LOSSES = "losses.jsonl"
VERSION = 4  # of the loop: raised where it makes other weights of the same rows


def run_train(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Train the adapter; counts, results and proofs for the manifest.

    Raises ProofError where the mask or the adapter is not as it must be, UserError where nothing can be trained.
    """
    settings = recipe.train
    assert settings is not None and recipe.student is not None
    start = settings.lora.start
    if start and (settings.method == "full" or not is_adapter(start)):
        raise UserError(f"train.lora.start {start} holds no adapter to go on from, or train.method is full.")
    for name in settings.track:
        check_tracker(name)
    student = open_student(recipe.student)
    tokenizer = prove_tokenizer(student, run, recipe.student.base)
    proved = proved_rows(recipe, run, student)
    rows, mask = proved.rows, proved.facts | {"tokenizer": tokenizer}
    say(
        f"train: mask proved on {mask['rows']} rows: {mask['label_tokens']} of {mask['tokens']} tokens carry loss, "
        f"each row ends in {mask['stop_token']!r}; longest row {mask['longest']} tokens"
    )
    for way in (collate, join):
        mask["batched_rows"] = prove_batches(way, rows)
    machine = run.freeze("train.machine", derive_machine)
    say(f"train: {says(settings, machine)}")
    ranks = join_ranks(machine["device"])
    loop = _loop(student, rows, settings, machine, run, ranks)
    model, learnt = loop.model, loop.rows
    if settings.epochs == "auto":
        why = "for the best weights on the watched rows are kept" if loop.watched else "for no row is watched"
        say(f"train: epochs {loop.course.epochs:g}, {why}")
    if settings.learning_rate == "auto":
        say(f"train: learning rate {loop.rate:.2g}, the usual one for a base of this width and {settings.method}")
    _write_rows(learnt, run)
    told = loop.settings.model_dump(mode="json", exclude={"track"})
    with tracked(settings.track, run, told) as hear, progress(run, "train", loop.course.updates, "updates") as advance:
        losses = loop.run(run.school / LOSSES, advance, hear)
    with quiet():
        model.save_pretrained(str(run.adapter), **loop.gathered())
    wanted = mean_loss(model, learnt[:PROVED])
    ranks.leave()
    watched, best = len(loop.watched), loop.looks
    proving = weights_of(settings, machine)
    if loop.spread and not proving.four_bits:
        proving = proving._replace(device="cpu")  # it does not fit the device whole
    trainable = sum(weight.numel() for weight in loop.trained.values())
    del model, loop  # the proof loads the base once more
    adapter = prove_adapter(student, learnt[:PROVED], wanted, run.adapter, proving)
    shutil.rmtree(run.school / "checkpoints", ignore_errors=True)  # the adapter is proved: nothing resumes from them
    what = "model" if settings.method == "full" else "adapter"
    say(f"train: {what} proved: loss {adapter['loss']:.3f} with it, {adapter['base_loss']:.3f} without")
    counts = {"rows": len(learnt), "left_out": len(proved.dropped), "watched": watched}
    counts |= {"updates": len(losses), "trainable_parameters": trainable}
    results = {
        "first_loss": losses[0] if losses else None,  # somebody may have deleted the log
        "last_loss": losses[-1] if losses else None,
        "watched": {"loss": best.loss, "update": best.update} if watched else None,
        "records": digest([row.record for row in learnt]),
        "machine": machine,
        "base": student.digest,
    }
    return counts, results, {"mask": mask, "adapter": adapter}


def follow(recipe: Recipe, run: Run) -> None:
    """Train as one of the processes beside the first, which proves, writes and tells; this one only computes."""
    assert recipe.train is not None and recipe.student is not None
    ranks = join_ranks(derive_machine()["device"])  # the first comes when all that is read here is written
    student = open_student(recipe.student)
    machine = run.freeze("train.machine", derive_machine)
    loop = _loop(student, proved_rows(recipe, run, student).rows, recipe.train, machine, run, ranks)
    loop.run(run.school / LOSSES, lambda *done, **facts: None)
    if loop.spread:  # the first cannot do alone what it does next
        loop.gathered()
        mean_loss(loop.model, loop.rows[:PROVED])
    ranks.leave()


def proved_rows(recipe: Recipe, run: Run, student: Student) -> Proved:
    """The rows to train on, each proved; raises ProofError or UserError where there are none."""
    assert recipe.student is not None
    records = accepted_split(run, recipe, "train")
    if not records:
        raise UserError("no accepted rows in the train split. Generate or import more, or lower curate.test.")
    limit = recipe.student.max_seq_length
    proved = prove_rows(student, records, None if limit == "auto" else limit)
    proved.hold()
    return proved


def _loop(
    student: Student, proved: Sequence[Row], settings: Train, machine: dict[str, Any], run: Run, ranks: Ranks
) -> Loop:
    settings = settings.model_copy(update={"epochs": epochs_of(settings, len(proved))})
    watched, rows = list[Row](), list(proved)
    if settings.watch and len(proved) >= FEWEST:
        watched, rows = part(proved, roots(kin_of(born(run))), settings.watch)
    told = settings.model_dump(mode="json", exclude={"save_every", "track"})
    seen = [[[row.tokens, row.labels] for row in some] for some in (rows, watched)]
    key = digest([VERSION, seen, told, machine, student.digest, ranks.size])
    model, room = fit(student, max(len(row.tokens) for row in proved), settings, machine, run, ranks)
    return Loop(model, rows, settings, Shelf(run.school / "checkpoints", key), room.tokens, ranks).watch(watched)


def _write_rows(rows: Sequence[Row], run: Run) -> None:
    import pyarrow as pa

    from yearling.record import write_table

    schema = pa.schema([("record", pa.string()), ("tokens", pa.int32()), ("label_tokens", pa.int32())])
    lines = [
        {"record": r.record, "tokens": len(r.tokens), "label_tokens": sum(x != IGNORE for x in r.labels)} for r in rows
    ]
    write_table(lines, schema, run.school / "rows.parquet")
