"""An instruction on its way to a record, and what is mechanically wrong with a bad one.

In: text that a teacher wrote. Out: a Draft, with or without its answer, or a reason. Later, dearer judgement is
curate's.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from yearling.generate.variety import Traits
from yearling.record import Message

# Things a text model cannot see or reach; the words of the published filters (Self-Instruct stage 1, Alpaca).
_UNSEEN = re.compile(
    r"\b(images?|pictures?|photos?|graphs?|files?|maps?|draw|plot|go to|videos?|audio|music|flowcharts?|diagrams?)\b",
    re.I,
)
MIN_WORDS, MAX_WORDS = 3, 150  # Self-Instruct drops instructions of up to 3 words and of more than 150


@dataclass(frozen=True)
class Draft:
    """A new instruction; `key` is the ledger key of the call that wrote it and its place in the reply.

    `calls` made it, in order; `parents` are record ids of its family, nearest first; `shown` names what the teacher
    was shown. `before` are turns that stand before the instruction, `output` the answer where it came along.
    """

    instruction: str
    input: str
    key: str
    calls: tuple[str, ...]
    parents: tuple[str, ...] = ()
    shown: str = ""
    output: str | None = None
    before: tuple[Message, ...] = ()
    traits: Traits = field(default_factory=Traits)
    passage: str = ""
    licence: str | None = None
    cost_usd: float | None = 0.0
    kind: str = ""

    @property
    def prompt(self) -> str:
        """What the user says: the instruction, then the text to work on."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def fault(draft: Draft, english: bool = True) -> str | None:
    """Why an instruction is not worth an answer, or None; the filter of words is for English texts."""
    text = draft.instruction
    words = len(text.split())
    if not text:
        return "empty instruction"
    if words < MIN_WORDS and text.isascii():
        return "instruction too short"
    if words > MAX_WORDS:
        return "instruction too long"
    if english and _UNSEEN.search(text):
        return "asks for what a text model cannot see"
    if re.match(r"[^\w\s\"'(¿¡«「“‘]", text):
        return "begins with punctuation"
    return None


def dice(seed: int, call: int | str) -> random.Random:
    """The random numbers of call k: they depend on the recipe's seed and k alone."""
    return random.Random(f"{seed}:{call}")
