"""The paragraphs of a PDF, put together from the lines on its pages.

In: the bytes of a PDF. Out: its paragraphs with their pages, without the headers and footers that its pages repeat.
Needs pypdf. Does not know headings, columns or tables, for a PDF does not say them, and does not read scans.
"""

from __future__ import annotations

import io
import itertools
import logging
import re
import zlib
from collections import Counter
from pathlib import Path

from yearling.errors import UserError
from yearling.progress import say

SHORT_LINE = 0.8  # a PDF line that ends a paragraph is shorter than this share of its page's longest
# what a broken PDF raises beside pypdf's own errors
BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
EDGE = 3  # lines at the top and the bottom of a PDF page that may be repeated ones
_SENTENCE = re.compile(r""".*?(?:[.!?…]+["'”’»)\]]*(?=\s|$)|[。！？]["'”’」』）]*)""")
_LEADERS = re.compile(r"(?:[.·_]\s?){6,}")  # the dots of a table of contents
_BULLET = re.compile(r"[•‣▪◦●]")
_END = re.compile(r"""[.!?…。！？]["'”’»)\]」』）]*$""")


def pdf_paragraphs(file: Path, raw: bytes) -> list[tuple[int, str]]:
    """Page, counted from 1, and text of each paragraph; pages without text beside others are noted."""
    pages = [[_LEADERS.sub("… ", line).rstrip() for line in text.split("\n")] for text in _texts(file, raw)]
    empty = sum(not any(line for line in lines) for lines in pages)
    if 0 < empty < len(pages):
        say(f"{file.name}: {empty} of {len(pages)} pages hold no text and are left out; they may be scanned")
    return _paragraphs(_without_repeated(pages))


def _texts(file: Path, raw: bytes) -> list[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError, WrongPasswordError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every slip that it mends by itself
    locked = f"{file}: the PDF is encrypted. Write a copy without: qpdf --decrypt --password=... {file.name} open.pdf"
    try:
        reader = PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError(locked)
        texts = [page.extract_text() for page in reader.pages]
    except (DependencyError, FileNotDecryptedError, WrongPasswordError):
        raise UserError(locked) from None
    except (PyPdfError, zlib.error, *BROKEN) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{file}: not a PDF that can be read ({said}). Open it in a viewer and print it to a new PDF."
        ) from None
    # a broken font table can yield halves of characters
    return [text.encode("utf-8", "ignore").decode().replace("\0", "") for text in texts]


def _without_repeated(pages: list[list[str]]) -> list[list[str]]:
    """Pages without headers and footers: lines that half of them, and three at least, have at the same edge."""
    kept = [list(lines) for lines in pages]
    for side in (1, -1):
        edges = [[line for line in lines[::side] if line.strip()][:EDGE] for lines in pages]
        forms = [{form for line in edge for form in _forms(line, page)} for page, edge in enumerate(edges)]
        counts = Counter(form for found in forms for form in found)
        repeated = {form for form, count in counts.items() if count >= max(3, (len(pages) + 1) // 2)}
        for page, lines in enumerate(kept):
            place, left = (0 if side == 1 else -1), EDGE
            while lines and left and (not lines[place].strip() or repeated & _forms(lines[place], page)):
                left -= bool(lines.pop(place).strip())
    return kept if any(kept) else pages


def _forms(line: str, page: int) -> set[str]:
    """The line, and the same with its numbers counted from the page's own: `Page 3 of 9` is one line on all pages."""
    text = " ".join(line.split())
    numbers = list(re.finditer(r"\d{1,6}", text))
    if not text or len(numbers) > 3:
        return {text} - {""}
    found = set()
    for counted in itertools.product((False, True), repeat=len(numbers)):
        form, end = "", 0
        for number, relative in zip(numbers, counted, strict=True):
            form += text[end : number.start()] + (f"<{int(number[0]) - page}>" if relative else number[0])
            end = number.end()
        found.add(form + text[end:])
    return found


def _paragraphs(pages: list[list[str]]) -> list[tuple[int, str]]:
    """Paragraphs, put together from the lines of pages; a sentence that a page cuts is taken over from the next one."""
    found: list[tuple[int, str]] = []
    text, last, place = "", "", 1
    for number, lines in enumerate(pages, start=1):
        width, taking = max(map(len, lines), default=0), bool(text)
        for line in (line.strip() for line in lines):
            taken = _SENTENCE.match(line) if taking else None
            head, rest = (line[: taken.end()], line[taken.end() :].strip()) if taken else (line, "")
            if text and (not head or (_END.search(last) and len(last) < SHORT_LINE * width and not taking)):
                found.append((place, text))
                text, taking = "", False
            place = place if text else number
            text, last = _joined(text, head, len(last) < SHORT_LINE * width), head
            if taken:
                found.append((place, text))
                text, last, place, taking = rest, line, number, False
        if _END.search(text):
            found.append((place, text))
            text = ""
    return [*found, (place, text)] if text else found


def _joined(text: str, line: str, short: bool) -> str:
    """A line after those before it: a parted word is made whole; a short line keeps its end, a bullet its start."""
    if not text or not line:
        return text or line
    if re.search(r"[^\W\d_]-$", text) and line[0].islower():
        return text[:-1] + line
    return text + ("\n" if short or _BULLET.match(line) else " ") + line
