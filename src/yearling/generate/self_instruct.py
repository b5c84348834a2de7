"""Self-Instruct (Wang et al. 2022), its first stage: some instructions are shown, some new ones asked for.

In: seed instructions, what earlier calls wrote, numbers of calls. Out: requests, and the drafts in their replies that
pass the rules; what is turned away is kept with its reason. Whether a draft is a classification task, and its
instances, are for `instances`.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from yearling.generate.birth import Birth
from yearling.generate.draft import MAX_WORDS, Draft, dice
from yearling.generate.pool import blocks
from yearling.generate.variety import Traits
from yearling.ledger import Call, Reply
from yearling.measure.text import word_count
from yearling.record import Message

PROMPTS = ("self-instruct", "self-instruct-list")
# The source's settings of this stage; its temperature, 0.7, is the recipe's.
TOP_P, PRESENCE_PENALTY, MAX_TOKENS = 0.5, 2.0, 1024
LONGEST_TOO_SHORT = 3  # words
_MARKS = r"[*_#> \t]*"
# A number, then a space: 3.5 begins no item.
_HEAD = re.compile(rf"^{_MARKS}(?:task[ \t]*)?(\d{{1,4}})[ \t]?[.):](?=[*_\s]|\Z)", re.I | re.M)
_SCHEMA = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": {"type": "string"}}},
    "required": ["tasks"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Shown:
    """What call k shows, in its order: names for the origin, and texts."""

    names: tuple[str, ...]
    texts: tuple[str, ...]


def drafts(birth: Birth, numbers: range) -> list[Draft]:
    """The drafts of calls k that are worth an answer.

    They are judged here, block by block, because a block shows what was accepted of the blocks before it.
    """
    found = []
    for part in blocks(numbers):
        for k, draft in _written(birth, part):
            if reason := fault(draft.instruction, birth.english):
                birth.reject(draft.calls[-1], reason, draft.instruction)
            elif birth.worth_an_answer(draft):
                birth.pool.add(k, draft)
                found.append(draft)
    return found


def shown(birth: Birth, call: int) -> Shown:
    """The demonstrations of call k: some machine-written ones, where there are any yet, and seeds for the rest."""
    settings, made = birth.settings, birth.settings.self_instruct
    whole = made.human + made.machine
    machine = birth.pool.draw(settings.seed, call, made.machine)
    # always as many draws as there are places, so that the first ones are the same whatever the pool holds
    places = dice(settings.seed, f"{call}:human").sample(range(len(birth.seeds)), min(whole, len(birth.seeds)))
    human = [birth.seeds[place] for place in places[: whole - len(machine)]]
    pairs = [(seed.id, seed.instruction) for seed in human] + [(draft.key, draft.instruction) for draft in machine]
    dice(settings.seed, f"{call}:order").shuffle(pairs)
    return Shown(tuple(name for name, _ in pairs), tuple(" ".join(text.split()).rstrip(":") for _, text in pairs))


def _written(birth: Birth, numbers: range) -> Iterator[tuple[int, Draft]]:
    """The call and the draft of each item of the replies, in their order; whole ones only."""
    seen = [shown(birth, k) for k in numbers]
    drawn = [birth.lists.draw(birth.settings.seed, k) for k in numbers]
    requests = [(request(birth, *both, k), k) for k, both in zip(numbers, zip(seen, drawn, strict=True), strict=True)]
    for k, demonstrations, traits, answer in zip(numbers, seen, drawn, _replies(birth, requests), strict=True):
        calls, reply, items = answer
        yield from ((k, draft) for draft in _drafts(birth, calls, reply, items, (demonstrations, traits)))


def _replies(
    birth: Birth, requests: Sequence[tuple[dict[str, Any], int]]
) -> list[tuple[tuple[Call, ...], Reply, list[str] | None]]:
    """For each request its calls, the last reply, and the items in it; None where the reason is already told."""
    completion = birth.settings.self_instruct.completion
    if birth.structured and not completion:
        asked = birth.ask_json(requests, _SCHEMA)
        return [(calls, reply, None if value is None else _texts(value)) for calls, reply, value in asked]
    # a completion goes on where the prompt ends, behind the next number
    opened = [f"{asked['prompt'].rpartition(chr(10))[2]} " if completion else "" for asked, _ in requests]
    return [
        ((call,), reply, parse(before + reply.text))
        for before, (call, reply) in zip(opened, birth.ask(requests), strict=True)
    ]


def _texts(value: dict[str, Any]) -> list[str]:
    return [text for text in map(_bare, value["tasks"]) if text]


def _bare(item: str) -> str:
    """An item on one line, without marks around it and without the numbers that the teacher put before it."""
    text = " ".join(item.split()).strip(" *_")
    while head := _HEAD.match(text):
        text = text[head.end() :].strip(" *_")
    return text


def _drafts(
    birth: Birth, calls: tuple[Call, ...], reply: Reply, items: list[str] | None, about: tuple[Shown, Traits]
) -> list[Draft]:
    keys, most = tuple(call.key for call in calls), birth.settings.self_instruct.per_call
    if items is None:
        return []
    if reply.finish == "content_filter":
        birth.reject(keys[-1], "blocked by the provider", reply.text)
        return []
    if not items:
        birth.reject(keys[-1], "no task in the reply", reply.text)
    if reply.finish == "length" and items:  # the source throws the whole reply away
        birth.reject(keys[-1], "unfinished instruction", items[-1])
        items = items[:-1]
    for text in items[most:]:
        birth.reject(keys[-1], "more than asked for", text)
    items, (demonstrations, traits) = items[:most], about
    cost = reply.cost_usd / len(items) if reply.cost_usd is not None and items else reply.cost_usd
    # a raw prompt has no system turn, so a row must not claim one
    said = traits.system and not birth.settings.self_instruct.completion
    before = (Message("system", traits.system),) if said else ()
    names = ", ".join(demonstrations.names)
    return [
        Draft(text, "", f"{keys[-1]}/{n}", keys, shown=names, before=before, traits=traits, cost_usd=cost)
        for n, text in enumerate(items)
    ]


def request(birth: Birth, demonstrations: Shown, traits: Traits, call: int) -> dict[str, Any]:
    """The request of call k: a chat turn, or the source's list that ends in the next number."""
    settings, made = birth.settings, birth.settings.self_instruct
    first, last = len(demonstrations.texts) + 1, len(demonstrations.texts) + made.per_call
    body = {
        "max_tokens": MAX_TOKENS,
        "temperature": settings.temperature,
        "top_p": TOP_P,
        "presence_penalty": PRESENCE_PENALTY,
        "seed": birth.sampler_seed(call),
    }
    tasks = "classification tasks" if all(seed.classification for seed in birth.seeds) else "tasks"
    numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(demonstrations.texts, 1))
    said = {"kind": tasks, "language": birth.language}
    if made.completion:
        wanted = f" They are {traits.text}." if traits.text else ""
        text = birth.words.say("self-instruct-list", demonstrations=numbered, next=first, traits=wanted, **said)
        # the source's stops, less those that fire inside a text such as "in 2016."
        return {"prompt": text, "stop": ["\n\n", f"\n{last + 1}.", f"\n{last + 1} ."], **body}
    if birth.structured:
        numbered = json.dumps({"tasks": demonstrations.texts}, ensure_ascii=False)
        form = f"Write {made.per_call} new {tasks} in the same form, as JSON and nothing else."
    else:
        form = f"Go on with the list: write {tasks} {first} to {last}, one a line, each with its number."
    wanted = f"\n- All of them are {traits.text}." if traits.text else ""
    text = birth.words.say("self-instruct", demonstrations=numbered, form=form, traits=wanted, **said)
    return {"messages": [{"role": "user", "content": text}], **body}


def parse(text: str) -> list[str]:
    """The items of a numbered list, white space collapsed; what stands before the first number is no item.

    A number smaller than the last one opens no item: it counts something inside the instruction.
    """
    heads, last = [], 0
    for head in _HEAD.finditer(text):
        if int(head[1]) >= last:
            heads.append(head)
            last = int(head[1])
    ends = [*(head.start() for head in heads[1:]), len(text)][: len(heads)]
    pieces = (_bare(text[head.end() : end]) for head, end in zip(heads, ends, strict=True))
    return [piece for piece in pieces if piece]


def fault(text: str, english: bool) -> str | None:
    """Why the source drops an instruction, or None; its words for what cannot be seen are with those of all methods."""
    words = word_count(text)
    if words <= LONGEST_TOO_SHORT:
        return "instruction too short"
    if words > MAX_WORDS:
        return "instruction too long"
    if english and text.lower().startswith("write a program"):
        return "asks for a program"
    if text[0] in string.punctuation:
        return "begins with punctuation"
    if english and not text[0].isascii():
        return "begins with a letter of another script"
    return None
