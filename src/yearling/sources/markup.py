"""The HTML of a post as plain text that a person could have typed.

In: an HTML fragment. Out: paragraphs parted by blank lines, code fenced, quotes, lists and tables marked.
Links keep their words and lose their address; a picture leaves its description. Not for whole web pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser

_HEADINGS = {"h1": "# ", "h2": "## ", "h3": "### ", "h4": "#### ", "h5": "##### ", "h6": "###### "}
_BLOCKS = {"p", "div", "blockquote", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "hr", *_HEADINGS}
_HIDDEN = {"script", "style"}
_SPACE = re.compile(r"\s+")
_LANGUAGE = re.compile(r"\blang(?:uage)?-([\w+#.-]+)")
_BEFORE = {"sup": "^", "sub": "_"}  # else 2<sup>32</sup> would read 232


def html_to_text(html: str) -> str:
    """The text of an HTML fragment."""
    reader = _Reader()
    # the parser stops dead at marked sections that it does not know
    reader.feed(html.replace("<![", "&lt;!["))
    reader.close()
    return reader.text()


def _ticks(code: str, least: int) -> str:
    """A row of backticks longer than any in the code."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", code)), default=0))


class _Reader(HTMLParser):
    """Collects blocks; `_marks` holds what begins the lines of the quotes and list items that are open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []  # blocks, each after its first with the line breaks before it
        self._words: list[str] = []  # of the block that is open
        self._code: list[str] | None = None
        self._preformatted = False
        self._language = self._heading = ""
        self._item = ""  # the mark of a list item whose first line is not written yet
        self._hidden = self._cells = 0
        self._marks: list[str] = []
        self._lists: list[int] = []  # for each open list its next number, or 0 where it has bullets
        self._listed = self._tabled = False  # whether the last block was part of a list, of a table

    def text(self) -> str:
        """All that was read."""
        self._end_code()
        self._flush()
        return "".join(self._pieces)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        names = {name: value or "" for name, value in attrs}
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "pre":
            self._end_code()
            self._flush()
            self._code, self._preformatted, self._language = [], True, _language(names)
        elif tag == "code":
            self._language = self._language or _language(names)
            self._code = [] if self._code is None else self._code
        elif tag == "br":
            self._add("\n")
        elif tag == "img":
            described = " ".join(names["alt"].split()) if "alt" in names else ""
            self._add(f"[image: {described}]" if described else "[image]")
        elif tag in ("td", "th"):
            self._add(" | " if self._cells else "")
            self._cells += 1
        elif tag in _BEFORE:
            self._add(_BEFORE[tag])
        elif tag in _BLOCKS:
            self._open(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "pre" or (tag == "code" and not self._preformatted):
            self._end_code()
        elif tag in _BLOCKS:
            self._end_code()
            self._flush()
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            elif tag in ("blockquote", "li") and self._marks:
                self._marks.pop()
                self._item = ""
            elif tag == "tr":
                self._cells = 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._add(data if self._preformatted else _SPACE.sub(" ", data))

    def _add(self, text: str) -> None:
        (self._words if self._code is None else self._code).append(text)

    def _open(self, tag: str) -> None:
        self._end_code()
        self._flush()
        if tag in ("ul", "ol"):
            self._lists.append(1 if tag == "ol" else 0)
        elif tag == "blockquote":
            self._marks.append("> ")
        elif tag == "li":
            number = self._lists[-1] if self._lists else 0
            self._item = f"{number}. " if number else "- "
            self._marks.append(" " * len(self._item))
            if number:
                self._lists[-1] += 1
        elif tag == "tr":
            self._cells = 0
        self._heading = _HEADINGS.get(tag, "")

    def _end_code(self) -> None:
        if self._code is None:
            return
        code, language = "".join(self._code), self._language
        fenced, self._code, self._preformatted, self._language = self._preformatted, None, False, ""
        if fenced:
            code = code.replace("\r\n", "\n").removeprefix("\n").rstrip()
            fence = _ticks(code, 3)
            if code:
                self._write(f"{fence}{language}\n{code}\n{fence}")
        elif code.strip():
            tick = _ticks(code, 1)
            self._words.append(f"{tick} {code.strip()} {tick}" if len(tick) > 1 else f"`{code.strip()}`")

    def _flush(self) -> None:
        text = re.sub(r" *\n *", "\n", re.sub(" +", " ", "".join(self._words))).strip()
        self._words = []
        if text:
            self._write(self._heading + text)
        self._heading = ""

    def _write(self, text: str) -> None:
        """Add a block: a list item or table row stands right under the one before it, all else after a blank line."""
        row = self._cells > 0
        tight = (bool(self._item) and self._listed) or (row and self._tabled)
        later = "".join(self._marks)
        first = later[: len(later) - len(self._item)] + self._item
        if self._pieces:
            self._pieces.append("\n" if tight else "\n\n")
        self._pieces.append(first + text.replace("\n", f"\n{later}"))
        self._item, self._listed, self._tabled = "", bool(self._lists), row


def _language(names: Mapping[str, str]) -> str:
    found = _LANGUAGE.search(names["class"]) if "class" in names else None
    return found[1] if found else ""
