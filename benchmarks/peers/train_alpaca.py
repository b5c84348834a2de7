"""Training as alpaca-lora's script did it in 2023: transformers' Trainer on a PEFT model, rows of like length together.

In: a file of settings and rows, an empty folder. Out there: `adapter`. That script's 8-bit base needs a GPU, and its
prompt format is not used: all sides learn the same tokens.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from asked import clock, tell
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments


def main() -> None:
    """Train and say how long it took."""
    given, work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    settings, lora = given["settings"], given["settings"]["lora"]
    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    adapter = LoraConfig(r=lora["r"], lora_alpha=lora["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32"), adapter)
    data = [
        {"input_ids": tokens, "labels": labels, "attention_mask": [1] * len(tokens)} for tokens, labels in given["rows"]
    ]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
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
            **given["more"],
        ),
        train_dataset=Dataset.from_list(data),
        data_collator=DataCollatorForSeq2Seq(tokenizer, return_tensors="pt", padding=True),
    )
    began = clock()
    trainer.train()
    ended = clock()
    model.save_pretrained(work / "adapter")
    tell(began, trainer.state.global_step, version("transformers"), ended)


if __name__ == "__main__":
    main()
