"""Remains in an answer of something else: broken encodings, HTML, template tokens.

In: a text, and all that was asked. Out: the reason against the text in plain words, or None.
A text that is *about* such remains stays: where what was asked names the topic, or the remains stand in code. Does not
mend anything.
"""

from __future__ import annotations

import re
import unicodedata

# -- encodings


def _high(*pages: str) -> set[str]:
    """What the bytes 80 to BF, which in UTF-8 follow another, become in these code pages."""
    return {c for page in pages for byte in range(0x80, 0xC0) for c in bytes([byte]).decode(page, "ignore")}


def _one_of(characters: set[str] | str) -> str:
    return f"[{re.escape(''.join(sorted(characters)))}]"


# These may well follow a letter, as in quotes or French spacing.
_MARKS = set(
    "\u00a0\u00ab\u00b0\u00b2\u00b3\u00b7\u00bb\u2018\u2019\u201c\u201d\u201a\u201e\u2013\u2014\u2022\u2026\u2039\u203a"
)
_WEST = _high("cp1252", "latin-1")
_ANY, _ODD = _one_of(_WEST), _one_of(_WEST - _MARKS)
_EAST, _MAC, _DOS = _one_of(_high("cp1251")), _high("mac_roman"), _high("cp437", "cp850")
_MOJIBAKE = (
    # Latin letters: a sign that never follows them, or any where small letters go on
    f"[\u00c2-\u00c5]{_ODD}|(?<![A-Z\u00c0-\u00de])[\u00c2-\u00c5]{_one_of(_MARKS)}(?=[a-z\u00c2\u00c3])",
    f"(?:[\u00ce\u00cf]{_ANY}){{2}}|(?:[\u00d0\u00d1]{_ANY}){{2}}|(?:[\u00d8\u00d9]{_ANY}){{2}}|(?:\u00d7{_ODD}){{3}}",
    f"\u00e2\u20ac|\u00ef\u00bb\u00bf|\u00f0[\u009f\u0178]|[\u00e0-\u00ef](?:{_ODD}{_ANY}|{_ANY}{_ODD})",
    f"(?:[\u00e0-\u00ef]{_ANY}{_ANY}){{2}}",
    # code page 1251
    f"(?:[\u0420\u0421]{_EAST}){{3}}|\u0432\u0402[^\\w\\s]|\u0413[\u00a4\u00b6\u0458\u045f\u00a9\u00b1\u00a7\u00ae]",
    # 1250, 1253
    "\u0102[\u00a9\u013d\u0104\u017a\u00b6\u00a4\u0142\u00a7\u02c7\u00ad\u015f]|\u0139[\u201a\u203a\u015f\u013d]",
    f"(?:[\u039e\u039f]{_one_of({c for c in _high('cp1253') if not c.islower()})}){{3}}",
    # Macintosh: after a root sign, but for what stands there in formulas; DOS: after the corner of a box
    f"\u201a\u00c4[\u00ec-\u00fa\u00b6]|\u221a{_one_of(_MAC - set('∑∏π∫Ω∞±≠≤≥°'))}",
    f"\u251c{_one_of(_DOS - set(map(chr, range(0x2500, 0x25A0))))}|\u00d4\u00c7[\u00d6\u00f6\u00a3\u00d8\u00f4]",
)
MOJIBAKE = re.compile("|".join(_MOJIBAKE))
# All of them open with two such letters; a quick look, as texts in most languages hold none.
SUSPECT = re.compile(
    "[\u00c2-\u00c5\u00ce-\u00d1\u00d4\u00d7-\u00d9\u00e0-\u00f0\u0102\u0139\u039e\u039f\u0413\u0420\u0421\u0432\u201a\u221a\u251c]"
    + _one_of(_WEST | _high("cp1251", "cp1253") | _MAC | _DOS | set("\u0402\u013d\u0104\u017a\u0142\u02c7\u015f\u0178"))
)
EAST_ASIAN = re.compile("锟斤拷|烫烫烫|鈥[檚渋檓滅溾]|(?:[繝繧縺].){3}")
# Control characters, halves of surrogate pairs, the sign for what could not be read.
NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd-\uffff]")
_ASCII_TEXT = bytes(byte for byte in range(128) if not NO_TEXT.match(chr(byte)))
SAYS_ENCODING = re.compile(
    r"encod|decod|charset|character set|code ?page|unicode|utf-?\d|latin-?1|iso.?8859|windows-125|\bascii|mojibake"
    r"|(?:control|replacement|null) char|escape (?:code|seq)|\bbytes?\b|U\+[0-9A-F]{4}|\bansi\b|kodier|codier"
    r"|zeichensatz|codificaci|codifica[cç]|kodowan|кодиров|编码|乱码|文字化け|文字コード|인코딩",
    re.IGNORECASE,
)
# Words of a question about letters that came out wrong.
ENCODING_TOPIC = re.compile(
    r"garbl|gibberish|(?:strange|weird|odd|funny|special) (?:char|symbol|sign|letter)|umlaut|accent|repair|restore"
    r"|excel|database|instead of|statt\b|au lieu de|en (?:vez|lugar) de|em vez de|invece d|zamiast|вместо|кракозябр"
    r"|zeichensalat|sonderzeichen|caract[eè]res (?:bizarre|étrange|spéci)|caracteres (?:raros|extra|espec|estran)",
    re.IGNORECASE,
)
# Before a character that is spoken of.
NAMED = re.compile(
    r"(?:character|symbol|\bsign|zeichen|caract[eè]re|car[aá]cter|s[ií]mbol|carattere|символ|знак|字符|符号|文字|記号"
    r"|문자|기호)\w*\W{0,4}\Z",
    re.IGNORECASE,
)


def bad_encoding(text: str, asked: str) -> str | None:
    """Control and replacement signs, or UTF-8 read as another code page."""
    if text.isascii():
        if not text.encode().translate(None, _ASCII_TEXT):
            return None
        match = NO_TEXT.search(text)
    else:
        match = NO_TEXT.search(text) or (MOJIBAKE.search(text) if SUSPECT.search(text) else EAST_ASIAN.search(text))
    if match is None or SAYS_ENCODING.search(asked) or SAYS_ENCODING.search(text):
        return None
    if unicodedata.category(match[0][0]) != "Cc" and ENCODING_TOPIC.search(asked):
        return None
    if NAMED.search(text, max(0, match.start() - 40), match.start()):
        return None
    if len(match[0]) == 1:
        return f"holds a control or replacement character: U+{ord(match[0]):04X}"
    return f"holds letters broken by a wrong encoding: {match[0]}"


# -- markup

CODE = re.compile(r"```[^`]*(?:```|\Z)|`[^`\n]*`")
HTML = re.compile(
    # not the few that people write by hand: sub, sup, kbd, s, u, del, ins
    r"</?(?:p|br|div|span|b|i|em|strong|a|ul|ol|li|h[1-6]|table|t[rdh]|thead|tbody|img|font|hr|blockquote|center|html"
    r"|body|head|title|script|style|section|article|input|button|iframe|label|pre|code|small|big|meta|link|nav|footer"
    r"|header|main|figure|video|audio|noscript|form)(?:\s[^<>\n]{0,300})?/?>|<!--|<!\[CDATA\[|<!DOCTYPE|&(?:nbsp|amp"
    r"|[lg]t|quot|apos|[nm]dash|hellip|[rl][sd]quo|[a-z](?:acute|grave|uml|circ|cedil|tilde)|szlig|copy|bull|middot"
    r"|laquo|raquo|euro|#\d{2,6}|#x[0-9a-f]{2,5});|\[/(?:b|i|url|quote|img|size|color)\]",
    re.IGNORECASE,
)
HTML_TOPIC = re.compile(
    r"html|xml|\bcss\b|\btags?\b|mark-?up|markdown|web ?(?:pages?|sites?)|\bsvg\b|\bjsx\b|\breact\b|\bvue\b|angular"
    r"|\bdom\b|javascript|typescript|\bphp\b|jinja|\bcod(?:e|ing)\b|\bjava\b|\brust\b|\bc\+\+|\bc#|kotlin|swift"
    r"|haskell|scala\b|program|function|line break|snippet|entit(?:y|ies)\b|\bescap|bracket|hyperlink|embed|bootstrap"
    r"|\bpars(?:e|er|ing)\b|scrap(?:e|ing)|beautifulsoup|xpath|\brss\b|bbcode|forum|newsletter|browser|generics?\b"
    r"|webseite|gen[eé]ri|ampersand|less-than|\bpage\b|seite\b|p[áa]gina\b|страниц|zeilenumbruch|saut de ligne"
    r"|salto de línea|换行|改行|balise|etiqueta|quelltext|разметк|тег|标签|网页|代码|タグ|コード|ウェブ|태그|코드"
    r"|<[a-z/!]|&\w+;",
    re.IGNORECASE,
)
GENERIC = re.compile(r"\b(?:[A-Z]\w*|vector)<\w+>\Z")
SAYS_HTML = re.compile(r"\b(?:x?html|xml|svg|tags?|entit(?:y|ies)|mark-?up)\b|[a-z]<[A-Z]\w*>\(", re.IGNORECASE)
SPECIAL = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?(?:start|end)_of_(?:turn|text)>|\[/?(?:INST|SYS|CLS|SEP|PAD|MASK|UNK|EOS|BOS)\]|<</?SYS>>"
    r"|<(?:bos|eos|pad|unk|mask|sep|cls|eot|eod)>|<\|?endoftext\|?>|<\|?im_(?:start|end)\|?>|<extra_id_\d+>"
    r"|</?(?:assistant|human|bot|instruction|response|prompt)>|\A\s*<s>|</s>\s*\Z|\A\s*(?:#{2,}\s*(?:Response"
    r"|Assistant)\b\s*:?|Assistant\s*:)"
)
GAP = re.compile(
    r"(?<![\\\w^}$])\{\{[ \w.|'-]{2,60}\}\}|\{% ?\w[^%\n]{0,60}%\}|<%=?[^%\n]{1,60}%>|\$\{\w{2,40}\}"
    r"|%[A-Z]{2,}_[A-Z_]{2,}%|(?<![\\\w^}$])\{(?:instruction|input|output|response|question|answer|prompt|context"
    r"|completion|text)\}"
)
TOKEN_TOPIC = re.compile(
    r"\btokens?\b|tokeni[sz]|chat ?template|chatml|\bllama|\bbert\b|special|prompt (?:format|template)|\btemplat"
    r"|placeholder|platzhalter|jinja|handlebars|mustache|django|ansible|\bhelm\b|variable|python|javascript|kotlin"
    r"|ruby|\bperl\b|\bphp\b|f-string|\bstring\b|environment|\benv|docker|\bmake\b|config|\byaml|terraform|liquid"
    r"|hugo|jekyll|\berb\b|\bejs\b|\bjsp\b|github|batch|windows|format string|latex|\bcode\b|function|\bshell\b|bash"
    r"|\bscript\b|curly|brace|\bfill\b|\bhtml\b|\bvue\b|angular|react|wiki|dialog|diálogo|диалог|对话|会話"
    r"|conversation|\bchat|transcript|interview|\bxml\b|\bgap\b|gabarit|plantilla|vorlage|шаблон|模板|テンプレート"
    r"|トークン|템플릿|词元|<\||\{\{|\[mask\]",
    re.IGNORECASE,
)
SAYS_TOKEN = re.compile(r"\btokens?\b|placeholder|\btemplates?\b", re.IGNORECASE)
FENCE_TOPIC = re.compile(r"fence|backtick|markdown|code block|codeblock", re.IGNORECASE)


def markup(text: str, asked: str) -> str | None:
    """HTML, fences and template tokens where prose was to be."""
    if "`" in text and (reason := _fence(text, asked)):
        return reason
    angle, square = "<" in text, "[" in text
    if (angle or "&" in text or (square and "[/" in text)) and (reason := _html(text, asked)):
        return reason
    if (angle or square or "{" in text or "%" in text) and (reason := _token(text, asked)):
        return reason
    opening = text[:24].lstrip()
    return _token(text, asked) if opening[:1] in "#aA" and opening.lower().startswith(("##", "assistant")) else None


def _fence(text: str, asked: str) -> str | None:
    if "```" not in text or FENCE_TOPIC.search(asked) or "backtick" in text:
        return None
    lines = [line.strip() for line in text.splitlines()]
    if sum(line.startswith("```") for line in lines) % 2:
        return "is unfinished: a code block stays open"
    if text.count("```") % 2:
        return "holds a stray code fence"
    empty = any(not (block.partition("\n")[2] if "\n" in block else block).strip() for block in text.split("```")[1::2])
    return "holds an empty code block" if empty else None


def _html(text: str, asked: str) -> str | None:
    prose = CODE.sub(" ", text) if "`" in text else text
    for match in HTML.finditer(prose):
        in_table = "|" in prose[max(0, match.start() - 200) : match.end() + 200] and match[0].lower().startswith("<br")
        generic = GENERIC.search(prose, max(0, match.start() - 30), match.end())
        if not in_table and not generic:
            about = HTML_TOPIC.search(asked) or SAYS_HTML.search(HTML.sub(" ", prose))
            return None if about else f"holds remains of markup: {match[0][:40]}"
    return None


def _token(text: str, asked: str) -> str | None:
    prose = CODE.sub(" ", text) if "`" in text else text
    match = SPECIAL.search(prose) or GAP.search(prose)
    if match is None:
        return None
    token = match[0].strip()
    struck_out = token in ("<s>", "</s>") and text.count("<s>") == text.count("</s>")  # HTML for deleted words
    if struck_out and not (text.strip().startswith("<s>") and text.strip().endswith("</s>")):
        return None
    about = token in asked or TOKEN_TOPIC.search(asked) or SAYS_TOKEN.search(prose.replace(token, " "))
    return None if about else f"holds a leftover special token: {token[:40]}"
