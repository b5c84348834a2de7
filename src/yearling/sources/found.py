"""One conversation of a source, on its way to become a record.

In: nothing. Out: two values that every reader of a source gives, and what is counted while it reads.
Does not know files or formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from yearling.record import Message

Notes = Counter[str]  # what a reader did that a user should hear of; its keys are those of TOLD
TOLD: Mapping[str, str] = {
    "unwrapped": "{count:,} {prompts} given as an object, its text (value, else description) was taken",
    "unanswered": "{count:,} {questions} without an accepted answer in the file, left out",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One conversation, or the problem in its place; what is empty is filled in from the source."""

    place: str  # what follows the file's name in the record's origin
    messages: tuple[Message, ...] = ()
    problem: str = ""  # begins with the file's name
    key: str = ""
    licence: str = ""
    teacher: str = ""
    parents: tuple[str, ...] = ()
    kind: str = ""


def told(notes: Notes) -> list[str]:
    """The notes as sentences."""
    return [
        text.format(
            count=notes[name],
            prompts="prompt was" if notes[name] == 1 else "prompts were",
            questions="question is" if notes[name] == 1 else "questions are",
        )
        for name, text in TOLD.items()
        if notes[name]
    ]
