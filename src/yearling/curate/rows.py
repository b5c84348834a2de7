"""What a judge of single rows is shown, and what a judge says.

In: a conversation. Out: a Row with its last prompt and answer at hand; an Opinion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from yearling.record import Message, State

# What a text quotes: between marks of any style, fenced, or on a line that begins with >.
QUOTED = re.compile(
    r'"[^"\n]{0,2000}"|\u201c[^\u201d\n]{0,2000}\u201d|\u201e[^\u201c\u201d\n]{0,2000}[\u201c\u201d]'
    r"|\u00ab[^\u00bb\n]{0,2000}\u00bb|\u300c[^\u300d\n]{0,2000}\u300d|\u300e[^\u300f\n]{0,2000}\u300f"
    r"|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w)){1,400}'(?!\w)|```.{0,5000}?```|(?:^|\n)>[^\n]*",
    re.DOTALL,
)


class Row(NamedTuple):
    """A conversation, its last user turn and the last assistant turn ("" where there is none)."""

    turns: tuple[Message, ...]
    prompt: str
    completion: str


class Opinion(NamedTuple):
    """What a judge says of a row; `score` is in the judge's own unit."""

    state: State
    reason: str = ""
    score: float | None = None


PASS = Opinion("pass")


class Sign(NamedTuple):
    """What a row shows to which a judge may say more than PASS: a pattern (RE2) in its prompt or its completion.

    It speaks of rows of one prompt and one answer in ASCII, and may match too much, never too little. Matching a whole
    batch costs a fraction of asking the judge row by row.
    """

    pattern: str
    sides: tuple[Literal["prompt", "completion"], ...]


def failed(reason: str | None) -> Opinion:
    """A failure with its reason, or a pass where there is none."""
    return Opinion("fail", reason) if reason else PASS


def row_of(turns: Sequence[Message]) -> Row:
    """The row of a conversation."""
    prompt = next((turn.content for turn in reversed(turns) if turn.role == "user"), "")
    completion = turns[-1].content if turns and turns[-1].role == "assistant" else ""
    return Row(tuple(turns), prompt, completion)
