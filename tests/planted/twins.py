"""Make the second row of a pair: the same again, or nearly, or a question of the public test set.

In: clean rows. Out: rows with of (their partner) or with the leaked question. It changes no row it is given.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from planted.read import Row, Turns, entries, turns

SWAPS = {
    "en": (
        ("because", "since"),
        ("usually", "mostly"),
        ("about", "roughly"),
        ("small", "little"),
        (" shows ", " tells "),
        (" large ", " big "),
        ("never", "at no time"),
        (" keep ", " hold "),
        ("begin", "start"),
        (" choose ", " pick "),
        (" and then ", " then "),
        (" by itself", " on its own"),
        (" so that ", " so "),
        (" each ", " every "),
        ("without", "with no"),
        (" but ", " yet "),
        (" looks ", " appears "),
        (" give ", " hand "),
    ),
    "de": (("etwa", "ungefähr"), ("weil", "da"), ("meist", "oft"), (" und ", " und auch ")),
    "fr": (("environ", "à peu près"), (" puis ", " ensuite "), (" et ", " et aussi ")),
    "es": (("unos", "cerca de"), (" porque ", " pues "), (" y ", " y también ")),
}
ASKS = {
    "en": (
        ("What is ", "What's "),
        ("How do I ", "How can I "),
        ("Write ", "Please write "),
        ("Explain ", "Please explain "),
        ("Give me ", "Please give me "),
        ("Why do ", "Tell me: why do "),
        ("What ", "Tell me: what "),
        ("How ", "Tell me: how "),
        ("Describe ", "Please describe "),
        ("Tell me ", "Please tell me "),
    ),
    "de": (
        ("Wie ", "Sag mir: Wie "),
        ("Was ", "Sag mir: Was "),
        ("Schreibe ", "Bitte schreibe "),
        ("Erkläre", "Bitte erkläre"),
    ),
    "fr": (("Donne ", "S'il te plaît, donne "), ("Explique ", "Peux-tu expliquer "), ("Que ", "Dis-moi : que ")),
    "es": (("Escribe ", "Por favor, escribe "), ("¿Qué ", "Dime: ¿qué "), ("¿Cómo ", "Dime: ¿cómo ")),
}
WRAPS = ("Answer in a few words.\n\n{}", "Here is today's question: {}", "Question: {}\nThink first, then answer.")


def normal(text: str) -> str:
    """What is left after case, punctuation and space are taken away."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def said_again(text: str, n: int, language: str) -> str:
    """The same words in another case, spacing or punctuation."""
    ways = (
        text.upper() if language not in ("tr", "el") else f"  {text}",
        text.replace(" ", "  ") + " ",
        text.rstrip(".?!。？！") + "!!",
        text.lower() if language != "tr" else f"{text}\n",
        f"\n{text}\n\n",
        text.replace(",", "").replace(";", ""),
        f'"{text}"',
        f"- {text} ...",
    )
    return ways[n % len(ways)]


def exact(row: Row, n: int) -> Row:
    code = "```" in row.answer
    texts: Turns = tuple(
        (role, text + "\n" if code and role == "assistant" else said_again(text, n + i * 3, row.language))
        for i, (role, text) in enumerate(row.turns)
    )
    return replace(row, key=f"{row.key}=", turns=texts, made="planted", faults=("exact_duplicate",), of=(row.key,))


def near(row: Row) -> Row | None:
    """The question asked a little otherwise and up to two words of the answer changed; None where that is too much."""
    if row.language not in SWAPS or len(row.answer) < 100 or "```" in row.answer or len(row.turns) != 2:
        return None
    asked = next(
        (b + row.prompt.removeprefix(a) for a, b in ASKS[row.language] if row.prompt.startswith(a)), row.prompt
    )
    answer, done = row.answer, 0
    for old, new in SWAPS[row.language]:
        if old in answer and done < 2:
            answer, done = answer.replace(old, new, 1), done + 1
    if not done:
        return None
    text = turns([asked, answer])
    return replace(row, key=f"{row.key}~", turns=text, made="planted", faults=("near_duplicate",), of=(row.key,))


def leaks() -> list[Row]:
    """Rows that hold a question of contaminated.jsonl, in the way its line names."""
    rows = []
    for i, (question, answer, way, *changed) in enumerate(entries("contaminated.txt")):
        if way == "spared":
            continue
        texts = [question, answer]
        if way == "wrapped":
            texts[0] = WRAPS[i % len(WRAPS)].format(question)
        elif way == "turn":
            texts = [f"Quiz me, round {i}. Are you ready?", "Ready when you are.", *texts]
        elif way == "changed":
            texts[0] = changed[0]
        made = "hand" if way == "changed" else "planted"
        row = Row(f"leak{i}", "en", turns(texts), made, faults=("contamination",), data={"way": way, "leaks": i})
        rows.append(row)
    return rows


def test_set() -> list[dict[str, str]]:
    """The small public test set."""
    rows = entries("contaminated.txt")
    return [{"id": f"t{i:02d}", "question": row[0], "answer": row[1]} for i, row in enumerate(rows)]
