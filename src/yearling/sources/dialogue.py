"""Whole conversations: those written as one marked text (LAION's OIG), and what of one is a question.

In: text with `<human>:` and `<bot>:` at the start of its turns, or turns. Out: turns.
Does not open files; UserError says what is wrong with a text, the caller knows the row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from yearling.errors import UserError
from yearling.record import Message, Role

SPEAKERS: Mapping[str, Role] = {"human": "user", "bot": "assistant"}
_MARK = re.compile(r"^[ \t]*<(human|bot)>:", re.MULTILINE | re.IGNORECASE)


def is_dialogue(value: object) -> bool:
    """Whether a value is text that marks a turn of the user."""
    return isinstance(value, str) and any(mark[1].lower() == "human" for mark in _MARK.finditer(value))


def read_dialogue(text: str, where: str) -> tuple[Message, ...]:
    """The turns of a marked text; what stands before the first mark is a system turn."""
    marks = list(_MARK.finditer(text))
    if not marks:
        raise UserError(f"{where} has no turn that begins with <human>: or <bot>:.")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    before = text[: marks[0].start()].strip()
    turns = [Message("system", before)] if before else []
    for mark, end in zip(marks, ends, strict=True):
        turns.append(Message(SPEAKERS[mark[1].lower()], text[mark.end() : end].strip()))
    return tuple(turns)


def last_question(turns: Sequence[Message], where: str) -> tuple[Message, ...]:
    """The conversation up to its last user turn: what a teacher is asked.

    Raises UserError where there is nothing to ask.
    """
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        raise UserError(f"{where}: there is no user turn.")
    if not turns[last].content.strip():
        raise UserError(f"{where}: the prompt is empty, there is nothing to ask.")
    return tuple(turns[: last + 1])
