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
_MARKUP = r"[*#_ \t]*"
_HEAD = re.compile(rf"^{_MARKUP}(?:task[ \t]*)?\d{{1,3}}[ \t]*[.):]{_MARKUP}", re.I | re.M)
_NUMBER = rf"(?:(?:task[ \t]*)?\d{{1,3}}[ \t]*[.):]?)?{_MARKUP}\n?{_MARKUP}"
_TASK = re.compile(rf"^{_MARKUP}{_NUMBER}instruction{_MARKUP}:{_MARKUP}", re.I | re.M)
_FIELD = re.compile(rf"^{_MARKUP}(input|output|answer){_MARKUP}:{_MARKUP}", re.I | re.M)
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
    seeds = [_seed(line, f"{where}:{number}") for number, line in enumerate(raw.split("\n"), 1) if line.strip()]
    if not seeds:
        raise UserError(f"{where} holds no seed tasks. Write one JSON object a line: instruction, input, output.")
    return seeds


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
    if not isinstance(instances, list) or not isinstance(instance := instances[0], dict):
        raise UserError(f"{where}: `instances` is a list of objects with `input` and `output`.")
    text = {key: str(row.get(key) or instance.get(key) or "") for key in ("input", "output")}
    name = str(row.get("id") or digest(row["instruction"])[:8])
    try:
        "".join((name, row["instruction"], *text.values())).encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: holds half of a character (a lone surrogate). Write the character whole.") from None
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
    """(instruction, input) of each task in a reply; what does not look like one is left out."""
    starts = list((_TASK if _TASK.search(text) else _HEAD).finditer(text))
    ends = [*(mark.start() for mark in starts[1:]), len(text)][: len(starts)]
    pieces = [text[mark.end() : end] for mark, end in zip(starts, ends, strict=True)]
    found = []
    for piece in pieces:
        instruction, *rest = _FIELD.split(piece)
        fields = dict(zip((name.lower() for name in rest[::2]), rest[1::2], strict=True))
        given = fields.get("input", "").strip()
        if instruction.strip():
            found.append((" ".join(instruction.split()), "" if given.strip(" .*_").lower() in _NO_INPUT else given))
    return found
