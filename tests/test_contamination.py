"""Contamination: what of a test set is found in a text, what stays, and that no run of thirteen tokens is missed."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.score import HERE, Line, row, score

from yearling.errors import UserError
from yearling.measure.contamination import GRAM, Leaks
from yearling.measure.text import unicode_tokens

QUESTIONS = {
    "eggs": "A hen lays 5 eggs a day. After how many days will a basket that holds 60 eggs be full?",
    "moon": "Which astronaut was the second person to walk on the surface of the moon?",
    "rust": "What forms when iron stays in damp air for weeks?",
    "hamlet": "Who wrote Hamlet?",
    "capital": "What is the capital of Mongolia?",
    "fluss": "Welcher Fluss fließt durch die Städte Wien, Budapest und Belgrad?",
    "fleuve": "Quel peintre a coupé une partie de son oreille après une dispute ?",
    "japan": "日本で一番高い山の名前は何ですか、そしてその高さは何メートルですか。",
    "long": "The committee met on a rainy Tuesday and argued for hours about the colour of the new bridge, until the "
    "oldest member, who had slept through most of it, woke up, asked for tea and voted against every colour that had "
    "been proposed. Which word best describes the oldest member?",
}
LEAKS = Leaks.build(QUESTIONS.items())


def name(text: str) -> str:
    leak = LEAKS.leak(text)
    return leak.name if leak else ""


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_word_for_word_is_found(question: str) -> None:
    assert LEAKS.leak(QUESTIONS[question]) == (question, 1.0)
    assert name(QUESTIONS[question].upper().replace(" ", "\n")) == question


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Please help me with my homework: what forms when iron stays in damp air for weeks? Thanks a lot!", "rust"),
        (
            "Solve: a hen lays 5 eggs every day. After how many days will a box that holds 60 eggs be full?",
            "eggs",
        ),
        ("Which astronaut was the second man to step on the surface of the moon?", "moon"),
        ("Which astronaut became the second human to walk upon the surface of the moon, and when?", "moon"),
        ("What forms when steel stays in humid air for weeks?", "rust"),
        ("Frage 3: Welcher Strom fließt durch die Städte Wien, Budapest und Belgrad?", "fluss"),
        ("Quel artiste a coupé une partie de son oreille après une querelle ?", "fleuve"),
        ("次の質問に答えてください。日本で最も高い山の名前は何ですか、そしてその高さは何メートルですか。", "japan"),
        ("I need to know this quickly: what is the capital of Mongolia", "capital"),
        ("who wrote hamlet", "hamlet"),
        # thirteen tokens of a long one, the rest is something else
        ("My aunt met a man who had slept through most of it, woke up, asked for tea and voted against it.", "long"),
    ],
)
def test_a_question_wrapped_or_with_a_word_changed_is_found(text: str, expected: str) -> None:
    assert name(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Who?",
        "A hen lays 7 eggs a day. After how many days will a basket that holds 56 eggs be full?",
        "How do hens lay eggs, and how many days a week will one lay?",
        "Which astronaut took the photographs of the second landing?",
        "What is the capital of Portugal?",  # another subject in the same words
        "What forms when milk stays in warm rooms for days?",
        "She asked who wrote Hamlet and whether it was ever played at court in the lifetime of its author.",
        "Why does iron rust in damp air, and how can I prevent it?",
        "Welche Städte liegen an der Donau?",
        "日本で一番長い川は何ですか。",
        "The committee met on a rainy Tuesday and asked for tea.",
        "What is the name of the capital of the north, and what is the capital of the south?",
    ],
)
def test_the_topic_without_the_question_stays(text: str) -> None:
    assert name(text) == ""


def test_other_numbers_make_another_question() -> None:
    leaks = Leaks.build(
        [("sum", "How much is 340 plus 25 minus 18?"), ("count", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15")]
    )
    assert leaks.leak("Tell me how much is 340 plus 25 minus 18") == ("sum", 1.0)
    assert leaks.leak("Tell me how much is 340 plus 25 minus 17") is None
    assert leaks.leak("Count: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16") is None  # numbers alone say nothing


def test_the_question_with_the_greatest_share_is_named() -> None:
    words = [f"word{number}" for number in range(40)]
    leaks = Leaks.build([("all", " ".join(words)), ("half", " ".join(words[:20])), ("again", " ".join(words[:20]))])
    assert leaks.leak(" ".join(words)) == ("all", 1.0)
    assert leaks.leak(" ".join(words[:20])) == ("half", 1.0)
    assert leaks.leak(" ".join(words[22:38])) == ("all", 16 / 40)
    assert len(leaks) == 2  # the same question counts once


def test_wording_that_a_whole_test_set_shares_is_no_leak() -> None:
    frame = "Read the passage below with care and then choose the one answer that fits it best."
    leaks = Leaks.build(
        (str(number), f"{frame} Passage {number}: thing{number} ate item{number}.") for number in range(500)
    )
    assert leaks.leak(f"{frame} Passage one: a fox met a hare.") is None
    assert leaks.leak("Passage 77: thing77 ate item77.") is None
    found = leaks.leak(f"{frame} Passage 77: thing77 ate item77.")
    assert found and found.name == "77"


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "leaks.npz"
    LEAKS.save(path)
    loaded = Leaks.load(path)
    assert len(loaded) == len(LEAKS) == len(QUESTIONS)
    for text in QUESTIONS.values():
        assert loaded.leak(f"So: {text}") == LEAKS.leak(f"So: {text}") is not None
    assert [file.name for file in tmp_path.iterdir()] == ["leaks.npz"]
    Leaks.build([]).save(path)
    assert len(Leaks.load(path)) == 0 and Leaks.load(path).leak(QUESTIONS["moon"]) is None


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leaks.npz"
    with path.open("wb") as file:
        np.savez(file, about=np.frombuffer(b'{"version": 0}', np.uint8))
    with pytest.raises(UserError, match=r"format 0.*Delete it"):
        Leaks.load(path)


words = st.sampled_from(["ape", "bee", "cat", "dog", "elk", "fox", "gnu", "7", "12", "a", "the", "海", "山"])
texts = st.lists(words, max_size=60)


@given(st.lists(texts, max_size=6), texts)
def test_no_run_of_thirteen_is_missed(questions: list[list[str]], text: list[str]) -> None:
    """Against a search of all runs; those with a stretch of numbers alone have no key there."""
    leaks = Leaks.build((str(number), " ".join(question)) for number, question in enumerate(questions))
    runs = {tuple(text[at : at + GRAM]) for at in range(len(text) - GRAM + 1)}
    runs = {run for run in runs if not any(a.isdecimal() and b.isdecimal() for a, b in pairwise(run))}
    shared = [q for q in questions if any(tuple(q[at : at + GRAM]) in runs for at in range(len(q) - GRAM + 1))]
    if shared:
        assert leaks.leak(" ".join(text)) is not None


@given(st.lists(st.sampled_from([f"w{n}" for n in range(99)]), min_size=9, max_size=60, unique=True), st.data())
def test_two_changed_words_hide_no_question(question: list[str], data: st.DataObject) -> None:
    changed = list(question)
    for at in data.draw(st.lists(st.integers(0, len(question) - 1), max_size=2)):
        changed[at] = "other"
    before, after = data.draw(texts), data.draw(texts)
    found = Leaks.build([("it", " ".join(question))]).leak(" ".join([*before, *changed, *after]))
    assert found and found.name == "it" and found.share >= 1 - 2 / len(question) - 1e-9


@given(st.lists(st.text(max_size=50), max_size=5), st.text(max_size=200))
def test_any_text_is_judged(questions: list[str], text: str) -> None:
    leaks = Leaks.build((str(number), question) for number, question in enumerate(questions))
    leak = leaks.leak(text)
    assert leak is None or (int(leak.name) < len(questions) and 0 < leak.share <= 1)


@settings(max_examples=30)
@given(texts, texts)
def test_more_text_around_loses_no_leak(before: list[str], after: list[str]) -> None:
    assert name(" ".join([*before, QUESTIONS["rust"], *after])) == "rust"


@pytest.mark.parametrize("text", ["what is the capital of " * 5000, "a " * 50_000, "\u0301" * 100_000, "海" * 100_000])
def test_a_hostile_text_is_quickly_judged(text: str) -> None:
    leaks = Leaks.build([(str(n), f"what is the capital of land{n}") for n in range(60)] + [("a", "a " * 200)])
    start = time.perf_counter()
    leaks.leak(text)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("half", [0, 1])
def test_planted_leaks_are_found(half: int) -> None:
    lines = [json.loads(line) for line in (HERE / "contaminated.jsonl").read_text(encoding="utf-8").splitlines()]
    leaks = Leaks.build((line["id"], line["question"]) for line in lines)

    def fails(line: Line) -> bool:
        return any(leaks.leak(turn.content) for turn in row(line).turns)

    found = score(fails, ["contamination"], half)
    assert found.recall >= 0.95 and found.precision >= 0.95 and found.missed_wrong == 0


@settings(deadline=None)  # the first call loads what columns are searched with
@pytest.mark.parametrize("between", [[], ["\n"]])
@given(
    st.lists(
        st.lists(
            st.sampled_from([*QUESTIONS.values(), "what forms when", "iron stays in damp air", "of the moon"]),
            max_size=3,
        ).map(" ".join)
    )
)
def test_many_texts_at_once_leak_what_each_does(between: list[str], texts: list[str]) -> None:
    tokens = [*map(unicode_tokens, texts)]
    column = pa.array([token for each in tokens for token in [*each, *between]], pa.string())
    ends = np.cumsum([len(each) + len(between) for each in tokens], dtype=np.int64) - len(between)
    starts = ends - [len(each) for each in tokens]
    assert LEAKS.leaks_in_columns(column, starts, ends) == [LEAKS.leak(text) for text in texts]


def test_more_words_than_lie_below_the_surrogates() -> None:
    """Tokens stand as characters, and some numbers are halves of pairs."""
    words = [f"w{number}x" for number in range(0xE100)]
    exam = Leaks.build((str(place), " ".join(words[place : place + 20])) for place in range(0, len(words), 20))
    for place in (0xD7F0 // 20, 0xDBF8 // 20, 0xDFF0 // 20, 0xE0F0 // 20):
        question = words[place * 20 : place * 20 + 20]
        found = exam.leak(" ".join(["before", *question[:9], "another", *question[10:], "after"]))
        assert found and (found.name, found.share) == (str(place * 20), 0.95)
