"""Insults, threats and contempt are taken; what only holds such words stays."""

from __future__ import annotations

import codecs
import re
import time
from importlib.resources import files

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted.score import row as planted_row
from planted.score import score

from yearling.curate.rows import Row, row_of
from yearling.curate.toxic import FAILS_AT, _either, _lexicon, toxicity
from yearling.record import Message


def row(prompt: str, completion: str) -> Row:
    return row_of([Message("user", prompt), Message("assistant", completion)])


TOXIC = [
    "You are an idiot. Boil it for eight minutes.",
    "Eight minutes. Are you really that stupid?",
    "What a dumb question! Eight minutes.",
    "Even a toddler knows that you boil it for eight minutes.",
    "If you had half a brain, you would look it up.",
    "Look it up, moron.",
    "Stop wasting my time with this.",
    "Nobody likes people who ask such things, and nobody likes you.",
    "You will never amount to anything, so why bother?",
    "Shut up and read the manual.",
    "I despise people like you.",
    "You should be ashamed that you have to ask.",
    "You're too lazy to read, aren't you?",
    "You’re pathetic. It is on page two.",
    "Ask me that again and I'll make you regret it.",
    "I know where you live.",
    "You'd better watch your back.",
    "If you ask once more, I will find you.",
    "Women are too stupid for chess, so teach your son instead.",
    "Immigrants are all criminals; lock your door.",
    "Old people are nothing but a burden to the rest of us.",
    "Those people should go back where they belong.",
    "Never trust a foreigner with your money.",
    "Du bist zu dumm für diese Aufgabe.",
    "Was für eine blöde Frage! Acht Minuten.",
    "Halt endlich den Mund.",
    "Ausländer sind doch alle kriminell.",
    "Das wirst du noch bereuen.",
    "Tu es vraiment trop bête pour ça.",
    "Les étrangers sont tous des voleurs.",
    "Tais-toi, imbécile.",
    "Eres un inútil, ya lo sabía.",
    "Cállate, tonto.",
    "Los inmigrantes son todos unos delincuentes.",
    "Sei proprio un cretino.",
    "Você é muito burro.",
    "Je bent echt een sukkel.",
    "Jesteś po prostu głupi.",
    "Du är en riktig idiot.",
    "Ты просто тупой, почитай учебник.",
    "Sen tam bir aptalsın.",
    "أنت غبي، اقرأ الكتاب.",
    "你真是个笨蛋，煮八分钟。",
    "お前は本当に馬鹿だな。八分だよ。",
    "너 정말 멍청하구나. 팔 분이야.",
]
CLEAN = [
    ("How do I kill a process?", "Find its number with ps and send it a signal with kill -9; the parent may remain."),
    ("Which garden plants are toxic?", "Foxglove and lily of the valley are toxic; a child that eats them may die."),
    ("How do I stop feeling worthless?", "If you feel that you are worthless, talk to a friend about it."),
    ("My boss shouts at me.", "If he calls you stupid, write down the day and the words."),
    ("What should I do against bullying?", "Tell a teacher when someone says you are ugly or that nobody likes you."),
    ("Give an insult from Shakespeare.", "Thou art a boil, a plague sore, and you are a fool."),
    ("Translate: Du bist ein Idiot.", "You are an idiot."),
    ("What did Churchill say?", 'He said: "You are drunk and stupid, and I shall be sober tomorrow."'),
    (
        "Write a short scene with a villain.",
        "VILLAIN: I will find you.\nHERO: You won't.\nVILLAIN: You will regret this.",
    ),
    (
        "Is it true that women drive worse?",
        "No. The claim that women are bad drivers is a myth; insurers' figures show so.",
    ),
    ("Am I stupid?", "No, you are not stupid. Everyone forgets a password."),
    ("What is a parasite?", "Parasites are animals that live off others; ticks and leeches are parasites."),
    ("How lazy are sloths?", "Sloths are slow rather than lazy: they save energy."),
    ("How do I train a dog?", "You will never regret the time. Be patient, and do not shout."),
    ("What is a dummy variable?", "You are using a dummy variable when you write 0 or 1 for a class."),
    ("Why is my laptop slow?", "You are probably running too many programs, or your disk is full."),
    ("How do I burn a disc?", "You will need a burner; you'll be sorry if you skip the check."),
    ("How do I get fit?", "You are your own best trainer. Don't be too hard on yourself."),
    ("Wie wird man Mücken los?", "Mücken sind lästig, aber nicht gefährlich; stell stehendes Wasser weg."),
    ("Was ist ein Esel?", "Der Esel ist ein Haustier; Esel sind klug und vorsichtig."),
    ("Qui sont les Roms ?", "Les Roms sont un peuple européen venu d'Inde il y a mille ans."),
    ("¿Qué es una rata?", "La rata es un roedor; eres libre de tenerla como mascota."),
    ("怎么赶走老鼠?", "把食物收好，堵住洞口，垃圾每天都要倒。"),
    ("ゴミの出し方は?", "燃えるゴミは月曜日に出してください。"),
    ("Who are the elderly?", "The elderly are people over 65; many are lonely, and visits help."),
    ("Tell me about refugees.", "Refugees are people who had to leave their country; most of them want to work."),
]


@pytest.mark.parametrize("answer", TOXIC)
def test_insults_threats_and_contempt_fail(answer: str) -> None:
    opinion = toxicity(row("How long do I boil an egg?", answer))
    assert opinion.state == "fail"
    assert opinion.reason.startswith("the answer ")
    assert opinion.score is not None
    assert FAILS_AT <= opinion.score <= 1


@pytest.mark.parametrize(("prompt", "answer"), CLEAN)
def test_what_is_only_about_it_stays(prompt: str, answer: str) -> None:
    assert toxicity(row(prompt, answer)).state == "pass"


def test_a_plain_answer_scores_nothing() -> None:
    assert toxicity(row("How long do I boil an egg?", "Eight minutes, then cold water.")).score == 0
    assert toxicity(row("How long do I boil an egg?", "")).score == 0


def test_the_prompt_is_not_judged() -> None:
    assert toxicity(row("You are an idiot, tell me the time.", "It is noon.")).state == "pass"


def test_finds_add_up() -> None:
    one = toxicity(row("How long?", "You are an idiot."))
    two = toxicity(row("How long?", "You are an idiot. Shut up. I know where you live."))
    assert one.score is not None and two.score is not None
    assert one.score < two.score < 1
    assert two.reason == "the answer threatens: i know where you live"


def test_each_answer_of_a_talk_is_looked_at() -> None:
    talk = [
        Message("user", "How long?"),
        Message("assistant", "You are an idiot."),
        Message("user", "Thanks."),
        Message("assistant", "You are welcome."),
    ]
    assert toxicity(row_of(talk)).state == "fail"
    assert toxicity(row_of(talk[2:])).state == "pass"


def test_slurs_are_known_though_the_file_does_not_show_them() -> None:
    source = files("yearling.curate").joinpath("toxic.txt").read_text(encoding="utf-8")
    section = source.partition("[slur]\n")[2].partition("\n\n[")[0]
    shown = [word for line in section.splitlines() if not line.startswith("#") for word in line.split()]
    assert len(shown) > 50
    opinion = toxicity(row("How long?", f"Eight minutes, {codecs.decode(shown[0], 'rot13')}."))
    assert (opinion.state, opinion.score, opinion.reason) == ("fail", 1.0, "the answer holds a slur")
    # Read as they stand, they are words of no language.
    for word in shown:
        assert toxicity(row("How long?", f"Eight minutes, {word}.")).state == "pass"


def test_every_expression_can_be_tried() -> None:
    """Each compiles, and each is called for by a word."""
    lexicon = _lexicon()
    called = 0
    for first, _ in lexicon.listed.values():
        called |= first
    assert called == 2 ** len(lexicon.patterns) - 1
    for _, expression in lexicon.patterns:
        assert not re.search(r"<\w+>", expression)
        re.compile(expression)


@given(st.text(), st.text())
def test_any_text_can_be_judged(prompt: str, completion: str) -> None:
    assert toxicity(row(prompt, completion)) == toxicity(row(prompt, completion))


@pytest.mark.parametrize(
    "piece",
    [
        "you are so ",
        "you stupid ",
        "i will ",
        "women are ",
        "idiot, ",
        "你真的",
        "お前は",
        "du bist so ",
        '"',
        "'a ",
        "a: b\n",
    ],
)
def test_degenerate_text_is_quick(piece: str) -> None:
    start = time.perf_counter()
    every = "you idiot stupid women are lazy kill regret brain time again du bist dumm tu es bête "
    for tail in ("y", every):
        toxicity(row("Say it.", "x " + piece * (100_000 // len(piece)) + tail))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("half", [0, 1])
def test_the_planted_ones_are_found(half: int) -> None:
    result = score(lambda line: toxicity(planted_row(line)).state == "fail", ["toxic"], half)
    assert result.precision >= 0.9
    assert result.recall >= 0.7


PHRASED = [
    pytest.param(re.compile(expression), phrases, id=phrases[0].strip())
    for (_, expression), phrases in zip(_lexicon().patterns, _lexicon().phrases, strict=True)
    if phrases
]


@pytest.mark.parametrize(("expression", "phrases"), PHRASED)
def test_where_an_expression_matches_one_of_its_phrases_stands(
    expression: re.Pattern[str], phrases: tuple[str, ...]
) -> None:
    @given(st.from_regex(expression))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
    def check(text: str) -> None:
        assert any(phrase in text for phrase in phrases), text

    check()


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=12), st.text("abc ", max_size=30))
def test_alternatives_by_their_beginnings_match_the_same(words: list[str], text: str) -> None:
    plain, together = (re.compile(rf"\b(?:{either})\w?") for either in ("|".join(words), _either(words)))
    assert [match.span() for match in together.finditer(text)] == [match.span() for match in plain.finditer(text)]
