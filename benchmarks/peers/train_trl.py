"""Training by TRL's SFTTrainer: rows that are tokens and labels already, its defaults but for what is named.

In: a file of settings and rows, an empty folder. Out there: `adapter`.
"""

from __future__ import annotations

from importlib.metadata import version

from asked import clock, tell
from datasets import Dataset
from given import adapter, arguments, read
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer


def main() -> None:
    """Train and say how long it took."""
    given, work = read()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(given["base"], dtype="float32"),
        args=SFTConfig(max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, **arguments(given, work)),
        train_dataset=Dataset.from_dict(
            {"input_ids": [tokens for tokens, _ in given["rows"]], "labels": [labels for _, labels in given["rows"]]}
        ),
        processing_class=AutoTokenizer.from_pretrained(given["base"]),
        peft_config=adapter(given),
    )
    began = clock()
    trainer.train()
    ended = clock()
    trainer.model.save_pretrained(work / "adapter")
    tell(began, trainer.state.global_step, version("trl"), ended)


if __name__ == "__main__":
    main()
