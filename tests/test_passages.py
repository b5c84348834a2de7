"""Documents of five kinds as passages: where they are cut, where they say they come from, what is left away."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import pypdf
import pytest
from pdf_by_hand import pdf

from yearling.errors import UserError
from yearling.generate.passages import Passage, read_passages
from yearling.measure.text import word_count


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, words: int = 40) -> list[str]:
    return [passage.text for passage in read_passages(path, words)]


def places(path: Path, words: int = 40) -> list[str]:
    return [passage.source for passage in read_passages(path, words)]


def sentence(words: int, start: str = "Word") -> str:
    return " ".join([start, *["word"] * (words - 1)]) + "."


# Cutting


def test_paragraphs_are_gathered_up_to_the_length_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, "notes.txt", "\n\n".join(sentence(15, f"P{n}") for n in range(1, 7)))
    assert places(path) == [
        "notes.txt, paragraph 1 to paragraph 3",
        "notes.txt, paragraph 4 to paragraph 6",
    ]
    assert places(path, 12)[2] == "notes.txt, paragraph 3"
    assert texts(path, 12)[2] == sentence(15, "P3")


def test_a_long_paragraph_is_cut_at_sentences_into_even_parts(tmp_path: Path) -> None:
    path = put(tmp_path, "notes.txt", "\r\n".join(sentence(9, f"S{n}") for n in range(10)))
    found = read_passages(path, 40)
    assert [word_count(p.text) for p in found] == [27, 36, 27]
    assert all(p.text.startswith("S") and p.text.endswith(".") for p in found)
    assert {p.source for p in found} == {"notes.txt, paragraph 1"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "He met Dr. Who there. She met J. Doe, e.g. at home.",
            ["He met Dr. Who there.", "She met J. Doe, e.g. at home."],
        ),
        ("Aa bb cc dd ee Dr. Ff gg. Hh ii jj kk", ["Aa bb cc dd ee Dr. Ff gg.", "Hh ii jj kk"]),
        ('It ended." Then "it began!" So it went on.', ['It ended." Then "it began!"', "So it went on."]),
        (
            "It costs 3.50 now... and more. Is it so? Yes it is.",
            ["It costs 3.50 now... and more.", "Is it so? Yes it is."],
        ),
        ("これは一つの長い文です。これも一つの長い文です。", ["これは一つの長い文です。", "これも一つの長い文です。"]),
    ],
)
def test_where_sentences_end(tmp_path: Path, text: str, parts: list[str]) -> None:
    words = max(map(word_count, parts))
    assert texts(put(tmp_path, "a.txt", text), words) == parts


def test_without_sentences_lines_are_the_next_best_then_words(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "\n".join(["one two three four five"] * 6))
    assert texts(path, 10) == ["one two three four five\none two three four five"] * 3
    assert texts(put(tmp_path, "b.txt", "w " * 40), 10) == [" ".join("w" * 10)] * 4
    assert texts(put(tmp_path, "c.txt", "漢" * 40), 10) == ["漢" * 20] * 2


def test_a_heading_stays_with_its_text_and_opens_a_passage(tmp_path: Path) -> None:
    text = f"# Guide\n\n## Setup\n\n{sentence(30)}\n\n## Use\n\n{sentence(30)}\n\n{sentence(30)}\n\n### Empty\n"
    path = put(tmp_path, "guide.md", text)
    assert places(path) == [
        "guide.md, section Setup",
        "guide.md, section Use",
        "guide.md, section Use to section Empty",
    ]
    assert texts(path)[0] == f"# Guide\n\n## Setup\n\n{sentence(30)}"
    assert texts(path)[1].startswith("## Use\n\n")


def test_a_heading_opens_a_passage_where_the_one_before_is_half_full(tmp_path: Path) -> None:
    text = "## A\n\n{}\n\n## B\n\n" + sentence(18)
    assert len(texts(put(tmp_path, "a.md", text.format(sentence(20))))) == 2
    assert len(texts(put(tmp_path, "b.md", text.format(sentence(15))))) == 1


def test_short_sections_share_a_passage(tmp_path: Path) -> None:
    path = put(tmp_path, "faq.md", "".join(f"## Q{n}\n\nYes it is.\n\n" for n in range(4)))
    assert places(path, 100) == ["faq.md, section Q0 to section Q3"]


def test_a_scrap_is_no_passage(tmp_path: Path) -> None:
    assert len(texts(put(tmp_path, "first.txt", f"Now then.\n\n{sentence(49)}\n\n{sentence(30)}"))) == 2
    path = put(tmp_path, "a.txt", f"{sentence(40)}\n\n{sentence(40)}\n\nThe end.")
    assert texts(path) == [sentence(40), f"{sentence(40)}\n\nThe end."]


def test_keys_hang_on_the_text_alone(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "\n\n".join([sentence(40), sentence(40), sentence(40, "Other")]))
    first, twin, other = read_passages(path, 40)
    assert len({first.key, twin.key, other.key}) == 3
    path = put(tmp_path, "b.txt", "\n\n".join([sentence(40, "New"), sentence(40, "Other"), sentence(40)]))
    assert [p.key for p in read_passages(path, 40)][1:] == [other.key, first.key]


# Markdown


def test_code_is_no_heading_and_is_cut_between_lines(tmp_path: Path) -> None:
    code = "```py\n# not a heading\n\n" + "\n".join(f"x{n} = 1" for n in range(20)) + "\n```"
    path = put(tmp_path, "a.md", f"# Real\n\nSome words.\n\n{code}")
    assert set(places(path, 30)) == {"a.md, section Real"}
    assert "\n".join(texts(path, 30)).count("x7 = 1") == 1
    assert all(
        line.startswith(("x", "`", "#", "Some")) for text in texts(path, 30) for line in text.split("\n") if line
    )


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("Title\n=====\n\nwords", "section Title"),
        ("Sub *part* ##\n---\nwords", "section Sub *part*"),
        ("### Deep ###\nwords", "section Deep"),
        ("#nothing\n\n    # code", "paragraph 1 to paragraph 2"),
        ("- item\n---\nwords", "paragraph 1"),
        ("---\ntitle: x\ntags:\n  - y\n---\n# Real\nwords", "section Real"),
        ("---\nJust a line.\n---\n", "paragraph 1"),
    ],
)
def test_headings_of_markdown(tmp_path: Path, text: str, source: str) -> None:
    assert places(put(tmp_path, "a.md", text)) == [f"a.md, {source}"]


def test_front_matter_is_left_away(tmp_path: Path) -> None:
    assert texts(put(tmp_path, "a.md", "---\ntitle: x\n---\nwords")) == ["words"]
    assert texts(put(tmp_path, "a.md", "---\nNo matter. \n---\n")) == ["---\nNo matter.\n---"]


# HTML


def test_a_page_without_its_furniture(tmp_path: Path) -> None:
    page = """<html><head><title>t</title><style>p {}</style></head><body>
    <header><a href=/>Home</a></header><nav>Menu</nav><div role=navigation>Crumbs</div>
    <article><header><h1>How  to <em>farm</em></h1></header>
    <p>First <b>line</b>.<br>Second line.<script>bad()</script></p>
    <h3> </h3><ul><li><p>one</p><li>two <p>more</p></ul>
    <table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
    <pre>def f():
    return 1</pre><h2>Next</h2>loose words</article><p hidden>no</p>
    <footer>Imprint</footer></body></html>"""
    (found,) = read_passages(put(tmp_path, "a.html", page), 100)
    assert found.source == "a.html, section How to farm to section Next"
    assert found.text == (
        "# How to farm\n\nFirst line.\nSecond line.\n\n- one\n- two\nmore\n\nA | B\n1 | 2\n\n"
        "def f():\n    return 1\n\n## Next\n\nloose words"
    )


def test_the_main_part_of_a_page_where_it_is_named(tmp_path: Path) -> None:
    assert texts(put(tmp_path, "a.htm", "<div>advert</div><main><p>Text.</p></main>")) == ["Text."]
    assert texts(put(tmp_path, "b.htm", "<p>Text.</p><main><script>x()</script></main>")) == ["Text."]


def test_a_page_that_names_its_encoding(tmp_path: Path) -> None:
    assert texts(put(tmp_path, "a.html", '<meta charset="windows-1252"><p>caf\xe9</p>'.encode("cp1252"))) == ["café"]
    with pytest.raises(UserError, match="not UTF-8 at byte 6"):
        read_passages(put(tmp_path, "b.html", b"<p>caf\xe9</p>"), 40)


# PDF


def test_pages_of_a_pdf_without_headers_and_footers(tmp_path: Path) -> None:
    body = [
        [f"This is about {animal} and it says many words in one long line", f"so that it ends in {animal}."]
        for animal in ("cows", "hens", "pigs", "bees")
    ]
    pages = [["The Farm Book", f"Chapter {n} of 9", *lines, "(c) Farm", f"- {n + 7} -"] for n, lines in enumerate(body)]
    path = put(tmp_path, "book.pdf", pdf(*pages))
    found = read_passages(path, 17)
    assert [p.source for p in found] == [f"book.pdf, page {n}" for n in (1, 2, 3, 4)]
    assert found[2].text == "This is about pigs and it says many words in one long line so that it ends in pigs."


def test_what_two_pages_share_is_no_header(tmp_path: Path) -> None:
    path = put(tmp_path, "a.pdf", pdf(["Same words."], ["Same words."]))
    assert texts(path, 100) == ["Same words.\n\nSame words."]
    path = put(tmp_path, "b.pdf", pdf(*[["Same words."]] * 3))
    assert texts(path, 100) == ["\n\n".join(["Same words."] * 3)]


def test_a_table_at_the_edge_of_pages_stays(tmp_path: Path) -> None:
    pages = [[f"{n * 37 % 11} {n * 17 % 13}", f"Some words on {'abcde'[n]}."] for n in range(5)]
    assert "\n".join(texts(put(tmp_path, "a.pdf", pdf(*pages)), 500)).count("Some words") == 5
    assert "8 8" in "\n".join(texts(tmp_path / "a.pdf", 500))


def test_paragraphs_parted_words_and_sentences_over_a_page(tmp_path: Path) -> None:
    first = ["A long line of a paragraph that goes on and on to the ex-", "ample which ends here.", "- a list"]
    second = ["with its rest. Then the second page has its own long line of", "words (and more)."]
    path = put(tmp_path, "a.pdf", pdf(first, second))
    joined = "A long line of a paragraph that goes on and on to the example which ends here."
    assert texts(path, 16)[0] == joined
    assert texts(path, 100) == [
        f"{joined}\n\n- a list\nwith its rest.\n\nThen the second page has its own long line of words (and more)."
    ]
    assert places(path, 12)[-1] == "a.pdf, page 2"


def test_bullets_begin_lines_and_leaders_are_no_words(tmp_path: Path) -> None:
    page = [
        "A line that is as long as the others are in here, and goes",
        "• on with one thing, and it is just as long as the first one",
        "• and two. . . . . . . . . . . . . 12",
    ]
    path = put(tmp_path, "a.pdf", pdf(page))
    assert texts(path, 100)[0].split("\n")[1:] == [
        "• on with one thing, and it is just as long as the first one",
        "• and two… 12",
    ]


def test_pages_without_text_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert texts(put(tmp_path, "a.pdf", pdf(["Words."], [], []))) == ["Words."]
    assert "a.pdf: 2 of 3 pages hold no text" in capsys.readouterr().err


def locked(password: str, owner: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["Secret words."])))
    writer.encrypt(password, owner, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_that_only_its_owner_may_print_is_read(tmp_path: Path) -> None:
    assert texts(put(tmp_path, "a.pdf", locked("", "owner"))) == ["Secret words."]


# Word


def word(fill: Callable[[Any], Any]) -> bytes:
    document = docx.Document()
    fill(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def farm(document: Any) -> None:
    document.add_heading("The Farm", 0)
    document.add_paragraph("Before all.")
    document.add_heading("Cows", 2)
    document.add_paragraph("Cows eat\tgrass.")
    document.add_paragraph("hay", style="List Bullet")
    table = document.add_table(2, 3)
    for cell, text in zip((c for row in table.rows for c in row.cells), ["A", "B", "C", "1", "2", "3"], strict=True):
        cell.text = text
    table.cell(1, 1).merge(table.cell(1, 2)).text = "both"
    document.sections[0].header.paragraphs[0].text = "a header"


def test_a_word_document(tmp_path: Path) -> None:
    (found,) = read_passages(put(tmp_path, "a.docx", word(farm)), 100)
    assert found.source == "a.docx, section The Farm to section Cows"
    assert found.text == "# The Farm\n\nBefore all.\n\n## Cows\n\nCows eat\tgrass.\n\n- hay\n\nA | B | C\n1 | both"


# Folders and problems


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "b/two.md", "# H\n\ntwo")
    put(tmp_path, "b/.hidden.md", "no")
    put(tmp_path, ".git/x.md", "no")
    put(tmp_path, "A.TXT", "one")
    put(tmp_path, "c.png", b"\x89PNG")
    put(tmp_path, "d.txt", " \n")
    put(tmp_path, "e.pdf", pdf([]))
    found = read_passages(tmp_path, 40)
    assert [(p.source, p.text) for p in found] == [("A.TXT, paragraph 1", "one"), ("b/two.md, section H", "# H\n\ntwo")]
    told = capsys.readouterr().err
    assert "files not read: c.png\n" in told
    assert "left out: " in told
    assert "d.txt: holds no text" in told
    assert "e.pdf: its pages hold no text, they may be scanned. Run OCR first: ocrmypdf e.pdf" in told


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.txt", b"caf\xe9", ["not UTF-8 at byte 3", "save it again as UTF-8"]),
        ("a.txt", "x".encode("utf-16"), ["not UTF-8 at byte 0", "it looks like UTF-16"]),
        ("a.md", b"a\0b", ["NUL"]),
        ("a.txt", b"", ["holds no text"]),
        ("a.html", b"<script>x()</script>", ["holds no text"]),
        ("a.pdf", pdf([], []), ["scanned", "ocrmypdf a.pdf"]),
        ("a.pdf", b"%PDF-1.4 broken", ["not a PDF that can be read", "print it to a new PDF"]),
        ("a.pdf", b"", ["not a PDF that can be read"]),
        ("a.pdf", locked("secret", "secret"), ["encrypted", "qpdf --decrypt"]),
        ("a.docx", b"PK\3\4 broken", ["not a Word document", "save it again as .docx"]),
        ("a.docx", b"", ["not a Word document"]),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1", ["old Word file, or one under a password"]),
        ("a.docx", word(lambda document: None), ["holds no text"]),
        ("a.rtf", b"{}", ["not a kind of document", ".txt, .md"]),
        ("a/b.png", b"", ["holds no document", "It has: b.png"]),
        ("a/b.txt", b"", ["b.txt: holds no text"]),
    ],
)
def test_a_document_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes, parts: list[str]
) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(UserError) as caught:
        read_passages(tmp_path / name.split("/")[0], 40)
    for part in [path.parent.name, *parts]:
        assert part in str(caught.value)


def test_no_path_and_nothing_but_empty_documents(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: there is no such file or folder.*\.docx"):
        read_passages(tmp_path / "nowhere", 40)
    put(tmp_path, "a.txt", "")
    put(tmp_path, "b.txt", "")
    with pytest.raises(UserError, match="none of its 2 documents holds text"):
        read_passages(tmp_path, 40)


@pytest.mark.parametrize(("ending", "library"), [("pdf", "pypdf"), ("docx", "docx"), ("html", "selectolax")])
def test_a_missing_library_gives_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, library: str
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r'Run: pip install "yearling\[documents\]"'):
        read_passages(put(tmp_path, f"a.{ending}", b"x"), 40)
    assert read_passages(put(tmp_path, "a.txt", "x"), 40)[0].text == "x"


def test_the_same_files_give_the_same_passages(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        put(tmp_path, f"{folder}/a.docx", word(farm))
        put(tmp_path, f"{folder}/b.pdf", pdf(["Words."]))
    first, second = (read_passages(tmp_path / folder, 40) for folder in ("one", "two"))
    assert first == second
    assert all(isinstance(passage, Passage) for passage in first)


def test_published_instructions_as_a_document(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "shared" / "data" / "self_instruct_seed_tasks.jsonl"
    if not path.exists():
        pytest.skip("the published seed tasks are not on this machine")
    text = "\n\n".join(json.loads(line)["instruction"] for line in path.read_text(encoding="utf-8").splitlines())
    found = read_passages(put(tmp_path, "tasks.txt", text), 100)
    assert "".join("".join(p.text for p in found).split()) == "".join(text.split())
    assert all(25 <= word_count(p.text) <= 150 for p in found)
