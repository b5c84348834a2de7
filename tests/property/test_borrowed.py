"""No text is lost or changed on its way from a dump or a dialogue, and no bytes end in anything but a UserError."""

from __future__ import annotations

import html
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import docx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdf_by_hand import pdf

from yearling.errors import UserError
from yearling.generate.passages import read_passages
from yearling.measure.text import word_count
from yearling.recipe import Source
from yearling.record import Record
from yearling.sources.dialogue import is_dialogue
from yearling.sources.markup import html_to_text
from yearling.sources.read import read_source

EXAMPLES = settings(max_examples=60, deadline=None)
# what XML 1.0 can hold, with the signs of its markup more often
plain = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
texts = st.text(st.one_of(plain, st.sampled_from(" \n\t<>&\"'`#|-[]!")))
seen_texts = texts.filter(lambda text: bool(text.strip()))
TAGS = ("p", "pre", "code", "ul", "ol", "li", "blockquote", "br", "img", "h2", "table", "tr", "td", "sup", "script")
markup = st.lists(
    st.one_of(
        texts,
        st.sampled_from(TAGS).flatmap(
            lambda tag: st.sampled_from([f"<{tag}>", f"</{tag}>", f"<{tag} class='lang-x' alt=y"])
        ),
    )
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("borrowed")


def read(path: Path, answer: bool, format: str = "auto") -> list[Record]:
    return list(read_source(Source.model_validate({"path": path, "format": format, "answer": answer}), 0)[0])


def survives(path: Path, answer: bool, format: str) -> None:
    try:
        records = read(path, answer, format)
    except UserError as error:
        assert path.name in str(error)
        str(error).encode("utf-8")
    else:
        assert records
        for record in records:
            assert record.messages[-1].role == ("user" if answer else "assistant")
            assert record.prompt.strip() or not answer


def attribute(value: str) -> str:
    return quoteattr(value, {"\n": "&#xA;", "\t": "&#9;"})


def dump(rows: list[dict[str, str]]) -> bytes:
    shown = ("<row " + " ".join(f"{k}={attribute(v)}" for k, v in row.items()) + "/>" for row in rows)
    return f"<posts>{''.join(shown)}</posts>".encode()


@EXAMPLES
@given(title=seen_texts, body=texts, code=texts, answer=texts)
def test_every_word_of_a_post_arrives(folder: Path, title: str, body: str, code: str, answer: str) -> None:
    question = {"Id": "1", "PostTypeId": "1", "AcceptedAnswerId": "2", "Title": title}
    question["Body"] = f"<p>{html.escape(body)}</p><pre><code>{html.escape(code)}</code></pre>"
    reply = {"Id": "2", "PostTypeId": "2", "Body": f"<p>{html.escape(answer)}</p>"}
    path = folder / "Posts.xml"
    path.write_bytes(dump([question, reply]))
    (asked,) = read(path, True)
    (pair,) = read(path, False)
    assert pair.prompt == asked.prompt
    fences = {word for word in asked.prompt.split() if word.startswith("```")} if code.strip() else set()
    words = [word for word in asked.prompt.split() if word not in fences]
    wanted = [word for word in f"{title} {body} {code}".split() if word not in fences]
    assert words == wanted
    assert pair.completion.split() == answer.split()
    assert code.removeprefix("\n").rstrip() in asked.prompt


@EXAMPLES
@given(markup)
@example("<![if")
@example("&#0;&#xD800;&#x110000;")
@example("<li><pre></li><code></pre>`")
def test_any_markup_becomes_text(markup: str) -> None:
    html_to_text(markup).encode("utf-8")


@EXAMPLES
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["Id", "PostTypeId", "AcceptedAnswerId", "Title", "Body"]),
            st.one_of(st.sampled_from(["1", "2"]), markup),
        )
    ),
    answer=st.booleans(),
)
def test_any_rows_of_a_dump(folder: Path, rows: list[dict[str, str]], answer: bool) -> None:
    path = folder / "Posts.xml"
    path.write_bytes(dump(rows))
    survives(path, answer, "auto")


@EXAMPLES
@given(
    content=st.one_of(st.binary(), texts.map(str.encode), texts.map(lambda text: b"<posts><row " + text.encode())),
    answer=st.booleans(),
)
@example(b"<a>" * 5000, True)
@example(b'<?xml version="1.0" encoding="utf-7"?><posts/>', True)
@example(b'<!DOCTYPE a [<!ENTITY b "c">]><posts><row Id="&b;"/></posts>', False)
def test_any_bytes_as_a_dump(folder: Path, content: bytes, answer: bool) -> None:
    path = folder / "bytes.xml"
    path.write_bytes(content)
    survives(path, answer, "stackexchange")


turn = st.tuples(
    st.sampled_from(["human", "bot"]),
    texts.map(str.strip).filter(lambda text: bool(text) and "<human" not in text and "<bot" not in text),
)


@EXAMPLES
@given(turns=st.lists(turn), before=texts.filter(lambda text: "<human" not in text and "<bot" not in text))
def test_a_dialogue_reads_back(folder: Path, turns: list[tuple[str, str]], before: str) -> None:
    turns = [*turns, ("human", "why?"), ("bot", "so.")]
    text = "\n".join([before, *(f"<{who}>: {said}" for who, said in turns)])
    assert is_dialogue(text)
    path = folder / "talk.jsonl"
    path.write_text(json.dumps({"text": text}), encoding="utf-8")
    roles = {"human": "user", "bot": "assistant"}
    expected = [("system", before.strip())] if before.strip() else []
    expected += [(roles[who], said) for who, said in turns]
    (pair,), (asked,) = read(path, False), read(path, True)
    assert [(m.role, m.content) for m in pair.messages] == expected
    assert [(m.role, m.content) for m in asked.messages] == expected[:-1]


values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), texts, st.sampled_from(["user", "assistant", "\ud800", "<human>: a"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "description", "type", "text"]), inner, max_size=3
        ),
    ),
    max_leaves=10,
)
columns = st.sampled_from(
    [
        "instruction",
        "output",
        "prompt",
        "completion",
        "messages",
        "conversations",
        "text",
        "inputs",
        "targets",
        "inputs_pretokenized",
        "question",
        "answer",
    ]
)


@EXAMPLES
@given(
    rows=st.lists(st.dictionaries(columns, values, max_size=3), min_size=1, max_size=3),
    format=st.sampled_from(["auto", "oig", "p3", "alpaca", "messages", "prompt-completion"]),
    answer=st.booleans(),
)
def test_any_rows_as_prompts(folder: Path, rows: list[dict[str, Any]], format: str, answer: bool) -> None:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    survives(path, answer, format)


# Passages

prose = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
        st.sampled_from(
            [
                "word",
                "Dr.",
                "end.",
                "end!\n",
                "\n\n",
                "# Head",
                "\n## Two\n",
                "```\n",
                "- item",
                "one。二",
                "漢字",
                "---",
                "\n---\n",
                "a\r\nb",
            ]
        ),
    ),
    max_size=60,
).map(" ".join)


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("ending", [".txt", ".md"])
@EXAMPLES
@given(text=prose, words=st.integers(1, 50))
@example(text="---\na\n---\n", words=1)
@example(text="```\n\n\n", words=1)
def test_passages_joined_lose_nothing(folder: Path, ending: str, text: str, words: int) -> None:
    path = folder / f"text{ending}"
    path.write_bytes(f"x\n\n{text}".encode())  # front matter stands first or is none
    passages = read_passages(path, words)
    assert letters("".join(p.text for p in passages)) == letters(f"x{text}")
    assert len({p.key for p in passages}) == len(passages)
    assert passages == read_passages(path, words)
    assert all(p.text == p.text.strip() or ending == ".md" for p in passages)


sentences = st.lists(
    st.integers(2, 9).map(lambda n: " ".join(["word"] * n).capitalize() + "."), min_size=1, max_size=60
)


@EXAMPLES
@given(paragraphs=st.lists(sentences, min_size=1, max_size=6), words=st.integers(20, 80))
def test_passages_end_where_sentences_end_and_are_about_as_long_as_asked(
    folder: Path, paragraphs: list[list[str]], words: int
) -> None:
    path = folder / "sentences.txt"
    path.write_text("\n\n".join(" ".join(p) for p in paragraphs), encoding="utf-8")
    passages = read_passages(path, words)
    assert all(p.text.endswith(".") and p.text[0] == "W" for p in passages)
    assert all(word_count(p.text) <= words * 1.75 + 9 for p in passages)
    assert all(word_count(p.text) >= words * 0.25 for p in passages[:-1])


@EXAMPLES
@given(
    parts=st.lists(
        st.one_of(
            texts.map(html.escape),
            st.sampled_from(
                [
                    "<p>",
                    "</p>",
                    "<li>",
                    "<td>",
                    "<table>",
                    "</table>",
                    "<pre>",
                    "</pre>",
                    "<h2>",
                    "</h2>",
                    "<br>",
                    "<div>",
                    "<ul>",
                    "</ul>",
                    "<b>",
                ]
            ),
        )
    )
)
def test_every_word_of_a_page_arrives_in_order(folder: Path, parts: list[str]) -> None:
    path = folder / "page.html"
    path.write_text(f"<!doctype html><body><p>start {''.join(parts)}", encoding="utf-8")
    found = letters("".join(p.text for p in read_passages(path, 30)))
    wanted = letters("start" + "".join(html.unescape(part) for part in parts if not part.startswith("<")))
    rest = iter(found)
    assert all(sign in rest for sign in wanted)


def mended(content: bytes, cut: float, flips: list[tuple[float, int]]) -> bytes:
    found = bytearray(content[: max(1, int(len(content) * cut))])
    for where, value in flips:
        found[int(len(found) * where) % len(found)] = value
    return bytes(found)


def a_docx() -> bytes:
    document = docx.Document()
    document.add_heading("Head", 1)
    document.add_paragraph("Some words.")
    document.add_table(1, 2).cell(0, 0).text = "cell"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def repacked(content: bytes, name: str, change: Any) -> bytes:
    """A docx with one of its parts changed: bytes flipped in the archive are caught by its checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.namelist():
            new.writestr(part, change(old.read(part)) if part == name else old.read(part))
    return out.getvalue()


PDF, DOCX = pdf(["One page of text."], ["Two."]), a_docx()
cuts = st.one_of(st.just(1.0), st.floats(0, 1))
flips = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6)


def stays_clear(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        passages = read_passages(path, 50)
    except UserError as error:
        assert path.name in str(error)
    else:
        for passage in passages:
            passage.text.encode("utf-8")


@settings(max_examples=150, deadline=None)
@given(cut=cuts, flips=flips)
def test_a_damaged_pdf_is_read_or_refused(folder: Path, cut: float, flips: list[tuple[float, int]]) -> None:
    stays_clear(folder / "damaged.pdf", mended(PDF, cut, flips))


@EXAMPLES
@given(cut=cuts, flips=flips, part=st.sampled_from(["", *zipfile.ZipFile(io.BytesIO(DOCX)).namelist()]))
def test_a_damaged_docx_is_read_or_refused(folder: Path, cut: float, flips: list[tuple[float, int]], part: str) -> None:
    content = repacked(DOCX, part, lambda old: mended(old, cut, flips)) if part else mended(DOCX, cut, flips)
    stays_clear(folder / "damaged.docx", content)


@pytest.mark.parametrize("ending", ["txt", "md", "html", "pdf", "docx"])
@EXAMPLES
@given(content=st.one_of(st.binary(), texts.map(str.encode)))
@example(b"<div>" * 20_000 + b"x")
@example(b'<meta charset="no-such">\xff')
def test_any_bytes_as_a_document(folder: Path, ending: str, content: bytes) -> None:
    stays_clear(folder / f"bytes.{ending}", content)
