"""The mask proof: every row is checked through the one template before the student sees any of them.

In: a student, records, a limit of tokens. Out: rows to train on, facts for the manifest, and faults, each with the
row, the token and the mend. Makes no rows of its own kind, trains nothing, and reads of the weights one matrix at most.
What the template and the tokenizer do is looked at in `shapes`; here it is what they did to each row.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from yearling.errors import ProofError, UserError
from yearling.progress import say
from yearling.record import Message, Record
from yearling.students.load import Student
from yearling.students.rows import IGNORE, Row, Stop, find_stop, make_row
from yearling.students.shapes import ANOTHER, Fault, Ground, read_ground, shape_fault
from yearling.students.untrained import OutputRow, measure_output_row

CUT = 0.01  # of the rows may be too long for a limit that the recipe sets
THOUGHT = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.S)
SWITCHES = re.compile(r"\s*/(?:no_think|think|system_override)\b")  # words that templates take out of a system turn


@dataclass(frozen=True)
class Proved:
    """What the proof found: rows that fit, ids of those too long, faults in the order of the rows, and facts."""

    rows: list[Row]
    dropped: list[str]
    faults: list[Fault]
    facts: dict[str, Any]

    def hold(self) -> None:
        """Raise ProofError where there is a fault; say out loud what is doubtful or left out."""
        if self.faults:
            others = len({fault.record for fault in self.faults}) - 1
            more = f" So are {others} more rows; `yearling masks` shows them." if others else ""
            raise ProofError(f"mask proof: {self.faults[0]}{more}")
        for note in self.facts["notes"]:
            say(f"mask proof: {note}")


@dataclass(frozen=True)
class Case:
    """One record on trial: its row, its text, and the prompt that inference would use before each answer."""

    ground: Ground
    record: Record
    text: str
    prompts: tuple[tuple[int, str], ...]
    row: Row

    @property
    def tokens(self) -> list[int]:
        """The row's tokens."""
        return self.row.tokens

    @cached_property
    def asked(self) -> list[list[int]]:
        """The prompts' tokens."""
        return [self.ground.encode(prompt) for _, prompt in self.prompts]

    @cached_property
    def answers(self) -> list[tuple[int, int]]:
        """Places in the row: where each prompt of inference ends, and of the stop token that ends the answer."""
        found = []
        for prompt in self.asked:
            start = len(prompt)
            stops = (place for place in range(start, len(self.tokens)) if self.tokens[place] == self.ground.stop.id)
            found.append((start, next(stops, len(self.tokens))))
        return found

    def fault(self, kind: str, said: str, mend: str, token: int | None = None) -> Fault:
        """A fault of this row; `token` is an id."""
        name = "" if token is None else self.ground.name(token)
        return Fault(kind, self.record.id, said, mend, name, token)


def prove_rows(student: Student, records: Sequence[Record], limit: int | None = None) -> Proved:
    """Make and check all rows; `limit` is the most tokens of a row, or None where the longest row decides."""
    first = records[0].id
    try:
        stop = find_stop(student)
    except ProofError as error:
        return Proved([], [], [Fault("stop", first, str(error), "")], _facts(student, None, [], limit))
    ground, measured = read_ground(student, stop), measure_output_row(Path(student.folder), stop.id)
    never = measured.fault() if measured else None
    faults = [_untrained(never, stop, first)] if never else []
    rows, variants = [], Counter[str]()
    for record in records:
        found = _prove(ground, record, variants)
        if isinstance(found, Row):
            rows.append(found)
        else:
            faults.append(found)
    long = [row for row in rows if limit is not None and len(row.tokens) > limit]
    if limit is not None and len(long) > CUT * len(records):
        faults.append(_cut(ground, long, len(records), limit))
    kept = [row for row in rows if limit is None or len(row.tokens) <= limit]
    facts = _facts(student, stop, kept, limit) | {"dropped": len(long), "variants": dict(variants)}
    facts["output_row"] = measured.facts() if measured else "not checked: no weights here to read"
    facts["padding_is_stop"] = student.tokenizer.pad_token_id == stop.id  # harmless: labels are set by place
    facts["notes"] = [*_notes(ground, measured), *([_left_out(long, limit)] if long else [])]
    return Proved(kept, [row.record for row in long], faults, facts)


# -- one row


def _prove(ground: Ground, record: Record, variants: Counter[str]) -> Row | Fault:
    fault = shape_fault(ground, record)
    if fault:
        return fault
    template, turns = ground.student.template, record.messages
    try:
        text = template.render(turns)
        answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
        prompts = tuple((index, template.render(turns[:index], generation=True)) for index in answers)
        case = Case(ground, record, text, prompts, Row(record.id, [], []))
        fault = _shown(case) or _text_prefix(case)
        if fault:
            return fault
        case = replace(case, row=make_row(ground.student, record, ground.stop.text))
    except UserError as error:
        return Fault("refused", record.id, f"{error}".rstrip("."), f"Mend the row or leave it out. {ANOTHER}")
    variants.update(_thoughts(case))
    checks = (_begin, _labelled, _stops, _prefix, _special, _loss, _words)
    return next((fault for fault in (check(case) for check in checks) if fault), case.row)


def _shown(case: Case) -> Fault | None:
    """Every turn is in the text with its words."""
    for index, turn in enumerate(case.record.messages):
        if turn.content.strip() in case.text or SWITCHES.sub("", turn.content).strip() in case.text:
            continue
        name = case.ground.student.template.name
        if turn.role == "system":
            return case.fault("system", f"the template ({name}) drops the system turn {_cut_text(turn)}", ANOTHER)
        return case.fault("hidden", f"the template ({name}) does not show turn {index} {_cut_text(turn)}", ANOTHER)
    return None


def _text_prefix(case: Case) -> Fault | None:
    """Each prompt of inference begins the row, as text."""
    for index, prompt in case.prompts:
        if case.text.startswith(prompt):
            continue
        place = next((i for i, (a, b) in enumerate(zip(prompt, case.text, strict=False)) if a != b), len(case.text))
        asked, trained = prompt[place : place + 30], case.text[place : place + 30]
        tokens = case.ground.encode(prompt[place:])[:1]
        if "<think>" in prompt[max(0, place - 9) :]:
            said = f"the prompt at inference opens a thinking block ({asked!r}) that answer {index} of the row lacks"
            return case.fault("thinking", said, f"Take a template without it. {ANOTHER}", *tokens)
        said = (
            f"the generation prompt used at inference is not a prefix of the row: before turn {index} it goes on with "
            f"{asked!r}, the row with {trained!r}"
        )
        return case.fault("prefix", said, ANOTHER, *tokens)
    return None


def _begin(case: Case) -> Fault | None:
    """One begin token at most where a row or a conversation begins."""
    bos = case.ground.student.tokenizer.bos_token_id
    pairs = zip(case.tokens, case.tokens[1:], strict=False)
    if bos is None or not any(a == b == bos for a, b in (pairs if bos != case.ground.stop.id else [case.tokens[:2]])):
        return None
    return case.fault("begin", "the begin token stands there twice", f"Write it once in the template. {ANOTHER}", bos)


def _labelled(case: Case) -> Fault | None:
    if any(label != IGNORE for label in case.row.labels):
        return None
    return case.fault(
        "no label", "no token carries loss: the completion is empty, or the template hides it", "Leave the row out."
    )


def _stops(case: Case) -> Fault | None:
    """Each answer ends in the stop token, and that carries loss."""
    ground, stop = case.ground, case.ground.stop.id
    for (index, _), (_, end) in zip(case.prompts, case.answers, strict=True):
        if end >= len(case.tokens):
            said = f"answer {index} is cut before the stop token {ground.stop.text!r}; the student would never stop"
            return case.fault("stop missing", said, "Raise student.max_seq_length.", stop)
        if case.row.labels[end] != IGNORE:
            continue
        if ground.student.tokenizer.pad_token_id == stop:
            said = "padding and stop token are one, and the stop token is masked with the padding"
            return case.fault("pad", said, "Give the tokenizer a padding token of its own.", stop)
        said = f"the stop token of answer {index} carries no loss; the student would never stop"
        return case.fault("stop masked", said, ANOTHER, stop)
    return None


def _prefix(case: Case) -> Fault | None:
    """Each prompt of inference begins the row, as tokens."""
    for (index, prompt), wanted in zip(case.prompts, case.asked, strict=True):
        if case.tokens[: len(wanted)] == wanted:
            continue
        place = next(i for i, token in enumerate(wanted) if case.tokens[i : i + 1] != [token])
        said = (
            f"the generation prompt used at inference is not a prefix of the row: token {place} before turn {index} is "
            f"{case.ground.name(wanted[place])!r} (id {wanted[place]}) there and another in the row, where prompt and "
            "answer run into one token"
        )
        if prompt.rstrip().endswith("<think>"):
            said += " (the prompt opens a thinking block that the row closes at once)"
            mend = f"Take a template without thinking, or with the block closed in the prompt. {ANOTHER}"
            return case.fault("thinking", said, mend, *_at(case, place))
        spaced = case.record.messages[index].content[:1].isspace()
        mend = (
            "Take the spaces away with which the answer begins."
            if spaced
            else f"End the prompt in a new line. {ANOTHER}"
        )
        return case.fault("border", said, mend, *_at(case, place))
    return None


def _loss(case: Case) -> Fault | None:
    """Loss lies on the answers and their stop tokens, whole, and on nothing else."""
    wanted = [IGNORE] * len(case.tokens)
    for start, end in case.answers:
        wanted[start : end + 1] = case.tokens[start : end + 1]
    if wanted == case.row.labels:
        return None
    place = next(i for i, (a, b) in enumerate(zip(wanted, case.row.labels, strict=True)) if a != b)
    if wanted[place] == IGNORE:
        return case.fault("prompt", f"token {place} of the prompt carries loss", ANOTHER, case.tokens[place])
    if case.row.labels[place] == IGNORE:
        said = f"token {place}, inside an answer, carries no loss"
        return case.fault(
            "hole", said, "Use a tokenizer whose offsets keep spaces (trim_offsets off).", case.tokens[place]
        )
    return case.fault("label", f"the label of token {place} is another token", ANOTHER, case.row.labels[place])


def _special(case: Case) -> Fault | None:
    """No special token hides in anyone's words as if the template had written it, and none at all in an answer's."""
    ground, turns = case.ground, case.record.messages
    own = ground.scaffold(tuple(turn.role for turn in turns))
    here = Counter(token for token in case.tokens if token in own)
    alien = next((token for token, count in here.items() if count > own[token]), None)
    if alien is not None:
        turn = next((i for i, turn in enumerate(turns) if ground.name(alien) in turn.content), len(turns) - 1)
        said = f"the words of turn {turn} hold a token of the template, so that turns merge or end early"
        return case.fault("merged", said, "Mend the row or leave it out.", alien)
    for (index, _), (start, end) in zip(case.prompts, case.answers, strict=True):
        held = next((token for token in case.tokens[start:end] if token in ground.special), None)
        if held is not None:
            said = f"the words of answer {index} hold a special token, or a letter that the tokenizer does not know"
            return case.fault("special", said, "Mend the row or leave it out.", held)
    return None


def _words(case: Case) -> Fault | None:
    """What is learnt is the record's words."""
    ground = case.ground
    for (index, _), (start, end) in zip(case.prompts, case.answers, strict=True):
        learnt, wanted = ground.decode(case.tokens[start:end]), case.record.messages[index].content
        if not _same(ground, learnt, wanted):
            said = f"the loss covers {_short(learnt.strip())!r} where answer {index} is {_short(wanted.strip())!r}"
            return case.fault("words", said, ANOTHER, *_at(case, start))
    return None


# -- words


def _same(ground: Ground, learnt: str, wanted: str) -> bool:
    """Equal but for spaces around, an empty thinking block, and what the tokenizer's normaliser does to any text."""
    a, b = learnt.strip(), wanted.strip()
    if a == b:
        return True
    thought = THOUGHT.match(a)
    if thought and not thought[1].strip() and not THOUGHT.match(b):
        a = a[thought.end() :].strip()
    return a == b or ground.normal(a) == ground.normal(b) or _nfc(a) == _nfc(b)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _thoughts(case: Case) -> list[str]:
    """Named variants of the template that this row shows."""
    blocks = ["thinking block in the prompt" for _, prompt in case.prompts if prompt.rstrip().endswith("</think>")]
    for index, prompt in case.prompts:
        thought = THOUGHT.match(case.text[len(prompt) :])
        if thought and not THOUGHT.match(case.record.messages[index].content):
            blocks.append("empty thinking block before the answer")
    return blocks


def _at(case: Case, place: int) -> list[int]:
    return case.tokens[place : place + 1]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _cut_text(turn: Message) -> str:
    return f"({_short(turn.content)!r})"


# -- all rows


def _untrained(never: str, stop: Stop, record: str) -> Fault:
    mend = f"Take a template that ends answers in a token the base knows (template plain ends in eos). {ANOTHER}"
    return Fault("untrained", record, f"the stop token cannot be learnt: {never}", mend, stop.text, stop.id)


def _cut(ground: Ground, long: Sequence[Row], rows: int, limit: int) -> Fault:
    longest = max(long, key=lambda row: len(row.tokens))
    last = longest.tokens[limit]
    said = (
        f"{len(long)} of {rows} rows do not fit {limit} tokens, more than {CUT:.0%}; this one, the longest, has "
        f"{len(longest.tokens)} and would be cut before token {limit}"
    )
    mend = "Raise student.max_seq_length (auto holds every row) or lower curate.length."
    return Fault("cut", longest.record, said, mend, ground.name(last), last)


def _left_out(long: Sequence[Row], limit: int | None) -> str:
    ids = ", ".join(row.record for row in long[:3])
    return f"{len(long)} rows longer than student.max_seq_length {limit} are left out, none is cut: {ids}" + (
        " …" if len(long) > 3 else ""
    )


def _notes(ground: Ground, measured: OutputRow | None) -> list[str]:
    tokenizer, crowd = ground.student.tokenizer, measured.note() if measured else None
    notes = [crowd] if crowd else []
    bos = tokenizer.bos_token_id
    added = list(tokenizer("a")["input_ids"])[:1]
    if bos is not None and added == [bos] and not ground.opening.startswith(str(tokenizer.bos_token)):
        notes.append(
            f"the tokenizer puts {tokenizer.bos_token!r} before every text and the template does not: runtimes that "
            "follow the tokenizer will read it at inference"
        )
    return notes


def _facts(student: Student, stop: Stop | None, rows: Sequence[Row], limit: int | None) -> dict[str, Any]:
    longest = max((len(row.tokens) for row in rows), default=0)
    return {
        "rows": len(rows),
        "tokens": sum(len(row.tokens) for row in rows),
        "label_tokens": sum(label != IGNORE for row in rows for label in row.labels),
        "stop_token": stop.text if stop else "",
        "stop_id": stop.id if stop else None,
        "template": student.template.name,
        "longest": longest,
        "limit": longest if limit is None else limit,
        "dropped": 0,
        "variants": {},
        "notes": [],
        "output_row": "not checked",
    }
