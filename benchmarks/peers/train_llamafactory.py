"""Training by LLaMA-Factory: rows that are tokens and labels already, as a data set that it tokenised before.

In: a file of settings and rows, an empty folder. Out there: `adapter`. Runs in an environment of its own.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from asked import clock, tell
from datasets import Dataset, DatasetDict
from given import arguments, read
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """When training began and ended, by its own events: the base is loaded before."""

    began = ended = (0.0, 0.0)
    updates = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first update comes next."""
        self.began = clock()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last one is done."""
        self.ended, self.updates = clock(), state.global_step


def main() -> None:
    """Train and say how long it took."""
    given, work = read()
    rows = [
        {"input_ids": tokens, "labels": labels, "attention_mask": [1] * len(tokens), "images": None, "videos": None,
         "audios": None}
        for tokens, labels in given["rows"]
    ]  # fmt: skip
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(work / "tokens"))
    lora, its = given["settings"]["lora"], Clock()
    told = arguments(given, work) | {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": given["base"],
        "finetuning_type": "lora",
        "lora_rank": lora["r"],
        "lora_alpha": lora["alpha"],
        "lora_target": "all",
        "dataset": "tokens",
        "tokenized_path": str(work / "tokens"),
        "template": "empty",
        "output_dir": str(work / "adapter"),
        "report_to": "none",
        "infer_dtype": "float32",
    }
    told["warmup_ratio"] = told.pop("warmup_steps")  # its release of transformers wants a number of steps there
    told["disable_gradient_checkpointing"] = not told.pop("gradient_checkpointing", True)
    run_exp(told, callbacks=[its])
    tell(its.began, its.updates, version("llamafactory"), its.ended)


if __name__ == "__main__":
    main()
