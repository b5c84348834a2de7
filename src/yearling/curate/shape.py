"""Rows that are broken as text, whatever they say: the checks of the shape judge.

In: a prompt and a completion. Out: the reason against the row in plain words, or None.
Each check would rather let a bad row pass than reject a good one. Does not read for sense, and does not know the
teacher's finish reason: an answer cut at its token limit is rejected where it is born.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from yearling.measure.text import fold_spaces, unicode_tokens, word_count

# Words that end no sentence; only after five others, as a short answer may well be "and" or "the".
DANGLING = frozenset(
    ("and", "or", "the", "an", "because", "und", "oder", "weil", "dass", "et", "mais", "les", "pero", "los", "las")
)
OPEN_END = re.compile(r"\w\W{0,3}[,:\u060c\u3001\uff0c\uff1a]\Z")
CLOSED = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f", '"', "'", ")", "]", "\u201d", "\u00bb", "\u300d", "`")

SPECIAL = re.compile(
    r"<\|[A-Za-z_]\w*\|>|</?(?:start|end)_of_(?:turn|text)>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk)>|<endoftext>"
    r"|\A\s*<s>|</s>\s*\Z"
)
# A marker of the next turn on a line of its own, and the words of a prompt that ask for such lines.
MARKERS: tuple[tuple[str, str], ...] = (
    (r"instruction", r"\binstructions?\b"),
    (r"(?:input|output)s?", r"\b(?:in|out)puts?\b|program|function|algorithm|\bcode"),
    (r"(?:user|human)", r"dialog|conversation|\bchat|transcript|\bscript|interview|\b(?:user|human)s?\b"),
    (r"question", r"questions|quiz|faq|q&a|interview|exam|trivia|survey|riddle|flash ?card"),
    (r"task", r"\btasks?\b|to-?do|schedule|\bplan"),
    (r"response", r"\bresponses?\b|dialog|conversation"),
)
NEXT_TASK = re.compile(
    r"\n[ \t]*\n\s*(?:#+\s*\n\s*)?(?P<number>\d{1,2})[.)]\s+(?:Write|Create|Generate|Explain|Describe|Give|List|Name"
    r"|Translate|Summari[sz]e|Classify|Rewrite|Find|Identify|Suggest|Compare|Design|Calculate|Convert|Provide|Tell|What|How"
    r"|Why|Which|Who|Where|When|Compose|Edit|Choose|Given)\b"
)
NUMBERED = re.compile(r"^[ \t]*\d{1,2}[.)]\s", re.MULTILINE)
NO_INPUT = re.compile(r"^[^\w\n]*no[ _-]?input[^\w\n]*$", re.IGNORECASE | re.MULTILINE)
TO_FILL_IN = re.compile(r"[\[<{](?:please )?insert\b[^\]>}\n]{0,80}[\]>}]", re.IGNORECASE)
NO_ANSWER = frozenset(("n/a", "noinput", "no input", "nooutput", "no output", "todo", "tbd", "to be determined"))
ASKS_TO_REPEAT = re.compile(r"\brepeat|\b\d+ times\b|wiederhol|r\u00e9p[e\u00e8]t|repit|\u91cd\u590d", re.IGNORECASE)
ESCAPED = re.compile(r"\\[(\[)\]]")
FACE = re.compile(r"[:;=]['\u2019]?-?[(\[]")


def _empty(prompt: str, completion: str) -> str | None:
    if not prompt.strip():
        return "the prompt is empty"
    return None if completion.strip() else "the completion is empty"


def _echo(prompt: str, completion: str) -> str | None:
    return "the completion repeats the prompt" if fold_spaces(prompt) == fold_spaces(completion) else None


def _characters(prompt: str, completion: str) -> str | None:
    for name, text in (("prompt", prompt), ("completion", completion)):
        for character in text if not text.isascii() or not text.isprintable() else "":
            if character == "\ufffd" or (character not in "\t\n\r" and unicodedata.category(character) in ("Cc", "Cs")):
                return f"the {name} holds a control or replacement character: U+{ord(character):04X}"
        if match := SPECIAL.search(text):
            token = match[0].strip()
            struck_out = token in ("<s>", "</s>") and text.count("<s>") == text.count("</s>")  # HTML for deleted words
            if not struck_out or (text.strip().startswith("<s>") and text.strip().endswith("</s>")):
                return f"the {name} holds a leftover special token: {token}"
    return None


def _placeholder(prompt: str, completion: str) -> str | None:
    if NO_INPUT.search(prompt):
        return "the prompt holds a no-input mark"
    if match := TO_FILL_IN.search(completion):
        return None if "insert" in prompt.casefold() else f"the completion leaves a gap to fill in: {match[0]}"
    whole = fold_spaces(completion).strip(" .<>[](){}*_\"'")
    if whole in NO_ANSWER or completion.strip() in ("...", "\u2026"):
        return f"a placeholder stands for the answer: {completion.strip()}"
    return None


def _merged(prompt: str, completion: str) -> str | None:
    asked = prompt.casefold()
    text = re.sub(r"\n\s*\n", "\n\n", completion.strip())  # long runs of blank lines make the patterns below slow
    rest = text.partition("\n")[2]
    if re.search(r"^[ \t]*###[ \t]*$", rest, re.MULTILINE):
        return "the completion carries on with another task: ###"
    for marker, wanted in MARKERS:
        line = rf"^[ \t]*(?:#{{1,6}}\s*|\*\*|\d{{1,2}}[.)]\s*)?(?P<marker>{marker})\s*\d*\s*(?:\*\*)?\s*[:\uff1a]"
        found = re.search(line, rest, re.IGNORECASE | re.MULTILINE)
        # A completion that itself opens with the marker is written in that form.
        if found and not re.match(line, text, re.IGNORECASE) and not re.search(wanted, asked):
            return f"the completion carries on with another turn: {found['marker']}:"
    match = NEXT_TASK.search(text)
    if match is None or match["number"] == "1" or NUMBERED.search(prompt + "\n" + text[: match.start()]):
        return None  # an item of a list, begun here or in the prompt
    return f"the completion carries on with another task: {match[0].strip()}"


def _unfinished(prompt: str, completion: str) -> str | None:
    text = completion.rstrip()
    if sum(line.lstrip().startswith("```") for line in text.splitlines()) % 2:
        return "the completion is unfinished: a code block stays open"
    words, last = text.split(), text.splitlines()[-1]
    farewell = last != text and last.endswith(",") and len(last.split()) <= 6  # a letter whose name is left to the user
    if (OPEN_END.search(text) and not farewell) or re.search(r"[^\W\d_]{2} ?[-\u2013\u2014]\Z", text):
        return f"the completion is unfinished: it ends with {text[-1]}"
    if len(words) > 5 and words[-1] in DANGLING and not words[-2].endswith((",", ":")):
        return f"the completion is unfinished: it ends with {words[-1]}"
    return _open_pair(text)


def _open_pair(text: str) -> str | None:
    """An opening bracket or quote that the last line, itself without an end mark, does not close."""
    if text.endswith(CLOSED):
        return None
    last = ESCAPED.sub("", FACE.sub("", text.rpartition("\n")[2]))
    # Intervals such as (0, 1] mix the two kinds, so they are counted together.
    if sum(map(last.count, "([")) > sum(map(last.count, ")]")):
        return "the completion is unfinished: a bracket stays open"
    quotes = len(re.findall(r'(?<!\d)"', last))  # after a digit it means inches
    opened = any(
        last.count(a) > sum(map(last.count, b))
        for a, b in (("\u201c", "\u201d"), ("\u00ab", "\u00bb"), ("\u300c", "\u300d"))
    )
    return "the completion is unfinished: a quote stays open" if quotes % 2 or opened else None


def _repetition(prompt: str, completion: str) -> str | None:
    if ASKS_TO_REPEAT.search(prompt):
        return None
    lines = [line.rstrip() for line in completion.splitlines() if line.strip()]
    for one, two, three in zip(lines, lines[1:], lines[2:], strict=False):
        # Indentation counts, and a line without letters is a rule or a closing bracket.
        if one == two == three and any(c.isalpha() for c in one):
            return f"the completion repeats itself: {one.strip()[:60]}"
    share = repeated_share(unicode_tokens(completion)) if word_count(completion) >= 12 else 0.0  # a pattern is one word
    return f"the completion repeats itself: {share:.0%} of its words" if share > 0.5 else None


def repeated_share(tokens: list[str]) -> float:
    """Share of tokens inside a run of four that occurred before in the text."""
    seen: set[tuple[str, ...]] = set()
    repeated: set[int] = set()
    for start in range(len(tokens) - 3):
        run = tuple(tokens[start : start + 4])
        if run in seen:
            repeated.update(range(start, start + 4))
        seen.add(run)
    return len(repeated) / max(1, len(tokens))


CHECKS: tuple[Callable[[str, str], str | None], ...] = (
    _empty,
    _echo,
    _characters,
    _placeholder,
    _merged,
    _unfinished,
    _repetition,
)


def broken(prompt: str, completion: str) -> str | None:
    """The first reason that a check finds against the row, or None."""
    return next((reason for check in CHECKS if (reason := check(prompt, completion))), None)
