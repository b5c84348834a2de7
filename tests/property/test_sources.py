"""What was written reads back the same, and no text whatever makes a reader fail with anything but UserError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.recipe import Source
from yearling.record import Message, Origin, Record
from yearling.sources.read import read_source
from yearling.sources.write import write_source

FORMATS = ["alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet"]
EXAMPLES = settings(max_examples=60, deadline=None)
# every character that UTF-8 can hold, with those that end lines, part cells or quote them more often
texts = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\r\n",\\\u2028\x00\x85\ufeff ')))
turn = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)
single = st.builds(lambda a, b: (Message("user", a), Message("assistant", b)), texts, texts)
several = st.builds(lambda turns, pair: (*turns, *pair), st.lists(turn, max_size=3), single)
keys = st.sampled_from(
    [
        "instruction",
        "input",
        "output",
        "messages",
        "conversations",
        "prompt",
        "completion",
        "question",
        "answer",
        "\ud800",
        "role",
        "content",
        "from",
        "value",
        "type",
        "text",
    ]
)
words = st.one_of(texts, st.sampled_from(["user", "assistant", "gpt", "human", "text", "tool", "\ud800"]))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
rows = st.dictionaries(keys, values, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def read(path: Path, format: str) -> list[Record]:
    records, sentence = read_source(Source.model_validate({"path": path, "format": format}), 0)
    assert path.name in sentence
    return list(records)


def survives(path: Path, format: str) -> None:
    try:
        records = read(path, format)
    except UserError as error:
        assert path.name in str(error)
        str(error).encode("utf-8")
    else:
        assert records
        assert all(record.messages[-1].role == "assistant" for record in records)


@pytest.mark.parametrize("format", FORMATS)
@EXAMPLES
@given(data=st.data())
def test_write_then_read_gives_the_same_messages(folder: Path, format: Any, data: st.DataObject) -> None:
    whole = format in ("sharegpt", "messages", "parquet")
    conversations = data.draw(st.lists(several if whole else single, min_size=1, max_size=4))
    records = [Record(messages, Origin("test", str(k), k)) for k, messages in enumerate(conversations)]
    path = folder / f"trip-{format}"
    assert write_source(records, path, format) == len(records)
    back = read(path, format)
    assert [record.messages for record in back] == conversations
    assert [record.messages for record in read(path, "auto")] == conversations
    assert len({record.id for record in back}) == len(records)


@pytest.mark.parametrize("format", ["auto", *FORMATS])
@EXAMPLES
@given(content=st.one_of(st.binary(), texts.map(str.encode), texts.map(lambda text: b'{"' + text.encode())))
@example(b"[" * 20_000)
@example(b'{"a":' * 20_000)
@example(b"[" + b"9" * 5_000 + b"]")
@example(b"\xef\xbb\xbf")
@example(b"PAR1PAR1")
@example(b'"')
def test_arbitrary_bytes(folder: Path, format: str, content: bytes) -> None:
    path = folder / f"bytes-{format}"
    path.write_bytes(content)
    survives(path, format)


@pytest.mark.parametrize("format", ["auto", *FORMATS])
@EXAMPLES
@given(items=st.lists(st.one_of(rows, values), max_size=4), array=st.booleans())
def test_arbitrary_json(folder: Path, format: str, items: list[Any], array: bool) -> None:
    path = folder / f"json-{format}.json"
    text = json.dumps(items) if array else "\n".join(json.dumps(item) for item in items)
    path.write_text(text, encoding="utf-8")
    survives(path, format)


@EXAMPLES
@given(
    cells=st.lists(st.lists(texts, max_size=3), max_size=4),
    header=st.sampled_from(["prompt,completion", "question,answer,id"]),
)
def test_arbitrary_cells(folder: Path, cells: list[list[str]], header: str) -> None:
    path = folder / "cells.csv"
    path.write_bytes("\n".join([header, *(",".join(row) for row in cells)]).encode())
    survives(path, "csv")


@EXAMPLES
@given(cut=st.integers(0, 400))
def test_truncated_parquet(folder: Path, cut: int) -> None:
    path = folder / "cut.parquet"
    record = Record((Message("user", "a"), Message("assistant", "b")), Origin("test", "", 0))
    write_source([record], path, "parquet")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cut\.parquet"):
        read(path, "auto")
