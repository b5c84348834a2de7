"""Files of phrases that are shipped with the package: sections of lines, comments left out.

In: a package and a file of it. Out: the lines of each section, in order, in one Unicode form.
"""

from __future__ import annotations

import re
import unicodedata
from importlib.resources import files
from typing import Literal

_HEADING = re.compile(r"\[(\w+)\]")


def sections(package: str, file: str, form: Literal["NFC", "NFKC"] = "NFC") -> dict[str, list[str]]:
    """Lines by section; one is headed `[name]`, and a line that begins with # is a comment."""
    found: dict[str, list[str]] = {}
    section: list[str] = []
    text = (files(package) / file).read_text(encoding="utf-8")
    for line in unicodedata.normalize(form, text).splitlines():
        if heading := _HEADING.fullmatch(line):
            section = found.setdefault(heading[1], [])
        elif line and not line.startswith("#"):
            section.append(line)
    return found
