"""Texts as tokens, as words counted, and folded for comparison.

In: any Unicode text. Out: token lists, a word count, a folded form.
Does not stem, translate, or guess the language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

Tokenizer = Literal["unicode", "rouge"]

# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han (with its extensions).
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Punctuation that belongs to those scripts, so that a text of them holds nothing else to count as words.
UNSPACED_MARKS = "\u3000-\u3004\u3008-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
# What may close or open a sentence without changing what it says; signs such as - % # + do change it.
OUTER = (
    " .,;:!?\u2026\"'`()[]{}<>\u00ab\u00bb\u2039\u203a\u201e\u201c\u201d\u201a\u2018\u2019"
    "\u00bf\u00a1\u060c\u061f\u3001\u3002\u300c\u300d\u300e\u300f"
)

# Between digits such a mark is part of a number; anywhere else it reads as a space, as a list's mark before all does.
_IN_NUMBERS = re.compile(rf"(?<=\d)[{re.escape(OUTER)}](?=\d)")
_NUMBER = re.compile(rf"\d[{re.escape(OUTER)}]\d")
_AS_SPACES = str.maketrans(dict.fromkeys(OUTER, " "))
_LIST_MARK = re.compile("[-*\u2022\u2013\u2014] ")
# Of each byte of an ASCII text: letters in lower case, digits, and a space for all else.
_BY_BYTE = bytes(ord(chr(byte).lower()) if byte < 128 and chr(byte).isalnum() else 32 for byte in range(256))
_MARKS_BY_BYTE = bytes(32 if chr(byte) in OUTER else byte for byte in range(256))
_NO_DIGITS = bytes(byte for byte in range(256) if not 48 <= byte <= 57)
_TOKEN = re.compile(rf"[{UNSPACED}]|[^ {UNSPACED}]+")
_UNSPACED_RUN = re.compile(rf"[{UNSPACED}{UNSPACED_MARKS}]+")


def rouge_tokens(text: str) -> list[str]:
    """Tokens as the published novelty rule has them: lowercased runs of a-z and 0-9, all else separates."""
    # several times faster than a regular expression
    return text.lower().encode("ascii", "replace").translate(_BY_BYTE).decode().split()


def unicode_tokens(text: str) -> list[str]:
    """Tokens of any script; on ASCII text the same as `rouge_tokens`.

    Letters, digits and their marks form words after NFKC and case folding; scripts without spaces go
    character by character. Emoji and symbols are no tokens.
    """
    if text.isascii():
        return rouge_tokens(text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Marks count as letters: Arabic vowels and Indic vowel signs would otherwise cut words apart.
    return _TOKEN.findall("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded))


TOKENIZERS: dict[Tokenizer, Callable[[str], list[str]]] = {"unicode": unicode_tokens, "rouge": rouge_tokens}


def word_count(text: str) -> int:
    """Words between spaces, plus one word for each two characters of a script that has no spaces."""
    if text.isascii():
        return len(text.split())
    unspaced = sum(len(run) for run in _UNSPACED_RUN.findall(text) if not run.isspace())
    return len(_UNSPACED_RUN.sub(" ", text).split()) + (unspaced + 1) // 2


def fold_spaces(text: str) -> str:
    """Compatibility forms, case and runs of white space folded away."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def fold(text: str) -> str:
    """`fold_spaces`, and sentence punctuation and quotes around the whole text taken off (unless nothing is left)."""
    spaced = fold_spaces(text)
    return spaced.strip(OUTER) or spaced


def fold_marks(text: str) -> str:
    """`fold_spaces`, and the marks of sentences and quotes taken out everywhere but between two digits."""
    spaced = fold_spaces(text)
    bare = spaced[2:] if _LIST_MARK.match(spaced) else spaced
    if not (_has_digits(bare) and _NUMBER.search(bare)):  # most texts
        return " ".join(_bare(bare).split()) or spaced
    kept, parts = _IN_NUMBERS.findall(bare), _IN_NUMBERS.split(bare)
    told = [_bare(part) for part in parts]
    joined = told[0] + "".join(mark + part for mark, part in zip(kept, told[1:], strict=True))
    return " ".join(joined.split()) or spaced


def _bare(text: str) -> str:
    """With a space for each mark."""
    return text.encode().translate(_MARKS_BY_BYTE).decode() if text.isascii() else text.translate(_AS_SPACES)


def _has_digits(text: str) -> bool:
    """Whether two digits or more may be there; a look that costs little."""
    return not text.isascii() or len(text.encode().translate(None, _NO_DIGITS)) > 1
