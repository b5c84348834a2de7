"""English words and what they can be: parts of speech, base forms, and whether a text is English at all.

In: any text. Out: tokens, each with the parts of speech that it may have, and the sentences of a text.
The dictionary is that of `lemminflect` (the SPECIALIST lexicon, in its wheel; nothing is fetched), the small words are
listed here. Does not decide which of its parts of speech a word has in a sentence: that is `verbs.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

# Letters of `Token.tags`: N noun, V verb, A adjective, R adverb, D determiner, P pronoun, # number, I preposition,
# C conjunction, W question word or "whether", X auxiliary, T "to", Q quotation or code, M mark, U unknown word.
CLOSED = {
    "D": "the a an this these those my your his its our their some any each every no another all both several"
    " many few most much such either neither enough more less fewer",
    "P": "i you he she it we they me him us them myself yourself itself himself herself themselves ourselves mine"
    " yours hers theirs something anything everything nothing someone anyone everyone somebody anybody everybody"
    " none one's there",
    "DP": "her that",
    "#": "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand"
    " million half dozen",
    "I": "of in on at by for with from into onto about against between among during without within through"
    " across behind beyond toward towards upon via per as than like unlike despite except besides including regarding"
    " concerning under above below over off near inside outside along around past throughout until till since using"
    " based given",
    "IR": "up down out before after",
    "C": "and or but nor so because although though while if unless whereas",
    "W": "what which who whom whose why when where how whether whatever whichever",
    "X": "be am is are was were been being can could will would shall should may might must cannot can't couldn't"
    " won't wouldn't shouldn't don't doesn't didn't isn't aren't wasn't weren't hasn't haven't hadn't isnt dont"
    " what's who's how's where's",
    "PX": "i'm you're he's she's it's we're they're that's there's i've you've we've they've i'd you'd he'd she'd we'd"
    " they'd i'll you'll he'll she'll it'll we'll they'll",
    "XV": "do does did have has had having doing done",
    "T": "to",
    "R": "not very too also only just then now here again please kindly briefly always never often perhaps maybe"
    " together apart away back forward instead else once twice ever yet still already almost about exactly quite"
    " rather really there thus therefore however first firstly next finally lastly",
}


def words(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


NOUNS = words("template")  # no noun, by the dictionary
NEVER_VERBS = words("true best better good well fine short brief long right wrong least")
ENGLISH_ONLY = words("the this these those your their what which how why with and please")
IRREGULAR = words("read put set cut let hit cost split spread shut quit")  # past forms that look like the base

Form = Literal["", "base", "s", "ing", "past"]


class Token(NamedTuple):
    """A word or mark, the parts of speech it may have, and the form it has if it is a verb."""

    text: str
    tags: str
    form: Form = ""
    noun: str = ""
    verb: str = ""

    @property
    def lower(self) -> str:
        return self.text.lower()

    @property
    def named(self) -> bool:
        """Written as a name: a capital letter or a digit leads, or capitals are inside."""
        return self.text != self.lower

    def may(self, tags: str) -> bool:
        """Whether it may have one of these parts of speech."""
        return any(tag in self.tags for tag in tags)


# of a word in two lists, the first counts
_SMALL = {word: tags for tags, several in reversed(CLOSED.items()) for word in several.split()}

_QUOTED = r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|`[^`\n]{1,300}`|(?<![\w'])['‘][^'’\n]{1,120}['’](?!\w)"
_PIECE = re.compile(
    rf"(?P<quote>{_QUOTED}|[^\W_]+(?:_[^\W_]+)+)|(?P<unit>\d+(?:\.\d+)?-?[^\W\d_]+(?:-[^\W\d_]+)*)|(?P<number>[$€£]?\d[\d.,:/]*\d%?|[$€£]?\d+%?)"
    r"|(?P<word>[^\W\d_]+(?:[-'’.&/]?[^\W_]+)*['’]?)|(?P<mark>[^\w\s]|_+)"
)
_BRACKETS = re.compile(r"\([^()\n]{0,200}\)|\[[^\[\]\n]{0,200}\]")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr|prof|st|no|fig|approx)\.", re.IGNORECASE)
_END = re.compile(r"(?<=[.?!;])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9])|(?<=;)\s+|(?<=[?!])\s+(?=[^\W\d_])|\n+")
_LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
READ = 3000  # characters of a text in which its instruction is looked for
HEAD = 400  # characters by which the language of a text is told
FEW = 3  # words that do not tell a language


def sentences(text: str) -> Iterator[str]:
    """The sentences of the first part of a text; what stands in brackets is left out."""
    head = _ABBREVIATION.sub(lambda found: found[0].replace(".", ""), text[:READ].replace("\r", "\n"))
    for part in _END.split(head):
        sentence = _BRACKETS.sub(" ", part).strip()
        if any(c.isalpha() for c in sentence):
            # capitals throughout tell nothing of names
            yield sentence if any(c.islower() for c in sentence) else sentence.lower()


def tokens(sentence: str) -> list[Token]:
    """One sentence as tokens; a quotation or a piece of code is one."""
    found = []
    for piece in _PIECE.finditer(sentence):
        text = piece[0]
        if piece["quote"]:
            found.append(Token(text, "Q"))
        elif piece["number"] or (piece["unit"] and "-" not in text):
            found.append(Token(text, "#"))
        elif piece["word"] or "-" in (piece["unit"] or ""):
            found.append(_word(text.replace("’", "'")))
        else:
            found.append(Token(text, "M"))
    return found


@lru_cache(maxsize=1 << 16)
def _word(text: str) -> Token:
    lower = text.lower()
    if lower in _SMALL:
        tags = _SMALL[lower]
        form: Form = "base" if lower in ("do", "have") else "s" if lower in ("does", "has") else "past"
        return Token(text, tags, form if "V" in tags else "", verb=_base(lower) if "V" in tags else "")
    if len(lower) == 1:
        return Token(text, "Q")  # a name of something: x, the letter e
    if lower.endswith(("'s", "s'")):
        return Token(text, "D")  # the student's essay: what it says of, not what is asked for
    lemmas = _lemmas(lower)
    if not lemmas:
        return _unknown(text)
    names = {"NOUN": "N", "VERB": "V", "AUX": "V", "ADJ": "A", "ADV": "R"}
    tags = "".join(dict.fromkeys(names[kind] for kind in lemmas if kind in names)) or "N"
    verb = lemmas["VERB"][0] if "VERB" in lemmas and lower not in NEVER_VERBS else ""
    tags = tags if verb and lower not in NOUNS else tags.replace("V", "") or "N"
    return Token(text, tags, _form(lower, verb), lemmas["NOUN"][0] if "NOUN" in lemmas else "", verb)


def _unknown(text: str) -> Token:
    """A word that the dictionary lacks, told by its ending; a compound by its last part."""
    lower = text.lower()
    last = lower.replace("/", "-").rpartition("-")[2]
    if last != lower and last:
        part = _word(last)
        noun = lower.removesuffix(last) + part.noun if part.noun else lower
        return Token(text, ("NA" if part.may("NIR") else "A") + ("U" if part.may("V") else ""), noun=noun, verb=lower)
    if lower.endswith("ly"):
        return Token(text, "R")
    if lower.endswith("s") and not lower.endswith(("ss", "us")):
        return Token(text, "N", noun=lower[:-3] + "y" if lower.endswith("ies") else lower[:-1])
    return Token(text, "NU", noun=lower, verb=lower)


def _form(lower: str, verb: str) -> Form:
    if not verb:
        return ""
    if verb == lower or lower in IRREGULAR:
        return "base"
    return "ing" if lower.endswith("ing") else "s" if lower.endswith("s") else "past"


def _base(lower: str) -> str:
    return "do" if lower.startswith("d") else "have"


@lru_cache(maxsize=1 << 16)
def _lemmas(lower: str) -> dict[str, tuple[str, ...]]:
    """The dictionary's entry: its base forms, by part of speech."""
    from lemminflect import getAllLemmas  # type: ignore[import-untyped, unused-ignore]

    found: dict[str, tuple[str, ...]] = getAllLemmas(lower)
    return {kind: forms for kind, forms in found.items() if forms}


def is_english(text: str) -> bool:
    """Whether most words of the first sentence, or of what stands before its colon, are English ones.

    What is to be worked on comes later, or in quotes, and may be of any language. Where that is very short, what
    follows counts too. Without letters a text is not English.
    """
    first = next(sentences(text), "")
    openings = (first.partition(":")[0], first, text)
    told = next((part for part in openings if len(_LETTERS.findall(part)) >= FEW), text)[:HEAD]
    told = re.sub(_QUOTED, " ", told)
    found = _LETTERS.findall(told) or _LETTERS.findall(text[:HEAD])
    several = [word.lower().replace("’", "'") for word in found if len(word) > 1 or not word.isascii()]
    known = sum(word in _SMALL or bool(_lemmas(word) or _lemmas(word.partition("-")[0])) for word in several)
    # a dictionary lacks the names of newer things, which make up much of a short prompt
    needed = 0.3 if ENGLISH_ONLY.intersection(several) else 0.6
    return bool(several) and known >= needed * len(several)
