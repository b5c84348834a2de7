"""What a prompt asks for: the root verb of its first instruction, and the noun that is the verb's direct object.

In: an English prompt. Out: an `Asked`: command, question or statement, its verb and object in their base forms; either
may be missing. The instruction is the first sentence that commands or asks, else the first one.
A grammar of a few rules over the dictionary in `english.py`, not a trained parser: as in the published pictures, "be"
is no verb, and pronouns, names, numbers and clauses are no objects. Wrappings ("I want you to ...", "your task is to
...") are taken off. Accuracy, on 226 published instructions read for the first time: verb 97 %, object 93 %, both 92 %
(209 of them); `tests/test_describe.py` holds these and 126 more, on which the rules were then mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from yearling.measure.english import Token, sentences, tokens, words

Mood = Literal["command", "question", "statement"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The instruction of a prompt: its mood, and the base forms of its root verb and direct object."""

    mood: Mood
    verb: str = ""
    noun: str = ""


END = Token("", "M")
GIVE = words("give tell show send offer teach ask bring buy hand lend make find get assign grant pay")
CAUSE = words("make let have help watch see hear")  # their object may have a verb of its own
OF = words("think dream conceive dispose speak talk approve")  # verbs that go with "of"
PARTICLES = words("up out down off over away back along together")
RECEIVERS = words("me us him them you it her yourself")
BE = words("be am is are was were been being isn't aren't wasn't weren't i'm it's they're we're he's she's")
WHAT_IS = words("what's who's where's how's that's")
PERFECT = words("have has had haven't hasn't hadn't")
SETTING = words("if when while although because since as once unless though where whenever to")
SUPPOSE = words("suppose supposing assume assuming imagine pretend consider say")
LONG = 1000  # characters of a sentence that are read
NOT_NOUNS = "DPIRTWCXQM#"
AFTER_VERB, AFTER_CAUSED = "NVADPIRTWCQM#", "ADPR#"

_LEAD = re.compile(
    r"^\W*?(?:(?:q|question|instructions?|task|prompt|input|user|human|problem|exercise)\s*\d*\s*[:.)]\s*"
    r"|\d{1,3}\s*[.):]\s+|[-*#>]+\s+|(?:hi|hello|hey|ok|okay|so|now|please|kindly|then|next|also|first|finally|and|but)\b"
    r"(?: there)?[\s,!:]*)+(?=\w)",
    re.IGNORECASE,
)
_WRAPPING = re.compile(
    r"^(?:(?:i|we)(?:'d| would|'ll| will)? (?:(?:want|need|like|love|ask) )+you to|help me(?: to)?|let's|let us"
    r"|try to|be sure to|make sure to)\s+(?=\w)",
    re.IGNORECASE,
)
_DUTY = re.compile(
    r"(?:^|[\s,])(?:(?:your|the|our) (?:task|job|goal|role|objective|aim|mission|assignment)"
    r"(?: here| now)? is(?: now)? to"
    r"|you (?:need|have|are (?:asked|required|supposed|expected|going|tasked)|want) to"
    r"|you (?:should|must|will)(?! be)|if you (?:can|could|would)(?: please)?)\s+(?=\w)",
    re.IGNORECASE,
)


def asked(prompt: str) -> Asked | None:
    """What a prompt asks for, or None where there is no sentence in it."""
    first: Asked | None = None
    for sentence in sentences(prompt):
        found, sure = _read(sentence)
        if sure:
            return found
        first = first or found
    return first


def _read(sentence: str) -> tuple[Asked, bool]:
    """What a sentence asks for, and whether it asks at all."""
    text = sentence[:LONG].replace("’", "'")
    for _ in range(3):
        text = _WRAPPING.sub("", _LEAD.sub("", text))
    whole = Clause(tokens(text))
    found = whole.request()
    if found is None and (duty := _DUTY.search(text)):
        found = Clause(tokens(text[duty.end() :])).request()
    if found is not None:
        return found, True
    found = whole.statement()
    if text.rstrip("\"' ").endswith("?"):
        return Asked("question", found.verb, found.noun), bool(found.verb)
    return found, False


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence, read from left to right."""

    words: Sequence[Token]

    def at(self, place: int) -> Token:
        """The token at a place; a mark beyond the end."""
        return self.words[place] if 0 <= place < len(self.words) else END

    def request(self) -> Asked | None:
        """The command or question in the sentence, if there is one."""
        for place, inside in self._openings():
            if found := self._question(place) or self._command(place, inside):
                return found
        first = self.at(0)
        if first.form == "ing" and first.tags == "V" and not any(word.may("X") for word in self.words):
            return Asked("command", first.verb, self._object(1, first.verb))  # "Solving the equation."
        return None

    def _openings(self) -> Iterator[tuple[int, bool]]:
        """Places where the request may begin: the start, or after what sets the scene; whether it is the latter."""
        first, second = self.at(0), self.at(1)
        scene = (
            first.may("I")
            or (first.lower in SETTING and not second.may("X"))
            or (first.may("V") and first.form in ("ing", "past") and not first.may("X"))
            or (first.lower in SUPPOSE and (second.may("P") or second.lower == "that"))
        )
        if not scene or second.may("W"):
            yield 0, False
        if scene and first.may("I") and not second.may("W"):
            yield self._noun_phrase(1, AFTER_VERB)[1], True
        asks = self.words[-1:] and self.words[-1].text == "?"
        if scene or asks:
            for place, word in enumerate(self.words):
                if word.text in (",", ":", ";", "-", "–", "—"):
                    yield place + 1, True
        if scene:
            yield 0, False

    # -- commands

    def _command(self, place: int, inside: bool) -> Asked | None:
        while self.at(place).tags in ("R", "C"):
            place += 1
        if self.at(place).lower in ("do", "don't") and self.at(place + 1).may("RV") and not self.at(place + 1).may("D"):
            place += 2 if self.at(place + 1).lower == "not" else 1
        word = self.at(place)
        unknown = word.may("U") and self.at(place + 1).tags == "D" and not inside
        if not unknown and (not word.may("V") or word.form != "base" or not self._commands(place, inside)):
            return None
        if word.verb == "help" and self.at(place + 1).lower in ("me", "us"):
            after = place + (3 if self.at(place + 2).may("T") else 2)
            if self.at(after).may("V") and self.at(after).form == "base":
                place, word = after, self.at(after)
        return Asked("command", word.verb, self._object(place + 1, word.verb))

    def _commands(self, place: int, inside: bool) -> bool:
        """Whether the base form of a verb at this place is a command, and not a noun or adjective of the same form."""
        word, after = self.at(place), self.at(place + 1)
        if inside and word.named:
            return False
        if word.may("N") and (after.text == ":" or (after.lower == "of" and word.verb not in OF)):
            return False
        if after.may("X") and not after.may("V"):
            return False
        if word.may("A") and after.may("NA") and not after.may("DP#"):
            return False
        if not inside or not word.may("N") or after.may("DPWQ#"):
            return True
        plural = after.may("N") and after.noun != after.lower
        return plural or after.text == "?" or after.lower in PARTICLES or (after.lower == "of" and word.verb in OF)

    # -- questions

    def _question(self, place: int) -> Asked | None:
        while self.at(place).tags in ("R", "C"):
            place += 1
        fronted = self.at(place).may("IT") and self.at(place + 1).may("W")
        place += fronted
        word, after = self.at(place), self.at(place + 1)
        if word.lower in WHAT_IS:
            return Asked("question")
        if word.may("W"):
            return self._wh_question(place, fronted)
        if not word.may("X") or word.may("P") or after.may("M"):
            return None
        if word.may("V") and not after.may("P") and self.at(len(self.words) - 1).text != "?":
            return None  # "Do a search", "Have fun"
        return self._inverted(place, "", False)

    def _wh_question(self, place: int, fronted: bool) -> Asked | None:
        word, noun = self.at(place), ""
        place += 1
        if word.lower == "how" and self.at(place).may("T"):
            verb = self.at(place + 1)
            return Asked("question", verb.verb, self._object(place + 2, verb.verb)) if verb.may("V") else None
        many = word.lower == "how" and self.at(place).lower in ("many", "much")
        if many or word.lower in ("what", "which", "whose"):
            following = self.at(place)
            named = following.may("NAQ#D") or (following.form == "ing" and self.at(place + 1).may("N"))
            if many or (named and not following.may("X")):
                noun, place = self._noun_phrase(place, AFTER_VERB)
                while self.at(place).tags == "I":
                    place = self._noun_phrase(place + 1, AFTER_VERB)[1]
        else:
            while word.lower == "how" and self.at(place).may("AR") and not self.at(place).may("X"):
                place += 1
        while self.at(place).tags == "R":
            place += 1
        following = self.at(place)
        if following.may("X"):
            return self._inverted(place, noun, fronted, word.lower in ("what", "who", "which") or bool(noun))
        if following.may("V") and (noun or word.lower in ("what", "who", "which")):
            return Asked("question", following.verb, self._object(place + 1, following.verb))
        asks = self.at(len(self.words) - 1).text == "?"
        return Asked("question") if asks else None

    def _inverted(self, place: int, noun: str, fronted: bool, subject: bool = False) -> Asked:
        """A question whose auxiliary stands before its subject; `noun` is what a question word goes with."""
        auxiliary, after = self.at(place).lower, self.at(place + 1)
        mood: Mood = "command" if auxiliary in ("can", "could", "will") and after.lower == "you" else "question"
        if auxiliary in BE:
            return self._with_be(place, noun, subject)
        forms = ("past", "base") if auxiliary in PERFECT else ("base",)
        found = self._main_verb(place + 1, forms, subject)
        found = self._main_verb(place + 1, ("s",), subject) if found is None else found
        if found is None:
            return Asked("question")
        verb = self.at(found).verb
        if self.at(found - 1).lower == "be" or self.at(found).lower == "be":
            return Asked(mood, verb)
        if verb == "help" and (inner := self._command(found, False)):
            return Asked(mood, inner.verb, inner.noun)
        given = self._object(found + 1, verb)
        last = next((word for word in reversed(self.words) if not word.may("M")), END)
        if not given and not fronted and not (last.may("I") and not last.may("R")) and not self.at(found + 1).may("W"):
            given = noun
        return Asked(mood, verb, given)

    def _with_be(self, place: int, noun: str, subject: bool) -> Asked:
        """After a form of "be": a verb in -ing with its object, a passive, or no verb at all."""
        if subject and not noun and not self.at(place + 1).may("P") and self.at(place + 1).form not in ("ing", "past"):
            return Asked("question")  # What is the capital of France?
        for spot in range(place + (1 if subject else 2), min(len(self.words), place + 20)):
            word, before = self.at(spot), self.at(spot - 1)
            if not word.may("V") or word.may("X") or before.may("DIT") or (before.tags == "A"):
                continue
            if word.form == "ing" and (not word.may("N") or before.may("P")):
                return Asked("question", word.verb, self._object(spot + 1, word.verb) or noun)
            if word.form == "past" and not word.may("A") and self.at(spot + 1).may("IRMTC"):
                return Asked("question", word.verb)
        return Asked("question")

    def _main_verb(self, start: int, forms: tuple[str, ...], subject: bool) -> int | None:
        """The place of the verb that goes with an auxiliary, behind the subject unless the question word is it."""
        for place in range(start, min(len(self.words), start + 25)):
            word, before, after = self.at(place), self.at(place - 1), self.at(place + 1)
            if word.lower == "be" and after.may("V") and after.form == "past":
                return place + 1
            if not word.may("V") or word.form not in forms or word.named:
                continue
            if place == start and (not subject or not (word.tags == "V" or after.may("DPIMTRQ#"))):
                continue
            if place > start and (before.may("DITC") or before.tags == "A") and not before.may("NP"):
                continue
            plural = before.may("N") and (before.noun != before.lower or before.lower == "people")
            if word.may("NA") and after.may("NVA") and not after.may(NOT_NOUNS) and not after.named and not plural:
                continue  # one word of a longer name
            return place
        return None

    # -- statements

    def statement(self) -> Asked:
        """The main verb of a sentence that neither commands nor asks."""
        for place in range(min(len(self.words), 40)):
            word, before, after = self.at(place), self.at(place - 1), self.at(place + 1)
            if word.may("X"):
                return self._after_auxiliary(place)
            if place == 0 or not word.may("V") or word.form == "ing" or not before.may("NPQR#") or before.may("D"):
                continue
            if word.may("NA") and after.may("NVA") and not after.may(NOT_NOUNS) and before.tags != "P":
                continue
            return Asked("statement", word.verb, self._object(place + 1, word.verb))
        return Asked("statement")

    def _after_auxiliary(self, place: int) -> Asked:
        auxiliary = self.at(place)
        verb = place + 1
        while self.at(verb).tags in ("R", "X"):
            verb += 1
        word = self.at(verb)
        wanted = {"ing", "past"} if auxiliary.lower in BE else {"past", "base"}
        if word.may("V") and word.form in wanted and word.tags != "A":
            passive = auxiliary.lower in BE and word.form == "past"
            return Asked("statement", word.verb, "" if passive else self._object(verb + 1, word.verb))
        if auxiliary.may("V"):
            return Asked("statement", auxiliary.verb, self._object(place + 1, auxiliary.verb))
        return Asked("statement")

    # -- objects

    def _object(self, place: int, verb: str) -> str:
        """The head noun of the direct object that begins at a place, or ""."""
        while self.at(place).tags == "R" or self.at(place).lower in PARTICLES:
            place += 1
        word, after = self.at(place), self.at(place + 1)
        if (verb == "fill" and word.lower == "in") or (word.lower == "at" and after.lower in ("least", "most")):
            return self._object(place + 1 + (word.lower == "at"), "")
        if word.lower == "that" and (
            after.may("DP#") or not after.may("NA") or self.at(self._noun_phrase(place + 1, AFTER_VERB)[1]).may("XV")
        ):
            return ""
        if word.lower in ("in", "into", "for", "with", "from", "at") or (word.may("T") and after.may("D")):
            _, end = self._noun_phrase(place + 1)
            return self._noun_phrase(end)[0] if self.at(end).tags == "D" else ""
        if word.may("P") and not (word.may("D") and after.may("NA") and not after.may("IT")):
            place += 1
            while self.at(place).tags == "R":
                place += 1
            for_me = word.lower in ("me", "us") and self.at(place).may("D#")
            gift = for_me or (word.lower in RECEIVERS and verb in GIVE and not self.at(place).may("ITWCPM"))
            return self._noun_phrase(place)[0] if gift else ""
        if word.may("C") and after.may("V") and after.form == "base":
            return self._object(place + 2, after.verb)  # compare and contrast
        if word.may("WTCI") or (word.form == "ing" and not after.may("N")):
            return ""
        noun, end = self._noun_phrase(place, AFTER_CAUSED if verb in CAUSE else "")
        if verb in GIVE and self.at(end).may("D#") and not self.at(end).may("P"):
            second, end = self._noun_phrase(end)
            return noun if self.at(end).may("XVP") else second or noun
        return noun if verb in CAUSE or not self.at(end).may("X") else ""  # "Show the sum is even": a clause

    def _noun_phrase(self, place: int, verb_before: str = "") -> tuple[str, int]:
        """The head noun of the phrase that begins at a place, "" for a name or a number, and the place after it.

        A verb may follow without a mark: a word that can be one is taken for it where what comes next is among
        the parts of speech `verb_before`.
        """
        start, head = place, -1
        while self.at(place).may("D#") or (self.at(place).lower in ("of", "than") and place > start):
            place += 1
        while place < len(self.words):
            word = self.words[place]
            if not self._continues(place, start, head, verb_before):
                break
            if word.text.endswith("'s") or word.text.endswith("s'"):
                head = -1
            elif word.may("N") or (word.tags == "V" and word.form == "base" and self.at(place - 1).may("DA")):
                head = place
            elif word.lower == "one" and self.at(place - 1).may("A"):
                head = place  # the largest one
            place += 1
        if head < 0:
            return "", place
        found = self.words[head]
        return ("" if found.named and head > 0 else found.noun or found.lower), place

    def _continues(self, place: int, start: int, head: int, verb_before: str) -> bool:
        """Whether the word at a place still belongs to the noun phrase; `head` is the last noun so far, or -1."""
        word, after = self.at(place), self.at(place + 1)
        if word.may("M"):
            return word.text in "<>_/*" or (head < 0 and place > start and word.text == "," and after.may("AN"))
        if head < 0:
            if word.may("C"):
                return place > start and word.lower in ("and", "or") and after.may("AND#")
            if word.may("I"):
                return word.lower in ("given", "above", "below", "past") and self.at(place - 1).may("D")
            return not word.may("PTWX") and (word.may("NADRQ#") or word.form in ("ing", "past") or place > start)
        if word.lower.endswith(("'s", "s'")):
            return True
        if word.may("C") and self.at(place - 1).may("A") and after.may("A"):
            return self.at(place + 2).may("N")  # straight and solid roads
        if word.may("DPITWCXQ#") or word.tags == "R":
            return False
        if word.may("V") and word.form != "ing" and self._verb_here(place, verb_before):
            return False
        if word.form in ("ing", "past") and word.may("V"):
            return word.may("N") and (after.may("NC") or after.text in (",", ".")) and not after.may("DPI")
        return word.may("N") or (word.may("A") and after.may("N") and not after.may("DPI#"))

    def _verb_here(self, place: int, verb_before: str) -> bool:
        """Whether a word that may be a verb is one, by what follows, and not a noun before the verb."""
        after = self.at(place + 1)
        second = self.at(place).may("N") and after.may("V") and after.form != "ing" and not after.may("DPIRX")
        return after.may(verb_before) and not after.may("X") and not second
