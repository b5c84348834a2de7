"""Rows of other people's data sets, and the conversation in each.

In: one row as named values, and the shape it is said to have. Out: its turns, or one UserError that says which value
is wrong; the caller knows the file and the row.
Does not open files and does not judge quality: an empty answer is a judge's business, a missing one is an error here.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Literal

from yearling.errors import UserError
from yearling.record import Message, Role
from yearling.sources.dialogue import last_question, read_dialogue
from yearling.sources.files import kind, names

Shape = Literal["alpaca", "sharegpt", "messages", "prompt-completion", "p3", "oig", "stackexchange", "run"]
Dialect = tuple[str, str, Mapping[str, Role]]  # key of the role, key of the content, spellings of the roles
SHAPES: tuple[Shape, ...] = ("alpaca", "sharegpt", "messages", "prompt-completion", "p3", "oig")
FLAT: tuple[Shape, ...] = ("alpaca", "prompt-completion", "p3", "oig")  # what fits the cells of a CSV file
WANTED: Mapping[Shape, str] = {
    "alpaca": "instruction and output (input may be there)",
    "sharegpt": "conversations",
    "messages": "messages",
    "prompt-completion": "prompt and completion (or response, answer, output), or question and answer",
    "p3": "inputs and targets, or inputs_pretokenized and targets_pretokenized",
    "oig": "text, with <human>: and <bot>: at the start of its turns",
}
PAIRS: Mapping[Shape, Mapping[str, tuple[str, ...]]] = {  # a column that asks, and those that may answer it
    "alpaca": {"instruction": ("output",)},
    "prompt-completion": {"prompt": ("completion", "response", "answer", "output"), "question": ("answer",)},
    # P3 itself holds token numbers under the short names
    "p3": {"inputs_pretokenized": ("targets_pretokenized",), "inputs": ("targets",)},
}
LISTS: Mapping[Shape, str] = {"sharegpt": "conversations", "messages": "messages", "oig": "text"}
WRAPPED = ("value", "description")  # where an object that stands for a prompt keeps its text, the first that has it
NO_INPUT = {"", "<noinput>", "<no input>", "noinput", "no input", "no input required", "no input needed", "n/a", "none"}
MESSAGES: Dialect = ("role", "content", {"system": "system", "user": "user", "assistant": "assistant"})
SHAREGPT: Dialect = (
    "from",
    "value",
    {
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "assistant": "assistant",
        "chatgpt": "assistant",
        "bing": "assistant",
        "bard": "assistant",
    },
)


def columns_used(shape: Shape, columns: Collection[str], prompts: bool = False) -> tuple[str, ...]:
    """The columns that hold a shape's turns, or () where one is missing; with `prompts` an answer may be missing."""
    if shape in LISTS:
        return (LISTS[shape],) if LISTS[shape] in columns else ()
    asking = [asked for asked in PAIRS[shape] if asked in columns]
    for asked in asking:
        answer = next((name for name in PAIRS[shape][asked] if name in columns), None)
        if answer:
            return asked, answer
    return (asking[0],) if asking and prompts else ()


def columns_read(shape: Shape, columns: Collection[str], prompts: bool = False) -> tuple[str, ...]:
    """The columns that a shape looks at: those it needs, and alpaca's optional input."""
    used = columns_used(shape, columns, prompts)
    return (*used, "input") if shape == "alpaca" and "input" in columns else used


def missing(shape: Shape, columns: Collection[str]) -> str:
    """Which column a shape lacks, which ones there are, and a near spelling."""
    if shape in LISTS:
        absent = [LISTS[shape]]
    elif shape == "prompt-completion":
        answered = any(name in columns for name in PAIRS[shape]["prompt"])
        absent = ["answer" if "question" in columns else "completion (or response, answer, output)"]
        if "prompt" not in columns and "question" not in columns:
            absent = ["prompt"] if answered else ["prompt", "completion"]
    else:
        plain = "instruction", "output", "inputs", "targets"
        absent = [
            n for asked, found in PAIRS[shape].items() for n in (asked, *found) if n in plain and n not in columns
        ]
    near = [n for name in absent for n in difflib.get_close_matches(name.split()[0], columns, n=1, cutoff=0.75)]
    hint = f" Rename {names(near)}?" if near else ""
    return f"{' and '.join(absent)} missing; there are: {names(columns)}.{hint}"


def messages_of(shape: Shape, row: Mapping[str, Any], prompts: bool = False) -> tuple[Message, ...]:
    """The turns of one row, with `prompts` up to its last question; raises UserError naming the value that is wrong."""
    used = columns_used(shape, row, prompts)
    if not used:
        raise UserError(missing(shape, row))
    if shape == "oig":
        turns = read_dialogue(_text(row[used[0]], used[0]), used[0])
    elif shape in LISTS:
        dialect = SHAREGPT if shape == "sharegpt" else MESSAGES
        turns = _turns(_asking(row[used[0]], dialect) if prompts else row[used[0]], used[0], dialect)
    else:
        turns = _alpaca(row) if shape == "alpaca" else _side(row[used[0]], used[0], "user")
        turns += () if prompts else _side(row[used[1]], used[1], "assistant")
    if prompts:
        return last_question(turns, used[0])
    if not turns:
        raise UserError(f"{used[-1]} holds no turns.")
    if turns[-1].role != "assistant":
        raise UserError(f"{used[-1]}: the last turn is {turns[-1].role}, not the assistant's answer.")
    if not any(turn.role == "user" for turn in turns):
        raise UserError(f"{used[0]}: there is no user turn.")
    return turns


def unwrapped(shape: Shape, row: Mapping[str, Any], prompts: bool) -> dict[str, Any] | None:
    """The row with its prompt as text, or None where its prompt is no object that stands for a text."""
    used = columns_used(shape, row, prompts)
    if shape not in PAIRS or not used or not isinstance(held := row[used[0]], dict):
        return None
    text = next((held[name] for name in WRAPPED if name in held and isinstance(held[name], str)), None)
    return None if text is None else {**row, used[0]: text}


def _alpaca(row: Mapping[str, Any]) -> tuple[Message, ...]:
    asked = _text(row["instruction"], "instruction")
    given = row.get("input")
    # a null here says the same as an absent input, and Parquet has no other way to say it
    given = "" if given is None else _text(given, "input")
    if given.strip().rstrip(".").casefold() not in NO_INPUT:
        asked = f"{asked}\n\n{given}"
    return (Message("user", asked),)


def _side(value: object, where: str, role: Role) -> tuple[Message, ...]:
    """A prompt or a completion: one text, or a list of turns."""
    if isinstance(value, list):
        return _turns(value, where, MESSAGES)
    return (Message(role, _text(value, where)),)


def _asking(value: object, dialect: Dialect) -> object:
    """A list of turns without the answers at its end: what is thrown away may be broken."""
    if not isinstance(value, list):
        return value
    end = len(value)
    while end and isinstance(value[end - 1], dict) and _is_answer(value[end - 1], dialect):
        end -= 1
    return value[:end]


def _is_answer(turn: Mapping[str, Any], dialect: Dialect) -> bool:
    spelling = turn.get(dialect[0])
    return isinstance(spelling, str) and dialect[2].get(spelling.lower()) == "assistant"


def _turns(value: object, where: str, dialect: Dialect) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise UserError(f"{where} is {kind(value)}, not a list of turns.")
    return tuple(_turn(item, f"{where}[{index}]", dialect) for index, item in enumerate(value))


def _turn(item: object, where: str, dialect: Dialect) -> Message:
    role_key, content_key, roles = dialect
    if not isinstance(item, dict):
        raise UserError(f"{where} is {kind(item)}, not an object with {role_key} and {content_key}.")
    absent = [key for key in (role_key, content_key) if key not in item]
    if absent:
        raise UserError(f"{where} has no {' and no '.join(absent)}; it has {names(item)}.")
    spelling = _text(item[role_key], f"{where}.{role_key}")
    role = roles.get(spelling.lower())
    if role is None:
        raise UserError(f"{where}.{role_key} is {spelling!r}, an unknown role. Known: {', '.join(roles)}.")
    return Message(role, _content(item[content_key], f"{where}.{content_key}"))


def _content(value: object, where: str) -> str:
    """Text, or parts of type text, which are joined without anything between."""
    if not isinstance(value, list) or not value:
        return _text(value, where)
    texts = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text":
            found = repr(part.get("type")) if isinstance(part, dict) else kind(part)
            raise UserError(f"{where}[{index}] is {found}, not a part of type text.")
        texts.append(_text(part.get("text"), f"{where}[{index}].text"))
    return "".join(texts)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} is {kind(value)}, not text.")
    if not storable(value):
        raise UserError(f"{where} holds half of a character (a lone surrogate). Write the character whole.")
    return value


def storable(text: str) -> bool:
    """Whether text can be stored as UTF-8; JSON escapes can spell half of a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
