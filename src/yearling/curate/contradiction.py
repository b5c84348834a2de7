"""Rows that ask the same and whose answers cannot both hold.

In: rows that share a folded prompt. Out: pairs of them, each with the reason. Both rows of a pair are suspect: which is
wrong is not asked, and nothing is looked up.

Only where the question is closed (see `questions.py`) and the answers are in one language, one of these is taken:

1. One answer opens with yes, or states what was asked, and the other opens with no, or denies it.
2. Both give quantities of one kind, converted into one unit, and none of one is any of the other.
3. One thing is asked for, and the answers, alike or short, differ in a name that the question does not hold.
4. Both choose from what the question offers, from the days, months or directions, or between opposites, and differ.

Precision comes first. An answer that hedges or states a case of its own ("usually", "if", "on Sundays"), and one that
gives a place within a place, contradicts none. Untruths that need knowledge of the world are not found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from yearling.curate.quantities import Quantity, quantities
from yearling.curate.questions import Kind, kind_of
from yearling.curate.semantic import language
from yearling.measure.contamination import EMPTY_WORDS
from yearling.measure.text import UNSPACED, fold_spaces, unicode_tokens

READ = 600  # characters of an answer that are compared
HELD = 48  # rows of one question that are held against each other; further ones against these
NAME = 3  # most words by which two names differ; in scripts without spaces, three times as many signs
COUNTED, MEASURED, ROUNDED, ABOUT = 1e-9, 0.005, 0.03, 0.15  # share by which two values may differ

YES = """
yes yeah yep yup sure correct indeed certainly definitely absolutely true right ja jawohl stimmt richtig wahr natürlich
oui vrai exact sí verdadero cierto correcto claro sì vero esatto certo sim verdadeiro да верно правда конечно waar juist
tak evet igen kyllä
"""
NO = """
no nope false incorrect wrong nein falsch non faux falso incorrecto não нет неверно ложь неправда nee onwaar nie hayır
"""
YES_UNSPACED = ("是的", "是，", "对", "会", "能", "可以", "有，", "はい", "ええ", "そうです", "正确")
NO_UNSPACED = ("不", "没有", "否", "错", "いいえ", "いや", "違います", "ちがいます")
DENIALS = """
not no never cannot none neither nor t nicht kein keine keinen keiner nie niemals ne pas jamais aucun aucune nunca
ningún ninguna non mai nessun nessuno não nenhum niet geen nooit не нет никогда
"""
# Words with which an answer leaves room for another one.
HEDGES = """
if unless depends depending sometimes usually often mostly generally most many some few rarely perhaps maybe possibly
probably might varies either except excluding including counting without although though however but partly normally
unlike typically when wenn falls manchmal meist meistens oft einige viele manche vielleicht möglicherweise außer ohne
obwohl aber teils kommt normalerweise gewöhnlich parfois souvent généralement certains plupart peut-être dépend sauf
mais cuando veces suele generalmente algunos muchos quizás depende salvo excepto pero quando volte spesso alcuni
molti forse dipende tranne ma geralmente alguns muitos talvez exceto mas soms meestal vaak sommige misschien behalve
maar если иногда обычно часто некоторые многие возможно зависит кроме но
"""
HEDGES_UNSPACED = re.compile(
    "如果|有时|通常|一般|大多|有些|可能|取决|除了|但|もし|時々|たいてい|多く|場合|かも|によって"
)
ABOUT_WORDS = re.compile(
    r"\b(about|around|roughly|approximately|nearly|almost|over|circa|ca|etwa|ungefähr|rund|knapp|environ|presque|"
    r"aproximadamente|unos|unas|cerca|circa|quasi|ongeveer|около|примерно|почти)\b|[~≈]|大约|左右|约|約|およそ|ほど"
)
# Sets of which an answer names one; words between two bars are the same in several languages.
SETS = """
monday montag lundi lunes lunedì|tuesday dienstag mardi martes martedì|wednesday mittwoch mercredi miércoles mercoledì|
thursday donnerstag jeudi jueves giovedì|friday freitag vendredi viernes venerdì|saturday samstag samedi sábado sabato|
sunday sonntag dimanche domingo domenica

january januar janvier enero gennaio janeiro|february februar février febrero febbraio fevereiro|march märz mars marzo
março|april avril abril aprile|may mai mayo maggio maio|june juni juin junio giugno junho|july juli juillet julio luglio
julho|august août agosto|september septembre septiembre settembre setembro|october oktober octobre octubre ottobre
outubro|november novembre noviembre novembro|december dezember décembre diciembre dicembre dezembro

north norden nord norte|south süden sud sur sul|east osten est este leste|west westen ouest oeste ovest
"""
OPPOSITES = """
true false|before after|left right|above below|more fewer|more less|larger smaller|bigger smaller|higher lower|longer
shorter|heavier lighter|faster slower|older younger|earlier later|increases decreases|increase decrease|rises falls|
rises sinks|expands contracts|even odd|positive negative|legal illegal|possible impossible|poisonous edible|toxic
harmless|dangerous harmless|clockwise counterclockwise|acid alkaline|acidic basic|male female|first last|maximum minimum
|north south|east west|up down|inside outside|richtig falsch|links rechts|vor nach|größer kleiner|schwerer leichter|
gerade ungerade|gauche droite|avant après|izquierda derecha|antes después|mayor menor|vrai faux|verdadero falso|vero
falso|prima dopo|maggiore minore|больше меньше|тяжелее легче|до после
"""
YES_WORDS, NO_WORDS, DENIAL_WORDS = (frozenset(words.split()) for words in (YES, NO, DENIALS))
HEDGE_WORDS = frozenset(HEDGES.split())
CONDITIONS = {"fr": "si", "es": "si"}  # elsewhere these are pronouns, or yes
MEMBERS = [
    {word: place for place, words in enumerate(members.split("|")) for word in words.split()}
    for members in SETS.split("\n\n")
]
OPPOSED = frozenset(frozenset(pair.split()) for pair in " ".join(OPPOSITES.split()).split("|"))
_OFFERED = re.compile(
    r"(\w+)[, ]+(?:or|oder|ou|o|ó|или|of)\s+(?:(?:the|an?|der|die|das|ein\w*|un\w*|l[ea]s?|el|il|o|een)\s+)?(\w+)"
)
_CASES = re.compile(
    r"\b(on|in|at|for|during|under|after|before|by|per|am|im|bei|für|unter|nach|seit|pour|dans|chez|sous|en|para|bajo|"
    r"per|nel|nella|em|no|na|op|bij|в|на|при|для)\s+(?:the\s+)?(\w+)"
)

Row = tuple[int, str, str]


class Said(NamedTuple):
    """What an answer says, as far as another may contradict it."""

    folded: str
    tokens: tuple[str, ...]
    words: frozenset[str]
    stance: bool | None  # yes, no, or neither in so many words
    denies: bool
    hedges: bool
    about: bool
    amounts: tuple[Quantity, ...]


class Asked(NamedTuple):
    """What a question asks, and the words it holds."""

    kind: Kind
    language: str
    words: frozenset[str]
    numbers: frozenset[str]
    offered: frozenset[str]


def contradictions(rows: Sequence[Row]) -> list[tuple[int, int, str]]:
    """Pairs among (index, prompt, answer) rows of one folded prompt, the smaller index first, and the reason."""
    if len(rows) < 2 or kind_of(rows[0][1], spoken := _language(rows)) == "open":
        return []
    asked = read_question(rows[0][1], spoken)
    said = [(row[0], read_answer(row[2], spoken)) for row in rows]
    found = []
    for (one, first), (other, second) in _pairs(said):
        reason = against(asked, first, second)
        if reason:
            found.append((min(one, other), max(one, other), reason))
    return found


def _pairs(said: list[tuple[int, Said]]) -> list[tuple[tuple[int, Said], tuple[int, Said]]]:
    held = said[:HELD]
    return [*combinations(held, 2), *((one, other) for other in said[HELD:] for one in held)]


def _language(rows: Sequence[Row]) -> str:
    return language(" ".join((rows[0][1], *(row[2][:READ] for row in rows[:2]))))


def read_question(prompt: str, spoken: str) -> Asked:
    """A question as answers are held against it."""
    folded = fold_spaces(prompt[-READ:])
    numbers = frozenset(amount.written for amount in quantities(folded, spoken))
    offered = frozenset(word for pair in _OFFERED.findall(folded) for word in pair)
    return Asked(kind_of(prompt, spoken), spoken, frozenset(unicode_tokens(folded)), numbers, offered)


def read_answer(answer: str, spoken: str) -> Said:
    """An answer as it is held against others."""
    folded = fold_spaces(answer[:READ])
    tokens = tuple(unicode_tokens(folded))
    words = frozenset(tokens)
    return Said(
        folded,
        tokens,
        words,
        _stance(folded, tokens),
        bool(words & DENIAL_WORDS) or any(sign in folded for sign in ("不", "没", "ない", "ません")),
        bool(words & HEDGE_WORDS) or CONDITIONS.get(spoken) in words or bool(HEDGES_UNSPACED.search(folded)),
        bool(ABOUT_WORDS.search(folded)),
        tuple(_amounts(folded, spoken)),
    )


def _amounts(folded: str, spoken: str) -> list[Quantity]:
    """The quantities of the first sentence that has any."""
    for sentence in re.split(r"(?<=[.!?。！？;；])(?=\s|[^\d\s])", folded):
        if amounts := quantities(sentence, spoken):
            return amounts
    return []


def _stance(folded: str, tokens: tuple[str, ...]) -> bool | None:
    if tokens and tokens[0] in YES_WORDS | NO_WORDS:
        rest = folded[folded.find(tokens[0]) + len(tokens[0]) :].lstrip()
        alone = not rest or not rest[0].isalnum() or tokens[0] in ("yes", "nein", "oui", "sí", "sim", "sì", "да", "нет")
        return tokens[0] in YES_WORDS if alone else None
    if folded.startswith(YES_UNSPACED):
        return True
    return False if folded.startswith(NO_UNSPACED) else None


def against(asked: Asked, one: Said, other: Said) -> str | None:
    """Why two answers cannot both hold, or None."""
    if one.tokens == other.tokens or one.hedges or other.hedges or _cases_differ(asked, one, other):
        return None
    return (
        _stances_differ(asked, one, other)
        or _amounts_differ(asked, one, other)
        or _choices_differ(asked, one, other)
        or (_things_differ(asked, one, other) if asked.kind == "thing" else None)
    )


def _cases_differ(asked: Asked, one: Said, other: Said) -> bool:
    """Whether each answer names a case of its own: on weekdays, on Sundays."""
    cases = [{word for _, word in _CASES.findall(said.folded)} - asked.words for said in (one, other)]
    cases = [{word for word in words if not word[0].isdigit()} for words in cases]
    only, others = cases[0] - other.words, cases[1] - one.words
    return bool(only and others and asked.kind != "thing")


def _stances_differ(asked: Asked, one: Said, other: Said) -> str | None:
    first, second = _position(asked, one), _position(asked, other)
    if first is None or second is None or first == second or asked.kind == "thing":
        return _denied(one, other)
    if one.stance is None and other.stance is None:
        return _denied(one, other)
    return "one says yes, the other no"


def _position(asked: Asked, said: Said) -> bool | None:
    if said.stance is not None:
        return said.stance
    meant = asked.words - EMPTY_WORDS - DENIAL_WORDS
    repeated = sum(_is_in(word, said.words) for word in meant)
    return not said.denies if meant and repeated >= 0.6 * len(meant) else None


def _denied(one: Said, other: Said) -> str | None:
    if one.denies == other.denies:
        return None
    words, others = (_stems(said.words - DENIAL_WORDS - EMPTY_WORDS) for said in (one, other))
    if len(words & others) >= 2 and len(words & others) >= 0.8 * len(words | others):
        return "one denies what the other says"
    return None


def _amounts_differ(asked: Asked, one: Said, other: Said) -> str | None:
    pair = [[amount for amount in said.amounts if amount.written not in asked.numbers] for said in (one, other)]
    if not pair[0] or not pair[1]:
        return None
    about = one.about or other.about
    for first in pair[0]:
        for second in pair[1]:
            if not _comparable(first, second):
                continue
            alike = [[amount for amount in side if amount.dimension == first.dimension] for side in pair]
            if any(_agree(this, that, about) for this in alike[0] for that in alike[1] if _comparable(this, that)):
                return None
            return f"{first.written} against {second.written}"
    return None


def _agree(one: Quantity, other: Quantity, about: bool) -> bool:
    room = ABOUT if about else _room(one, other)
    for low, high in one.readings:
        for least, most in other.readings:
            most_room = room * max(abs(high), abs(most))
            if low <= most + most_room and least <= high + most_room:
                return True
    return False


def _room(one: Quantity, other: Quantity) -> float:
    """The share by which two quantities may differ: none for counts and years, some where one was rounded."""
    if one.dimension:
        return MEASURED if one.written.split()[-1] == other.written.split()[-1] else ROUNDED
    greatest = max(reading[1] for reading in (*one.readings, *other.readings))
    whole = all(value.is_integer() for reading in (*one.readings, *other.readings) for value in reading)
    return ROUNDED if greatest >= 10_000 else COUNTED if whole else MEASURED


def _comparable(one: Quantity, other: Quantity) -> bool:
    if one.dimension != other.dimension:
        return False
    if one.dimension or not one.noun or not other.noun:
        return True
    nouns = _stems(frozenset((one.noun, other.noun)))
    return len(nouns) == 1 or (one.noun in EMPTY_WORDS and other.noun in EMPTY_WORDS)


def _choices_differ(asked: Asked, one: Said, other: Said) -> str | None:
    only, others = one.words - other.words, other.words - one.words
    if asked.offered:
        chosen, instead = asked.offered & one.words, asked.offered & other.words
        if len(chosen) == len(instead) == 1 and chosen != instead:
            return f"{min(chosen)} against {min(instead)}"
    for members in MEMBERS:
        named = [{members[word] for word in words if word in members} for words in (one.words, other.words)]
        if len(named[0]) == len(named[1]) == 1 and named[0] != named[1]:
            return "they name different days, months or directions"
    if sorted(one.tokens) == sorted(other.tokens) and len(one.tokens) > 2 and asked.kind == "thing":
        return "one is the reverse of the other"
    shared = len((one.words & other.words) - asked.words)
    if len(only) <= NAME and len(others) <= NAME and (shared or asked.kind == "closed"):
        for word in only:
            for against_it in others:
                if frozenset((word, against_it)) in OPPOSED:
                    return f"{word} against {against_it}"
    return None


def _things_differ(asked: Asked, one: Said, other: Said) -> str | None:
    if one.amounts and other.amounts:
        return None  # judged as quantities
    told = asked.words | EMPTY_WORDS
    first, second = (_names(said, told, than.words) for said, than in ((one, other), (other, one)))
    if not first or not second or len(first) > _most(first) or len(second) > _most(second):
        return None
    if any(_is_in(word, frozenset(second)) for word in first) or one.denies or other.denies:
        return None
    common = one.words & other.words
    short = len(one.tokens) <= 2 * NAME and len(other.tokens) <= 2 * NAME
    if not short and 2 * len(common) < min(len(one.words), len(other.words)):
        return None
    return f"{' '.join(first)} against {' '.join(second)}"


def _names(said: Said, told: frozenset[str], other: frozenset[str]) -> list[str]:
    return [word for word in dict.fromkeys(said.tokens) if word not in told and word not in other]


def _most(words: list[str]) -> int:
    return 3 * NAME if all(_UNSPACED_SIGN.match(word) for word in words) else NAME


_UNSPACED_SIGN = re.compile(f"[{UNSPACED}]$")


@lru_cache(65_536)
def _stem(word: str) -> str:
    """The word without the endings of plurals and cases, roughly."""
    return word[: max(4, len(word) - 2)] if len(word) > 4 else word.removesuffix("s")


def _stems(words: frozenset[str]) -> frozenset[str]:
    return frozenset(map(_stem, words))


def _is_in(word: str, words: frozenset[str]) -> bool:
    return word in words or any(_stem(word) == _stem(other) or _begins(word, other) for other in words)


def _begins(word: str, other: str) -> bool:
    return min(len(word), len(other)) > 2 and (word.startswith(other) or other.startswith(word))
