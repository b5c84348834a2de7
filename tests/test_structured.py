"""JSON answers as teachers write them: fenced, in prose, cut, single-quoted; only what fits the schema is taken."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yearling.teachers.structured import fits, parse

SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
        "reason": {"type": "string", "minLength": 1},
        "tags": {"type": "array", "items": {"enum": ["good", "bad"]}, "maxItems": 3},
    },
    "required": ["score", "reason"],
}
VALUE = {"score": 7, "reason": "It's short, {and} true."}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
VALUES = st.fixed_dictionaries(
    {"score": st.integers(1, 10), "reason": st.text(min_size=1)},
    optional={"tags": st.lists(st.sampled_from(["good", "bad"]), max_size=3)},
)
JUNK = st.text(alphabet="{}[]\":,'`\\ \nabnu01.5e-#*/")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(VALUE),
        json.dumps(VALUE, indent=2) + "\n\n",
        f"```json\n{json.dumps(VALUE)}\n```",
        f"Here you are:\n\n```\n{json.dumps(VALUE)}\n```\nAnything else?",
        f"```json\n{json.dumps(VALUE)}",
        f"I think {{so}} far: {json.dumps(VALUE)} That is {{all}}.",
        f"<think>[1] is {{}}</think>{json.dumps(VALUE)}",
        "{'score': 7, 'reason': \"It's short, {and} true.\"}",
        '{score: 7, reason: "It\'s short, {and} true."}',
        '{"score": 7, "reason": "It\'s short, {and} true.",}',
        '{"score": 7, "reason": "It\'s short, {and} true."',
        f"[{json.dumps(VALUE)}]",
    ],
)
def test_an_answer_is_read_however_it_is_wrapped(text: str) -> None:
    assert parse(text, SCHEMA) == VALUE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "no",
        "{}",
        "[]",
        '"{}"',
        '{"score": 7}',
        '{"score": 7, "reason": ""}',
        '{"score": 11, "reason": "x"}',
        '{"score": 7.5, "reason": "x"}',
        '{"score": true, "reason": "x"}',
        '{"score": "7", "reason": "x"}',
        '{"score": 7, "reason": "x", "tags": ["ugly"]}',
        '{"score": 7, "reason": "x", "tags": ["good", "bad", "good", "bad"]}',
        '{"score": 7, "rea',
        '{"score": NaN, "reason": "x"}',
        "{" * 60 + json.dumps(VALUE),
        "[" * 100_000,
        json.dumps({**VALUE, "reason": "x" * 200_001}),
    ],
)
def test_what_does_not_fit_is_no_answer(text: str) -> None:
    assert parse(text, SCHEMA) is None


def test_a_cut_answer_is_read_as_far_as_it_fits() -> None:
    whole = '{"tags": ["good"], "score": 7, "reason": "It is shor'
    assert parse(whole, SCHEMA) == {"tags": ["good"], "score": 7, "reason": "It is shor"}
    assert parse('{"tags": ["good"], "score": 7', SCHEMA) is None


def test_half_a_character_is_replaced() -> None:
    value = parse('{"score": 7, "reason": "a\\ud83d b", "\\ud83d": ["\\ude00"]}', SCHEMA)
    assert value == {"score": 7, "reason": "a\ufffd b", "\ufffd": ["\ufffd"]}
    assert parse('{"score": 7, "reason": "\\ud83d\\ude00"}', SCHEMA) == {"score": 7, "reason": "😀"}


@pytest.mark.parametrize(
    ("value", "schema", "ok"),
    [
        (None, {"type": ["string", "null"]}, True),
        (1, {"type": ["string", "null"]}, False),
        (4.0, {"type": "integer"}, True),
        (math.inf, {"type": "number"}, False),
        (1, {"enum": [True, "1"]}, False),
        (True, {"const": True}, True),
        (1, {"const": True}, False),
        ("a", {"anyOf": [{"type": "integer"}, {"enum": ["a"]}]}, True),
        ("b", {"anyOf": [{"type": "integer"}, {"enum": ["a"]}]}, False),
        ([1, "a"], {"type": "array", "items": {"type": "integer"}}, False),
        ([], {"type": "array", "minItems": 1}, False),
        ({"a": {"b": 1}}, {"properties": {"a": {"required": ["b"]}}}, True),
        ({"a": {}}, {"properties": {"a": {"required": ["b"]}}}, False),
        ({"a": 1}, {"type": "thing"}, False),
        (object(), {"type": "object"}, False),
        ("x", {}, True),
    ],
)
def test_the_words_of_a_schema(value: Any, schema: dict[str, Any], ok: bool) -> None:
    assert fits(value, schema) is ok


@given(VALUES)
def test_a_valid_answer_comes_back_as_it_was(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse(text, SCHEMA) == value
        assert parse(f"```json\n{text}\n```", SCHEMA) == value
        assert parse(f"Sure! {text}", SCHEMA) == value


@given(ANYTHING)
def test_any_value_comes_back_where_anything_is_asked(value: Any) -> None:
    assert parse(json.dumps(value), {}) == value


@given(st.text() | JUNK)
@example('{"score": 7, "reason": "' + "\\")
@example("{'a': [}")
@example("1" * 5000)
@example("[" * 49 + "{" * 40)
def test_nothing_raises_and_what_comes_back_fits(text: str) -> None:
    for each in (text, "{" + text, "[" + text, '{"score": 7, "reason": ' + text):
        value = parse(each, SCHEMA)
        assert value is None or fits(value, SCHEMA)


@given(st.text("abc xyz", min_size=1), st.lists(st.sampled_from(["good", "bad"]), max_size=3), st.data())
def test_a_prefix_is_taken_only_where_it_fits(reason: str, tags: list[str], data: st.DataObject) -> None:
    text = json.dumps({"score": 7, "tags": tags, "reason": reason})
    cut = parse(text[: data.draw(st.integers(0, len(text)))], SCHEMA)
    if cut is not None:
        assert fits(cut, SCHEMA) and cut["score"] == 7 and cut["tags"] == tags
        assert reason.startswith(cut["reason"])
