"""What a text shows in which personal data may be found: one expression for many texts at once.

In: nothing. Out: a pattern. Finds nothing itself: `personal.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from yearling.measure.personal import ARTICLES, LISTS, MARKS, ROAD


@cache
def sign() -> str:
    """A pattern (RE2) for texts in ASCII: `find` finds nothing where it does not match.

    It may match too much, never too little, and is to be matched over many texts at once. Each line of it is what one
    of the expressions of `personal.py` asks for, without what only narrows that down, or counts characters, which is
    dear.
    """

    def either(words: Iterable[str]) -> str:
        return "|".join(re.escape(word) for word in sorted(words) if word.isascii())

    gap, name = r"\s\v\x1c-\x1f", r"[A-Z][\w'.-]*"  # all that Python calls a space
    within, others = (
        either(mark for mark in MARKS if mark != "://" and (mark[0] == "_") is here) for here in (True, False)
    )
    told = "|".join(LISTS["password"] + LISTS["key"])
    mixed = r"[!-~]*(?:[A-Za-z][!-~]*(?:\d|[!#$%&*+@^~?][!-~])|[\d!#$%&*+@^~?][!-~]*[A-Za-z])"
    behind = rf"(?:{name},? )+(?:(?:{ROAD})\b|[A-Z]+ ?\d)|(?:(?:bis|ter),? )?(?i:{either(LISTS['rue'])}) "
    ahead = rf"[\w-](?i:{either(LISTS['strasse'])})|\b(?:{ARTICLES}) {name}|\b(?:{either(LISTS['calle'])})[^\n;.\d]+"
    return "|".join(
        (
            rf"{within}|(?:^|[^A-Za-z0-9])(?:{others})",
            r"://[^\s/@]+:[^\s/@]+@",
            rf"(?i:{told})[^\n.!?:=]*[:=]?[{gap}\"'`*(]*{mixed}",
            r"[\w.+%'-]@[\w-]+(?:\.[\w-]|\W?[\[(])|[\[(]\W?(?i:at)\W?[\])]",
            r"(?:^|[^A-Za-z0-9_+-])\+?\(?\d(?:[ /.()-]{0,4}\d){5}",  # a card or a telephone number
            r"(?:^|[^A-Za-z0-9])[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]){11}",
            rf"\d[A-Za-z]?,? (?:{behind})",
            rf"(?:{ahead})[{gap}]\d{{1,3}}(?:\D|$)",
        )
    )
