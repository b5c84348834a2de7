"""Personal data and secrets in a text: what a person could be reached, robbed or found by.

In: any text, or the turns of a conversation. Out: what was found with its kind and place, or the text with each
replaced by the name of its kind in brackets. Finds e-mail addresses, telephone numbers, payment cards, IBANs, keys,
passwords and postal addresses; the words around a number decide where its form alone does not (`personal.txt`).
Leaves out what belongs to nobody or to all: reserved domains, mail boxes of a role, support lines, toll-free numbers,
specimens of standards, addresses of institutions. Does not know names, dates of birth, or which person is public.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

from yearling.measure.phrase_file import sections
from yearling.record import Message

Kind = Literal["key", "password", "card", "IBAN", "e-mail", "phone", "address"]

BEFORE, AFTER = 60, 40  # characters around a number that tell what it is
FEW_SIGNS = 8  # different characters; a key has more, a row of x has not
SHORTEST, GAP = 7, 3  # digits of a telephone number; characters between two of them
NUMBER = re.compile(r"\d+")
DASHES = r"\u00a0\u2011\u2013"  # what word processors write for a space or a hyphen within a number


class Found(NamedTuple):
    """Personal data of a kind, from `start` to `end` of the text."""

    kind: Kind
    start: int
    end: int


def find(text: str) -> list[Found]:
    """All personal data of a text, in order; no two overlap."""
    found: list[Found] = []
    taken: set[int] = set()  # characters
    for one in _candidates(text):
        if taken.isdisjoint(range(one.start, one.end)):
            taken.update(range(one.start, one.end))
            found.append(one)
    return sorted(found, key=lambda one: one.start)


def mask(text: str) -> tuple[str, list[str]]:
    """The text with `[phone]` and its like in place of what was found, and the kinds in order."""
    kinds: list[str] = []
    # What stood beside a masked span may be found only now that the span is gone.
    while found := find(text):
        parts, done = [], 0
        for kind, start, end in found:
            parts += [text[done:start], f"[{kind}]"]
            done = end
        text = "".join([*parts, text[done:]])
        kinds += [one.kind for one in found]
    return text, kinds


def personal_in(turns: Sequence[Message]) -> list[Found]:
    """All personal data of a conversation, turn by turn; places are those in the turn."""
    return [found for turn in turns for found in find(turn.content)]


def _candidates(text: str) -> Iterator[Found]:
    """What may be personal, the surest kinds first; most texts hold none of the signs that are looked for here."""
    lowered = _lower(text)
    holds, says = text.__contains__, lowered.__contains__
    digits = _has_digit(text)
    if digits and any(holds(sign) and any(map(holds, marks)) for sign, marks in KEY_MARKS.items()):
        yield from _marked_keys(text)
    if any(map(says, PASSWORD_SIGNS if text.isascii() else FOREIGN_SIGNS)):
        yield from _passwords(text, lowered)
    if digits and any(map(says, KEY_SIGNS)):
        yield from _told_keys(text, lowered)
    if holds("@") or says("at]") or says("at)"):
        yield from _mails(text)
    if digits:
        numbers = list(NUMBER.finditer(text))
        if _long([number.span() for number in numbers]):
            yield from _cards(text, lowered)
            yield from _ibans(text)
            yield from _phones(text, lowered)
        yield from _addresses(text, lowered, numbers)


def _has_digit(text: str) -> bool:
    # One look for each digit is several times faster than a character class; of other scripts there are too many.
    for digit in "1023456789":
        if digit in text:
            return True
    return not text.isascii() and NUMBER.search(text) is not None


def _long(numbers: Sequence[tuple[int, int]]) -> bool:
    """Whether enough digits for a card, an account or a telephone stand close to each other."""
    digits = last = 0
    for start, end in numbers:
        digits = digits + end - start if start - last <= GAP else end - start
        if digits >= SHORTEST:
            return True
        last = end
    return False


def _lower(text: str) -> str:
    """In small letters, with each character in its place; or as it was where a letter would become two."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text


# -- words around

LISTS = sections("yearling.measure", "personal.txt")


@cache
def _words(section: str) -> re.Pattern[str]:
    """The expressions of one section of `personal.txt`, as one; kinds that mask wrote do not count."""
    either = "|".join(LISTS[section])
    return re.compile(rf"(?<![a-z\u00df-\u00ff])(?!(?:phone|address|password|key|card)\])(?:{either})")


def _before(text: str, start: int, most: int = BEFORE) -> str:
    """What stands before, in the same paragraph."""
    return text[max(start - most, 0) : start].rpartition("\n\n")[2]


def _last(section: str, text: str) -> int:
    """Where the last of the section's words ends, or -1."""
    return max((match.end() for match in _words(section).finditer(text)), default=-1)


# -- keys and passwords

MARKS = [line.partition(" ")[0] for line in LISTS["mark"]]
# By the sign they hold: one look for it spares a text without it the looks for each of them.
KEY_MARKS = {
    "_": [mark for mark in MARKS if "_" in mark],
    "-": [mark for mark in MARKS if "-" in mark],
    "": [mark for mark in MARKS if "_" not in mark and "-" not in mark],
}
KEYS = re.compile("|".join(line.partition(" ")[2] for line in LISTS["mark"]))
KEY_SIGNS = ("key", "token", "secret", "bearer", "api")
LONG_SIGNS = 16
LONG = re.compile(rf"[\w+/=~-]{{{LONG_SIGNS}}}")
FOREIGN_SIGNS = tuple(LISTS["secret"])
PASSWORD_SIGNS = tuple(word for word in FOREIGN_SIGNS if word.isascii())
SPECIMENS = frozenset(("AKIAIOSFODNN7EXAMPLE",))  # of Amazon's own documentation
QUOTE = r"[\s\"'`*(\u201e\u201c\u2018\u00ab\u300c]"
# The value that follows a word, after a verb or a colon, or at once; that one holds letters and digits.
SAYS = re.compile(
    r"[^\n.!?:=\uff1a]{0,40}?(?:\b(?:is|was|to|ist|lautet|war|est|es|era|\u00e9|\u00e8|jest)\b:?|[:=\uff1a\u2014]"
    rf"|\u662f|\u4e3a|\u70ba|\u306f|\u0647\u064a){QUOTE}{{0,4}}(?P<value>[!-~]{{6,100}})"
)
NEXT = re.compile(rf"{QUOTE}{{1,4}}(?P<value>(?=[!-~]{{0,20}}\d)(?=[!-~]{{0,20}}[A-Za-z])[!-~]{{8,100}})")
CLOSING = ".,;:!?\"'`*)]}>"
CODE = re.compile(r"[(){}<>\[\]$]|\.[A-Za-z_]+\.|::")
COMMON = re.compile(r"pass|p@ss|letmein|qwert|admin|welcome|changeme|secret|hunter2|abc|123456|monkey|user", re.I)


def _marked_keys(text: str) -> Iterator[Found]:
    for match in KEYS.finditer(text):
        if match[0].startswith("://"):  # a name and a password in an address
            password = match[0][3:].partition(":")[2]
            if _mixed(password) and not COMMON.match(password) and not CODE.search(password):
                yield Found("password", match.end() - len(password), match.end())
        elif _random(match[0]) and match[0] not in SPECIMENS and not text[match.start() - 1 : match.start()].isalnum():
            yield Found("key", match.start(), match.end())


def _passwords(text: str, lowered: str) -> Iterator[Found]:
    for start, value_start, value in _told("password", text, lowered):
        shown = _words("shown").search(lowered, max(start - 40, 0), value_start)
        if not shown and _mixed(value) and not COMMON.match(value) and not CODE.search(value):
            yield Found("password", value_start, value_start + len(value))


def _told_keys(text: str, lowered: str) -> Iterator[Found]:
    for start, value_start, value in _told("key", text, lowered) if _has_long(text) else ():
        digest = _words("digest").search(lowered, max(start - 20, 0), value_start)
        if not digest and re.fullmatch(r"[\w+/=.~-]{16,}", value) and _random(value) and len(NUMBER.findall(value)) > 1:
            yield Found("key", value_start, value_start + len(value))


def _has_long(text: str) -> bool:
    # Words are split in a third of the time of the search.
    return max(map(len, text.split()), default=0) >= LONG_SIGNS and LONG.search(text) is not None


def _told(section: str, text: str, lowered: str) -> Iterator[tuple[int, int, str]]:
    """Where a word of the section begins, and the value that it says follows: where that begins, and what it is."""
    for match in _words(section).finditer(lowered):
        for said in (NEXT.match(text, match.end()), SAYS.match(text, match.end())):
            value = said["value"].rstrip(CLOSING) if said else ""
            if said and len(value) >= 6:
                yield match.start(), said.start("value"), value


def _mixed(value: str) -> bool:
    """Letters and something else within: a password, no word of a sentence."""
    return sum(map(str.isalpha, value)) > 1 and re.search(r"\d|.[!#$%&*+@^~?].", value) is not None


def _random(value: str) -> bool:
    return len(set(value)) >= FEW_SIGNS and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


# -- cards and accounts

CARD = re.compile(
    r"(?<![A-Za-z0-9_.,+-])(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3[47]\d\d([ -]?)\d{6}\2\d{5}"
    r"|3[068]\d\d([ -]?)\d{6}\3\d{4})(?![A-Za-z0-9_-])(?!\.\d)"
)
# Payment networks by first digits: Visa, Mastercard, American Express, Discover, JCB, Diners, UnionPay, Maestro.
NETWORK = re.compile(r"4|5[0-8]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[047568]|6(?:011|[4-9]|2|3)")
TEST_CARDS = frozenset(LISTS["card"])
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![a-z0-9])")
IBAN_LENGTHS = {country: int(line[:2]) for line in LISTS["iban"] for country in line[2:].split()}
SPECIMEN_IBANS = frozenset(("DE89370400440532013000", "GB82WEST12345698765432", "GB29NWBK60161331926819"))


def _cards(text: str, lowered: str) -> Iterator[Found]:
    for match in CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match[0])
        if digits in TEST_CARDS or not NETWORK.match(digits) or not _luhn(digits):
            continue
        # One number in ten passes the check by chance: written in one, another word's number is no card.
        if digits != match[0] or _last("other", _before(lowered, match.start())) < 0:
            yield Found("card", match.start(), match.end())


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0 and len(set(digits)) > 2


def _ibans(text: str) -> Iterator[Found]:
    for match in IBAN.finditer(text):
        length = IBAN_LENGTHS.get(match[0][:2], 0)
        signs = [at for at in range(match.start(), match.end()) if text[at] not in " -"]
        if not length or len(signs) < length:
            continue
        iban = "".join(text[at] for at in signs[:length])
        # The check of ISO 13616: letters count from 10, the first four go last, and the rest by 97 is 1.
        if iban not in SPECIMEN_IBANS and int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1:
            yield Found("IBAN", match.start(), signs[length - 1] + 1)


# -- mail

MAIL = re.compile(
    r"(?<![\w.+%@/-])(?P<local>[\w.+%'-]{1,64})(?:@|\s?[\[(]\s?at\s?[\])]\s?)"
    r"(?P<domain>(?:[\w-]{1,63}(?:\.|\s?[\[(]\s?dot\s?[\])]\s?)){1,6}[^\W\d_]{2,24})(?!\w)",
    re.IGNORECASE,
)


def _mails(text: str) -> Iterator[Found]:
    roles, placeholders = _words("role"), _words("placeholder")
    for match in MAIL.finditer(text):
        local, domain = match["local"].strip(".").lower(), match["domain"].lower()
        parts = (local.replace("_", "-"), re.split(r"[._+-]", local)[0])
        if any(roles.fullmatch(part) for part in parts) or re.fullmatch(r"x*|[.\d]*", local):
            continue
        if not any(placeholders.fullmatch(label) for label in re.split(r"[^\w-]+", domain)):
            yield Found("e-mail", match.start(), match.end())


# -- telephone

APART = rf"[ /.{DASHES}-]"
ALONE = r"(?<![A-Za-z0-9_/#+*-])(?<!\d[ .,])(?:{})(?![A-Za-z0-9_])(?![.,-]\d)"
FORMS = (
    rf"(?:\+|00)[1-9](?:(?:{APART}|[()]){{0,3}}\d){{7,14}}",  # from abroad
    rf"(?:1{APART})?(?:\([2-9]\d\d\) ?|[2-9]\d\d{APART})[2-9]\d\d{APART}\d{{4}}",  # North America
    rf"\(?0[1-9]\d{{0,4}}\)?(?:[ /{DASHES}-]{{1,3}}\d{{2,8}}){{1,5}}|0[1-9](?:\.\d\d){{4}}",  # with a trunk 0
    r"8[ -]\(?9\d\d\)?[ -]\d{3}[ -]\d\d[ -]?\d\d|1[3-9]\d[ -]\d{4}[ -]\d{4}",  # Russia, China
    r"[6-9]\d{4} \d{5}|6\d\d \d\d \d\d \d\d|\(\d\d\) ?9?\d{4}-\d{4}",  # India, Spain, Brazil
)
FORM = re.compile(ALONE.format("|".join(FORMS)))
ANY = re.compile(ALONE.format(rf"\+?\(?\d(?:(?:{APART}|[()]){{0,3}}\d){{5,14}}"))  # only after the word for it
DATE = re.compile(  # and years, and a ZIP code with four more digits
    r"(?:19|20)\d\d([-./])\d\d?\1\d\d?\b|\d\d?([-./])\d\d?\2(?:19|20)\d\d|(?:1\d|20)\d\d ?[-\u2013] ?(?:1\d|20)\d\d\b"
    r"|\d{5}-\d{4}\Z"
)
# Numbers that cost nothing, or more than a call: nobody's own.
TOLL = re.compile(
    r"1?(?:8(?:00|88|77|66|55|44|33|22)|900)\d{7}|1[38]00\d{6}"
    r"|(?:0|(?:00)?[2-9]\d0?)(?:80[05-9]|900|180|137|810|820|84[45])\d{4,}"
)


def _phones(text: str, lowered: str) -> Iterator[Found]:
    for match in FORM.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 8 <= len(digits) <= 15 and not DATE.match(match[0]) and _own(lowered, match, digits):
            around = _before(lowered, match.start())
            if match[0].startswith(("+", "00")) or _last("other", around) <= _last("phone", around):
                yield Found("phone", match.start(), match.end())
    for match in ANY.finditer(text):
        if DATE.search(match[0]):
            continue
        around = _before(lowered, match.start())
        told = _last("phone", around)
        if told >= 0 and told > _last("other", around) and _own(lowered, match, re.sub(r"\D", "", match[0])):
            yield Found("phone", match.start(), match.end())


def _own(lowered: str, match: re.Match[str], digits: str) -> bool:
    """Not a line for everybody, and no row of one digit."""
    if TOLL.fullmatch(digits) or len(set(digits)) < 3 or digits.startswith("01020304"):
        return False
    sentence = re.split(r"[.!?]\s|\n", _before(lowered, match.start(), 90))[-1]
    after = re.split(r"[.!?](?:\s|\Z)|\n", lowered[match.end() : match.end() + AFTER])[0]
    return not _words("support").search(f"{sentence} {after}")


# -- address

PLACE = r"(?:[A-Z]{1,2}\d[A-Z\d]? ?\d{1,2}[A-Z]{2}|[A-Z]{2} \d{5})"  # a British postcode, or a state and its ZIP code
NAME = r"[A-Z\u00c0-\u00de\u0410-\u042f][\w'\u2019.-]{0,30}"
ROAD, STRASSE, RUE, CALLE = (
    "|".join(map(re.escape, LISTS[section])) for section in ("road", "strasse", "rue", "calle")
)
ARTICLES = "Am|An der|Im|In der|Auf dem|Zum|Zur"
# The street behind a house number, or before it.
BEHIND = re.compile(
    rf"[A-Za-z]?(?:[/-]\d{{1,4}}[A-Za-z]?)?,? (?:(?:{NAME} ){{1,3}}(?:{ROAD})\b\.?"
    rf"|(?:(?:bis|ter),? )?(?i:{RUE})\b [^\n,;.\d]{{2,40}}|(?:{NAME} ){{0,2}}{NAME},(?: {NAME},?){{1,3}}(?= {PLACE}\b))"
)
AHEAD = re.compile(
    rf"(?:(?:{NAME}[ -]){{0,3}}[\w-]{{1,30}}(?i:{STRASSE})|\b(?:{ARTICLES}) {NAME}"
    rf"|\b(?:{CALLE}) ?[^\n;.\d]{{2,40}},?(?: ?n\.? ?\u00ba| n\u00fam\.| \u0434\.| \u0434\u043e\u043c)?)\Z"
)
# What stands ahead ends in one of these, or holds one of those: looked at first, as most numbers are no house's.
ENDS = frozenset(line[-3:] for line in LISTS["strasse"])
BEGINS = frozenset(("Am", "An", "Im", "In", "Auf", "Zum", "Zur", *LISTS["calle"]))
SIGNS = frozenset(("n\u00ba", "n.\u00ba", "\u00ba", "n\u00fam.", "\u0434.", "\u0434\u043e\u043c"))  # of a house number
PROSE = frozenset("defghjklmnosuvwxyz")  # no word for a street behind its number begins so
REST = re.compile(r"(?: ?[a-zA-Z]\b)?(?:[/-]\d{1,4})?")
# Chinese, Japanese and Korean streets are written with the number within.
EASTERN = re.compile(
    r"[\u4e00-\u9fff]{2,12}[\u8def\u8857\u9053\u5df7]\d{1,5}[\u53f7\u865f\u5f04]"
    r"(?:\d{1,4}[\u53f7\u680b\u5e62\u5355\u5143\u5ba4\u697c\u5c42]{1,2}){0,4}"
    r"|[\u4e00-\u9fff]{1,4}[\u90fd\u9053\u5e9c\u770c][\u4e00-\u9fff]{1,6}[\u5e02\u533a\u753a\u6751\u90e1]"
    r"[^\s\u3001\u3002,\d]{0,12}\d{1,4}(?:(?:\u4e01\u76ee|\u756a\u5730?|[-\u2212\uff0d])\d{1,4}){1,3}"
    r"|[\uac00-\ud7a3]{1,10}[\ub85c\uae38] ?\d{1,4}(?:-\d{1,4})?"
)
POSTCODE = re.compile(
    rf"\b{PLACE}\b|\b[A-Z]\d[A-Z] ?\d[A-Z]\d\b|\b\d{{4}} ?[A-Z]{{2}}\b|\b\d{{2,4}}-\d{{3}}\b"
    r"|\b\d{3}-\d{4}\b|\b\d{5,6}(?:-\d{3,4})?\b|\b\d{3} \d\d\b|\b(?!1[5-9]|20)\d{4}\b"  # no years
)

EARLY = re.compile(r"\b\d{5,6}\b|\b\d{3}-\d{4}\b")  # the same where it stands before the street


def _addresses(text: str, lowered: str, numbers: Sequence[re.Match[str]]) -> Iterator[Found]:
    for start, end in _streets(text, numbers):
        before = _before(lowered, start)
        after = text[end : end + AFTER].partition("\n\n")[0]
        whole = f"{before} {lowered[start:end]} {lowered[end : end + len(after)]}"
        if _words("known").search(lowered, start, end + len(after)) or _words("public").search(whole):
            continue
        code = POSTCODE.search(after)
        if (
            code
            or EARLY.search(text, max(start - 25, 0), start)
            or _words("home").search(lowered, start - len(before), end)
        ):
            yield Found("address", start, end + (code.end() if code else 0))


def _streets(text: str, numbers: Sequence[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Streets with their numbers, from where to where."""
    for start, end in map(re.Match.span, numbers):
        beside = text[start - 1 : start] if start else " "
        if end - start > 5 or beside in ".,:/-" or (end - start == 4 and DATE.match(text, start)):
            continue
        if text[end + 1 : end + 2] not in PROSE and (behind := BEHIND.match(text, end)):
            yield start, behind.end()
        elif end - start < 4 and beside.isspace() and (ahead := _ahead(text[max(start - 70, 0) : max(start - 1, 0)])):
            rest = REST.match(text, end)
            yield start - 1 - ahead, rest.end() if rest else end
    if not text.isascii():
        yield from (match.span() for match in EASTERN.finditer(text))


def _ahead(text: str) -> int:
    """How many characters at the end of a text are the name of a street; most texts end in none."""
    last = text.rpartition(" ")[2]
    if last[-3:] in ENDS or ((last[:1].isupper() or last in SIGNS) and not BEGINS.isdisjoint(text.split())):
        street = AHEAD.search(text)
        return len(text) - street.start() if street else 0
    return 0
