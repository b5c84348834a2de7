"""Alpaca's way (Taori et al. 2023): a few seed tasks as demonstrations, several new tasks in one call.

In: seed tasks and numbers of calls. Out: chat requests, and the drafts parsed from their replies.
With `together` the same reply holds the answers, as in the source; otherwise the teacher answers each new task in a
call of its own, so that an unfinished answer costs one row only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from yearling.generate.birth import Birth
from yearling.generate.draft import Draft, dice
from yearling.generate.seeds import Seed
from yearling.generate.variety import Traits
from yearling.ledger import Reply
from yearling.record import Message

_NO_INPUT = {"", "none", "n/a", "na", "no input", "<noinput>", "noinput", "-", "(none)", "empty"}
_MARKUP = r"[*#_ \t]*"
_HEAD = re.compile(rf"^{_MARKUP}(?:task[ \t]*)?\d{{1,3}}[ \t]*[.):]{_MARKUP}", re.I | re.M)
_NUMBER = rf"(?:(?:task[ \t]*)?\d{{1,3}}[ \t]*[.):]?)?{_MARKUP}\n?{_MARKUP}"
_TASK = re.compile(rf"^{_MARKUP}{_NUMBER}instructions?{_MARKUP}:{_MARKUP}", re.I | re.M)
_FIELD = re.compile(rf"^{_MARKUP}(input|output|answer){_MARKUP}:{_MARKUP}", re.I | re.M)
TOKENS_A_TASK = 120  # of an instruction with its input; the source's 3,072 tokens for 16 tasks hold the answers too
TOKENS_AN_OUTPUT = 150
Task = tuple[str, str, str]  # instruction, input, output; "" where there is none


def drafts(birth: Birth, numbers: range) -> list[Draft]:
    """The drafts of calls k; where a reply was cut off, its last task is dropped and the reason says so."""
    settings = birth.settings
    shown = {k: _demonstrations(birth, k) for k in numbers}
    drawn = {k: birth.lists.draw(settings.seed, k) for k in numbers}
    requests = [(_request(birth, shown[k], drawn[k], k), k) for k in numbers]
    found: list[Draft] = []
    if birth.structured:
        schema, cut = (_schema(settings.alpaca.together, whole) for whole in (True, False))
        for k, (calls, reply, value) in zip(numbers, birth.ask_json(requests, schema, cut), strict=True):
            keys = tuple(call.key for call in calls)
            tasks = [_task(item) for item in value["tasks"]] if value else []
            if value and not tasks:
                birth.reject(keys[-1], "no task in the reply", reply.text)
            found += _drafts(birth, keys, reply, tasks, shown[k], drawn[k])
        return found
    for k, (call, reply) in zip(numbers, birth.ask(requests), strict=True):
        tasks = parse(reply.text)
        if not tasks:
            birth.reject(call.key, "no task in the reply", reply.text)
        found += _drafts(birth, (call.key,), reply, tasks, shown[k], drawn[k])
    return found


def _drafts(
    birth: Birth, calls: tuple[str, ...], reply: Reply, tasks: list[Task], shown: Sequence[Seed], traits: Traits
) -> list[Draft]:
    if reply.finish == "length" and tasks:
        birth.reject(calls[-1], "unfinished instruction", tasks.pop()[0])
    ids = ", ".join(seed.id for seed in shown)
    together = birth.settings.alpaca.together
    cost = reply.cost_usd / len(tasks) if reply.cost_usd is not None and tasks else reply.cost_usd
    found = []
    for n, (instruction, given, output) in enumerate(tasks):
        if together and not output:
            birth.reject(calls[-1], "no answer in the reply", instruction)
            continue
        draft = Draft(
            instruction, given, f"{calls[-1]}/{n}", calls, shown=ids, traits=traits, cost_usd=cost,
            output=output if together else None, before=(Message("system", traits.system),) if traits.system else (),
        )  # fmt: skip
        found.append(draft)
    return found


def _demonstrations(birth: Birth, call: int) -> list[Seed]:
    settings = birth.settings
    return dice(settings.seed, call).sample(birth.seeds, min(settings.alpaca.demonstrations, len(birth.seeds)))


def _request(birth: Birth, shown: Sequence[Seed], traits: Traits, call: int) -> dict[str, Any]:
    """The request of call k: it depends on the seed of the plan and k alone."""
    made = birth.settings.alpaca
    first, last = len(shown) + 1, len(shown) + made.per_call
    fields = ("instruction", "input", "output") if made.together else ("instruction", "input")
    if birth.structured:
        tasks = [{name: getattr(seed, name) for name in fields} for seed in shown]
        demonstrations = json.dumps({"tasks": tasks}, ensure_ascii=False)
        form = f"Now write {made.per_call} tasks in the same form, as JSON and nothing else."
    else:
        demonstrations = "\n\n".join(_shown(number, seed, made.together) for number, seed in enumerate(shown, 1))
        lines = " and ".join(f'a line "{name.capitalize()}:"' for name in fields)
        form = f"Now write tasks {first} to {last} in the same form. Each has {lines}."
    text = birth.words.say(
        "alpaca",
        count=made.per_call,
        demonstrations=demonstrations,
        form=form,
        output=_answering(birth, traits) if made.together else "Do not answer the tasks.",
        language=birth.language,
        traits=f"\n- All of them are {traits.text}." if traits.text else "",
    )
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": made.per_call * (TOKENS_A_TASK + (TOKENS_AN_OUTPUT if made.together else 0)),
        "temperature": birth.settings.temperature,
        "seed": birth.sampler_seed(call),
    }


def _answering(birth: Birth, traits: Traits) -> str:
    """What a teacher that answers in the same reply is told of its answers."""
    style = " ".join(part for part in (traits.system, birth.settings.answer.system) if part)
    return f"The output is the task done. {style or 'It has at most 100 words.'}"


def _shown(number: int, seed: Seed, output: bool) -> str:
    text = f"Task {number}\nInstruction: {seed.instruction}\nInput: {seed.input or 'none'}"
    return f"{text}\nOutput: {seed.output}" if output else text


def _schema(output: bool, whole: bool) -> dict[str, Any]:
    """The schema of a reply; the last task of one that was cut off may lack anything."""
    fields = ["instruction", "input", *(["output"] if output else [])]
    task = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in fields},
        "required": fields if whole else [],
        "additionalProperties": False,
    }
    tasks = {"type": "array", "items": task}
    return {"type": "object", "properties": {"tasks": tasks}, "required": ["tasks"], "additionalProperties": False}


def _task(item: Any) -> Task:
    given = item.get("input", "").strip()
    text = " ".join(item.get("instruction", "").split())
    return text, "" if given.strip(" .*_").lower() in _NO_INPUT else given, item.get("output", "").strip()


def parse(text: str) -> list[Task]:
    """(instruction, input, output) of each task in a reply; what does not look like one is left out."""
    starts = list((_TASK if _TASK.search(text) else _HEAD).finditer(text))
    ends = [*(mark.start() for mark in starts[1:]), len(text)][: len(starts)]
    pieces = [text[mark.end() : end] for mark, end in zip(starts, ends, strict=True)]
    found = []
    for piece in pieces:
        instruction, *rest = _FIELD.split(piece)
        fields = dict(zip((name.lower() for name in rest[::2]), rest[1::2], strict=True))
        if instruction.strip():
            output = fields.get("output", fields.get("answer", ""))
            found.append(_task({"instruction": instruction, "input": fields.get("input", ""), "output": output}))
    return found
