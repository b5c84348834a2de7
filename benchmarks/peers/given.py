"""What the training benchmark hands to a side that trains with transformers or TRL.

In: the command line. Out: the rows, and settings by the names that those libraries give them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from peft import LoraConfig


def read() -> tuple[dict[str, Any], Path]:
    """What was asked, and the folder to work in."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])


def arguments(given: dict[str, Any], work: Path) -> dict[str, Any]:
    """The arguments of a trainer."""
    settings = given["settings"]
    return {
        "output_dir": str(work / "out"),
        "num_train_epochs": settings["epochs"],
        "learning_rate": settings["learning_rate"],
        "per_device_train_batch_size": settings["batch_size"],
        "warmup_steps": settings["warmup"],
        "lr_scheduler_type": settings["schedule"],
        "seed": settings["seed"],
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,  # without it TRL refuses to train on a CPU
        **given["more"],
    }


def adapter(given: dict[str, Any]) -> LoraConfig:
    """The adapter to train."""
    lora = given["settings"]["lora"]
    return LoraConfig(r=lora["r"], lora_alpha=lora["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")
