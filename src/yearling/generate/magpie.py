"""Magpie (Xu et al. 2024): give an aligned teacher its own template up to the user's turn, and it writes the user.

In: the number of a call. Out: a raw completion request, and the draft in its reply.
"""

from __future__ import annotations

from typing import Any

from yearling.generate.draft import Draft
from yearling.ledger import Call, Reply
from yearling.recipe import Generate, Recipe
from yearling.teachers.teacher import Teacher

MAX_TOKENS = 96  # of an instruction; a longer one is unfinished and rejected


def request(teacher: Teacher, recipe: Recipe, settings: Generate, call: int) -> dict[str, Any]:
    """The request of call k: the same text for every k, told apart by the sample index and its seed."""
    template = teacher.template()
    system = None if recipe.language.startswith("en") else f"The conversation is in this language: {recipe.language}."
    # completion endpoints put the begin-of-text token before the prompt themselves
    return {
        "prompt": template.opening(system).removeprefix(template.bos if template.bos not in _TURN_MARKS else "\x00"),
        "max_tokens": MAX_TOKENS,
        "temperature": settings.temperature,
        "min_p": settings.min_p,
        "seed": settings.seed * 1_000_003 + call,
    }


# ChatML models name their turn marker as the begin-of-text token; it opens the first turn and must stay.
_TURN_MARKS = ("<|im_start|>",)


def drafts(call: Call, reply: Reply) -> tuple[list[Draft], str | None]:
    """The draft of a reply, or the reason why there is none."""
    if reply.finish != "stop":
        return [], "unfinished instruction"
    return [Draft(" ".join(reply.text.split()), "", call.key, call.key)], None
