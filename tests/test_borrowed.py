"""Borrowed prompts: dumps, dialogues, P3 rows and old runs, as questions for a teacher and as pairs."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yearling.errors import UserError
from yearling.recipe import Recipe, Source
from yearling.record import Message, Origin, Record, Verdict, read_records, write_records, write_verdicts
from yearling.run_folder import Run, write_json
from yearling.sources import stage
from yearling.sources.markup import html_to_text
from yearling.sources.read import digest_source, read_source

QUESTION = {
    "Id": "4",
    "PostTypeId": "1",
    "AcceptedAnswerId": "7",
    "Title": "How do I sort?",
    "Body": "<p>A list of <code>int</code>:</p>\n\n<pre><code>x = [2, 1]\n</code></pre>\n",
    "ContentLicense": "CC BY-SA 2.5",
}
ASKED = "How do I sort?\n\nA list of `int`:\n\n```\nx = [2, 1]\n```"
ANSWER = {"Id": "7", "PostTypeId": "2", "ParentId": "4", "Body": "<p>Use sorted.</p>", "ContentLicense": "CC BY-SA 4.0"}
DIALOGUE = {"text": "<human>: Say hi.\n<bot>: Hi.\n<human>: Again.\n<bot>: Hi,\nagain.", "metadata": {"source": "x"}}
TALK = [("user", "Say hi."), ("assistant", "Hi."), ("user", "Again."), ("assistant", "Hi,\nagain.")]
ROW = {"instruction": "Say hi.", "input": "", "output": "Hi."}
HI = [("user", "Say hi."), ("assistant", "Hi.")]


def dump(*rows: dict[str, str], root: str = "posts") -> bytes:
    inside = "".join(
        "  <row " + " ".join(f"{k}={quoteattr(v, {chr(10): '&#xA;'})}" for k, v in row.items()) + " />\r\n"
        for row in rows
    )
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<{root}>\r\n{inside}</{root}>'.encode()


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def put(folder: Path, content: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(pa.Table.from_pylist(content), path)
    return path


def source(path: Path, answer: bool = True, **fields: str) -> Source:
    return Source.model_validate({"path": path, "answer": answer, **fields})


def read(path: Path, answer: bool = True, first: int = 0, **fields: str) -> list[Record]:
    return list(read_source(source(path, answer, **fields), first)[0])


def turns(record: Record) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in record.messages]


def recipe(*sources: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"name": "t", "import": list(sources)})


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Stack Exchange


def test_a_question_is_its_title_and_body_with_the_licence_of_its_row(tmp_path: Path) -> None:
    wiki = {"Id": "5", "PostTypeId": "5", "Body": "<p>about a tag</p>"}
    plain = {"Id": "9", "PostTypeId": "1", "Title": "Why?", "Body": "<p>Because &amp; so.</p>"}
    path = put(tmp_path, dump(QUESTION, wiki, ANSWER, plain), "cooking.com/Posts.xml")
    for format in ("auto", "stackexchange"):
        first, second = read(path, first=3, format=format)
        assert turns(first) == [("user", ASKED)]
        assert turns(second) == [("user", "Why?\n\nBecause & so.")]
        assert (first.origin.method, first.origin.sequence, second.origin.sequence) == ("import", 3, 4)
        assert (first.origin.licence, second.origin.licence) == ("CC BY-SA 2.5", "unknown")
        assert (first.origin.source, second.origin.source) == (
            "cooking.com/Posts.xml:Id=4",
            "cooking.com/Posts.xml:Id=9",
        )
    assert read(path, licence="mine")[0].origin.licence == "mine"
    _, sentence = read_source(source(path), 0)
    assert "Posts.xml: stackexchange (its root element is posts), prompts only" in sentence


@pytest.mark.parametrize("order", [(QUESTION, ANSWER), (ANSWER, QUESTION)])
def test_a_pair_is_a_question_with_its_accepted_answer(tmp_path: Path, order: Any) -> None:
    other = {**ANSWER, "Id": "8"}
    open_question = {"Id": "9", "PostTypeId": "1", "Title": "Why?", "Body": "<p>So.</p>"}
    lost = {**QUESTION, "Id": "10", "AcceptedAnswerId": "99"}
    path = put(tmp_path, dump(other, *order, open_question, lost), "Posts.xml")
    (record,) = read(path, answer=False)
    assert turns(record) == [("user", ASKED), ("assistant", "Use sorted.")]
    assert record.origin.licence == "CC BY-SA 2.5 AND CC BY-SA 4.0"
    assert record.origin.source.endswith("Posts.xml:Id=4, answer Id=7")


def test_questions_without_an_accepted_answer_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lone = [{**QUESTION, "Id": str(n), "AcceptedAnswerId": "99"} for n in (10, 11)]
    path = put(tmp_path, dump(QUESTION, *lone, ANSWER), "Posts.xml")
    counts = stage.run_import(recipe({"path": path}), Run(tmp_path, "t"), 0)
    assert counts == {"rows": 1, "unanswered": 2}
    assert "Posts.xml: 2 questions are without an accepted answer" in capsys.readouterr().err
    path = put(tmp_path, dump(*lone), "Posts.xml")
    with pytest.raises(UserError, match="holds no questions with an accepted answer"):
        read(path, answer=False)
    assert len(read(path)) == 2


def test_ids_of_posts_do_not_depend_on_their_neighbours(tmp_path: Path) -> None:
    path = put(tmp_path, dump(QUESTION, {**QUESTION, "Id": "5"}), "Posts.xml")
    ids = [record.id for record in read(path)]
    assert len(set(ids)) == 2
    put(tmp_path, dump({**QUESTION, "Id": "3"}, QUESTION), "Posts.xml")
    assert read(path)[1].id == ids[0]


def test_a_dump_folder_gives_its_posts_only(tmp_path: Path) -> None:
    put(tmp_path, dump(QUESTION), "Posts.xml")
    put(tmp_path, dump({"Id": "1"}, root="users"), "Users.xml")
    records, sentence = read_source(source(tmp_path), 0)
    assert len(list(records)) == 1
    assert "files not read: Users.xml" in sentence
    with pytest.raises(UserError, match=r"Users\.xml: its root element is users, not posts"):
        read(tmp_path / "Users.xml")


@pytest.mark.parametrize(
    ("content", "answer", "parts"),
    [
        (dump(QUESTION)[:-20], True, ["Posts.xml", "not XML that can be read", "line 3"]),
        (b"<posts><row", True, ["Posts.xml", "not XML"]),
        (dump(QUESTION).replace(b"utf-8", b"utf-99"), True, ["Posts.xml", "unknown encoding"]),
        (dump({**QUESTION, "Title": " ", "Body": "<p> </p>"}), True, ["Posts.xml Id 4: ", "nothing to ask"]),
        (dump({"Id": "4", "PostTypeId": "1"}), True, ["Posts.xml Id 4: no Title and no Body"]),
        (dump({**QUESTION, "Id": "3"}, {"PostTypeId": "1", "Title": "x", "Body": ""}), True, ["Id unknown: no Id"]),
        (dump(QUESTION, {"Id": "7", "PostTypeId": "2"}), False, ["Posts.xml Id 4: its accepted answer: no Body"]),
        (dump(ANSWER), True, ["Posts.xml", "holds no questions"]),
        (dump(), False, ["Posts.xml", "holds no questions"]),
        (b"7z\xbc\xaf\x27\x1c\0\4", True, ["a packed file", "7z x Posts.xml"]),
        (b"\x1f\x8b\x08", True, ["a packed file", "gzip -d Posts.xml"]),
        (b" \n", True, ["Posts.xml", "empty"]),
    ],
)
def test_a_bad_dump_is_one_clear_error(tmp_path: Path, content: bytes, answer: bool, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read(put(tmp_path, content, "Posts.xml"), answer)
    for part in parts:
        assert part in str(caught.value)


def test_xml_named_as_something_else_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, dump(QUESTION), "Posts.xml")
    with pytest.raises(UserError, match=r"Posts\.xml"):
        read(path, format="alpaca")
    with pytest.raises(UserError, match="not XML"):
        read(put(tmp_path, lines(ROW)), format="stackexchange")


def peak(path: Path, answer: bool) -> int:
    tracemalloc.start()
    try:
        for _ in read_source(source(path, answer), 0)[0]:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("answer", [True, False])
def test_memory_does_not_grow_with_a_dump(tmp_path: Path, answer: bool) -> None:
    def posts(count: int) -> bytes:
        rows = []
        for n in range(count):
            rows.append({**QUESTION, "Id": f"{n}", "AcceptedAnswerId": f"{n}a", "Body": f"<p>{n} {'x' * 4000}</p>"})
            rows.append({**ANSWER, "Id": f"{n - 100}a", "Body": f"<p>{n} {'x' * 4000}</p>"})
        return dump(*rows)

    small, big = put(tmp_path, posts(200), "small.xml"), put(tmp_path, posts(1200), "big.xml")
    assert big.stat().st_size > 9_000_000
    assert peak(big, answer) < peak(small, answer) + 1_000_000


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a <b>b</b>\n c</p>\n<p>d<br>e</p>", "a b c\n\nd\ne"),
        ("<p><a href='u'>words</a> &lt;x&gt; &#8364;</p>", "words <x> €"),
        ("<pre class='lang-py prettyprint-override'><code>if x:\n    y\n\n\n</code></pre>", "```py\nif x:\n    y\n```"),
        ("<pre><code class='language-c'>&amp;x  ;</code></pre>", "```c\n&x  ;\n```"),
        ("<pre>\n  a</pre>", "```\n  a\n```"),
        ("<pre><code>``` x</code></pre>", "````\n``` x\n````"),
        ("<p>use <code>a  &lt; b</code>, <code>`</code></p>", "use `a < b`, `` ` ``"),
        (
            "<ul><li>a</li><li><p>b</p><pre><code>c\nd</code></pre></li></ul><p>e</p>",
            "- a\n- b\n\n  ```\n  c\n  d\n  ```\n\ne",
        ),
        ("<p>x</p><ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>", "x\n\n1. a\n   - b\n2. c"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n\n> b"),
        ("<h2>T</h2><p>2<sup>32</sup> H<sub>2</sub>O</p>", "## T\n\n2^32 H_2O"),
        ("<p>see <img src='u' alt='the  screen'> <img></p>", "see [image: the screen] [image]"),
        ("<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>", "A | B\n1 | 2"),
        ("<p>a<script>bad()</script></p><hr><p></p>", "a"),
        ("<p>a <![CDATA[b]]> <!-- c --> d", "a <![CDATA[b]]> d"),
        ("</li></ul></blockquote><p>a</p>", "a"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


# Dialogues and P3


@pytest.mark.parametrize(
    ("name", "content"),
    [("o.jsonl", lines(DIALOGUE)), ("o.json", json.dumps([DIALOGUE]).encode()), ("o.parquet", [DIALOGUE])],
)
@pytest.mark.parametrize("format", ["auto", "oig"])
def test_a_marked_text_is_its_turns(tmp_path: Path, name: str, content: Any, format: str) -> None:
    path = put(tmp_path, content, name)
    assert [turns(r) for r in read(path, answer=False, format=format)] == [TALK]
    assert [turns(r) for r in read(path, answer=True, format=format)] == [TALK[:3]]


def test_auto_tells_a_dialogue_by_its_marks(tmp_path: Path) -> None:
    path = put(tmp_path, lines(*[DIALOGUE] * 60))
    sentence = read_source(source(path, answer=False), 0)[1]
    assert "oig (every one of the first 50 rows has text with <human>: turns)" in sentence
    assert "columns not used: metadata" in sentence
    plain = put(tmp_path, [{**ROW, "text": "no marks"}], "plain.parquet")
    assert "alpaca" in read_source(source(plain), 0)[1]
    with pytest.raises(UserError, match=r"(?s)no known format has these: text\..*oig: text, with"):
        read(put(tmp_path, lines({"text": "a: b"})))


def test_words_before_the_first_mark_are_a_system_turn(tmp_path: Path) -> None:
    row = {"text": "Background: a farm.\n\n <HUMAN>:Who <human>: there?\n<bot>:\nCows."}
    (record,) = read(put(tmp_path, lines(row)), answer=False)
    assert turns(record) == [("system", "Background: a farm."), ("user", "Who <human>: there?"), ("assistant", "Cows.")]


@pytest.mark.parametrize(
    ("row", "answer", "says"),
    [
        ({"text": "<human>: a\n<bot>: b\n<human>: c"}, False, "text: the last turn is user"),
        ({"text": "<bot>: b"}, False, "there is no user turn"),
        ({"text": "<bot>: b"}, True, "text: there is no user turn"),
        ({"text": "<human>: \n<bot>: b"}, True, "text: the prompt is empty"),
        ({"text": "no marks"}, True, "text has no turn that begins with <human>: or <bot>:"),
        ({"text": None}, True, "text is null"),
    ],
)
def test_a_bad_dialogue_names_its_line(tmp_path: Path, row: Any, answer: bool, says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(put(tmp_path, lines(DIALOGUE, row)), answer)
    assert "data.jsonl:2: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", lines({"inputs": "Say hi.", "targets": "Hi."})),
        (
            "p.jsonl",
            lines({"inputs_pretokenized": "Say hi.", "targets_pretokenized": "Hi.", "inputs": [1], "targets": [2]}),
        ),
        ("p.csv", b"inputs,targets\nSay hi.,Hi.\n"),
        ("p.parquet", [{"inputs": [1, 2], "inputs_pretokenized": "Say hi.", "targets_pretokenized": "Hi."}]),
    ],
)
def test_p3_rows(tmp_path: Path, name: str, content: Any) -> None:
    path = put(tmp_path, content, name)
    for format in ("auto", "p3"):
        assert [turns(r) for r in read(path, answer=False, format=format)] == [HI]
        assert [turns(r) for r in read(path, answer=True, format=format)] == [HI[:1]]


def test_p3_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"targets missing; there are: inputs, target\. Rename target"):
        read(put(tmp_path, lines({"inputs": "x", "target": "y"})), answer=False, format="p3")


# Prompts of every format


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (ROW, HI[:1]),
        ({"instruction": "Say hi.", "input": "To Ann."}, [("user", "Say hi.\n\nTo Ann.")]),
        ({"prompt": "Say hi.", "completion": None}, HI[:1]),
        ({"prompt": "Say hi."}, HI[:1]),
        ({"question": "Say hi.", "answer": {"broken": 1}}, HI[:1]),
        (
            {"prompt": [{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}]},
            [("system", "Be"), ("user", "Hi")],
        ),
        ({"inputs": "Say hi."}, HI[:1]),
        (
            {"messages": [{"role": r, "content": c} for r, c in [("system", "Be"), *TALK]]},
            [("system", "Be"), *TALK[:3]],
        ),
        ({"messages": [{"role": "user", "content": "Say hi."}]}, HI[:1]),
        ({"messages": [{"role": "user", "content": "Say hi."}, {"role": "assistant", "content": None}]}, HI[:1]),
        ({"conversations": [{"from": "human", "value": "Say hi."}, {"from": "gpt", "value": "Hi."}]}, HI[:1]),
    ],
)
def test_the_old_answer_is_dropped_and_what_led_to_the_question_kept(tmp_path: Path, row: Any, asked: Any) -> None:
    (record,) = read(put(tmp_path, lines(row)), first=5, licence="cc0-1.0")
    assert turns(record) == asked
    assert record.completion == ""
    assert record.origin.source == "data.jsonl:1"
    assert (record.origin.method, record.origin.licence, record.origin.sequence) == ("import", "cc0-1.0", 5)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"output": "Hi."}, "instruction missing"),
        ({"instruction": None, "output": "Hi."}, "instruction is null"),
        ({"instruction": " \n", "output": "Hi."}, "instruction: the prompt is empty"),
        ({"prompt": "", "completion": "Hi."}, "prompt: the prompt is empty"),
        ({"completion": "Hi."}, "prompt missing"),
        ({"messages": [{"role": "assistant", "content": "Hi."}]}, "messages: there is no user turn"),
        ({"messages": [{"role": "user", "content": " "}]}, "the prompt is empty"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content is null"),
        ({"instruction": ["a"], "output": "Hi."}, "instruction is a list"),
        ({"prompt": {"text": "Hi."}, "completion": "x"}, "prompt is an object"),
    ],
)
def test_what_is_no_question_never_reaches_a_teacher(tmp_path: Path, row: Any, says: str) -> None:
    good = {"messages": {"messages": [{"role": "user", "content": "x"}]}, "prompt": {"prompt": "x"}}
    kind = next((k for k in ("messages", "prompt") if k in row), "prompt" if "completion" in row else "")
    run = Run(tmp_path, "t")
    stage.run_import(recipe({"path": put(tmp_path, lines(ROW), "good.jsonl"), "answer": True}), run, 0)
    before = snapshot(run.path / "prompts")
    path = put(tmp_path, lines(good.get(kind, ROW), row))
    with pytest.raises(UserError) as caught:
        stage.run_import(recipe({"path": path, "answer": True}), run, 0)
    assert "data.jsonl:2: " in str(caught.value)
    assert says in str(caught.value)
    assert snapshot(run.path / "prompts") == before


def test_prompts_alone_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a column is missing"):
        read(put(tmp_path, lines({"prompt": "x"})), answer=False)


@pytest.mark.parametrize("answer", [True, False])
def test_prompts_given_as_objects_are_opened_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bool
) -> None:
    objects = [{"value": "a", "description": "b"}, {"description": "c", "value": None}, "d"]
    path = put(tmp_path, lines(*({"prompt": held, "response": "x"} for held in objects)))
    assert [record.prompt for record in read(path, answer)] == ["a", "c", "d"]
    counts = stage.run_import(recipe({"path": path, "answer": answer}), Run(tmp_path, "t"), 0)
    assert counts["unwrapped"] == 2
    assert "data.jsonl: 2 prompts were given as an object" in capsys.readouterr().err


# A run as a source


def old_run(root: Path, *failed: str, name: str = "old") -> Run:
    run = Run(root, name)
    run.create()
    first = Record((Message("system", "Be"), Message("user", "A?"), Message("assistant", "a")), made(0), kind="brief")
    second = Record((Message("user", "B?"), Message("assistant", "b")), made(1))
    write_records([first, second], run.records / "generate-00000.parquet")
    verdicts = [Verdict(r.id, "fail" if r.prompt in failed else "pass") for r in (first, second)]
    write_verdicts(verdicts, run.verdicts / "shape" / "part.parquet")
    (run.path / "recipe.yaml").write_text("name: old\ncurate: {}\n")
    return run


def made(sequence: int) -> Origin:
    return Origin("alpaca", f"k{sequence}", sequence, teacher="local:x", licence="apache-2.0", cost_usd=1.0)


@pytest.mark.parametrize("format", ["auto", "run"])
def test_accepted_records_of_a_run_are_asked_anew(tmp_path: Path, format: str) -> None:
    run = old_run(tmp_path, "B?")
    (old,) = [r for r in read_records(run.records) if r.prompt == "A?"]
    records, sentence = read_source(source(run.path, format=format), 4)
    assert "old: run (it has a run.json), prompts only" in sentence
    (record,) = records
    assert turns(record) == [("system", "Be"), ("user", "A?")]
    assert record.origin.parents == (old.id,)
    assert record.origin.source == f"old:{old.id}"
    assert (record.origin.licence, record.origin.teacher, record.kind) == ("apache-2.0", "", "brief")
    assert (record.origin.method, record.origin.sequence, record.origin.cost_usd) == ("import", 4, 0.0)


def test_a_run_taken_whole_keeps_its_answers_and_their_teacher(tmp_path: Path) -> None:
    run = old_run(tmp_path)
    first, second = read(run.path, answer=False)
    assert (first.completion, second.completion) == ("a", "b")
    assert first.origin.teacher == "local:x"
    assert len({first.id, second.id, *(r.id for r in read_records(run.records))}) == 4
    assert [r.id for r in read(run.path, answer=False, licence="cc0-1.0")] == [first.id, second.id]


def test_a_moved_run_is_read_where_it_lies(tmp_path: Path) -> None:
    run = old_run(tmp_path)
    ids = [r.id for r in read(run.path)]
    moved = shutil.move(run.path, tmp_path / "elsewhere")
    assert [r.id for r in read(Path(moved))] == ids


def test_the_digest_of_a_run_is_that_of_what_it_accepted(tmp_path: Path) -> None:
    run = old_run(tmp_path)
    digests = {digest_source(source(run.path))}
    (run.path / "events.jsonl").write_text("{}\n")
    assert digest_source(source(run.path)) in digests
    old_run(tmp_path, "A?")
    assert digest_source(source(run.path)) not in digests


def test_runs_that_cannot_be_borrowed_from(tmp_path: Path) -> None:
    run = old_run(tmp_path, "A?", "B?")
    with pytest.raises(UserError, match=r"old: the run has no accepted records"):
        read(run.path)
    shutil.rmtree(run.verdicts)
    with pytest.raises(UserError, match="have not been judged"):
        digest_source(source(run.path))
    (run.path / "recipe.yaml").unlink()
    with pytest.raises(UserError, match=r"no recipe\.yaml"):
        read(run.path)
    write_json(run.path / "run.json", {"format": 99})
    (run.path / "recipe.yaml").write_text("name: old\n")
    with pytest.raises(UserError, match="format 99"):
        read(run.path)
    with pytest.raises(UserError, match=r"no run\.json"):
        read(put(tmp_path, lines(ROW)), format="run")
    again = old_run(tmp_path, name="again")
    with pytest.raises(UserError, match="this very run"):
        stage.run_import(recipe({"path": again.path}), again, 0)


# The stage


def test_prompts_and_records_go_to_their_folders_under_one_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PART", 2)
    asked = put(tmp_path, lines(*({"prompt": f"q{n}"} for n in range(3))), "asked.jsonl")
    whole = put(tmp_path, lines(ROW, ROW), "whole.jsonl")
    run = Run(tmp_path, "t")
    sources: list[dict[str, Any]] = [{"path": asked, "answer": True}, {"path": whole}, {"path": whole, "answer": True}]
    assert stage.run_import(recipe(*sources), run, 10) == {"rows": 2, "prompts": 5}
    assert sorted(snapshot(run.path / "prompts")) == [
        f"import-{n}.parquet" for n in ("000-00000", "000-00001", "002-00000")
    ]
    assert sorted(snapshot(run.records)) == ["import-001-00000.parquet"]
    assert [r.origin.sequence for r in read_records(run.path / "prompts")] == [10, 11, 12, 15, 16]
    assert [r.origin.sequence for r in read_records(run.records)] == [13, 14]
    before = snapshot(run.path)
    stage.run_import(recipe(*sources), run, 10)
    assert {k: v for k, v in snapshot(run.path).items() if "events" not in k} == {
        k: v for k, v in before.items() if "events" not in k
    }
    stage.run_import(recipe({"path": whole}), run, 0)
    assert snapshot(run.path / "prompts") == {}
    assert sorted(snapshot(run.records)) == ["import-000-00000.parquet"]


def test_a_recipe_without_borrowed_prompts_makes_no_folder_for_them(tmp_path: Path) -> None:
    run = Run(tmp_path, "t")
    assert stage.run_import(recipe({"path": put(tmp_path, lines(ROW))}), run, 0) == {"rows": 1}
    assert not (run.path / "prompts").exists()
    stage.run_import(recipe({"path": put(tmp_path, lines(ROW)), "answer": True}), run, 0)
    assert run.records.is_dir()
    assert snapshot(run.records) == {}


def test_the_published_seed_tasks_as_prompts() -> None:
    path = Path(__file__).parents[2] / "shared" / "data" / "self_instruct_seed_tasks.jsonl"
    if not path.exists():
        pytest.skip("the published seed tasks are not on this machine")
    records = read(path)
    assert len(records) == 175
    assert all(record.prompt and not record.completion for record in records)
