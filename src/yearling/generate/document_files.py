"""Documents as they lie on disk, read as blocks of text: headings, paragraphs, and lists, tables and code.

In: a txt, md, html, pdf or docx file. Out: its blocks in order, each with the place where it begins; none where it
holds no text. What is no part of the text is left away: scripts and navigation of web pages, and front matter.
Does not look into pictures, and does not read notes, headers and text boxes of a docx.
"""

from __future__ import annotations

import importlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from yearling.errors import UserError
from yearling.generate.pdf_pages import pdf_paragraphs

Kind = Literal["heading", "text", "lines"]  # lines: lists, tables and code, which are cut between lines
Item = tuple[Kind, str]
# what a broken docx raises beside python-docx's own errors; those of its XML parser are SyntaxError
BROKEN = (AttributeError, EOFError, LookupError, NotImplementedError, OSError, SyntaxError, TypeError, ValueError)
BOM = b"\xef\xbb\xbf"
OLE = b"\xd0\xcf\x11\xe0"  # old Word files, and new ones under a password
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})\s*$")
_LISTED = re.compile(r"\s*(?:\||(?:[-*+>]|\d+[.)])(?:\s|$))")
_FRONT = re.compile(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_LINE = re.compile(r"[\w-]+[ \t]*:|[ \t#-]|$")

_HIDDEN = {"script", "style", "noscript", "template", "nav", "footer", "svg", "iframe", "button", "select", "textarea"}
_HTML_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_GROUPS = {"ul", "ol", "dl", "table"}
_BREAKS = {"address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dt"}
_BREAKS |= {"fieldset", "figcaption", "figure", "form", "header", "hr", "li", "main", "p", "pre", "section", "summary"}
_BREAKS |= {"tr", *_GROUPS}


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, a paragraph, or a list, table or code, and where it begins."""

    kind: Kind
    text: str
    place: str


def _placed(items: Iterable[Item]) -> list[Block]:
    """Items with their section, or counted as paragraphs before the first heading."""
    blocks: list[Block] = []
    section, count = "", 0
    for kind, text in items:
        if not text.strip():
            continue
        if kind == "heading":
            section = " ".join(text.split("\n")[0].strip(" #").split()) or section
        count += 1
        blocks.append(Block(kind, text, f"section {section}" if section else f"paragraph {count}"))
    return blocks


def _decoded(file: Path, raw: bytes) -> str:
    try:
        text = raw.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        looks = " (it looks like UTF-16)" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise UserError(
            f"{file}: not UTF-8 at byte {error.start}{looks}. Open it in an editor and save it again as UTF-8."
        ) from None
    if "\0" in text:
        raise UserError(f"{file}: not a text (it holds NUL bytes). Take it away, or give it its true ending.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def _library(name: str, file: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f'{file}: {file.suffix.lower()} files need {name.split(".")[0]}. Run: pip install "yearling[documents]"'
        ) from None


def _read_text(file: Path) -> list[Block]:
    text = _decoded(file, _bytes(file))
    return _placed(("text", part.strip()) for part in re.split(r"\n[^\S\n]*\n", text))


def _read_markdown(file: Path) -> list[Block]:
    text = _decoded(file, _bytes(file))
    front = _FRONT.match(text)
    if front and all(_FRONT_LINE.match(line) for line in front[1].split("\n")):
        text = text[front.end() :]
    return _placed(_markdown(text))


def _markdown(text: str) -> Iterator[Item]:
    """Headings, fenced code, and what stands between blank lines; the markup stays."""
    held: list[str] = []
    fence = ""

    def end(kind: Kind | None = None) -> Iterator[Item]:
        if held:
            yield kind or ("lines" if _LISTED.match(held[0]) else "text"), "\n".join(held).strip("\n")
        held.clear()

    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            held.append(line)
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip(" \t" + fence[0]):
                yield from end("lines")
                fence = ""
        elif mark:
            yield from end()
            held.append(line)
            fence = mark[1]
        elif _HEADING.match(line):
            yield from end()
            yield "heading", line.strip()
        elif len(held) == 1 and _UNDERLINE.match(line) and not _LISTED.match(held[0]):
            held.append(line)
            yield from end("heading")
        elif line.strip():
            held.append(line.rstrip())
        else:
            yield from end()
    yield from end("lines" if fence else None)


def _read_html(file: Path) -> list[Block]:
    parser = _library("selectolax.lexbor", file)
    raw = _bytes(file)
    # a page may name its encoding itself; then it is read as a browser reads it
    told = re.search(rb"<meta[^>]+charset", raw[:4096], re.IGNORECASE)
    tree = parser.LexborHTMLParser(raw, encoding=True) if told else parser.LexborHTMLParser(_decoded(file, raw))
    roots = (root for root in (tree.css_first("main"), tree.body) if root is not None)
    return next((blocks for root in roots if (blocks := _placed(_html_items(root)))), [])


def _html_events(root: Any) -> Iterator[tuple[str, str]]:
    """("text", words), ("open", tag) and ("close", tag) in order, without recursion: pages may be nested very deep."""
    waiting = [(root, False)]
    while waiting:
        node, opened = waiting.pop()
        if opened:
            yield "close", node.tag
        elif node.is_text_node:
            yield "text", node.text_content or ""
        elif node.is_element_node and not _is_hidden(node):
            yield "open", node.tag
            waiting.append((node, True))
            waiting += reversed([(child, False) for child in node.iter(include_text=True)])


def _is_hidden(node: Any) -> bool:
    said = node.attributes
    if node.tag in _HIDDEN or "hidden" in said or said.get("role") == "navigation" or said.get("aria-hidden") == "true":
        return True
    # a header that has no heading is the top of a page, with its menu
    return node.tag == "header" and node.css_first("h1, h2, h3, h4, h5, h6") is None


class _Page:
    """What was read of a page: its items, and the text of the one that is open.

    A whole list or table is one item, with a line for each entry or row.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._held: list[str] = []
        self._heading = ""
        self._groups = self._pre = 0

    def text(self, words: str) -> None:
        """Words of the item that is open; outside of code all white space is one space."""
        spaced = words if self._pre else re.sub(r"\s+", " ", words)
        self._add(spaced.lstrip(" ") if not self._pre and self._at_start(" \n") else spaced)

    def open(self, tag: str) -> None:
        """An element begins."""
        if tag == "br":
            self._add("\n")
        elif tag in ("td", "th"):
            self._add("" if self._at_start("\n") else " | ")
        elif tag in _HTML_HEADINGS:
            self.end()
            self._heading = _HTML_HEADINGS[tag]
        elif tag in _BREAKS:
            self._part()
            self._add("- " if tag == "li" else "")
            self._groups += tag in _GROUPS
            self._pre += tag == "pre"

    def close(self, tag: str) -> None:
        """An element ends."""
        if tag in _HTML_HEADINGS:
            self.end()
            self._heading = ""
        elif tag in _BREAKS:
            if self._groups == 1 and tag in _GROUPS:
                self.end()
            else:
                self._part()
            self._groups -= tag in _GROUPS
            self._pre -= tag == "pre"

    def end(self) -> None:
        """The open item is whole."""
        kind: Kind = "heading" if self._heading else "lines" if self._groups or self._pre else "text"
        lines = "".join(self._held).split("\n")
        if kind == "heading":
            words = " ".join(lines).split()
            lines = [" ".join([self._heading, *words])] if words else []
        text = "\n".join(line.strip() if kind == "text" else line.rstrip() for line in lines).strip("\n")
        if text.strip(" -|\n"):
            self.items.append((kind, text))
        self._held = []

    def _add(self, text: str) -> None:
        if text:
            self._held.append(text)

    def _at_start(self, signs: str) -> bool:
        return not self._held or self._held[-1][-1] in signs

    def _part(self) -> None:
        """A new item begins, or a new line inside a group."""
        if not self._groups:
            self.end()
        elif not self._at_start("\n") and self._held[-1] != "- ":
            self._add("\n")


def _html_items(root: Any) -> list[Item]:
    page = _Page()
    for event, value in _html_events(root):
        if event == "text":
            page.text(value)
        elif event == "open":
            page.open(value)
        else:
            page.close(value)
    page.end()
    return page.items


def _read_docx(file: Path) -> list[Block]:
    docx = _library("docx", file)
    raw = _bytes(file)
    if raw.startswith(OLE):
        raise UserError(f"{file}: an old Word file, or one under a password. Save it as .docx without a password.")
    try:
        content = list(docx.Document(io.BytesIO(raw)).iter_inner_content())
        return _placed([_docx_item(part) for part in content])
    except (_library("docx.opc.exceptions", file).OpcError, zipfile.BadZipFile, zlib.error, *BROKEN) as error:
        raise UserError(
            f"{file}: not a Word document that can be read ({error}). Open it in an editor and save it again as .docx."
        ) from None


def _docx_item(part: Any) -> Item:
    """A paragraph, or a table with a line for each row; cells that were merged are told once."""
    if hasattr(part, "rows"):
        rows = ({id(cell._tc): " ".join(cell.text.split()) for cell in row.cells} for row in part.rows)
        return "lines", "\n".join(" | ".join(cells.values()) for cells in rows if any(cells.values()))
    style = (part.style.name or "") if part.style is not None else ""
    text = part.text.strip()
    level = re.fullmatch(r"Heading (\d)", style)
    if text and (level or style == "Title"):
        return "heading", f"{'#' * int(level[1] if level else 1)} {' '.join(text.split())}"
    return "text", f"- {text}" if text and style.startswith("List") else text


def _read_pdf(file: Path) -> list[Block]:
    _library("pypdf", file)
    return [Block("text", text, f"page {page}") for page, text in pdf_paragraphs(file, _bytes(file))]


READERS: Mapping[str, Callable[[Path], list[Block]]] = {
    ".txt": _read_text,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
    ".docx": _read_docx,
}
