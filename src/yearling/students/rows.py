"""Training rows: tokens and label mask from one rendering of one template.

In: records, tokenizer, template. Out: token ids with -100 where no loss is wanted.
The loss falls on each assistant turn and on the stop token that ends it, on nothing else. Proves nothing: see `proof`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yearling.errors import ProofError
from yearling.record import Message, Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from yearling.students.load import Student
    from yearling.students.template import Template

IGNORE = -100
MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|<[/\w]{1,40}>|\[[/\w]{1,40}\]")
_ANSWER = "\x00answer\x00"


@dataclass(frozen=True)
class Row:
    """One training row: `tokens` and `labels` have the same length; `labels` is -100 outside the loss."""

    record: str
    tokens: list[int]
    labels: list[int]

    @property
    def completion_start(self) -> int:
        """Place of the first token of the last completion."""
        place = len(self.labels)
        while place and self.labels[place - 1] != IGNORE:
            place -= 1
        return place


@dataclass(frozen=True)
class Span:
    """Characters of the rendered text that carry loss: the completion and its stop token."""

    start: int
    end: int


@dataclass(frozen=True)
class Stop:
    """The token that ends the assistant's turn in a template."""

    text: str
    id: int


def find_stop(student: Student) -> Stop:
    """The stop token of the template; raises ProofError where an answer does not end in one special token."""
    template, tokenizer = student.template, student.tokenizer
    turns = (Message("user", "?"), Message("assistant", _ANSWER))
    _, shown, tail = template.render(turns).partition(_ANSWER)
    if not shown:
        raise ProofError(f"the template ({template.name}) does not show the assistant's words. Name another template.")
    raw, tail = tail, tail.lstrip()
    ids = list(tokenizer(tail, add_special_tokens=False)["input_ids"])
    if ids and ids[0] in special_ids(tokenizer):
        return Stop(str(tokenizer.convert_ids_to_tokens(ids[0])), int(ids[0]))
    named = MARKER.match(tail)
    if named is None:
        ids = list(tokenizer(raw, add_special_tokens=False)["input_ids"])
        first = f" (token {tokenizer.convert_ids_to_tokens(ids[0])!r}, id {ids[0]})" if ids else ""
        raise ProofError(
            f"the template ({template.name}) ends an answer with {raw[:20]!r}{first}, which is no special token: the "
            "student could not learn to stop. Use eos_token after the assistant's words."
        )
    raise ProofError(f"the stop token {named[0]!r} {_broken(tokenizer, named[0])}")


def _broken(tokenizer: PreTrainedTokenizerBase, stop: str) -> str:
    """What is wrong with a stop token that a template spells out, and the mend."""
    pieces, known = tokenizer(stop, add_special_tokens=False)["input_ids"], vocabulary_id(tokenizer, stop)
    if len(pieces) == 1:
        return f"(id {pieces[0]}) is an ordinary token. Mark it as special in the tokenizer."
    split = f"is split into {len(pieces)} tokens"
    if known is None:
        return f"{split}: the tokenizer does not know it. Name a template that the base was made for, or plain."
    if known in special_ids(tokenizer):
        return (
            f"(id {known}) {split}, as the tokenizer is set to split special tokens. Set split_special_tokens: false."
        )
    return f"{split}, though the vocabulary has it (id {known}). Add it to the tokenizer's special tokens."


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of all special tokens: those that a role names, and those that the tokenizer only marks as special."""
    marked = (place for place, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset((*tokenizer.all_special_ids, *marked))


def vocabulary_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """The id of a token by its text, or None where the vocabulary lacks it."""
    backend: Any = getattr(tokenizer, "backend_tokenizer")  # noqa: B009 - only fast tokenizers have it
    found: int | None = backend.token_to_id(token)
    return found


def render_row(template: Template, stop: str, messages: Sequence[Message]) -> tuple[str, list[Span]]:
    """The text of a row, ended by its last stop token, and the spans that carry loss.

    A span starts where the generation prompt ends, so training and inference see the same prefix.
    """
    text = template.render(messages)
    spans = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        start = len(template.render(messages[:index], generation=True))
        begin = text.find(message.content.strip(), max(0, start - 1))
        end = text.find(stop, begin + len(message.content.strip())) if begin >= 0 else -1
        if begin < 0 or end < 0:
            raise ProofError(f"the template ({template.name}) does not show turn {index} with its stop token {stop!r}")
        spans.append(Span(start, end + len(stop)))
    return text[: spans[-1].end], spans


def make_row(student: Student, record: Record, stop: str) -> Row:
    """Tokens and labels of one record."""
    text, spans = render_row(student.template, stop, record.messages)
    encoded: Any = student.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = list(encoded["input_ids"])
    labels = []
    for token, (start, end) in zip(tokens, encoded["offset_mapping"], strict=True):
        inside = any(span.start <= start and end <= span.end and end > start for span in spans)
        labels.append(token if inside else IGNORE)
    return Row(record.id, tokens, labels)
