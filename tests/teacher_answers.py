"""What the test teacher says: answers that depend on the request alone, by a rule that is chosen by name.

In: the body of a request and its key. Out: words, a numbered list of tasks, or an instance of a JSON schema.
It knows nothing of HTTP, faults and bills; that is teacher_server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from openai_server import digest

VERBS = re.findall(
    r"\w+", "Explain Compare Describe List Rewrite Summarize Translate Classify Name Sort Correct Invent"
)
WORDS = re.findall(
    r"\w+",
    """amber birch cedar delta ember fjord grove heron islet jetty knoll larch maple north olive pearl quarry river
    stone thorn upland valley willow yarrow zenith anchor bridge candle dune engine feather garden harbor island
    jacket kettle ladder market needle orchard pencil quilt rudder saddle timber umbrella violin window yellow
    apron basket copper dragon eagle falcon ginger hammer iron jungle lantern marble napkin oven paper""",
)
assert len(WORDS) == 64


def said(body: Mapping[str, Any]) -> str:
    """All the text of a request."""
    if "messages" not in body:
        return str(body["prompt"])
    contents = [message["content"] for message in body["messages"]]
    return "\n".join(c if isinstance(c, str) else "".join(part.get("text", "") for part in c) for c in contents)


def words_of(key: str, least: int = 14, most: int = 40) -> str:
    """A sentence of that many words, chosen by the key; by default about 20 to 60 tokens."""
    dice = hashlib.shake_128(key.encode()).digest(most + 1)
    count = least + dice[0] % (most - least + 1)
    return " ".join([WORDS[byte & 63] for byte in dice[1 : count + 1]]).capitalize() + "."


def tasks_of(body: Mapping[str, Any], key: str) -> str:
    """Numbered tasks where the request asks for tasks, an instance where it holds a JSON schema, words elsewhere."""
    shape = body.get("response_format")
    if isinstance(shape, dict) and shape.get("type") == "json_schema":
        schema = shape["json_schema"]["schema"]
        return json.dumps(instance(schema, key, schema))
    text = said(body)
    shown = [int(number) for number in re.findall(r"Task (\d+)", text)]
    if span := re.search(r"tasks? (\d+) to (\d+)", text, re.IGNORECASE):
        first, last = int(span[1]), int(span[2])
    elif shown:
        first = max(shown) + (0 if text.rstrip().endswith(("Instruction:", f"Task {max(shown)}")) else 1)
        last = first + 7
    else:
        return words_of(key)
    blocks = [f"Task {number}\n{_task(f'{key}:{number}', 'Output:' in text)}" for number in range(first, last + 1)]
    # a raw prompt that opens a task is continued, not begun again
    return "\n\n".join(blocks).removeprefix(f"Task {first}\nInstruction:" if text.endswith("Instruction:") else "")


def _task(key: str, answered: bool) -> str:
    verb = VERBS[int(digest(key)[:8], 16) % len(VERBS)]
    given = words_of(f"{key}:input", 5, 12) if int(digest(key, "input")[0], 16) < 6 else "none"
    lines = [f"Instruction: {verb} the {words_of(f'{key}:task', 6, 14).lower()}", f"Input: {given}"]
    return "\n".join(lines + ([f"Output: {words_of(f'{key}:output', 6, 20)}"] if answered else []))


def instance(schema: Mapping[str, Any], key: str, root: Mapping[str, Any]) -> Any:
    """A value that the schema admits, chosen by the key; the keywords are those that data classes produce."""
    if "$ref" in schema:
        target: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return instance(target, key, root)
    dice = int(digest(key)[:12], 16)
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return options[dice % len(options)]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return instance(options[dice % len(options)], key, root)
    kind = schema.get("type", "object")
    kind = kind[dice % len(kind)] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance(part, f"{key}.{name}", root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        least = schema.get("minItems", 1)
        count = least + dice % (max(schema.get("maxItems", least + 3) - least, 0) + 1)
        return [instance(schema["items"], f"{key}[{index}]", root) for index in range(count)]
    if kind == "string":
        return _string(schema, key)
    return {"integer": _number(schema, dice), "number": float(_number(schema, dice)), "boolean": dice % 2 == 0}.get(
        kind
    )


def _string(schema: Mapping[str, Any], key: str) -> str:
    text = words_of(key, 6, 14)
    while len(text) < schema.get("minLength", 0):
        text += " " + words_of(f"{key}:{len(text)}", 6, 14)
    return text[: schema.get("maxLength", len(text))]


def _number(schema: Mapping[str, Any], dice: int) -> int:
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 101) - 1)
    return int(least) + dice % (int(most) - int(least) + 1)


def grounded_of(body: Mapping[str, Any], key: str) -> str:
    """Pairs whose answers are words of the passage, where the request holds one; as `tasks` elsewhere."""
    passages = re.findall(r"<passage>\s*(.*?)\s*</passage>", said(body), re.S)
    if not passages or "response_format" not in body:
        return tasks_of(body, key)
    words, at = re.findall(r"\w+", passages[-1].lower()), int(digest(key)[:8], 16)
    told = [[words[(at + 7 * pair + place) % len(words)] for place in range(6)] for pair in range(3)]
    pairs = [{"question": f"What of {' '.join(t[:5])}?", "answer": f"{' '.join(t)}.".capitalize()} for t in told]
    return json.dumps({"pairs": pairs})


RULES: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    "words": lambda body, key: words_of(key),
    "tasks": tasks_of,
    "grounded": grounded_of,
}
