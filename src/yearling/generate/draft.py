"""An instruction that has no answer yet, and what is mechanically wrong with a bad one.

In: text that a teacher wrote. Out: a Draft or a reason. Later, dearer judgement is curate's.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

# Things a text model cannot see or reach; the words of the published filters (Self-Instruct stage 1, Alpaca).
_UNSEEN = re.compile(
    r"\b(images?|pictures?|photos?|graphs?|files?|maps?|draw|plot|go to|videos?|audio|music|flowcharts?|diagrams?)\b",
    re.I,
)
MIN_WORDS, MAX_WORDS = 3, 150  # Self-Instruct drops instructions of up to 3 words and of more than 150


@dataclass(frozen=True)
class Draft:
    """A new instruction; `key` is the ledger key of the call that wrote it and its place in the reply."""

    instruction: str
    input: str
    key: str
    call: str
    parents: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the user says: the instruction, then the text to work on."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def fault(draft: Draft) -> str | None:
    """Why an instruction is not worth an answer, or None."""
    text = draft.instruction
    words = len(text.split())
    if not text:
        return "empty instruction"
    if words < MIN_WORDS and text.isascii():
        return "instruction too short"
    if words > MAX_WORDS:
        return "instruction too long"
    if _UNSEEN.search(text):
        return "asks for what a text model cannot see"
    if re.match(r"[^\w\s\"'(¿¡«「“‘]", text):
        return "begins with punctuation"
    return None


def dice(seed: int, call: int) -> random.Random:
    """The random numbers of call k: they depend on the recipe's seed and k alone."""
    return random.Random(f"{seed}:{call}")
