"""Checkpoints: one file each, written whole or not at all, and read without pickle.

In: trained weights and the optimiser's moments by name. Out: `update-<number>.safetensors`, the newest two, and
`best.safetensors`, the weights alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from yearling.errors import UserError

KEPT, BEST = 2, "best"
ROOM = 2.5  # a file is written beside the one that it replaces


class Checkpoint(NamedTuple):
    """Where training stood: so many updates done, and what its optimiser remembers."""

    update: int
    tensors: dict[str, Any]
    about: dict[str, str]


@dataclass(frozen=True)
class Shelf:
    """The checkpoints of one training in a folder; `key` says which, and those of another are deleted."""

    folder: Path
    key: str

    def save(self, update: int, tensors: Mapping[str, Any], about: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write one; raises UserError where the disk has no room for it, and what was saved before stays."""
        self._write(f"update-{update:08d}", update, tensors, about)
        for old in sorted(self.folder.glob("update-*.safetensors"))[:-KEPT]:
            old.unlink()

    def save_best(self, update: int, tensors: Mapping[str, Any]) -> None:
        """Write the weights that are the best so far; raises UserError as `save` does."""
        self._write(BEST, update, tensors, {})

    def _write(self, name: str, update: int, tensors: Mapping[str, Any], about: Mapping[str, str]) -> None:
        from safetensors.torch import save_file

        check_disk(self.folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
        path = self.folder / f"{name}.safetensors"
        temporary = path.with_suffix(".tmp")
        save_file(dict(tensors), temporary, metadata={**about, "update": str(update), "key": self.key})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint; those of another training and those that cannot be read are deleted."""
        for left in self.folder.glob("*.tmp"):
            left.unlink()
        found = (self._read(path) for path in sorted(self.folder.glob("update-*.safetensors"), reverse=True))
        return next(filter(None, found), None)

    def best(self) -> Checkpoint | None:
        """What `save_best` wrote last."""
        path = self.folder / f"{BEST}.safetensors"
        return self._read(path) if path.exists() else None

    def _read(self, path: Path) -> Checkpoint | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("key") == self.key:
                    names = file.keys()
                    return Checkpoint(int(about["update"]), {n: file.get_tensor(n) for n in names}, about)
        except SafetensorError:
            pass  # half of a file: the disk lost it
        path.unlink()
        return None


def check_disk(folder: Path, size: int) -> None:
    """Raise UserError where a checkpoint of so many bytes would fill the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, int(size * ROOM)
    if free < needed:
        raise UserError(
            f"{folder} has {free >> 20} MB free, a checkpoint needs about {needed >> 20} MB. Free some space and start "
            "again: training goes on from the last checkpoint."
        )
