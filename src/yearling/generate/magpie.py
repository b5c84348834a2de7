"""Magpie (Xu et al. 2024): give an aligned teacher its own template up to the user's turn, and it writes the user.

In: numbers of calls, or conversations that want another turn. Out: raw completion requests, and what their replies say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from yearling.generate.birth import Birth
from yearling.generate.draft import Draft
from yearling.record import Message

MAX_TOKENS = 96  # of an instruction; a longer one is unfinished and rejected
# ChatML models name their turn marker as the begin-of-text token; it opens the first turn and must stay.
_TURN_MARKS = ("<|im_start|>",)


def drafts(birth: Birth, numbers: range) -> list[Draft]:
    """The drafts of calls k: the same text for every k, told apart by the sample index and its seed."""
    teacher = birth.asker.teacher
    template = teacher.template()
    known = json.dumps([template.text, template.bos, template.eos, template.name])
    birth.asker.ledger.remember(teacher.endpoint, teacher.model, "template", known)  # for a replay
    drawn = [birth.lists.draw(birth.settings.seed, k) for k in numbers]
    heads = [_head(birth, traits.system, traits.text) for traits in drawn]
    asked = birth.ask([(_request(birth, head, k), k) for k, head in zip(numbers, heads, strict=True)])
    found = []
    for traits, (call, reply) in zip(drawn, asked, strict=True):
        if reply.finish != "stop":
            birth.reject(call.key, "unfinished instruction", reply.text)
            continue
        before = (Message("system", traits.system),) if traits.system else ()
        text = " ".join(reply.text.split())
        found.append(Draft(text, "", call.key, (call.key,), before=before, traits=traits, cost_usd=reply.cost_usd))
    return found


def next_turns(birth: Birth, conversations: Sequence[Sequence[Message]]) -> list[tuple[str, str | None]]:
    """For each conversation, the call that wrote its next user turn, and the turn; None where it is unfinished."""
    requests = [(_request(birth, list(turns), len(turns)), len(turns)) for turns in conversations]
    return [
        (call.key, " ".join(reply.text.split()) if reply.finish == "stop" else None)
        for call, reply in birth.ask(requests)
    ]


def _head(birth: Birth, system: str, traits: str) -> list[Message]:
    parts = [system] if system else []
    if not birth.english:
        parts.append(f"The conversation is in this language: {birth.language}.")
    if traits:
        parts.append(f"The user's question is {traits}.")
    return [Message("system", " ".join(parts))] if parts else []


def _request(birth: Birth, turns: Sequence[Message], call: int) -> dict[str, Any]:
    template = birth.asker.teacher.template()
    # completion endpoints put the begin-of-text token before the prompt themselves
    bos = template.bos if template.bos not in _TURN_MARKS else "\x00"
    return {
        "prompt": template.opening(turns).removeprefix(bos),
        "max_tokens": MAX_TOKENS,
        "temperature": birth.settings.temperature,
        "seed": birth.sampler_seed(call),
    }
