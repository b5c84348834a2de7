"""Alpaca's way (Taori et al. 2023): a few seed tasks as demonstrations, several new tasks in one call.

In: seed tasks and the number of a call. Out: a chat request, and the drafts parsed from its reply.
Here the teacher answers each new task in a call of its own, so that an unfinished answer costs one row only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from yearling.errors import UserError
from yearling.generate.draft import Draft, dice
from yearling.ledger import Call, Reply
from yearling.recipe import Generate, Recipe
from yearling.record import digest

_NO_INPUT = {"", "none", "n/a", "na", "no input", "<noinput>", "noinput", "-", "(none)", "empty"}
_HEAD = re.compile(r"^\W{0,4}(?:task\s*)?\d{1,3}\s*[.):]", re.I | re.M)
_FIELD = re.compile(r"^\W{0,4}(instruction|input|output|answer)\W{0,3}:\W{0,3}", re.I | re.M)
TOKENS_A_TASK = 120


@dataclass(frozen=True)
class Seed:
    """One seed task."""

    id: str
    instruction: str
    input: str
    output: str


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
    seeds = [_seed(line, f"{where}:{number}") for number, line in enumerate(raw.splitlines(), 1) if line.strip()]
    if not seeds:
        raise UserError(f"{where} holds no seed tasks. Write one JSON object a line: instruction, input, output.")
    return seeds


def _seed(line: str, where: str) -> Seed:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON: {error}.") from None
    if not isinstance(row, dict) or not isinstance(row.get("instruction"), str):
        raise UserError(f"{where}: a seed task is an object with a text `instruction` (and `input`, `output`).")
    instance = (row.get("instances") or [{}])[0]  # the shape of the published Self-Instruct seeds
    text = {key: str(row.get(key) or instance.get(key) or "") for key in ("input", "output")}
    name = str(row.get("id") or digest(row["instruction"])[:8])
    return Seed(name, row["instruction"], text["input"], text["output"])


@cache
def prompt_text() -> str:
    """The words said to the teacher."""
    return (files("yearling.prompts") / "alpaca.txt").read_text(encoding="utf-8")


def request(
    seeds: Sequence[Seed], recipe: Recipe, settings: Generate, call: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request of call k and the ids of the seeds it shows: both depend on the seed of the plan and k alone."""
    shown = dice(settings.seed, call).sample(seeds, min(settings.demonstrations, len(seeds)))
    text = prompt_text().format(
        count=settings.per_call,
        language=recipe.language,
        demonstrations="\n\n".join(_shown(number, seed) for number, seed in enumerate(shown, 1)),
        first=len(shown) + 1,
        last=len(shown) + settings.per_call,
    )
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": settings.per_call * TOKENS_A_TASK,
        "temperature": settings.temperature,
        "min_p": settings.min_p,
        "seed": settings.seed * 1_000_003 + call,
    }
    return body, tuple(seed.id for seed in shown)


def _shown(number: int, seed: Seed) -> str:
    return f"Task {number}\nInstruction: {seed.instruction}\nInput: {seed.input or 'none'}"


def drafts(call: Call, reply: Reply, parents: tuple[str, ...]) -> tuple[list[Draft], str | None]:
    """The drafts of a reply; where the reply was cut off, its last task is dropped and the reason says so."""
    tasks = parse(reply.text)
    reason = None
    if reply.finish == "length" and tasks:
        tasks.pop()
        reason = "unfinished instruction"
    if not tasks:
        reason = reason or "no task in the reply"
    return [Draft(i, t, f"{call.key}/{n}", call.key, parents) for n, (i, t) in enumerate(tasks)], reason


def parse(text: str) -> list[tuple[str, str]]:
    """(instruction, input) of each numbered task in a reply; what does not look like one is left out."""
    starts = [match.start() for match in _HEAD.finditer(text)] or [0]
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    found = []
    for piece in pieces:
        body = _HEAD.sub("", piece, count=1)
        marks = list(_FIELD.finditer(body))
        fields = {
            mark[1].lower(): body[mark.end() : after].strip()
            for mark, after in zip(marks, [*(m.start() for m in marks[1:]), len(body)], strict=True)
        }
        instruction = " ".join((fields.get("instruction") or (body if not marks else "")).split())
        given = fields.get("input", "")
        if instruction:
            found.append((instruction, "" if given.strip(" .").lower() in _NO_INPUT else given))
    return found
