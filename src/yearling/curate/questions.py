"""What kind of answer a question admits: any of many, or one.

In: a prompt and the code of its language. Out: "open" where two different answers may both be good, "thing" where one
thing is asked for (who, which, what is the ...), "closed" where there is one answer of another kind (how many, when,
whether). Goes by the words of `questions.txt`, in ten languages; where in doubt, a question is open.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from yearling.measure.text import fold_spaces

Kind = Literal["open", "thing", "closed"]
READ = 2000  # characters of a prompt that are looked at


def _patterns() -> dict[str, re.Pattern[str]]:
    """By section: what stands in any of its lines."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in files("yearling.curate").joinpath("questions.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#"):
            found.setdefault(section, []).append(line)
    return {section: re.compile("|".join(lines)) for section, lines in found.items()}


PATTERNS = _patterns()
NEVER = re.compile(r"(?!)")
POLITE = re.compile(r"[\s\"'“„«¿¡]*((please|bitte|por favor|per favore|s'il (te|vous) pla[iî]t|пожалуйста|请)[ ,¿]*)?")
QUESTION = re.compile(r"[?？]|か[。．]?$|吗|呢")
COMPUTED = re.compile(r"calculate|compute|convert|solve|add|multiply|divide|subtract|count|evaluate|be?rechne|calcul")


@lru_cache(4096)
def kind_of(prompt: str, language: str) -> Kind:
    """Whether a prompt admits many answers, asks for one thing, or is closed in another way."""
    if f"thing {language}" not in PATTERNS:
        return "open"
    text = POLITE.sub("", fold_spaces(prompt[:READ]), count=1)
    if PATTERNS.get(f"starts-open {language}", NEVER).match(text) or PATTERNS[f"open {language}"].search(text):
        return "open"
    if PATTERNS[f"thing {language}"].match(text):
        return "thing"
    return "closed" if QUESTION.search(text) or COMPUTED.match(text) else "open"
