"""A JSON answer read leniently: out of fences and prose, with single quotes or a missing end mended.

In: what a teacher wrote, and the JSON schema it was asked for. Out: the value, or None where no reading of the text is
valid. Knows of JSON schema the words that answers are asked with: type, enum, const, properties, required, items,
anyOf, minimum and maximum, minItems and maxItems, minLength; others, $ref too, are not checked.
Whether the end of an answer was cut is its finish's to say: a cut number may still be a valid one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 200_000  # characters; what is longer is no answer that was asked for
MOST_STARTS = 50  # brackets at which the value may begin
DEEPEST = 50  # brackets inside each other
_FENCED = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.S)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}


def parse(text: str, schema: Mapping[str, Any]) -> Any | None:
    """The value in a text, None where there is none that fits the schema. Raises nothing."""
    if len(text) > LONGEST or _depth(text) > DEEPEST:
        return None
    fenced = [text.strip(), *(each.strip() for each in _FENCED.findall(text))]
    starts = [match.start() for match in re.finditer(r"[\[{]", text)]
    first = [text[at:] for at in (text.find("{"), text.find("[")) if at >= 0]
    ways = ((_strict, [*fenced, *(text[at:] for at in starts[:MOST_STARTS])]), (_mended, [*fenced[1:], *first]))
    for read, readings in ways:
        for reading in dict.fromkeys(readings):
            value = _whole(read(reading))
            if value is not _NOTHING and fits(value, schema):
                return value
    return None


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value is what the schema asks for."""
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    if "anyOf" in schema and not any(fits(value, part) for part in schema["anyOf"]):
        return False
    if isinstance(value, dict):
        known = schema.get("properties") or {}
        return all(name in value for name in schema.get("required") or ()) and all(
            fits(part, known[name]) for name, part in value.items() if name in known
        )
    if isinstance(value, list):
        items = schema.get("items")
        return _between(len(value), schema, "minItems", "maxItems") and all(
            fits(part, items) for part in value if isinstance(items, Mapping)
        )
    if isinstance(value, str):
        return len(value) >= (schema.get("minLength") or 0)
    return isinstance(value, bool) or value is None or _between(value, schema, "minimum", "maximum")


_NOTHING = object()


def _no_number(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _strict(text: str) -> Any:
    """The value at the start of a text, whatever comes after it."""
    try:
        return _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return _NOTHING


def _mended(text: str) -> Any:
    """What the repair makes of it; it is asked for objects and lists only, since it makes a string of anything."""
    if not text.startswith(("{", "[")):
        return _NOTHING
    import json_repair

    try:
        value = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return _NOTHING
    return value if isinstance(value, (dict, list)) else _NOTHING


def _depth(text: str) -> int:
    """The most brackets that any part of a text may open inside each other."""
    depth = lowest = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        lowest = min(lowest, depth)
        deepest = max(deepest, depth - lowest)
    return deepest


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and (not math.isfinite(value) or (kind == "integer" and not value.is_integer())):
        return False
    return isinstance(value, _TYPES.get(kind, ()))


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _between(value: float, schema: Mapping[str, Any], least: str, most: str) -> bool:
    return bool(schema.get(least, -math.inf) <= value <= schema.get(most, math.inf))


def _whole(value: Any) -> Any:
    """The value without halves of characters, which JSON can spell and no file can hold."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(part) for name, part in value.items()}
    return value
