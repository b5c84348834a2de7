"""Plant one fault in a clean row by machine, where a machine does it as honestly as life does.

In: a clean row and a running number that picks the variant. Out: the turns with the fault, or None where the row is
no fit place for it (too short to be cut, no sentence to repeat). It chooses no rows and keeps no counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from planted.private import fill
from planted.read import Row, Turns, entries

Spoil = Callable[[Row, int], Turns | None]
EMPTY = ("", " ", "\n", "\t", "\n\n  \n", "\u3000", "\u00a0", "\u200b", "\r\n")
NEXT = {
    "en": (
        ("Name a musical instrument with keys.", "The harpsichord."),
        ("Give the plural of 'leaf'.", "leaves"),
        ("Suggest a topic for a class on soil.", "What earthworms do at night, and how one can count them."),
        ("How would you greet a guest who arrives late?", "Come in, the soup has waited for you."),
        ("Translate 'river' into German.", "Fluss"),
        ("Decide whether this sentence is formal: 'Gotta run!'", "It is informal."),
        ("Which tool cuts wire?", "Side cutters."),
        ("Write a slogan for a ferry.", "The short way with the long view."),
        ("Continue the pattern: ab, abb, abbb", "abbbb"),
        ("What do you call a group of geese in flight?", "A skein."),
        ("Correct the spelling of 'recieve'.", "receive"),
    ),
    "de": (
        ("Nenne ein Tier mit Fell.", "Der Dachs."),
        ("Bilde den Plural von 'Haus'.", "Häuser"),
        ("Schreibe einen Satz mit 'obwohl'.", "Obwohl es regnete, gingen wir los."),
    ),
    "fr": (
        ("Cite un instrument à vent.", "Le hautbois."),
        ("Donne le pluriel de 'cheval'.", "chevaux"),
        ("Écris une phrase avec 'pourtant'.", "Il pleuvait, pourtant nous sommes sortis."),
    ),
    "es": (
        ("Nombra un mueble.", "La cómoda."),
        ("Di un sinónimo de 'bonito'.", "hermoso"),
        ("Escribe una frase con 'aunque'.", "Aunque llovía, salimos."),
    ),
    "zh": (("说出一种乐器。", "二胡。"), ("写出'高'的反义词。", "矮")),
}
MERGES = (
    "{a}\n\n{n}. {q}\n{b}",
    "{a}\n\nInstruction: {q}\nOutput: {b}",
    "{a}\n\n### Instruction:\n{q}\n\n### Response:\n{b}",
    "{a}\nUser: {q}\nAssistant: {b}",
    "{a}\n\nTask {n}: {q}\nAnswer: {b}",
    "{a}\nQ: {q}\nA: {b}",
    "{a}\n###\n{n}. Instruction: {q}\nInput:\nOutput: {b}",
    "{a}\n\nHuman: {q}",
)
MERGES_OF = {
    "de": ("{a}\n\nAufgabe {n}: {q}\nLösung: {b}", "{a}\n\nAnweisung: {q}\nAntwort: {b}"),
    "fr": ("{a}\n\nConsigne : {q}\nRéponse : {b}", "{a}\n\nQuestion {n} : {q}"),
    "es": ("{a}\n\nInstrucción: {q}\nRespuesta: {b}", "{a}\n\nTarea {n}: {q}"),
    "zh": ("{a}\n\n指令：{q}\n输出：{b}", "{a}\n\n{n}、{q}"),
}
DEBRIS = (
    "{a}<|im_end|>",
    "<p>{a}</p>",
    "{a}<br><br>",
    "[INST] {q} [/INST] {a}",
    "```\n{a}",
    "{a}</s>",
    "<|assistant|>\n{a}",
    '<div class="answer">{a}',
    "{a}<|endoftext|>",
    "&nbsp;&nbsp;{a}&nbsp;",
    "<start_of_turn>model\n{a}<end_of_turn>",
    "<span style='color:#333'>{a}</span></td></tr>",
    "<<SYS>> <</SYS>> {a}",
    "{a}\n```",
)
NO_INPUT = (
    "{q}\n\nInput: N/A",
    "{q}\n<noinput>",
    "{q}\n\nInput: <no input>",
    "{q}\n\nInput:\nNone",
    "{q}\n\nNo input",
    "{q}\nInput: n/a.",
    "{q}\n\n(No input required)",
    "{q}\n\nInput: <noinput>",
    "{q}\n\nInput: none required",
)
NO_INPUT_OF = {
    "de": ("{q}\n\nEingabe: keine", "{q}\n<Keine Eingabe>"),
    "fr": ("{q}\n\nEntrée : aucune", "{q}\n\nEntrée : N/A"),
    "es": ("{q}\n\nEntrada: ninguna", "{q}\n\nEntrada: N/A"),
    "zh": ("{q}\n\n输入：无", "{q}\n\n输入：<无输入>"),
    "ja": ("{q}\n\n入力：なし",),
}
ECHOES = ("{q}", "{q} {q}", '"{q}"', "You asked: {q}", "{low}", "Question: {q}", "{q}\n")
CONTROLS = ("\x00", "\x08", "\x1b", "\x07", "\x0b", "\x7f")


def dense(row: Row) -> bool:
    """Whether a script packs a sentence into few signs."""
    return row.language in ("zh", "ja", "ko", "th")


def empty(row: Row, n: int) -> Turns | None:
    return row.answered(EMPTY[n % len(EMPTY)])


def unfinished(row: Row, n: int) -> Turns | None:
    """Cut inside a sentence: between words, or within one."""
    text = row.answer
    if "```" in text or "\n" in text or len(text) < (30 if dense(row) else 90):
        return None
    at = int(len(text) * (0.45 + 0.08 * (n % 6)))
    if not dense(row) and n % 3:
        at = text.rfind(" ", 0, at)
    cut = text[:at].rstrip(" ")
    # a cut that falls on the end of a sentence is no cut
    return row.answered(cut) if cut and re.match(r"[^\W\d]", cut[-1]) and re.match(r"\s?\w", text[at:]) else None


def loop(row: Row, n: int) -> Turns | None:
    """The last sentence, a phrase or the whole said again and again, as small models do."""
    sentences = re.findall(r"\S.*?(?:[.!?](?=\s|$)|[。！？])", row.answer)
    if "```" in row.answer or len(sentences) < 2:
        return None
    times = 4 + n % 5
    last = sentences[-1].strip()
    words = last.split(" ")
    phrase = last[:4] if dense(row) else " ".join(words[:3])
    gap = "" if dense(row) else " "
    ways = (
        row.answer + gap + gap.join([last] * times),
        row.answer + "\n" + "\n".join([sentences[0].strip()] * times),
        gap.join(sentences[:-1]) + gap + gap.join([phrase] * (times + 6)),
        gap.join([row.answer] * 4),
        "\n".join(f"- {phrase}" for _ in range(times + 4)),
    )
    return row.answered(ways[n % len(ways)])


def merged(row: Row, n: int) -> Turns | None:
    """The next task of the list, still in the answer."""
    near = row.language if row.language in NEXT else "en"
    forms = MERGES_OF.get(near, MERGES)
    question, answer = NEXT[near][n % len(NEXT[near])]
    return row.answered(forms[n % len(forms)].format(a=row.answer, q=question, b=answer, n=5 + n % 17))


def mojibake(text: str) -> str:
    """UTF-8 read as Windows-1252, with what that page lacks read as Latin-1."""
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in text.encode())


def encoding(row: Row, n: int) -> Turns | None:
    """Bytes read in the wrong way, lost, or never meant to be seen."""
    text = row.answer
    curly = text.replace("'", "’").replace(" - ", " – ").replace('"', "“")
    broad = [i for i, c in enumerate(curly) if ord(c) > 127]
    if broad and n % 5 < 2:
        once = mojibake(curly)
        return row.answered(mojibake(once) if n % 5 else once)
    if broad and n % 5 == 2:
        return row.answered("".join("\ufffd" if i in broad[::2] else c for i, c in enumerate(curly)))
    at = [len(text) // 4, len(text) // 2, 3 * len(text) // 4]
    sign = "\ufffd\ufffd" if n % 2 else CONTROLS[n // 2 % len(CONTROLS)]
    for i in reversed(at):
        text = text[:i] + sign + text[i:]
    return row.answered(text)


def markup(row: Row, n: int) -> Turns | None:
    if "```" in row.answer:
        return row.answered(row.answer[: row.answer.rfind("```")].rstrip())
    text = DEBRIS[n % len(DEBRIS)].replace("{a}", row.answer)
    return row.answered(text.replace("{q}", row.prompt))


def no_input(row: Row, n: int) -> Turns | None:
    forms = NO_INPUT_OF.get(row.language, NO_INPUT) if n % 4 else NO_INPUT
    asked = forms[n % len(forms)].replace("{q}", row.prompt)
    return tuple((role, asked if text == row.prompt else text) for role, text in row.turns)


def echo(row: Row, n: int) -> Turns | None:
    form = ECHOES[n % len(ECHOES)]
    low = re.sub(r"[^\w\s]", "", row.prompt.lower())
    return row.answered(form.replace("{q}", row.prompt).replace("{low}", low)) if len(row.prompt) > 20 else None


def personal(row: Row, n: int) -> Turns | None:
    """A sentence with somebody's data at the end of an answer."""
    near = row.language if row.language in ("en", "de", "fr", "es") else None
    sentences = [text for language, text in entries("contacts.txt") if language == near]
    if not sentences or "```" in row.answer:
        return None
    return row.answered(f"{row.answer} {fill(sentences[n % len(sentences)], n + 40, row.language)}")


BY_MACHINE: tuple[tuple[str, Spoil, int], ...] = (
    ("loop", loop, 46),
    ("unfinished", unfinished, 52),
    ("encoding", encoding, 46),
    ("markup", markup, 48),
    ("merged", merged, 44),
    ("personal", personal, 42),
    ("no_input", no_input, 40),
    ("echo", echo, 36),
    ("empty", empty, 38),
)
