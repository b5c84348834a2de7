"""What training wrote, read back: an adapter of PEFT, or all weights of a model that was tuned whole.

In: a base and a folder. Out: the model. Reads safetensors only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yearling.students.load import Student, quiet

ADAPTER = "adapter_model.safetensors"


def holds_training(folder: Path) -> bool:
    """Whether training has written its result to a folder."""
    return any(folder.glob("*model*.safetensors"))


def is_adapter(folder: Path) -> bool:
    """Whether that result is an adapter."""
    return (folder / ADAPTER).is_file()


def open_trained(
    student: Student, folder: Path, dtype: str, trainable: bool = False, four_bits_on: str | None = None
) -> Any:
    """The base with the adapter of a folder, or the whole model that lies there; for the weights see `Student`."""
    if not is_adapter(folder):
        return Student(str(folder), None, None, "").weights(dtype)
    with quiet():
        from peft import PeftModel

        return PeftModel.from_pretrained(student.weights(dtype, four_bits_on), str(folder), is_trainable=trainable)
