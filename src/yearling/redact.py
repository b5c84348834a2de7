"""Secrets taken out of text, at the places where text leaves the process.

In: any text. Out: the same text with every secret of the environment replaced.
Does not look for what merely resembles a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import quote

SHORTEST = 8  # a shorter value is no key, and would be found in innocent words
_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|CONNECTION_STRING|SAS$", re.I)
MARK = "[secret]"


def redactor(*more: str) -> Callable[[str], str]:
    """A function that takes the environment's secrets, and `more`, out of a text; build it once for many texts."""
    values = {value.strip() for name, value in os.environ.items() if _NAMES.search(name)} | set(more)
    # as it is, as an address holds it, as some write JSON
    secrets = {
        form
        for value in values
        if len(value) >= SHORTEST
        for form in (value, quote(value, safe=""), value.replace("/", "\\/"))
    }
    if not secrets:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(secret) for secret in sorted(secrets, key=len, reverse=True)))
    return lambda text: pattern.sub(MARK, text)


def redact(text: str) -> str:
    """The text without the secrets of the environment as it is now."""
    return redactor()(text)
