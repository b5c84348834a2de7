"""The train stage: LoRA with TRL and PEFT on tokens and masks made by `students`.

In: accepted rows of the train split. Out: `adapter/`, and in `train/` the rows, the losses and checkpoints.
The mask is proved over all rows before the first step, the adapter after the last. Makes no rows of its own.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.errors import ProofError, UserError
from yearling.measure.accepted import accepted_split
from yearling.progress import Advance, progress, say
from yearling.recipe import Recipe, Train
from yearling.record import digest
from yearling.run_folder import Run
from yearling.students.load import Student, open_student, quiet
from yearling.students.proof import prove_batches, prove_rows
from yearling.students.rows import IGNORE, Row
from yearling.students.same import prove_tokenizer
from yearling.train.proof import prove_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback
    from trl.trainer.sft_trainer import SFTTrainer

CHECKPOINT_ABOVE = 1_000_000_000  # parameters from which activations are recomputed instead of kept
ROOM = 1.25  # a model folder needs its size and some for a checkpoint


def run_train(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Train the adapter; counts, results and proofs for the manifest.

    Raises ProofError where the mask or the adapter is not as it must be, UserError where nothing can be trained.
    """
    settings = recipe.train
    assert settings is not None and recipe.student is not None
    records = accepted_split(run, recipe, "train")
    if not records:
        raise UserError("no accepted rows in the train split. Generate or import more, or lower curate.test.")
    student = open_student(recipe.student)
    tokenizer = prove_tokenizer(student, run, recipe.student.base)
    limit = recipe.student.max_seq_length
    proved = prove_rows(student, records, None if limit == "auto" else limit)
    proved.hold()
    rows, mask = proved.rows, proved.facts | {"tokenizer": tokenizer}
    say(
        f"train: mask proved on {mask['rows']} rows: {mask['label_tokens']} of {mask['tokens']} tokens carry loss, "
        f"each row ends in {mask['stop_token']!r}; longest row {mask['longest']} tokens"
    )
    _write_rows(rows, run)
    machine = run.freeze("train.machine", _machine)
    trainer = _trainer(student, rows, settings, run, machine)
    mask["batched_rows"] = prove_batches(trainer.data_collator, trainer.train_dataset, rows)
    with progress(run, "train", None, "updates") as advance, quiet():
        trainer.add_callback(_watch(run, advance, trainer))
        last = _last_checkpoint(run)
        if last:
            say(f"train: going on from {last.name}")
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    steps = trainer.state.global_step
    trainer.save_model(str(run.adapter))
    adapter = prove_adapter(student, rows[:8], trainer.model, run.adapter)
    shutil.rmtree(run.school / "checkpoints", ignore_errors=True)  # the adapter is proved: nothing resumes from them
    say(f"train: adapter proved: loss {adapter['loss']:.3f} with it, {adapter['base_loss']:.3f} without")
    counts = {"rows": len(rows), "left_out": len(proved.dropped), "updates": steps}
    counts |= {"trainable_parameters": _trainable(trainer.model)}
    results = {
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "records": digest([row.record for row in rows]),
        "machine": machine,
        "base": student.digest,
    }
    return counts, results, {"mask": mask, "adapter": adapter}


def _machine() -> dict[str, Any]:
    """What is derived from the hardware; frozen, so that a resume elsewhere trains the same way."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    bfloat = device == "cuda" and torch.cuda.is_bf16_supported()
    return {"device": device, "dtype": "bfloat16" if bfloat else "float32"}


def _trainer(student: Student, rows: Sequence[Row], settings: Train, run: Run, machine: dict[str, Any]) -> SFTTrainer:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    model = student.weights(machine["dtype"])
    large = model.num_parameters() > CHECKPOINT_ABOVE
    folder = run.school / "checkpoints"
    _check_disk(model, folder)
    lora = settings.lora
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    adapter = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets == "all-linear" else attention,
        task_type="CAUSAL_LM",
    )
    with quiet():
        config = SFTConfig(
            output_dir=str(folder),
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulate,
            warmup_steps=settings.warmup,
            lr_scheduler_type=settings.schedule,
            seed=settings.seed,
            data_seed=settings.seed,
            save_strategy="steps",
            save_steps=settings.save_every,
            save_total_limit=2,
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            bf16=machine["dtype"] == "bfloat16",
            use_cpu=machine["device"] == "cpu",
            gradient_checkpointing=large,
            dataloader_pin_memory=machine["device"] == "cuda",
            max_length=None,  # rows were measured and proved; nothing may be cut here
            train_sampling_strategy="group_by_length",
            dataset_kwargs={"skip_prepare_dataset": True},
        )
    data = Dataset.from_dict({"input_ids": [r.tokens for r in rows], "labels": [r.labels for r in rows]})
    with quiet():
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=data, processing_class=student.tokenizer, peft_config=adapter
        )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for answers
    return trainer


def _watch(run: Run, advance: Advance, trainer: SFTTrainer) -> TrainerCallback:
    """Live loss, and a stop where it is no number any more."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc] # the trainer's own seam
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            loss, rate = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
            if not math.isfinite(loss):
                raise ProofError(f"the loss is {loss} at update {state.global_step}. Lower train.learning_rate.")
            advance(state.global_step, state.max_steps, loss=f"{loss:.3f}", epoch=f"{state.epoch or 0:.2f}")
            line = {"step": state.global_step, "loss": loss, "learning_rate": rate, "epoch": state.epoch}
            with (run.school / "losses.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")

    return Watch()


def _last_checkpoint(run: Run) -> Path | None:
    """The newest whole checkpoint: the trainer's state is the last file that it writes."""
    found = sorted((run.school / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    whole = [path for path in found if (path / "trainer_state.json").is_file()]
    for path in found:
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None


def _write_rows(rows: Sequence[Row], run: Run) -> None:
    import pyarrow as pa

    from yearling.record import write_table

    schema = pa.schema([("record", pa.string()), ("tokens", pa.int32()), ("label_tokens", pa.int32())])
    lines = [
        {"record": r.record, "tokens": len(r.tokens), "label_tokens": sum(x != IGNORE for x in r.labels)} for r in rows
    ]
    write_table(lines, schema, run.school / "rows.parquet")


def _check_disk(model: PreTrainedModel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, int(_adapter_bytes(model) * ROOM)
    if free < needed:
        raise UserError(
            f"{folder} has {free >> 20} MB free, checkpoints need about {needed >> 20} MB. Free some space."
        )


def _adapter_bytes(model: PreTrainedModel) -> int:
    """A generous guess before the adapter exists: a tenth of the model, thrice (weights, two optimiser moments)."""
    return int(model.num_parameters() * 0.1 * 4 * 3)


def _trainable(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
