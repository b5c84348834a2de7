"""Requests that no text can meet: they need eyes, ears, hands or a network.

In: a conversation. Out: the reason against it in plain words, or None.
Questions of how to do such a thing stay, and so do mails to be drafted, pictures given in words and what stands in
quotes. The wordings lie in `reach.txt`: English at length, a dozen other languages by their commonest ones. Does not
look at the answer: one that makes up what is in a picture is as bad as one that declines.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from string import ascii_lowercase
from typing import NamedTuple

from yearling.curate.rows import Row
from yearling.measure.text import word_count

READ = 600  # characters of a request at its beginning that are looked at; what comes later is material
LEAST = 4  # words of a paragraph that is a request by itself
# After these a request begins, as it does after a mark.
LEADS = (
    "please|kindly|now|just|you|go and|bitte|kannst du|könntest du|können sie|könnten sie|sie|peux-tu|pourrais-tu"
    "|pouvez-vous|pourriez-vous|plaît|favor|puedes|podrías|puede|podría|favore|puoi|potresti|può|pode|poderia|podes"
    "|alsjeblieft|alstublieft|kun je|kunt u|wil je|proszę|możesz|пожалуйста|прошу|lütfen|snälla|kan du|prosím|tolong"
    "|hãy|te rog|kérlek"
)
START = re.compile(rf"(?:^|[.!?:;\n¡¿。！？]\s*|, ?|，|\b(?:{LEADS}) )(?=\S)")
LEAD_WORDS = frozenset(re.findall(r"(?:^|\|)(\w+)", LEADS))
MARKED = re.compile(r"[.!?:;,\n]\s*(?=\S)")  # `START` in a text in ASCII that holds none of `LEADS`
WORD = re.compile(r"[^\W\d_]+")
LETTERS = bytes(byte if chr(byte) in ascii_lowercase else 32 for byte in range(256))
# Scripts whose words are not looked up one by one.
OTHER_SCRIPT = re.compile(
    "[\u0370-\u03ff\u0400-\u07bf\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]"
)
APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\u0060\u00b4", "'''''")
QUOTED = re.compile(
    r'"[^"\n]*"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|「[^」\n]*」|『[^』\n]*』|《[^》\n]*》|(?<!\w)\'[^\'\n]{3,}\'(?!\w)'
)


HOW = re.compile(
    r"\bhow (?:do|can|could|should|would|to|might|does one)\b(?! i look\b)|\b(?:best|easiest|right|proper|correct"
    r"|quickest|safest|good) (?:way|time|place|app)\b|\b(?:what|when|where|why) (?:should|do|can|does|did|must) (?:i"
    r"|we|you|one|people)\b(?! see\b)|\b(?:should|may|can|must|did|do|if|when|while|before|after|would|could|and"
    r"|that) (?:i|we|he|she|they|one)\b|\bwhich (?:app|program|software|tool|file)|\b(?:steps|tips|ways|tricks"
    r"|instructions|advice|guide|reasons|rules|ideas) (?:to|for|on|of|when)\b|\bis it (?:ok|okay|safe|possible|rude"
    r"|legal|better|worth|bad|good)\b|\b(?:explain|teach|tell|show) me how\b|\bdifference between\b"
    r"|\bwhat (?:does it mean|happens|makes)\b|\bwie (?!viel|spät|wird|ist das|ist heute|sieh|heiß|alt)|\bcomment\b"
    r"|\bcómo (?!está el|se llama|suen)|\bcome (?:posso|si|faccio|fare|devo|mettere|allegare|inviare)|\bcomo (?:posso"
    r"|se|faço|fazer|devo|anexar|enviar)\b|\bhoe (?!laat|veel|oud|heet)|\bjak (?!a\b|i\b|a jest)\w+ć|\bjak (?:mogę"
    r"|można|się|mam|najlepiej)|\bкак (?!ая|ой|ие|зовут|выгляд)|\bяк "
)
OTHER_HOW = re.compile(
    r"如何|怎么(?!样)|怎样|怎麼|方法|どうやって|どうすれば|やり方|仕方|어떻게|방법|nasıl|\bhur\b|كيف|कैसे|πώς|поясни"
    r"|איך|อย่างไร|ยังไง|\bjak\b|làm (?:thế nào|sao)"
)
_MAIL = (
    r"(?:e-?mails?|letters?|messages?|mails?|notes?|memos?|reply|replies|response|texts?|sms|notices?|announcement"
    r"|reminder|invitation|script|dialogue|brief|nachricht|lettre|courriel|courrier|correo|carta|mensaje|lettera"
    r"|messaggio|mensagem|bericht|list|wiadomość|maila|письмо|сообщение|листа?|邮件|信|短信|メール|手紙|메일|편지"
    r"|문자)"
)
DRAFT = re.compile(
    r"(?:\b(?:write|draft|compose|word|phrase|prepare|formulate|reply|help me (?:write|word))\b|schreib|verfass"
    r"|formulier|entwirf|écri[st]|écrivez|rédig|escrib|redact|scriv|escrev"
    rf"|redij|schrijf|napisz|напиши|составь|сочини|写|起草|撰写|書い|作成|작성"
    rf"|써)[^.?!\n]{{0,60}}(?<![^\W\d_a-z])\b{_MAIL}(?![a-z])|(?:写|起草|撰写)[^。\n]{{0,20}}(?:邮件|信|短信)"
    rf"|(?:メール|手紙|文面|例文)[^。\n]{{0,20}}(?:書い|作っ|考え)|(?:메일|편지|문자)[^.\n]{{0,20}}(?:써|작성)"
)
CODE = re.compile(
    r"\b(?:python|javascript|java|code|function|method|curl|regex|program|api|sql|bash|shell|command line|php|html|css"
    r"|react|android|kotlin|swift|selenium|formula|macro|variable|array|funktion|fonction|función|funzione|função"
    r"|функци\w*)\b|函数|代码|関数|コード|함수|코드"
)
# Work on wording in which such a request may well stand, unless what is to be worked on is attached.
WORK_ON_TEXT = re.compile(
    r"\W*(?:please |bitte |can you |could you )?(?:tell me (?:if|whether)|categori[sz]e|label|judge|rate|decide"
    r"|determine|extract|analy[sz]e the|given|translate|rephrase|rewrite|correct|proofread|improve|paraphrase|continue"
    r"|complete|classify|convert|shorten|make (?:this|the following|it) (?:\w+ )?(?:more|less|sound)|what does"
    r"|what is (?:meant|the (?:meaning|grammatical|past|plural|passive|difference))|is (?:the|this) (?:sentence"
    r"|phrase)|which word|identify the (?:verb|noun|subject|tense)|find the (?:verb|mistake|error)|in the sentence"
    r"|punctuate|fill in|write (?:a|the|an|two|three|five|some) (?:\w+ )?(?:poem|story|sentences?|dialogue|scene|song"
    r"|haiku|limerick|joke|slogan|ad)|übersetz|korrigier|formuliere|tradui|corrige|reformule|traduz|traduc|corregg"
    r"|vertaal|verbeter|przetłumacz|popraw|переведи|исправь|翻译|改写|把[^。]{0,20}翻译|訳し|번역)"
)
ATTACHED = re.compile(
    r"attach|enclos|upload|appended|accompany|angehäng|beigefüg|beilieg|hochgelad|anhang|joint|adjunt|allegat|anex"
    r"|bijlage|bijgevoeg|załącz|прикреп|прилож|вложен|附|添付|첨부|https?:|www\.|\blink|screenshot|recording"
)
IN_WORDS = re.compile(
    r"\b(?:shows?|showing|depicts?|depicting|contains) (?:an? |the |two |three |my |people |some |\d)|\b(?:imagine"
    r"|in words|described?(?: it)? as|description|suppose|pretend|stell dir|beschreibung|imagine[sz]?|décrit|imagina"
    r"|descripción|immagina|descrizione|wyobraź|opis|представь|описани)|想象|描述如下|説明文|想像|상상"
)


class Family(NamedTuple):
    """Requests of one sort: what they need, words one of which they hold, signs, wordings anywhere and at a start."""

    needs: str
    words: frozenset[str]
    signs: tuple[str, ...]
    anywhere: re.Pattern[str] | None
    at_start: re.Pattern[str] | None


@cache
def families() -> tuple[Family, ...]:
    """All that `reach.txt` holds."""
    names: dict[str, str] = {}
    found: list[tuple[str, list[str], list[str], list[str]]] = []
    for line in files("yearling.curate").joinpath("reach.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[([\w ]+)\] ?(.*)", line):
            if heading[1] != "names":
                found.append((heading[2], [], [], []))
        elif not line or line.startswith("#"):
            continue
        elif not found:
            name, _, form = line.partition(" = ")
            names[name] = _filled(form, names)
        elif line.startswith("words = "):
            found[-1][1].extend(line.split()[2:])
        elif line.startswith("signs = "):
            found[-1][2].extend(_filled(sign, names) for sign in line.split()[2:])
        else:
            found[-1][3].append(_filled(line, names))
    return tuple(Family(needs, frozenset(words), tuple(signs), *_split(forms)) for needs, words, signs, forms in found)


def _split(forms: list[str]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    starting = [form.removeprefix("<do>") for form in forms if form.startswith("<do>")]
    free = [form for form in forms if not form.startswith("<do>")]
    return (re.compile("|".join(free)) if free else None), (re.compile("|".join(starting)) if starting else None)


def _filled(form: str, names: dict[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda name: names.get(name[1], name[0]), form)


@cache
def _known() -> frozenset[str]:
    return frozenset().union(*(family.words for family in families()))


@cache
def sign() -> str:
    """A pattern (RE2) without which the prompt of a row of one prompt and one answer, both in ASCII, passes.

    It looks beyond `READ`, into quotes, and at nothing that spares a request: it may match too much, never too little.
    """
    forms = [form for family in families() for form in family.signs]
    inside, starting = ("|".join(form[4:] for form in forms if form.startswith(mark)) for mark in ("<in>", "<do>"))
    free = "|".join(form for form in forms if not form.startswith(("<in>", "<do>")))
    leads = "|".join(filter(str.isascii, LEADS.split("|")))
    whole = rf"(?i){inside}|\b(?:{free})|(?:^|[.!?:;\n,]|\b(?:{leads})_)_?(?:{starting})"
    # an apostrophe may be a grave accent, and a space any white space
    return whole.replace("'", "['`]").replace(" ", "_").replace("_?", r"[\x00- ]*").replace("_", r"[\x00- ]+")


def out_of_reach(row: Row) -> str | None:
    """What a request needs that an answer in text has not, or None."""
    for turn in row.turns:
        if turn.role == "user" and (reason := _request(turn.content)):
            return reason
    return None


def _request(prompt: str) -> str | None:
    text = prompt[:READ].lower()
    ascii_only = text.isascii()
    words = text.encode().translate(LETTERS).decode().split() if ascii_only else WORD.findall(text)
    hits = _known().intersection(words)
    other = not ascii_only and OTHER_SCRIPT.search(text) is not None
    if not hits and not other:
        return None
    text = _plain(text)
    head, gap, _ = text.partition("\n\n")  # what stands below a request is material
    if gap and word_count(head) < LEAST:
        head = text
    if ascii_only and LEAD_WORDS.isdisjoint(words):
        starts = [0, *(match.end() for match in MARKED.finditer(head))]
    else:
        starts = [match.end() for match in START.finditer(head)]
    for family in families():
        if not family.words.isdisjoint(hits) or (other and not family.words):
            match = _match(family, head, starts)
            if match and not _spared(text, match, family, len(prompt) > READ):
                return f"the prompt asks for what needs {family.needs}: {match[0].strip()[:60]}"
    return None


def _match(family: Family, head: str, starts: list[int]) -> re.Match[str] | None:
    if family.at_start:
        for start in starts:
            if match := family.at_start.match(head, start):
                return match
    return family.anywhere.search(head) if family.anywhere else None


def _plain(text: str) -> str:
    if not text.isascii():
        text = text.translate(APOSTROPHES)
    elif "`" in text:
        text = text.replace("`", "'")
    if not text.isascii() or '"' in text or "'" in text:
        text = QUOTED.sub('""', text)
    if "  " in text or not text.isprintable():
        text = re.sub(r"[^\S\n]+", " ", text)
    return text.strip()


def _spared(text: str, match: re.Match[str], family: Family, long: bool) -> bool:
    """Whether the words are no request: a question of how, a draft, a program, or with the material at hand."""
    sentence = text[: match.end()]
    sentence = sentence[max(sentence.rfind(mark, 0, match.start() + 1) for mark in ".!?\n。！？") + 1 :]
    if HOW.search(sentence) or (OTHER_HOW.search(text) if not text.isascii() else None) or DRAFT.search(text):
        return True
    attached = ATTACHED.search(match[0]) is not None
    if not attached and (CODE.search(text) or WORK_ON_TEXT.match(text)):
        return True
    if "eyes" not in family.needs and "internet" not in family.needs:
        return False
    after = text[match.end() :]
    told = after.partition(":")[2] if ":" in after[:40] else after.partition("\n")[2]
    given = long or word_count(told) >= (12 if attached else 5) or word_count(after) >= 25
    return given or (not attached and IN_WORDS.search(text) is not None)
