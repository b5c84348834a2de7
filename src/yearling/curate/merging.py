"""Answers in which the next task, or the other speaker's next turn, follows.

In: an answer, and all that was asked. Out: the reason against it in plain words, or None.
Quizzes, dialogues, lists and worksheets that were asked for stay.
"""

from __future__ import annotations

import re
from functools import lru_cache

from yearling.measure.text import word_count

# What opens a turn or task on a line of its own, and the words of a request for texts in that form.
KINDS: tuple[tuple[str, str, str], ...] = (
    (
        "instruction",
        r"instruction|anweisung|consigne|instrucci[oó]n|istruzione|instru[cç][aã]o|instructie|polecenie|инструкция"
        r"|指令|指示|지시",
        r"instruction|anweisung|anleitung|consigne|instrucci|istruzion|instruç|instructie|poleceni|инструкци|指令"
        r"|指示|지시",
    ),
    (
        "field",
        r"(?:in|out)puts?|eingabe|ausgabe|entr[ée]e|sortie|entrada|salida|sa[ií]da|ввод|вывод|输入|输出|入力|出力"
        r"|입력|출력",
        r"\b(?:in|out)puts?\b|\brecords?\b|data ?set|\bformat|template|program|function|algorithm|\bcode|funktion"
        r"|fonction|funci[oó]n|функци|eingabe|ausgabe|entr[ée]e|sortie|entrada|salida|输入|输出|入力|出力|入出力|程序"
        r"|函数",
    ),
    (
        "user",
        r"user|human|benutzer|nutzer|mensch|utilisateur|humain|usuario|utente|usu[aá]rio|gebruiker|u[zż]ytkownik"
        r"|пользователь|человек|用户|ユーザー|사용자",
        r"dialog|dialogue|conversa|\bchat|transcript|\bscript|interview|\b(?:user|human)s?\b|gespr[aä]ch|benutzer"
        r"|nutzer|utilisateur|entretien|usuari|utente|di[aá]logo|gebruiker|gesprek|rozmow|u[zż]ytkownik|диалог"
        r"|разговор|пользовател|интервью|对话|用户|采访|会話|対話|ユーザー|대화|사용자",
    ),
    (
        "question",
        r"question|q|frage|pregunta|domanda|pergunta|vraag|pytanie|вопрос|问题|问|問題|質問|질문|문제",
        r"questions|quiz|\bfaqs?\b|q ?& ?a|interview|\bexam|\btest\b|trivia|survey|riddle|flash ?card|worksheet"
        r"|questionnaire|question and|multiple.choice|fragen|umfrage|pr[uü]fung|r[aä]tsel|arbeitsblatt|entretien"
        r"|devinette|examen|preguntas|adivinanza|entrevista|domande|intervista|verifica|indovinell|perguntas|vragen"
        r"|toets|raadsel|pyta[nń]|wywiad|zagadk|вопрос|викторин|опрос|интервью|загадк|问题|测验|问答|采访|問題|クイズ"
        r"|質問|질문|퀴즈|문제",
    ),
    (
        "task",
        r"task|exercise|aufgabe|[üu]bung|t[aâ]che|exercice|tarea|ejercicio|compito|esercizio|tarefa|exerc[ií]cio|taak"
        r"|opdracht|oefening|zadanie|[cć]wiczenie|задача|задание|упражнение|任务|練習|任務|課題|과제",
        r"\btasks?\b|to-?do|schedule|\bplan|agenda|exercises?\b|worksheet|lesson|workout|training|problems?\b|aufgabe"
        r"|[üu]bung|arbeitsblatt|t[aâ]che|exercice|tarea|ejercicio|compit|eserciz|tarefa|exerc[ií]ci|taak|taken"
        r"|opdracht|oefening|zada[nń]|[cć]wicze|задач|задани|упражнени|任务|练习|練習|任務|課題|과제|연습",
    ),
    ("response", r"response", r"\bresponses?\b|dialog|conversation|letter"),
)
_WORDS = "|".join(f"(?P<{name}>{words})" for name, words, _ in KINDS)
_OPENING = (
    rf"(?:#{{1,6}}[ \t]*|\*\*|\d{{1,2}}[.)][ \t]*)?(?:{_WORDS})[ \t]?(?:n[o°r.]{{1,2}}[ \t]?)?"
    r"\d{0,3}[ \t]*(?:\*\*)?[ \t]*(?::(?=[\s*]|\Z)|：)"
)
MARKER = re.compile(rf"^[ \t]*{_OPENING}", re.IGNORECASE | re.MULTILINE)
INLINE = re.compile(rf"(?:(?<=[.!?][ \t])|(?<=[。！？])){_OPENING}", re.IGNORECASE)
# One of those words, or what ends with the "no." of a number.
WORD = re.compile(rf"(?:{_WORDS})|.*n[or.]{{1,2}}", re.IGNORECASE | re.DOTALL)
WANTED = {name: re.compile(wanted, re.IGNORECASE) for name, _, wanted in KINDS}
RULE = re.compile(r"^[ \t]*#{3}[ \t]*$", re.MULTILINE)
ITEM = re.compile(r"^[ \t]*(?:#+[ \t]*|\*\*)?(?P<number>\d{1,2})[.)][ \t]+(?P<task>\S[^\n]*)", re.MULTILINE)
ANY_ITEM = re.compile(r"(?:^|[\s(])\d{1,2}[.)]\s")
LONGEST = 20_000  # characters of an answer that are looked at


def merged(completion: str, asked: str) -> str | None:
    """The reason why the completion carries on with something that was not asked."""
    text = completion.strip()[:LONGEST]
    head, newline, rest = text.partition("\n")
    marked = _may_be_marked(text)
    if newline:
        if "###" in rest and RULE.search(rest):
            return "carries on with another task: ###"
        reason = _marker(MARKER, text, rest, asked) if marked else None
        if reason := reason or _next_item(text, head, rest, asked):
            return reason
    return _marker(INLINE, text, text, asked) if marked and (": " in text or "：" in text) else None


def _may_be_marked(text: str) -> bool:
    """Whether a text holds a colon after one of the words that open a turn; a quick look, at texts in ASCII only."""
    if not (":" in text and text.isascii()):
        return not text.isascii()
    before = (part.rstrip(" \t*0123456789").rsplit(None, 1) for part in text.split(":")[:-1])
    return any(_opens(words[-1].lstrip("#*.)0123456789")[-20:]) for words in before if words)


@lru_cache(maxsize=10_000)
def _opens(word: str) -> bool:
    return WORD.fullmatch(word) is not None


def _marker(pattern: re.Pattern[str], text: str, where: str, asked: str) -> str | None:
    if ":" not in where and "：" not in where:
        return None
    opening = MARKER.match(text)
    for match in pattern.finditer(where):
        kind = str(match.lastgroup)
        # A completion that itself opens with such a marker is written in that form.
        if not (opening and opening.lastgroup == kind) and not WANTED[kind].search(asked):
            return f"carries on with another turn: {match[0].strip()}"
    return None


def _next_item(text: str, head: str, rest: str, asked: str) -> str | None:
    """A numbered task that is an item of no list, neither of one begun here nor of one in the request."""
    match = ITEM.search(rest)
    if match is None or match["number"] in ("0", "1") or word_count(match["task"]) < 3 or len(text) == LONGEST:
        return None
    before = head + "\n" + rest[: match.start()]
    if ANY_ITEM.search(before) or ANY_ITEM.search(asked):
        return None
    return f"carries on with another task: {match[0].strip()[:60]}"
