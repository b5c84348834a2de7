"""Training as alpaca-lora's script did it in 2023: transformers' Trainer on a PEFT model, rows of like length together.

In: a file of settings and rows, an empty folder. Out there: `adapter`. That script's 8-bit base needs a GPU, and its
prompt format is not used: all sides learn the same tokens.
"""

from __future__ import annotations

from importlib.metadata import version

from asked import clock, tell
from datasets import Dataset
from given import adapter, arguments, read
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments


def main() -> None:
    """Train and say how long it took."""
    given, work = read()
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32"), adapter(given))
    data = [
        {"input_ids": tokens, "labels": labels, "attention_mask": [1] * len(tokens)} for tokens, labels in given["rows"]
    ]
    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(given, work)),
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
