"""Rows that are broken as text, whatever they say: the shape judge.

In: a conversation. Out: the reason against it in plain words, or None.
Each check would rather let a bad row pass than reject a good one. Does not read for sense, and does not know the
teacher's finish reason: an answer cut at its token limit is rejected where it is born. Here stand the checks for empty
texts, marks and echoes; the others stand in `remains.py`, `merging.py`, `loops.py` and `endings.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from yearling.curate.brevity import too_short
from yearling.curate.endings import unfinished
from yearling.curate.loops import runs_in_circles
from yearling.curate.merging import merged
from yearling.curate.remains import SPECIAL, TOKEN_TOPIC, bad_encoding, markup
from yearling.curate.rows import Row
from yearling.measure import english
from yearling.measure.text import OUTER, fold_spaces, word_count

# -- nothing there

UNSEEN = "\u115f\u1160\u2800\u3164\uffa0"  # blank, though Unicode calls them letters or symbols


def _empty(text: str) -> bool:
    stripped = text.strip()
    return not stripped or (
        not stripped[0].isascii()
        and all(c.isspace() or c in UNSEEN or unicodedata.category(c) in ("Cf", "Cc") for c in stripped)
    )


# -- marks of no input

NOTHING = (
    r"n\.?/?a\.?|none|null|nil|nan|empty|nothing|not applicable|blank|undefined|-+|–|—|\.\.\.|…"
    r"|keine?r?|nichts|leer|entfällt|aucune?|néant|rien|vide|ningun[oa]|nada|vac[ií]o|nessun[oa]?|niente|vuoto|nenhum"
    r"|nenhuma|vazio|geen|niets|leeg|brak|pusto|нет|пусто|отсутствуют?|无|無|空|なし|無し|없음|yok|ingen|لا يوجد"
)
FIELD = (
    r"(?:additional |further )?(?:input|context|data)|eingabe|kontext|entrée|contexte|entrada|contexto|input dati"
    r"|ingresso|contesto|invoer|wejście|dane wejściowe|ввод|входные данные|контекст|输入|輸入|上下文|入力|입력|girdi"
    r"|indata|المدخل(?:ات)?"
)
# A whole line or a last sentence, in whatever brackets.
MARK = re.compile(
    r"(?:^|[\n.!?:。！？][ \t]*)[\s\[(<{*_#\"'“«-]*"
    r"(?:no[ _-]?(?:\w+[ _-])?inputs?(?: (?:is )?(?:provided|given|needed|required|necessary|available))?"
    r"|input not (?:provided|given|needed)|without input|empty[ _-]input|input[ _-](?:none|empty)"
    rf"|(?:{FIELD})[ \t]?[*_]*[:：][ \t\n]*[*_]*[ \t]*[\[(<{{\"'“«]?(?:(?:{NOTHING}|no[ _-]?input"
    rf"|not)(?: (?:is )?(?:provided|given|needed|required|necessary|available))?)?"
    r"|keine? (?:eingabe|input)|ohne eingabe|(?:pas d['’]|aucune )entrée|sin (?:entrada|datos)|ninguna entrada|(?:sem"
    r"|nenhuma) entrada|nessun (?:input|dato)|nessuna entrata|geen (?:invoer|input)|brak (?:danych(?: wejściowych)?"
    r"|wejścia)|нет (?:ввода|входных данных|данных)|без ввода|(?:无|無|没有|沒有)(?:输入|輸入|任何输入)"
    r"|入力(?:は)?(?:なし|無し|ありません)|입력(?:이)? ?없음|girdi yok|ingen indata|لا (?:يوجد )?(?:إ)?مدخل(?:ات)?)"
    r"[\s\])>}*_#\"'”».。-]*\Z",
    re.IGNORECASE,
)
BARE = re.compile(
    r"(?:\n[ \t]*|[.!?。！？][ \t]+)[\[(<{*_\"'-]*(?:n\.?/a\.?|none|null|nan|n\.a\.|no data"
    r"|not applicable)[\])>}*_\"'.-]*\s*\Z",
    re.IGNORECASE,
)
LINE = re.compile(r"^[^\w\n]*no[ _-]?input[^\w\n]*$", re.IGNORECASE | re.MULTILINE)
LAST = 60  # characters at the end of a prompt in which a mark may stand


# How an ASCII text ends that holds a mark, this closing material left out: a quick look, as most texts end otherwise.
CLOSING = " \t\n\r\f\v\x1c\x1d\x1e\x1f])>}*_#\"'.-"
ENDS = frozenset(
    end[-3:]
    for end in english.words(
        "input inputs provided given needed required necessary available none empty n/a ./a n.a null nil nan nothing"
        " applicable blank undefined not data keine keiner keinr kein nichts leer aucune aucun rien vide ninguno"
        " ninguna nada vacio nessuno nessuna nessun niente vuoto nenhum nenhuma vazio geen niets leeg brak pusto yok"
        " ingen eingabe entrada datos dato entrata invoer danych indata"
    )
)


ABOUT_MARKS = re.compile(
    r"no[ -]?input|\bn/a\b|missing|placeholder|\bnulls?\b|\bnan\b|\bblanks?\b|empty (?:field|cell|value|input)"
    r"|\bforms?\b|fehlend|formular|manquant|formulaire|faltante|formulario|пропущ|缺失|表格",
    re.IGNORECASE,
)

# -- stand-ins for an answer

TO_FILL_IN = re.compile(r"[\[<{](?:please )?insert\b[^\]>}\n]{0,80}[\]>}]", re.IGNORECASE)
NO_ANSWER = frozenset(("n/a", "noinput", "no input", "nooutput", "no output", "todo", "tbd", "to be determined"))

# -- echoes

REPEATING = re.compile(
    r"\brepeat|\bquot|verbatim|\bcopy|\becho|restat|retyp|parrot|word for word|unchanged|\bsay (?:this|it|the|after)"
    r"|back to me|write (?:this|it|the following) (?:out|again|down)|wiederhol|zitier|abschreib|sprich .{0,20}nach"
    r"|répèt|répét|recopi|mot pour mot|repit|repít|repet|copia|palabra por palabra|ripet|copi[ao]|herhaal|powtórz"
    r"|przepisz|повтор|перепиши|процитир|重复|复述|照抄|跟我|原样|繰り返|復唱|そのまま|따라|반복|그대로",
    re.IGNORECASE,
)
# Work on sentences that another turn asks for: one that needs no change comes back as it was.
REWORKING = re.compile(
    r"correct|\bfix|proofread|grammar|punctuat|spell|edit|rewrit|rephras|translat|format|korrig|verbesser"
    r"|recht?schreib|übersetz|corrig|orthogr|traduc|tradui|correg|ortogr|verbeter|popraw|исправ|ошиб|改|校对|直し"
    r"|訂正|添削|고쳐|교정",
    re.IGNORECASE,
)
SIGN = re.compile(r"[^\w\s]|_")
FRAME = re.compile(
    r"ask|question|request|instruction|task|prompt|quer|said|wrote|frag|aufgabe|anfrage|gesagt|demand|consigne|pregunt"
    r"|pedid|dij|solicit|domand|chiest|richiest|pergunt|perguntou|pedi[du]|vraag|vroeg|gevraagd|pyta|zapyta|poleceni"
    r"|спро|вопрос|запрос|问|題|题|要求|質問|尋|聞|指示|질문|물|요청|sor|fråg",
    re.IGNORECASE,
)
GREETING = re.compile(
    r"\W*(?:hi|hello|hey|good|happy|merry|bye|thank|welcome|cheers|congrat|guten?|hallo|danke|frohe|bonjour|bonne?"
    r"|salut|merci|joyeux|hola|buen|feliz|gracias|ciao|buon|grazie|ol[áa]|obrigad|goede|dag|dzień|cześć|привет"
    r"|здравств|добр|спасибо|你好|早上|晚上|谢谢|新年|こんにちは|おはよう|ありがとう|안녕)",
    re.IGNORECASE,
)


def broken(row: Row) -> str | None:
    """The first reason against a turn, or None."""
    if not row.completion:
        return "the prompt is empty" if _empty(row.prompt) else "the completion is empty"
    asked = row.prompt if len(row.turns) == 2 else "\n".join(t.content for t in row.turns if t.role != "assistant")
    for prompt, completion in _pairs(row):
        if _empty(prompt):
            return "the prompt is empty"
        if _empty(completion):
            return "the completion is empty"
        if reason := _prompt(prompt, completion, asked):
            return f"the prompt {reason}"
        if reason := _completion(prompt, completion, asked):
            return f"the completion {reason}"
    return None


def _pairs(row: Row) -> Iterator[tuple[str, str]]:
    """Each answer with the turn of the user before it."""
    prompt = row.prompt
    for turn in row.turns:
        if turn.role == "user":
            prompt = turn.content
        elif turn.role == "assistant":
            yield prompt, turn.content


def _prompt(prompt: str, completion: str, asked: str) -> str | None:
    if reason := bad_encoding(prompt, asked):
        return reason
    if _no_input(prompt, completion):
        return "holds a no-input mark"
    if ("<" in prompt or "[" in prompt) and (match := SPECIAL.search(prompt)):
        token = match[0].strip()
        whole = prompt.strip()
        # One inside a sentence is spoken of.
        outside = whole.startswith(token) or whole.endswith(token) or token in map(str.strip, whole.splitlines())
        struck_out = token in ("<s>", "</s>") and prompt.count("<s>") == prompt.count("</s>")
        if outside and not struck_out and not TOKEN_TOPIC.search(prompt.replace(token, " ")):
            return f"holds a leftover special token: {token}"
    return None


def _completion(prompt: str, completion: str, asked: str) -> str | None:
    return (
        bad_encoding(completion, asked)
        or _echo(prompt, completion, asked)
        or _stand_in(prompt, completion)
        or markup(completion, asked)
        or merged(completion, asked)
        or runs_in_circles(completion, asked)
        or unfinished(completion, asked)
        or too_short(completion, prompt, asked)
    )


def _no_input(prompt: str, completion: str) -> bool:
    match = None
    if not prompt.isascii() or _may_end_in_mark(prompt[-LAST:]):
        match = MARK.search(prompt, max(0, len(prompt) - LAST)) or BARE.search(prompt, max(0, len(prompt) - LAST))
    if match is None and "\n" in prompt and "input" in prompt.lower():
        match = LINE.search(prompt)
    if match is None:
        return False
    rest = prompt[: match.start()] + "\n" + prompt[match.end() :]
    mark = match[0].strip(OUTER + "\n*_#").casefold()
    if match.re is BARE and re.search(r"\w: *\w|\t|\|", rest):  # a field of a form, a cell of a table
        return False
    return not ABOUT_MARKS.search(rest) and (len(mark) < 2 or mark not in completion.casefold())


def _may_end_in_mark(end: str) -> bool:
    core = end.rstrip(CLOSING)
    return core[-1:] in ":[(<{" or core[-3:].lower() in ENDS or core[-2:].lower() == "na"


def _echo(prompt: str, completion: str, asked: str) -> str | None:
    if len(completion) > 3 * len(prompt) + 80:
        return None
    lowered = completion.casefold()
    for opening in prompt.split(None, 3)[:3]:
        word = opening.casefold().strip(OUTER)
        if word.isalnum() and word not in lowered:
            return None
    request, said = _bare(prompt), _bare(completion)
    if not request or request not in said:
        return None
    rest = said.replace(request, " ").strip()
    framed = word_count(rest) <= 8 and not any(map(str.isdigit, rest)) and FRAME.search(rest)
    if (rest and not framed) or REPEATING.search(asked) or (word_count(prompt) <= 6 and GREETING.match(prompt)):
        return None
    if REWORKING.search(asked.replace(prompt, " ")) or (word_count(prompt) < 2 and "?" not in prompt):
        return None
    return "repeats the prompt"


def _bare(text: str) -> str:
    """Letters and digits alone, folded, one space between words."""
    return " ".join(SIGN.sub("", fold_spaces(text)).split())


def _stand_in(prompt: str, completion: str) -> str | None:
    if any(map(completion.__contains__, "[<{")) and "nsert" in completion and (match := TO_FILL_IN.search(completion)):
        return None if "insert" in prompt.casefold() else f"leaves a gap to fill in: {match[0]}"
    if len(completion) > 40:
        return None
    whole = fold_spaces(completion).strip(" .<>[](){}*_\"'")
    held = whole in NO_ANSWER and whole not in prompt.casefold()
    dots = completion.strip() in ("...", "…") and not re.search(
        r"ellips|\bdots?\b|punct|marks?\b|morse|\.\.\.|…", prompt
    )
    return f"is a placeholder, not an answer: {completion.strip()}" if held or dots else None
