"""What each format of a source reads as, what each kind of bad data says, and that bad data changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yearling.errors import UserError
from yearling.recipe import Recipe, Source
from yearling.recipe_file import check_recipe
from yearling.record import Message, Origin, Record, read_records
from yearling.run_folder import Run
from yearling.sources import stage
from yearling.sources.read import digest_source, read_source
from yearling.sources.write import write_source

ROW = {"instruction": "Say hi.", "input": "", "output": "Hi."}
TALK = {"conversations": [{"from": "human", "value": "Say hi."}, {"from": "gpt", "value": "Hi."}]}
TURNS = {"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": "Hi."}]}
PAIR = {"prompt": "Say hi.", "completion": "Hi."}
HI = [("user", "Say hi."), ("assistant", "Hi.")]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def put(folder: Path, content: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(pa.Table.from_pylist(content), path)
    return path


def read(path: Path, format: str = "auto", first: int = 0) -> list[Record]:
    records, _ = read_source(source(path, format), first)
    return list(records)


def source(path: Path, format: str = "auto") -> Source:
    return Source.model_validate({"path": path, "format": format, "licence": "cc-by-4.0"})


def turns(record: Record) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in record.messages]


def recipe(*paths: Path) -> Recipe:
    return check_recipe({"name": "t", "import": [{"path": str(path)} for path in paths]}, "test")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.jsonl", lines(ROW), "alpaca"),
        ("a.json", json.dumps([ROW], indent=2).encode(), "alpaca"),
        ("a.txt", lines(ROW), "alpaca"),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps([ROW]).encode(), "alpaca"),
        ("bom.jsonl", b"\xef\xbb\xbf" + lines(ROW), "alpaca"),
        ("blank.jsonl", b"\n" + lines(ROW) + b"  \r\n", "alpaca"),
        ("cr.jsonl", lines(ROW).replace(b": ", b":\r"), "alpaca"),
        ("null.jsonl", lines({**ROW, "input": None}), "alpaca"),
        ("s.jsonl", lines(TALK), "sharegpt"),
        ("s.json", json.dumps([TALK]).encode(), "sharegpt"),
        ("m.jsonl", lines(TURNS), "messages"),
        ("m.json", json.dumps([TURNS]).encode(), "messages"),
        ("p.jsonl", lines(PAIR), "prompt-completion"),
        ("trl.jsonl", lines({k: TURNS["messages"][i : i + 1] for i, k in enumerate(PAIR)}), "prompt-completion"),
        ("p.csv", b"prompt,completion\r\nSay hi.,Hi.\r\n", "csv"),
        ("bom.csv", b'\xef\xbb\xbfprompt,response\n"Say hi.",Hi.\n\n', "csv"),
        ("mac.csv", b"prompt,answer\rSay hi.,Hi.\r", "csv"),
        ("o.csv", b"id,Prompt,Output\n1,Say hi.,Hi.\n", "csv"),
        ("q.csv", b"answer,question\nHi.,Say hi.\n", "csv"),
        ("a.csv", b"instruction,input,output\nSay hi.,,Hi.\n", "csv"),
        ("a.parquet", [ROW], "parquet"),
        ("s.parquet", [TALK], "parquet"),
        ("m.parquet", [TURNS], "parquet"),
        ("p.parquet", [PAIR], "parquet"),
        ("m.bin", [TURNS], "parquet"),
    ],
)
def test_every_format_reads_alike_named_and_on_auto(tmp_path: Path, name: str, content: Any, format: str) -> None:
    path = put(tmp_path, content, name)
    for asked in (format, "auto"):
        (record,) = read(path, asked, first=7)
        assert turns(record) == HI
        assert record.origin.method == "import"
        assert record.origin.licence == "cc-by-4.0"
        assert record.origin.sequence == 7
        assert record.origin.cost_usd == 0.0
        assert record.origin.source.startswith(f"{name}:")


@pytest.mark.parametrize("none", ["", "  ", "<noinput>", "N/A", "None", "No input", "no input."])
def test_alpaca_no_input_spellings_add_nothing(tmp_path: Path, none: str) -> None:
    assert turns(read(put(tmp_path, lines({**ROW, "input": none})))[0]) == HI


def test_alpaca_input_follows_the_instruction(tmp_path: Path) -> None:
    (record,) = read(put(tmp_path, lines({**ROW, "input": "To Ann."})))
    assert record.prompt == "Say hi.\n\nTo Ann."


@pytest.mark.parametrize(
    ("spelling", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("system", "system"),
        ("assistant", "assistant"),
        ("chatgpt", "assistant"),
        ("bing", "assistant"),
        ("bard", "assistant"),
        ("GPT", "assistant"),
    ],
)
def test_sharegpt_roles(tmp_path: Path, spelling: str, role: str) -> None:
    talk = {"conversations": [{"from": spelling, "value": "x", "weight": 1}, *TALK["conversations"]]}
    assert turns(read(put(tmp_path, lines(talk)))[0]) == [(role, "x"), *HI]


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Say "}, {"type": "text", "text": "hi."}]
    row = {"messages": [{"role": "user", "content": parts}, TURNS["messages"][1]]}
    assert turns(read(put(tmp_path, lines(row)))[0]) == HI


def test_csv_quotes_commas_and_newlines(tmp_path: Path) -> None:
    text = 'prompt,completion\r\n"a ""b"", c\r\nd","e\nf"\r\nx,y\r\n'
    first, second = read(put(tmp_path, text.encode(), "d.csv"))
    assert turns(first) == [("user", 'a "b", c\r\nd'), ("assistant", "e\nf")]
    assert (first.origin.source, second.origin.source) == ("d.csv:2", "d.csv:5")


def test_long_csv_cell_is_read(tmp_path: Path) -> None:
    (record,) = read(put(tmp_path, b"prompt,completion\nx," + b"y" * 200_000 + b"\n", "d.csv"))
    assert len(record.completion) == 200_000


def test_unicode_line_separators_do_not_end_a_json_line(tmp_path: Path) -> None:
    text = json.dumps({**ROW, "output": "a\u2028b\x85c"}, ensure_ascii=False)
    assert read(put(tmp_path, text.encode()))[0].completion == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", json.dumps([ROW] * 60).encode(), "a.json: alpaca (every one of the first 50 rows has instruction"),
        ("a.csv", lines(TALK), "a.csv: sharegpt (its one row has conversations)"),
        ("a.jsonl", lines({**ROW, "text": "", "id": 1}), "columns not used: text, id"),
        ("p.csv", b"id,prompt,answer\n1,x,y\n", "p.csv: csv, prompt-completion (it has the columns prompt and answer)"),
        ("p.csv", b"id,prompt,answer\n1,x,y\n", "columns not used: id"),
        ("m.parquet", [{**TURNS, "n": 1}], "m.parquet: parquet, messages (it has the columns messages)"),
    ],
)
def test_auto_says_what_and_why(tmp_path: Path, name: str, content: Any, says: str) -> None:
    _, sentence = read_source(source(put(tmp_path, content, name)), 0)
    assert says in sentence


def test_input_is_not_reported_as_unused(tmp_path: Path) -> None:
    assert "not used" not in read_source(source(put(tmp_path, lines(ROW))), 0)[1]


@pytest.mark.parametrize(
    ("name", "content", "format", "parts"),
    [
        ("d.jsonl", lines(*[ROW] * 6) + b'{"instruction": \n', "auto", ["d.jsonl:7", "Expecting value", "column"]),
        ("d.jsonl", b"{\n" + b'"prompt": "x"}\n', "auto", ["d.jsonl:1", "one whole JSON object", "d.jsonl:2"]),
        ("d.jsonl", b"", "auto", ["d.jsonl", "empty"]),
        ("d.csv", b" \n", "csv", ["d.csv", "empty"]),
        ("d.json", b"[]", "auto", ["d.json", "no rows"]),
        ("d.json", b"[ ]", "alpaca", ["d.json", "no rows"]),
        ("d.csv", b"prompt,completion\n", "auto", ["d.csv", "no rows"]),
        ("d.jsonl", lines(ROW) + b'{"a": "\xe9"}', "auto", ["d.jsonl", f"byte {len(lines(ROW)) + 7}", "0xe9", "UTF-8"]),
        ("d.json", b'\xef\xbb\xbf["\xe9"]', "auto", ["d.json", "byte 5", "save it again"]),
        ("d.csv", "prompt,completion\n".encode("utf-16"), "auto", ["d.csv", "byte 0", "UTF-16"]),
        ("d.json", b'[{"instruction": "x"\n "output"}]', "alpaca", ["d.json row 1", "line 2", "delimiter"]),
        ("d.json", json.dumps([ROW]).encode()[:-1], "auto", ["d.json row 1", "comma or ]"]),
        ("d.json", json.dumps([ROW]).encode() + b"x", "auto", ["d.json row 1", "follows the end"]),
        ("d.json", json.dumps([ROW, "x"]).encode(), "alpaca", ["d.json row 2", "is text, not an object"]),
        ("d.jsonl", lines(ROW, [1]), "alpaca", ["d.jsonl:2", "is a list, not an object"]),
        ("d.jsonl", lines(["x"]), "auto", ["d.json", "is text, not an object"]),
        (
            "d.jsonl",
            lines(ROW, {"instruction": "x", "outptu": "y"}),
            "auto",
            ["d.jsonl:2", "output missing", "outptu?"],
        ),
        ("d.jsonl", lines(PAIR), "alpaca", ["d.jsonl:1", "instruction and output missing", "prompt, completion"]),
        ("d.csv", b"prompt,text\nx,y\n", "prompt-completion", ["completion (or response", "prompt, text"]),
        ("d.csv", b"prompt,text\nx,y\n", "csv", ["d.csv", "prompt, text", "alpaca: instruction and output"]),
        ("d.csv", b"prompt;completion\nx;y\n", "csv", ["d.csv:1", "semicolons"]),
        ("d.csv", b"prompt,completion\nx,y\nx,y,z\n", "csv", ["d.csv:3", "3 cells", "header has 2"]),
        ("d.csv", b'prompt,completion\nx,"y\n', "csv", ["d.csv:2", "not CSV"]),
        ("d.csv", b'prompt,completion\n"x"z,y\n', "csv", ["d.csv:2", "not CSV"]),
        ("d.csv", b"prompt,prompt\nx,y\n", "csv", ["d.csv", "prompt is there more than once"]),
        ("d.jsonl", lines({"a": 1, "b": 2}), "auto", ["d.jsonl", "a, b", "sharegpt", "parquet", "conversations"]),
        (
            "d.jsonl",
            lines({**ROW, **TURNS}),
            "auto",
            ["fit alpaca and messages alike", "instruction", "`format: alpaca`"],
        ),
        ("d.jsonl", lines(ROW, TALK), "auto", ["several formats", "alpaca, sharegpt"]),
        ("d.parquet", [{"a": 1}], "parquet", ["d.parquet", "these: a."]),
        ("d.parquet", [{**ROW, **TALK}], "auto", ["alike", "conversations"]),
        ("d.parquet", b"PAR1 broken", "auto", ["d.parquet", "not a Parquet file"]),
        ("d.parquet", b"hello", "auto", ["d.parquet", "not a Parquet file"]),
        ("d.parquet", [{"prompt": 1, "completion": "x"}], "auto", ["d.parquet row 1", "prompt is a number"]),
    ],
)
def test_bad_file_is_one_clear_error(tmp_path: Path, name: str, content: Any, format: str, parts: list[str]) -> None:
    path = put(tmp_path, content, name)
    with pytest.raises(UserError) as caught:
        read(path, format)
    assert caught.value.exit_code == 2
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        (
            {"conversations": [{"from": "tool", "value": "x"}]},
            ["conversations[0].from is 'tool'", "Known: system, human"],
        ),
        ({"messages": [{"role": "human", "content": "x"}]}, ["messages[0].role is 'human'", "assistant"]),
        ({"messages": [{"role": None, "content": "x"}]}, ["messages[0].role is null"]),
        ({"messages": [*TURNS["messages"], {"role": "user", "content": "x"}]}, ["last turn is user"]),
        ({"conversations": TALK["conversations"][:1]}, ["conversations: the last turn is user"]),
        ({"messages": TURNS["messages"][1:]}, ["no user turn"]),
        ({"messages": []}, ["messages holds no turns"]),
        ({"messages": "x"}, ["messages is text, not a list"]),
        ({"messages": ["x"]}, ["messages[0] is text, not an object"]),
        ({"messages": [{"from": "user", "content": "x"}]}, ["messages[0] has no role", "from, content"]),
        ({"messages": [{"role": "user", "content": None}]}, ["messages[0].content is null"]),
        ({"messages": [{"role": "user", "content": []}]}, ["messages[0].content is a list"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            ["content[0] is 'image_url'", "type text"],
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, ["content[0].text is null"]),
        ({"conversations": [{"from": "human", "value": 3}]}, ["conversations[0].value is a number"]),
        ({"instruction": None, "output": "x"}, ["instruction is null"]),
        ({"instruction": "x", "output": {}}, ["output is an object"]),
        ({"instruction": "x", "output": "y", "input": True}, ["input is true or false"]),
        ({"prompt": "x", "completion": None}, ["completion is null"]),
        ({"prompt": "\ud800", "completion": "x"}, ["prompt holds half of a character"]),
    ],
)
def test_bad_row_names_file_line_and_key_and_nothing_is_written(tmp_path: Path, row: Any, parts: list[str]) -> None:
    good = {"messages": TURNS, "conversations": TALK, "instruction": ROW, "prompt": PAIR}[next(iter(row))]
    run = Run(tmp_path, "t")
    stage.run_import(recipe(put(tmp_path, lines(good), "good.jsonl")), run, 0)
    before = snapshot(run.records)
    path = put(tmp_path, lines(good, row))
    with pytest.raises(UserError) as caught:
        stage.run_import(recipe(put(tmp_path, lines(good), "good.jsonl"), path), run, 0)
    for part in ["data.jsonl:2: ", *parts]:
        assert part in str(caught.value)
    assert snapshot(run.records) == before
    assert not (run.path / ".import").exists()


@pytest.mark.parametrize(("bad", "more"), [(1, ""), (5, ""), (6, "and 1 more"), (12, "and 7 more")])
def test_first_five_problems_are_shown(tmp_path: Path, bad: int, more: str) -> None:
    with pytest.raises(UserError) as caught:
        read(put(tmp_path, lines(ROW, *[{**ROW, "output": None}] * bad, ROW)))
    text = str(caught.value)
    assert text.count("output is null") == min(bad, 5)
    assert f"{bad} problem" in text
    assert more in text if more else " more" not in text


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path, lines(ROW), "train.jsonl")
    with pytest.raises(UserError, match=r"tran\.jsonl: there is no such file\. Did you mean train\.jsonl\?"):
        read(tmp_path / "tran.jsonl")
    with pytest.raises(UserError, match=r"has train\.jsonl"):
        digest_source(source(tmp_path / "zzz"))
    with pytest.raises(UserError, match="path ends at"):
        read(tmp_path / "no" / "such" / "x.json")


def test_folder_is_read_by_name_and_reports_what_it_skips(tmp_path: Path) -> None:
    put(tmp_path, json.dumps([{**ROW, "output": "2"}]).encode(), "b.json")
    put(tmp_path, lines({**ROW, "output": "1"}), "a.jsonl")
    put(tmp_path, b"read me", "README.md")
    records, sentence = read_source(source(tmp_path), 3)
    assert [(r.completion, r.origin.sequence, r.origin.source) for r in records] == [
        ("1", 3, "a.jsonl:1"),
        ("2", 4, "b.json:1"),
    ]
    assert "1 other file of" in sentence
    assert "files not read: README.md" in sentence


@pytest.mark.parametrize(
    ("name", "content"), [("b.jsonl", lines(TALK)), ("b.csv", b"instruction,output\nx,y\n"), ("b.parquet", [ROW])]
)
def test_mixed_folder_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    put(tmp_path, lines(ROW), "a.jsonl")
    put(tmp_path, content, name)
    with pytest.raises(UserError, match="mixed formats") as caught:
        read(tmp_path)
    assert "a.jsonl" in str(caught.value)
    assert name in str(caught.value)


def test_folder_without_data_is_refused(tmp_path: Path) -> None:
    put(tmp_path, b"x", "notes.txt")
    with pytest.raises(UserError, match=r"no \.json.*notes\.txt"):
        read(tmp_path)


def test_ids_are_stable_and_equal_rows_stay_two(tmp_path: Path) -> None:
    other = {**ROW, "output": "Hello."}
    path = put(tmp_path, lines(ROW, ROW, other))
    ids = [record.id for record in read(path)]
    assert len(set(ids)) == 3
    assert [record.id for record in read(path, first=100)] == ids
    put(tmp_path, lines({**ROW, "output": "new"}, ROW, ROW, other))
    assert [record.id for record in read(path)][1:] == ids


def test_equal_rows_of_two_files_of_one_name_stay_two(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    paths = [put(tmp_path / folder, lines(ROW)) for folder in ("a", "b")]
    run = Run(tmp_path, "t")
    assert stage.run_import(recipe(*paths), run, 0) == {"rows": 2}
    assert len({record.id for record in read_records(run.records)}) == 2


def test_digest_follows_names_and_bytes(tmp_path: Path) -> None:
    put(tmp_path, lines(ROW), "a.jsonl")
    first = digest_source(source(tmp_path))
    put(tmp_path, b"", "README.md")
    assert digest_source(source(tmp_path)) == first
    put(tmp_path, lines(ROW, ROW), "a.jsonl")
    second = digest_source(source(tmp_path))
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    assert len({first, second, digest_source(source(tmp_path))}) == 3


def test_stage_parts_counts_and_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "PART", 2)
    rows = [{**ROW, "output": str(k)} for k in range(5)]
    one, two = put(tmp_path, lines(*rows), "one.jsonl"), put(tmp_path, [TURNS], "two.parquet")
    run = Run(tmp_path, "t")
    run.records.mkdir(parents=True)
    (run.records / "generate-00000.parquet").write_bytes(b"not mine")
    assert stage.run_import(recipe(one, two), run, 10) == {"rows": 6}
    parts = ["import-000-00000", "import-000-00001", "import-000-00002", "import-001-00000"]
    assert sorted(p.stem for p in run.records.glob("import-*")) == parts
    assert "one.jsonl: alpaca (every one of the first 5 rows" in capsys.readouterr().err
    before = snapshot(run.records)
    stage.run_import(recipe(one, two), run, 10)
    assert snapshot(run.records) == before
    put(tmp_path, lines(*rows[:1]), "one.jsonl")
    stage.run_import(recipe(one), run, 0)
    assert sorted(snapshot(run.records)) == ["generate-00000.parquet", "import-000-00000.parquet"]


def test_stage_sequence_runs_on_over_sources(tmp_path: Path) -> None:
    one, two = put(tmp_path, lines(ROW, ROW), "one.jsonl"), put(tmp_path, lines(TALK), "two.jsonl")
    run = Run(tmp_path, "t")
    stage.run_import(recipe(one, two), run, 10)
    assert [r.origin.sequence for r in read_records(run.records)] == [10, 11, 12]


def test_a_crash_before_the_last_row_leaves_the_old_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, run = put(tmp_path, lines(ROW)), Run(tmp_path, "t")
    stage.run_import(recipe(path), run, 0)
    before = snapshot(run.records)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage, "write_records", full)
    put(tmp_path, lines(ROW, ROW))
    with pytest.raises(OSError, match="No space left"):
        stage.run_import(recipe(path), run, 0)
    assert snapshot(run.records) == before


def made(*turns: tuple[Any, str]) -> Record:
    return Record(tuple(Message(role, text) for role, text in turns), Origin("test", "k", 0))


@pytest.mark.parametrize("format", ["alpaca", "prompt-completion", "csv"])
@pytest.mark.parametrize(
    ("record", "why"),
    [
        (made(("system", "s"), ("user", "a"), ("assistant", "b")), "system turn"),
        (made(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), "4 turns"),
    ],
)
def test_lossy_write_is_refused_and_the_old_file_stays(tmp_path: Path, format: Any, record: Record, why: str) -> None:
    path = put(tmp_path, b"old", "out")
    with pytest.raises(UserError) as caught:
        write_source([made(*HI), record], path, format)
    for part in (record.id, why, "sharegpt, messages, parquet"):
        assert part in str(caught.value)
    assert snapshot(tmp_path) == {"out": b"old"}


@pytest.mark.parametrize(
    "record", [made(("user", "a")), made(("assistant", "a")), made(("user", "x"), ("assistant", "\ud800"))]
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, record: Record) -> None:
    with pytest.raises(UserError, match=record.id):
        write_source([record], tmp_path / "out", "messages")
    assert snapshot(tmp_path) == {}


def test_write_refuses_nothing_an_unknown_format_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records"):
        write_source([], tmp_path / "out", "csv")
    with pytest.raises(UserError, match="There are: alpaca"):
        write_source([made(*HI)], tmp_path / "out", "xml")  # type: ignore[arg-type]
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_source([made(*HI)], tmp_path / "taken", "csv")
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("alpaca", '[\n{"instruction": "Say hi.", "input": "", "output": "Hi."}\n]\n'),
        ("sharegpt", json.dumps(TALK) + "\n"),
        ("messages", json.dumps(TURNS) + "\n"),
        ("prompt-completion", json.dumps(PAIR) + "\n"),
        ("csv", '"prompt","completion"\r\n"Say hi.","Hi."\r\n'),
    ],
)
def test_written_bytes(tmp_path: Path, format: Any, expected: str) -> None:
    assert write_source([made(*HI)], tmp_path / "new" / "out", format) == 1
    assert (tmp_path / "new" / "out").read_bytes() == expected.encode()
