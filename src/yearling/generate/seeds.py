"""Seed tasks: what a teacher is shown so that it writes more of their kind.

In: a JSONL file, or the shipped tasks. Out: Seeds, or one error that names the line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from yearling.errors import UserError
from yearling.record import Message, Origin, Record, digest


@dataclass(frozen=True)
class Seed:
    """One seed task."""

    id: str
    instruction: str
    input: str
    output: str
    classification: bool = False
    more: tuple[tuple[str, str], ...] = ()  # further instances: input and output

    @property
    def instances(self) -> tuple[tuple[str, str], ...]:
        """Input and output of each instance."""
        return ((self.input, self.output), *self.more)


def load_seeds(path: Path | None) -> list[Seed]:
    """The seed tasks of a JSONL file, or the shipped ones; raises UserError naming the line that is wrong."""
    where = str(path or "seeds.jsonl")
    try:
        raw = (
            path.read_text(encoding="utf-8")
            if path
            else (files("yearling.generate") / "seeds.jsonl").read_text("utf-8")
        )
    except OSError as error:
        raise UserError(f"generate.seeds: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"generate.seeds: {path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    seeds = [_seed(line, f"{where}:{number}") for number, line in enumerate(raw.split("\n"), 1) if line.strip()]
    if not seeds:
        raise UserError(f"{where} holds no seed tasks. Write one JSON object a line: instruction, input, output.")
    return seeds if path else _with_examples(seeds)


def as_records(seeds: Sequence[Seed]) -> list[Record]:
    """Seed tasks as conversations of one question and its answer."""
    return [
        Record(
            (Message("user", f"{seed.instruction}\n\n{seed.input}".strip()), Message("assistant", seed.output)),
            Origin("seed", seed.id, place),
        )
        for place, seed in enumerate(seeds)
    ]


def _with_examples(seeds: list[Seed]) -> list[Seed]:
    """The shipped seeds, some with further instances: they are what shows a teacher one example for each label."""
    lines = (files("yearling.generate") / "seed_examples.jsonl").read_text("utf-8").splitlines()
    more = {row["seed"]: _pairs(row["instances"]) for row in map(json.loads, lines)}
    return [replace(seed, more=more.get(seed.id, ())) for seed in seeds]


def _pairs(instances: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(one.get("input") or ""), str(one.get("output") or "")) for one in instances)


def _seed(line: str, where: str) -> Seed:
    try:
        row = json.loads(line.rstrip())
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}. Mend the line.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON that can be read: {error}.") from None
    if not isinstance(row, dict) or not isinstance(row.get("instruction"), str):
        raise UserError(f"{where}: a seed task is an object with a text `instruction` (and `input`, `output`).")
    instances = row.get("instances") or [{}]  # the shape of the published Self-Instruct seeds
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise UserError(f"{where}: `instances` is a list of objects with `input` and `output`.")
    text = {key: str(row.get(key) or instances[0].get(key) or "") for key in ("input", "output")}
    more = _pairs(instances[1:])
    name = str(row.get("id") or digest(row["instruction"])[:8])
    try:
        "".join((name, row["instruction"], *text.values(), *(part for pair in more for part in pair))).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: holds half of a character (a lone surrogate). Write the character whole.") from None
    kind = row.get("classification", row.get("is_classification", False))
    return Seed(name, row["instruction"], text["input"], text["output"], kind is True, more)
