"""Answers that end too soon: inside a sentence or a word, or after a word or two where a text was asked for.

In: an answer, and all that was asked. Out: the reason against it in plain words, or None.
An answer without a full stop is not unfinished by that alone: titles, lists, code, formulas and slogans have none. What
gives a cut away is that the sentences before it are closed, that it ends with a word that ends nothing, or with none.
"""

from __future__ import annotations

import re
import unicodedata

from yearling.measure import english
from yearling.measure.text import word_count

# -- cut off

OPEN_END = re.compile(r"\w\W{0,3}[,:\u060c\u3001\uff0c\uff1a]\Z")
ESCAPED = re.compile(r"\\[(\[)\]]")
FACE = re.compile(r"[:;=]['\u2019]?-?[(\[]")
BREAKS_OFF = re.compile(
    r"unfinished|incomplete|break(?:s|ing)? off|broken off|cliffhanger|mid-?sentence|cut (?:off|short)|abrupt"
    r"|trail(?:s|ing)? off|interrupt|half a sentence|unvollständig|unfertig|bricht ab|abbrech|mitten im satz|inachev"
    r"|interromp|incompl|inacab|a mitad|onaf|afgebroken|niedokończ|urwan|незаконч|незаверш|обрыв|未完|中断|戛然"
    r"|途中で|미완",
    re.IGNORECASE,
)
# Texts whose lines close without a mark.
UNMARKED = re.compile(
    r"\btitles?\b|headline|slogan|tag ?line|motto|\bcaption|subject line|\bpoem|haiku|lyric|\bsong|\bverse|limerick"
    r"|rhyme|\bcode\b|formula|\baddress\b|citation|\bcite\b|bibliograph|punctuat|lower ?case|\bjson\b|\bcsv\b"
    r"|\byaml\b|\btelegram|[uü]berschrift|\btitel\b|gedicht|\blied\b|formel|titre|poème|chanson|t[ií]tul|t[ií]tolo"
    r"|poem|canci|canzon|formul|zonder punt|wiersz|tytuł|заголов|назван|стих|песн|标题|题目|口号|诗|歌|詩|タイトル"
    r"|俳句|제목|시를|구호",
    re.IGNORECASE,
)
# Words that end no sentence, by language; which list holds is told by the words of the text.
DANGLING: tuple[frozenset[str], ...] = tuple(
    frozenset(words.split())
    for words in (
        "a an the and or nor but because although though whereas unless if when while which whose who whom that than"
        " into"
        " onto of to from with without at by for as between among during under towards upon via per is are was were be"
        " being has had will would could should may might must my your his its our their very such these those every"
        " each including various several contains requires"
        " however therefore thus hence roughly approximately nearly almost about",
        "und oder aber weil dass wenn obwohl damit sondern denn als wie der die das den dem des ein eine einen einem"
        " einer"
        " eines im am zum zur vom beim mit von aus nach bei für über unter durch ohne gegen zwischen ist sind war waren"
        " kann können muss sehr sein seine seinen ihre ihren diese dieser dieses nicht nur etwa ungefähr circa daher"
        " deshalb also",
        "et ou mais parce que qui dont où le la les un une des du au aux de à dans sur sous avec sans pour par entre"
        " vers"
        " chez est sont était ce cette ces son sa ses leur leurs notre votre très plus ne se en il elle environ donc"
        " ainsi",
        "y o pero porque aunque que el la los las un una unos unas de del al en con sin para por entre sobre desde"
        " hasta es"
        " son era fue muy más su sus este esta estos estas lo se aproximadamente unos entonces",
        "e ou mas porque que o a os as um uma de do da dos das no na nos nas em ao com sem para por entre é são foi"
        " seu sua"
        " muito mais se aproximadamente cerca portanto logo",
        "e o ma perché che il lo la gli i le un uno una di del della dei degli delle da dal dalla in nel nella nei"
        " nelle a"
        " al alla con su sul sulla per tra fra è sono era suo sua molto più come si circa quindi dunque",
        "en of maar omdat hoewel dat de het een van in op te bij naar voor met door zonder tussen is zijn wordt"
        " worden heel ongeveer dus",
        "i lub ale ponieważ że który która które w na z ze do od dla przez przed pod nad bez jest są był była się"
        " bardzo około więc",
        "и или но потому что чтобы который которая которое которые если когда в во на с со к ко от до для при про без"
        " под"
        " над из за по о об не очень его её их это около примерно поэтому",
    )
)
# Endings that tie a clause to the next one, in languages whose verb comes last, and Chinese words that need another.
TIED = re.compile(
    r"[가-힣](?:고|며|면|면서|지만|는데|은데|어서|아서|여서|해서|니까|므로|려고|도록|거나|을|를|은|는|의|에|에서|으로"
    r"|와|과)\Z|[\u3040-\u30ff\u4e00-\u9fff](?:は|が|を|の|に|へ|と|で|て|から|ので|けど)\Z|[\u4e00-\u9fff](?:的|和|与"
    r"|及|是|在|把|被|对|从|向|为|或|但|而|因为|所以|如果|就是)\Z"
)
NO_END = english.words(
    "mr mrs ms dr prof st vs etc e.g i.e eg ie jr sr inc ltd co corp no nos fig vol approx dept est gen sen rep capt"
    " sgt rev ed eds pp ch sec min max bzw usw ca nr str bd hrsg abb evtl ggf sog inkl zzgl mme mlle av env art cap"
    " pág núm sra dra ud uds ecc dott sig bijv blz np tzw ul tys mln им ул тыс млн руб рис стр"
)
INNER_END = re.compile(r"[.!?…]{1,3}[\"'”’»)\]]{0,2}\s+(?=[\"'“„«(¿¡]{0,2}(?P<next>[^\W\d_]))|[。！？।]")
ENGLISH_ARTICLES = frozenset(("a", "an", "my", "your", "its", "our", "every"))
GERMAN_ARTICLES = frozenset(("ein", "eine", "einen", "einem", "einer", "der", "den", "dem", "des", "das", "die"))
GERMAN = frozenset(
    ("und", "ist", "nicht", "mit", "sie", "es", "man", "in", "auf", "für", "von", "wird", "sich", "wenn")
)
CLOSING_MARKS = (".", "?", "!", "…", ":", "。", "？", "！", "：", "”", '"', "»", ")")
NO_STOPS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff|=]")  # Thai, Lao, Burmese, Khmer; tables, formulas
MAIL = re.compile(
    r"mail|letter|message|\bnote|quote|saying|brief|nachricht|lettre|citation|carta|mensaje|письмо|信|手紙",
    re.IGNORECASE,
)
LIST_MARK = re.compile(r"\s*(?:[-*•+–]|\d{1,3}[.)]|[A-Za-z][.)])\s+")
UNITS = english.words(
    "km cm mm kg mg ml dl ft lb lbs hr hrs pm kb mb gb tb khz mhz ghz kwh mph kph rpm psi ppm bps kw mw hp tbsp tsp"
    " pcs sq vs html css js ts py xml sql php npm mp3 pdf tv cd dvd pc hmm shh psst brr sms gps usb st nd rd th"
)
LONGEST = 4000  # characters at the end of an answer that are looked at


def unfinished(completion: str, asked: str) -> str | None:
    """The reason why the completion breaks off, or None."""
    text = completion[-LONGEST:].rstrip()
    last = text[-1:]
    if not last or last in ".!?…。！？" or "```" in text:  # open fences are remains
        return None
    if not (last.isalnum() or last in ",:;،、，：-–—([{" or unicodedata.category(last)[0] == "M"):
        return None if last in "\"'”’»」)]`" else _say(_open_pair(text), asked)
    return _say(_open_end(text) or _open_pair(text) or _mid_sentence(text, asked), asked)


def _say(reason: str | None, asked: str) -> str | None:
    return f"is unfinished: {reason}" if reason and not BREAKS_OFF.search(asked) else None


def _open_end(text: str) -> str | None:
    line = text.rpartition("\n")[2]
    # A letter whose name is left to the user ends with a comma too.
    farewell = line != text and line.endswith(",") and len(line.split()) <= 6
    if (OPEN_END.search(text) and not farewell) or re.search(r"[^\W\d_]{2} ?[-\u2013\u2014]\Z", text):
        return f"it ends with {text[-1]}"
    return None


def _open_pair(text: str) -> str | None:
    """An opening bracket or quote that the last line, itself without an end mark, does not close."""
    if (
        text[0] in "{["
        and text[-1] not in "}]"
        and '"' in text
        and text.count(text[0]) > text.count("}" if text[0] == "{" else "]")
    ):
        return "the data stay open"
    last = ESCAPED.sub("", FACE.sub("", text.rpartition("\n")[2]))
    # Intervals such as (0, 1] mix the two kinds, so they are counted together.
    if sum(map(last.count, "([")) > sum(map(last.count, ")]")):
        return "a bracket stays open"
    quotes = last.count('"') and len(re.findall(r'(?<!\d)"', last))  # after a digit it means inches
    # German and Polish quotes open low and close with what opens the English ones.
    pairs = (("„", "“”"),) if "„" in last else (("“", "”"), ("「", "」"), ("«", "»"))
    opened = any(last.count(a) > sum(map(last.count, b)) for a, b in pairs)
    return "a quote stays open" if quotes % 2 or opened else None


def _mid_sentence(text: str, asked: str) -> str | None:
    line = text.rpartition("\n")[2].strip()
    words = line.split()
    last = words[-1]
    if word_count(line) < 3 or not (last[-1].isalpha() or unicodedata.category(last[-1])[0] == "M"):
        return None
    if _dangles(text, words) or (len(line) > 8 and not line.isascii() and TIED.search(line)):
        return f"it ends with {last[-40:]}"
    if any(c in last for c in "/@._=\\(){}[]<>$"):
        return None
    reason = None
    if _half_word(words, asked):
        reason = f"it ends inside a word, {last[-40:]}"
    elif _lacks_a_noun(words) or _after_closed_sentence(line, asked) or _after_closed_lines(text, line):
        reason = "it ends inside a sentence"
    elif line == text and _long_sentence(line, asked):
        reason = "its one sentence is not closed"
    return None if reason and UNMARKED.search(asked) else reason


def _dangles(text: str, words: list[str]) -> bool:
    last = words[-1]
    if len(words) < 4 or words[-2][-1] in ":=+" or (words[-2][-1] == "," == words[-3][-1]):
        return False
    opens = words[-2][-1] in ".!?…" and last.istitle()  # "He left. The"
    if not (last.islower() or opens):
        return False
    lists = [language for language in DANGLING if last.lower() in language]
    if not lists:
        return False
    spoken = [word.strip(".,;:!?\"'()").lower() for word in text.split()[-60:]]
    most = max(sum(map(language.__contains__, spoken)) for language in DANGLING)
    return len(spoken) > 5 and any(sum(map(language.__contains__, spoken)) == most for language in lists)


def _half_word(words: list[str], asked: str) -> bool:
    """A last word that no word is, after words that are."""
    last = words[-1]
    if not last.islower() or not last.isalpha() or len(words) < 5 or last in UNITS or words[-2][-1].isdigit():
        return False
    if last.isascii() and len(last) > 1 and not re.search(r"[aeiouy]", last):
        return True
    if not last.isascii() or last in asked.lower():
        return False
    before = [word.strip(".,;:!?\"'()").lower() for word in words[-9:-1]]
    return sum(_is_english(word) for word in before) >= 0.8 * len(before) and not _is_english(last)


def _is_english(word: str) -> bool:
    tokens = english.tokens(word)
    return len(tokens) == 1 and not tokens[0].may("U")


def _lacks_a_noun(words: list[str]) -> bool:
    """An article and an adjective at the end."""
    article, last = words[-2].lower() if len(words) > 4 else "", words[-1]
    if article in GERMAN_ARTICLES:
        return last.islower() and last.endswith(("e", "en", "er", "es", "em")) and any(w in GERMAN for w in words)
    return article in ENGLISH_ARTICLES and last.islower() and english.tokens(last)[0].tags == "A"


def _long_sentence(line: str, asked: str) -> bool:
    """Whether the line is a long sentence, neither list nor telegram, and who asked does use end marks."""
    count, commas = word_count(line), sum(map(line.count, ",，"))
    if ":" in line or "、" in line or commas * 4 > count or count < (12 if commas else 15):
        return False
    return (line[0].isupper() or "，" in line) and asked.rstrip()[-1:] in CLOSING_MARKS and not NO_STOPS.search(line)


def _after_closed_sentence(line: str, asked: str) -> bool:
    """Whether a sentence of the line is closed and the one after it, more than a name, is not."""
    end = None
    for match in INNER_END.finditer(line):
        following = match["next"]
        word = line[max(0, match.start() - 30) : match.start()].rpartition(" ")[2].strip("\"'”’»)]“„«(")
        abbreviated = word.casefold() in NO_END or len(word) < 3 or word.isdigit() or "." in word
        if following is None or (not abbreviated and not following.islower()):
            end = match.end()
    if end is None:
        return False
    rest = line[end:].strip()
    words = rest.split()
    if not words or ": " in rest or (len(words[-1]) == 1 and words[-1].isupper()):
        return False
    if len(words) == 1 and word_count(rest) == 1 and not MAIL.search(asked) and words[0].istitle():
        return end > 20 and "?" not in line[end - 4 : end]  # a first word, where no question asks for a word
    # Names stand under what they said or wrote.
    return any(not word[0].isupper() for word in words) or word_count(rest) >= 6


def _after_closed_lines(text: str, line: str) -> bool:
    """Whether all lines before it are closed."""
    before = [one.rstrip() for one in text.split("\n")[:-1] if one.strip()]
    item = LIST_MARK.match(line)
    if item:
        before = [one for one in before if LIST_MARK.match(one)]
    if len(before) < (2 if item else 1) or not all(
        one.endswith((".", "!", "?", "。", "！", "？", "।")) for one in before
    ):
        return False
    return word_count(line) >= (3 if item else 6) and any(word.islower() for word in line.split()[1:])
