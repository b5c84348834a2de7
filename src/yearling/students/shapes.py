"""What a template does to a conversation of given roles, found with marks in place of words.

In: a student, its stop token, records. Out: the first fault of a record's shape (system turn dropped, turns merged, a
marker in pieces), or None; and the tokenizer as the proof asks it. Looks at no row's own words: that is `proof`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from yearling.errors import UserError
from yearling.record import Message, Record, Role
from yearling.students.load import Student
from yearling.students.rows import MARKER, Stop, special_ids, vocabulary_id

ANOTHER = "Name another template in student.template (plain, alpaca, chatml, a .jinja file)."
THINKING = ("<think>", "</think>")  # parts of an answer, even where a tokenizer marks them as special
# Words in angle brackets that are meant as tokens; others, as <question>, may well be plain text.
TURN_MARKS = ("start_of", "end_of", "begin_of", "bos", "eos", "turn")

Roles = tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row must not be trained on: the row, what is wrong with which token, and the mend."""

    kind: str
    record: str
    said: str
    mend: str
    token: str = ""
    token_id: int | None = None

    def __str__(self) -> str:
        about = f" ({self.token!r}, id {self.token_id})" if self.token_id is not None else ""
        return f"row {self.record}: {self.said}{about}" + (f". {self.mend}" if self.mend else "")


@dataclass(frozen=True)
class Shape:
    """A conversation of marks: its text, the fault that it shows (of no record yet), and the turn that it is about."""

    text: str
    fault: Fault | None = None
    turn: int | None = None


@dataclass(frozen=True)
class Ground:
    """Template and tokenizer of a proof, asked once for all rows."""

    student: Student
    stop: Stop
    special: frozenset[int]
    opening: str
    shapes: dict[Roles, Shape] = field(default_factory=dict)
    scaffolds: dict[Roles, Counter[int]] = field(default_factory=dict)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, nothing put around it."""
        return list(self.student.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens spelt out, spaces as they are."""
        return str(self.student.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def name(self, token: int) -> str:
        """A token's text: the piece of text it stands for, or the vocabulary's spelling where that is half a letter."""
        text = self.decode([token])
        return str(self.student.tokenizer.convert_ids_to_tokens(token)) if "\ufffd" in text else text

    def normal(self, text: str) -> str:
        """The text as the tokenizer's normaliser leaves it."""
        backend: Any = getattr(self.student.tokenizer, "backend_tokenizer")  # noqa: B009 - fast tokenizers have it
        return str(backend.normalizer.normalize_str(text)) if backend.normalizer else text

    def scaffold(self, roles: Roles) -> Counter[int]:
        """How often the template itself writes each special token in a conversation of these roles."""
        if roles not in self.scaffolds:
            tokens = self.encode(self.shapes[roles].text)
            self.scaffolds[roles] = Counter(token for token in tokens if token in self.special)
        return self.scaffolds[roles]


def read_ground(student: Student, stop: Stop) -> Ground:
    """Ask the tokenizer for its special tokens, and the template how it begins."""
    thinking = {vocabulary_id(student.tokenizer, name) for name in THINKING}
    try:
        opening = student.template.render((Message("user", mark(0)),))
    except UserError:
        opening = ""
    return Ground(student, stop, special_ids(student.tokenizer) - thinking, opening)


def mark(place: int) -> str:
    """Words for turn `place` that no template writes itself and none would trim."""
    return f"Zqw{place}turnwqZ"


def shape_fault(ground: Ground, record: Record) -> Fault | None:
    """The fault that every record with these roles has, told for this one."""
    roles = tuple(turn.role for turn in record.messages)
    if roles not in ground.shapes:
        ground.shapes[roles] = _look(ground, roles)
    shape = ground.shapes[roles]
    if shape.fault is None or shape.turn is None:
        return replace(shape.fault, record=record.id) if shape.fault else None
    token = next(iter(ground.encode(record.messages[shape.turn].content.strip())), None)
    name = "" if token is None else ground.name(token)
    return replace(shape.fault, record=record.id, token=name, token_id=token)


def _look(ground: Ground, roles: Roles) -> Shape:
    turns = [Message(role, mark(place)) for place, role in enumerate(roles)]
    try:
        text = ground.student.template.render(turns)
    except UserError as error:
        return _refused(ground, turns, str(error).rstrip("."))
    return _missing(ground, text, roles) or _merged(ground, text, roles) or Shape(text, _in_pieces(ground, text))


def _refused(ground: Ground, turns: Sequence[Message], said: str) -> Shape:
    without = [turn for turn in turns if turn.role != "system"]
    if len(without) < len(turns):
        try:
            ground.student.template.render(without)
        except UserError:
            pass
        else:
            mend = f"Put the system turn's words into the first user turn, or leave the row out. {ANOTHER}"
            turn = next(place for place, turn in enumerate(turns) if turn.role == "system")
            return Shape("", _fault("system", f"the template has no place for the system turn: {said}", mend), turn)
    return Shape("", _fault("refused", said, f"Mend the row or leave it out. {ANOTHER}"), 0)


def _missing(ground: Ground, text: str, roles: Roles) -> Shape | None:
    """Each turn is shown, once at least, and after the turn before it."""
    name, cursor = ground.student.template.name, 0
    for place, role in enumerate(roles):
        if mark(place) not in text:
            what = "drops the system turn" if role == "system" else f"does not show turn {place} ({role})"
            kind = "system" if role == "system" else "hidden"
            return Shape(text, _fault(kind, f"the template ({name}) {what}", ANOTHER), place)
        found = text.find(mark(place), cursor)
        if found < 0:
            said = f"the template ({name}) moves turn {place - 1} ({roles[place - 1]}) behind turn {place} ({role})"
            mend = f"At inference it would stand elsewhere. Leave the row out. {ANOTHER}"
            return Shape(text, _fault("moved", said, mend), place - 1)
        cursor = found + len(mark(place))
    return None


def _merged(ground: Ground, text: str, roles: Roles) -> Shape | None:
    """Something of the template stands between two turns, and the stop token after each answer."""
    stop = ground.stop
    for place, (role, following) in enumerate(pairwise(roles)):
        between = text.partition(mark(place))[2].partition(mark(place + 1))[0]
        ended = between.lstrip().startswith(stop.text)
        if role == "assistant" and not ended:
            said = f"turns merge: the stop token does not end answer {place} before turn {place + 1} ({following})"
            return Shape(text, _fault("no stop between", said, ANOTHER, stop.text, stop.id))
        # a system turn may be the first words of the user's, as Mistral and Gemma have it, but not of one word with it
        if not (between if role == "system" else between.strip()):
            said = (
                f"turns merge: the template puts {between!r} between turn {place} ({role}) and the next ({following})"
            )
            return Shape(text, _fault("merged", said, ANOTHER), place + 1)
    return None


def _in_pieces(ground: Ground, text: str) -> Fault | None:
    """No marker that the tokenizer knows, or knows the likes of, is split."""
    tokenizer = ground.student.tokenizer
    for turn in range(text.count("turnwqZ")):
        text = text.replace(mark(turn), " ")
    kinds: dict[str, dict[str, list[int]]] = {}
    for found in dict.fromkeys(_markers(text)):
        kinds.setdefault(found[:2] if found[1] in "|｜" else found[0], {})[found] = ground.encode(found)
    for family in kinds.values():
        whole = next((name for name, ids in family.items() if len(ids) == 1 and _is_turn_mark(name)), None)
        for name, ids in family.items():
            if len(ids) == 1:
                continue
            known, first = vocabulary_id(tokenizer, name), ground.name(ids[0])
            said = f"the special token {name!r} is split into {len(ids)} tokens, beginning with the one named here"
            if known is not None:
                said += f", though the vocabulary has it (id {known})"
                return _fault("in pieces", said, "Mark it as special in the tokenizer.", first, ids[0])
            if whole is not None and _is_turn_mark(name):
                said += f", while {whole!r} is one"
                mend = f"Add it to the tokenizer, or take a template without it. {ANOTHER}"
                return _fault("in pieces", said, mend, first, ids[0])
    return None


def _markers(text: str) -> list[str]:
    """Markers in a text, but not the inner half of <<SYS>>, which Llama 2 writes in plain letters."""
    return [
        found[0]
        for found in MARKER.finditer(text)
        if text[found.start() - 1 : found.start()] != "<" and text[found.end() : found.end() + 1] != ">"
    ]


def _is_turn_mark(name: str) -> bool:
    return name[0] == "[" or name[1] in "|｜" or any(part in name for part in TURN_MARKS)


def _fault(kind: str, said: str, mend: str, token: str = "", token_id: int | None = None) -> Fault:
    return Fault(kind, "", said, mend, token, token_id)
