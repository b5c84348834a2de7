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
from yearling.sources.files import kind, names

Shape = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]
Dialect = tuple[str, str, Mapping[str, Role]]  # key of the role, key of the content, spellings of the roles
SHAPES: tuple[Shape, ...] = ("alpaca", "sharegpt", "messages", "prompt-completion")
FLAT: tuple[Shape, ...] = ("alpaca", "prompt-completion")  # what fits the cells of a CSV file
WANTED: Mapping[Shape, str] = {
    "alpaca": "instruction and output (input may be there)",
    "sharegpt": "conversations",
    "messages": "messages",
    "prompt-completion": "prompt and completion (or response, answer, output), or question and answer",
}
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("completion", "response", "answer", "output"),
    "question": ("answer",),
}
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


def columns_used(shape: Shape, columns: Collection[str]) -> tuple[str, ...]:
    """The columns that hold a shape's turns, or () where one of them is missing."""
    if shape == "alpaca":
        found = tuple(name for name in ("instruction", "output") if name in columns)
        return found if len(found) == 2 else ()
    if shape in ("sharegpt", "messages"):
        column = "conversations" if shape == "sharegpt" else "messages"
        return (column,) if column in columns else ()
    for asked, answers in ANSWERS.items():
        answer = next((name for name in answers if name in columns), None)
        if asked in columns and answer:
            return asked, answer
    return ()


def columns_read(shape: Shape, columns: Collection[str]) -> tuple[str, ...]:
    """The columns that a shape looks at: those it needs, and alpaca's optional input."""
    used = columns_used(shape, columns)
    return (*used, "input") if shape == "alpaca" and "input" in columns else used


def missing(shape: Shape, columns: Collection[str]) -> str:
    """Which column a shape lacks, which ones there are, and a near spelling."""
    if shape == "alpaca":
        absent = [name for name in ("instruction", "output") if name not in columns]
    elif shape == "prompt-completion":
        answered = any(name in columns for name in ANSWERS["prompt"])
        absent = ["answer" if "question" in columns else "completion (or response, answer, output)"]
        if "prompt" not in columns and "question" not in columns:
            absent = ["prompt"] if answered else ["prompt", "completion"]
    else:
        absent = ["conversations" if shape == "sharegpt" else "messages"]
    near = [n for name in absent for n in difflib.get_close_matches(name.split()[0], columns, n=1, cutoff=0.75)]
    hint = f" Rename {names(near)}?" if near else ""
    return f"{' and '.join(absent)} missing; there are: {names(columns)}.{hint}"


def messages_of(shape: Shape, row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The turns of one row; raises UserError that names the value that is wrong."""
    used = columns_used(shape, row)
    if not used:
        raise UserError(missing(shape, row))
    if shape == "alpaca":
        turns = _alpaca(row)
    elif shape == "prompt-completion":
        turns = (*_side(row[used[0]], used[0], "user"), *_side(row[used[1]], used[1], "assistant"))
    else:
        turns = _turns(row[used[0]], used[0], SHAREGPT if shape == "sharegpt" else MESSAGES)
    if not turns:
        raise UserError(f"{used[-1]} holds no turns.")
    if turns[-1].role != "assistant":
        raise UserError(f"{used[-1]}: the last turn is {turns[-1].role}, not the assistant's answer.")
    if not any(turn.role == "user" for turn in turns):
        raise UserError(f"{used[0]}: there is no user turn.")
    return turns


def _alpaca(row: Mapping[str, Any]) -> tuple[Message, ...]:
    asked, answer = _text(row["instruction"], "instruction"), _text(row["output"], "output")
    given = row.get("input")
    # a null here says the same as an absent input, and Parquet has no other way to say it
    given = "" if given is None else _text(given, "input")
    if given.strip().rstrip(".").casefold() not in NO_INPUT:
        asked = f"{asked}\n\n{given}"
    return Message("user", asked), Message("assistant", answer)


def _side(value: object, where: str, role: Role) -> tuple[Message, ...]:
    """A prompt or a completion: one text, or a list of turns."""
    if isinstance(value, list):
        return _turns(value, where, MESSAGES)
    return (Message(role, _text(value, where)),)


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
