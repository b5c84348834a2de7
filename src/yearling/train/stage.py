"""The train stage: an adapter on a base, by rows and masks made by `students`.

In: accepted rows of the train split. Out: `adapter/`, and in `train/` the rows, the losses and checkpoints.
The mask is proved over all rows before the first step, the adapter after the last. Makes no rows of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from yearling.errors import UserError
from yearling.measure.accepted import accepted_split
from yearling.progress import progress, say
from yearling.recipe import Recipe, Train
from yearling.record import digest
from yearling.run_folder import Run
from yearling.students.load import Student, open_student, quiet
from yearling.students.proof import Proved, prove_batches, prove_rows
from yearling.students.rows import IGNORE, Row
from yearling.students.same import prove_tokenizer
from yearling.students.trained import is_adapter, open_trained
from yearling.train.batches import collate
from yearling.train.checkpoint import Shelf
from yearling.train.loop import Loop
from yearling.train.proof import PROVED, Weights, mean_loss, prove_adapter
from yearling.train.ranks import Ranks, join_ranks
from yearling.train.room import Room, find_room, free_bytes

LOSSES = "losses.jsonl"
VERSION = 1  # of the loop: raised where it makes other weights of the same rows


def run_train(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Train the adapter; counts, results and proofs for the manifest.

    Raises ProofError where the mask or the adapter is not as it must be, UserError where nothing can be trained.
    """
    settings = recipe.train
    assert settings is not None and recipe.student is not None
    if settings.start and (settings.method == "full" or not is_adapter(settings.start)):
        raise UserError(f"train.start {settings.start} holds no adapter to go on from, or train.method is full.")
    student = open_student(recipe.student)
    tokenizer = prove_tokenizer(student, run, recipe.student.base)
    proved = proved_rows(recipe, run, student)
    rows, mask = proved.rows, proved.facts | {"tokenizer": tokenizer}
    say(
        f"train: mask proved on {mask['rows']} rows: {mask['label_tokens']} of {mask['tokens']} tokens carry loss, "
        f"each row ends in {mask['stop_token']!r}; longest row {mask['longest']} tokens"
    )
    if settings.learning_rate == "auto":
        say(f"train: learning rate {settings.rate:g}, the usual one for train.method: {settings.method}")
    mask["batched_rows"] = prove_batches(collate, rows)
    _write_rows(rows, run)
    machine = run.freeze("train.machine", derive_machine)
    ranks = join_ranks(machine["device"])
    loop = _loop(student, rows, settings, machine, run, ranks)
    model = loop.model
    with progress(run, "train", loop.course.updates, "updates") as advance:
        losses = loop.run(run.school / LOSSES, advance)
    ranks.leave()
    with quiet():
        model.save_pretrained(str(run.adapter))
    wanted = mean_loss(model, rows[:PROVED])
    updates, trainable = loop.course.updates, sum(weight.numel() for weight in loop.trained.values())
    del model, loop  # the proof loads the base once more
    adapter = prove_adapter(student, rows[:PROVED], wanted, run.adapter, weights_of(settings, machine))
    shutil.rmtree(run.school / "checkpoints", ignore_errors=True)  # the adapter is proved: nothing resumes from them
    what = "model" if settings.method == "full" else "adapter"
    say(f"train: {what} proved: loss {adapter['loss']:.3f} with it, {adapter['base_loss']:.3f} without")
    counts = {"rows": len(rows), "left_out": len(proved.dropped), "updates": updates}
    counts |= {"trainable_parameters": trainable}
    results = {
        "first_loss": losses[0] if losses else None,  # somebody may have deleted the log
        "last_loss": losses[-1] if losses else None,
        "records": digest([row.record for row in rows]),
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
    student: Student, rows: Sequence[Row], settings: Train, machine: dict[str, Any], run: Run, ranks: Ranks
) -> Loop:
    told = settings.model_dump(mode="json", exclude={"save_every"})
    key = digest([VERSION, [[row.tokens, row.labels] for row in rows], told, machine, student.digest, ranks.size])
    with ranks.first_alone():
        model, tokens = fit(student, rows, settings, machine, run)
    return Loop(model, rows, settings, Shelf(run.school / "checkpoints", key), tokens, ranks)


def derive_machine() -> dict[str, Any]:
    """What is derived from the hardware; frozen, so that a resume elsewhere trains the same way."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    bfloat = device == "cuda" and torch.cuda.is_bf16_supported()
    return {"device": device, "dtype": "bfloat16" if bfloat else "float32"}


def fit(student: Student, rows: Sequence[Row], settings: Train, machine: dict[str, Any], run: Run) -> tuple[Any, int]:
    """What is trained, on the device, and how many tokens go through it at once.

    Raises UserError where the rows do not fit this machine's memory.
    """
    model = load(student, settings, machine)
    longest = max(len(row.tokens) for row in rows)
    # a resume with other memory cuts the updates the same way, and so gets the same bits
    name = f"train.room-{digest([student.digest, settings.model_dump(mode='json'), machine, longest])[:12]}"
    room = Room(*run.freeze(name, lambda: find_room(model, rows, free_bytes(machine["device"]))))
    say(f"train: {room.says()}")
    if room.recompute:
        with quiet():
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, room.tokens


def load(student: Student, settings: Train, machine: dict[str, Any]) -> Any:
    """All of the base, or an adapter on it, on the device; the same of every start."""
    import torch
    from peft import LoraConfig, get_peft_model

    lora, weights = settings.lora, weights_of(settings, machine)
    adapter = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        target_modules="all-linear" if lora.targets == "all-linear" else ["q_proj", "k_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(settings.seed)
    if settings.start:
        model = open_trained(student, settings.start, weights.dtype, True, weights.four_bits_on)
    else:
        model = student.weights(weights.dtype, weights.four_bits_on)
        if settings.method != "full":
            with quiet():
                model = get_peft_model(model, adapter)
    return weights.there(model)


def weights_of(settings: Train, machine: dict[str, Any]) -> Weights:
    """What the base is loaded as; all weights are tuned in 32 bits, for an update is less than bfloat16 can hold."""
    dtype = "float32" if settings.method == "full" else machine["dtype"]
    return Weights(dtype, machine["device"], settings.method == "qlora")


def _write_rows(rows: Sequence[Row], run: Run) -> None:
    import pyarrow as pa

    from yearling.record import write_table

    schema = pa.schema([("record", pa.string()), ("tokens", pa.int32()), ("label_tokens", pa.int32())])
    lines = [
        {"record": r.record, "tokens": len(r.tokens), "label_tokens": sum(x != IGNORE for x in r.labels)} for r in rows
    ]
    write_table(lines, schema, run.school / "rows.parquet")
