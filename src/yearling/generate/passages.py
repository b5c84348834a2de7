"""Documents of the user's own, cut into passages that a teacher can ask about.

In: a txt, md, html, pdf or docx file, or a folder of them, and about how many words a passage shall have. Out: passages
in the order of files and text, each with the place it came from; the same files give the same passages everywhere.
Cuts fall at headings, then paragraphs, then sentences; no word that was read is lost. Does not open the files itself.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from yearling.errors import UserError
from yearling.generate.document_files import READERS, Block
from yearling.measure.text import UNSPACED, word_count
from yearling.progress import say
from yearling.record import digest

LOOSE = 1.25  # a passage may be so many times as long as asked
SHOWN = 12  # names in a message
SHORT_FORMS = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "no", "nos", "fig", "cf", "etc", "e.g", "i.e", "inc", "vol"}

_MARK = re.compile(r"""[.!?…。！？｡]+["'”’»)\]」』）]*(\s*)""")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document; `key` depends on its text, and on how many equal ones came before."""

    text: str
    source: str  # "guide.md, section Setup"
    key: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut any more; `glue` joins it to the piece before, `opens` says that a heading leads it."""

    text: str
    place: str
    words: int
    glue: str = "\n\n"
    opens: bool = False


def read_passages(path: Path, words: int) -> list[Passage]:
    """The passages of a document or of all documents under a folder.

    Raises UserError where a document cannot be read, or none holds text; one without text beside others is noted.
    """
    files = _files(path)
    passages: list[Passage] = []
    seen: Counter[str] = Counter()
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        blocks = READERS[file.suffix.lower()](file)
        if not blocks and len(files) == 1:
            raise UserError(_without_text(file))
        if not blocks:
            say(f"left out: {_without_text(file)}")
        for group in _packed(list(_pieces(blocks, words)), words):
            text = group[0].text + "".join(piece.glue + piece.text for piece in group[1:])
            places = dict.fromkeys((group[0].place, group[-1].place))
            seen[text] += 1
            passages.append(Passage(text, f"{name}, {' to '.join(places)}", digest([text, seen[text]])[:24]))
    if not passages:
        raise UserError(f"{path}: none of its {len(files)} documents holds text. Put one with text into the folder.")
    return passages


def _files(path: Path) -> list[Path]:
    known = ", ".join(READERS)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder. Give a document ({known}) or a folder of them.")
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise UserError(f"{path}: not a kind of document that is read. Save it as one of: {known}.")
        return [path]
    inside = sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.relative_to(path).as_posix())
    shown = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    found = [p for p in shown if p.suffix.lower() in READERS]
    others = [p.relative_to(path).as_posix() for p in shown if p not in set(found)]
    listed = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if len(others) > SHOWN else "")
    if not found:
        raise UserError(f"{path}: the folder holds no document ({known}). It has: {listed or 'nothing'}.")
    if others:
        say(f"{path.name}: files not read: {listed}")
    return found


def _without_text(file: Path) -> str:
    if file.suffix.lower() == ".pdf":
        return f"{file}: its pages hold no text, they may be scanned. Run OCR first: ocrmypdf {file.name} text.pdf"
    return f"{file}: holds no text. Take it away or fill it."


def _pieces(blocks: Iterable[Block], words: int) -> Iterator[_Piece]:
    """Blocks with their headings before them, those that are too long cut into even parts."""
    heads: list[Block] = []
    for block in blocks:
        if block.kind == "heading":
            heads.append(block)
            continue
        first, *rest = _parts(block, words)
        text = "\n\n".join([*(head.text for head in heads), first.strip()])
        yield _Piece(text, (heads or [block])[-1].place, word_count(text), opens=bool(heads))
        heads, before = [], first
        for part in rest:
            yield _Piece(part.strip(), block.place, word_count(part), before[len(before.rstrip()) :])
            before = part
    if heads:
        text = "\n\n".join(head.text for head in heads)
        yield _Piece(text, heads[-1].place, word_count(text), opens=True)


def _parts(block: Block, words: int) -> list[str]:
    """A block whole, or in parts of about equal length that are no longer than asked, where its sentences allow."""
    total = word_count(block.text)
    if total <= words * LOOSE:
        return [block.text]
    share = total / math.ceil(total / words)
    parts: list[str] = []
    current, done = "", 0
    for unit in _units(block.text, words, _CUTS if block.kind == "text" else _CUTS[1:]):
        size = word_count(unit)
        goal = share * (len(parts) + 1)
        if current.strip() and unit.strip() and done + size - goal > goal - done:
            parts.append(current)
            current = ""
        current, done = current + unit, done + size
    return [*parts, current]


def _units(text: str, words: int, cuts: Sequence[Callable[[str], Iterator[int]]]) -> list[str]:
    """Sentences with the space after them; one that is too long by lines, then words, then unspaced signs."""
    ends = [0, *cuts[0](text), len(text)]
    units = [text[start:end] for start, end in itertools.pairwise(ends) if start < end]
    if len(cuts) == 1:
        return units
    return [u for unit in units for u in (_units(unit, words, cuts[1:]) if word_count(unit) > words else [unit])]


def _sentence_ends(text: str) -> Iterator[int]:
    """Where sentences end: not where a small letter goes on, nor after an initial or a short form."""
    for mark in _MARK.finditer(text):
        if mark[0][0] in "。！？｡":
            yield mark.end()
        elif mark[1] and not text[mark.end() : mark.end() + 1].islower():
            word = text[max(0, mark.start() - 8) : mark.start()].split()[-1:]
            initial = word and (len(word[0].lstrip("(")) == 1 or word[0].lstrip("(").lower() in SHORT_FORMS)
            if mark[0][:2].strip() != "." or not initial:
                yield mark.end()


def _ends_of(pattern: str) -> Callable[[str], Iterator[int]]:
    compiled = re.compile(pattern)
    return lambda text: (found.end() for found in compiled.finditer(text))


_CUTS = (_sentence_ends, _ends_of(r"\n+"), _ends_of(r"\s+"), _ends_of(f"[{UNSPACED}]"))


def _packed(pieces: Sequence[_Piece], words: int) -> list[list[_Piece]]:
    """Pieces in groups of about `words`, a scrap (less than a quarter of that) is no group.

    A heading opens a new group where the one before is half full.
    """
    groups: list[list[_Piece]] = []
    size = 0
    for piece in pieces:
        full = size + piece.words > words * LOOSE or (piece.opens and size * 2 >= words)
        if groups and (size * 4 < words or not full):
            groups[-1].append(piece)
            size += piece.words
        else:
            groups.append([piece])
            size = piece.words
    if len(groups) > 1 and size * 4 < words:
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups
