"""Training rows: tokens and label mask from one rendering of one template, and the proof of the mask.

In: records, tokenizer, template. Out: token ids with -100 where no loss is wanted.
The loss falls on each assistant turn and on the stop token that ends it, on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yearling.errors import ProofError
from yearling.record import Message, Record

if TYPE_CHECKING:
    from yearling.students.load import Student

IGNORE = -100


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


def render_row(student: Student, messages: Sequence[Message]) -> tuple[str, list[Span]]:
    """The text of a row, ended by its last stop token, and the spans that carry loss.

    A span starts where the generation prompt ends, so training and inference see the same prefix.
    """
    template, stop = student.template, student.stop
    text = template.render(messages)
    spans = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        start = len(template.render(messages[:index], generation=True))
        begin = text.find(message.content.strip(), max(0, start - 1))
        end = text.find(stop, begin + len(message.content.strip())) if begin >= 0 else -1
        if begin < 0 or end < 0:
            raise ProofError(f"the template ({template.name}) does not show turn {index} with its stop token {stop!r}.")
        spans.append(Span(start, end + len(stop)))
    return text[: spans[-1].end], spans


def make_row(student: Student, record: Record) -> Row:
    """Tokens and labels of one record."""
    text, spans = render_row(student, record.messages)
    encoded: Any = student.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = list(encoded["input_ids"])
    labels = []
    for token, (start, end) in zip(tokens, encoded["offset_mapping"], strict=True):
        inside = any(span.start <= start and end <= span.end and end > start for span in spans)
        labels.append(token if inside else IGNORE)
    return Row(record.id, tokens, labels)


def prove_rows(student: Student, records: Sequence[Record], rows: Sequence[Row], limit: int) -> dict[str, Any]:
    """Check every row; raises ProofError naming the first broken row, the token and the mend.

    Returns the facts of the proof, to be stored in the manifest.
    """
    stop_ids = student.tokenizer(student.stop, add_special_tokens=False)["input_ids"]
    if len(stop_ids) != 1:
        raise ProofError(f"the stop token {student.stop!r} is split into {len(stop_ids)} tokens. Use another template.")
    prove_system_turn(student, records)
    for record, row in zip(records, rows, strict=True):
        problem = _broken(student, record, row, int(stop_ids[0]), limit)
        if problem:
            raise ProofError(f"mask proof: row {record.id}: {problem}")
    return {
        "rows": len(rows),
        "tokens": sum(len(row.tokens) for row in rows),
        "label_tokens": sum(label != IGNORE for row in rows for label in row.labels),
        "stop_token": student.stop,
        "stop_id": int(stop_ids[0]),
        "template": student.template.name,
        "longest": max((len(row.tokens) for row in rows), default=0),
        "limit": limit,
    }


def prove_system_turn(student: Student, records: Sequence[Record]) -> None:
    """Raise ProofError where the data have system turns and the template drops them."""
    if not any(m.role == "system" for record in records for m in record.messages):
        return
    mark = "a system turn to be kept"
    if mark not in student.template.render((Message("system", mark), Message("user", "?"))):
        raise ProofError(f"the data have system turns and the template ({student.template.name}) drops them.")


def _broken(student: Student, record: Record, row: Row, stop: int, limit: int) -> str | None:
    tokenizer = student.tokenizer
    labelled = [label for label in row.labels if label != IGNORE]
    if len(row.tokens) > limit:
        return f"{len(row.tokens)} tokens do not fit {limit}. Raise student.max_seq_length or lower curate.length."
    if not labelled:
        return "no token carries loss. The completion is empty, or the template hides it."
    if row.labels[-1] != stop or row.tokens[-1] != stop:
        return f"the stop token {student.stop!r} is not the last token in the loss; the student would never stop."
    turns = sum(m.role == "assistant" for m in record.messages)
    if labelled.count(stop) != turns:
        return f"{labelled.count(stop)} stop tokens carry loss for {turns} answers."
    bos = tokenizer.bos_token_id
    if bos is not None and row.tokens[:2] == [bos, bos]:
        return f"it begins with {tokenizer.bos_token!r} twice."
    start = row.completion_start
    prompt = student.template.render(record.messages[:-1], generation=True)
    if row.tokens[:start] != list(tokenizer(prompt, add_special_tokens=False)["input_ids"]):
        return "the generation prompt used at inference is not a prefix of the row: its tokens differ."
    learnt = str(tokenizer.decode(row.tokens[start:-1], skip_special_tokens=False)).strip()
    if learnt != record.completion.strip():
        return f"the loss covers {learnt[:60]!r}, the completion is {record.completion.strip()[:60]!r}."
    return None
