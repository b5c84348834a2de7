"""Training by TRL's SFTTrainer: rows that are tokens and labels already, its defaults but for what is named.

In: a file of settings and rows, an empty folder. Out there: `adapter`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from asked import clock, tell
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer


def main() -> None:
    """Train and say how long it took."""
    given, work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    settings, lora = given["settings"], given["settings"]["lora"]
    config = SFTConfig(
        output_dir=str(work / "out"),
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        per_device_train_batch_size=settings["batch_size"],
        warmup_steps=settings["warmup"],
        lr_scheduler_type=settings["schedule"],
        seed=settings["seed"],
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        **given["more"],
    )
    model = AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32")
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict(
            {"input_ids": [tokens for tokens, _ in given["rows"]], "labels": [labels for _, labels in given["rows"]]}
        ),
        processing_class=AutoTokenizer.from_pretrained(given["base"]),
        peft_config=LoraConfig(
            r=lora["r"], lora_alpha=lora["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    began = clock()
    trainer.train()
    ended = clock()
    trainer.model.save_pretrained(work / "adapter")
    tell(began, trainer.state.global_step, version("trl"), ended)


if __name__ == "__main__":
    main()
