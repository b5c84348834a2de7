"""Paraphrases go where the vectors can tell them; what only looks alike stays."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted.score import lines, row

from yearling.curate.semantic import (
    answers_differ,
    facts,
    language,
    questions_asked,
    questions_differ,
    row_text,
    semantic_duplicates,
)
from yearling.curate.stage import run_curate
from yearling.measure.embeddings import LANGUAGES, embed
from yearling.measure.neighbours import company, pairs_across
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, read_verdicts, write_records
from yearling.run_folder import Run


def test_the_first_of_what_is_alike_is_kept() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.99, 0.14], [0.98, 0.2], [0, 1]], np.float32)
    prompts = [
        "How do I cool a room?",
        "Who sang it?",
        "Ways to lower indoor heat",
        "Make my flat less hot",
        "The singer",
    ]
    found = semantic_duplicates(prompts, ["Close the blinds."] * 5, vectors, 0.9)
    assert found.of.tolist() == [-1, -1, 0, 0, 1]
    assert found.score[2] == pytest.approx(0.99, abs=0.002)
    assert np.isnan(found.score[0])


def test_a_row_is_held_against_kept_rows_only() -> None:
    angles = np.array([0, 0.4, 0.8])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = semantic_duplicates(["early riser", "up at dawn", "morning person"], ["Yes."] * 3, vectors, 0.9)
    assert found.of.tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How tall is a giraffe calf?", "How tall is a giraffe bull?"),
        ("Convert 30 miles to kilometres", "How many kilometres are 40 miles?"),
        ('Explain the saying "to spill the beans"', 'What does "to kick the bucket" mean?'),
        ("What does `tail -f` show?", "Explain what `head` prints"),
        ("Turn CSV into JSON", "Turn JSON into CSV"),
        ("May I park here?", "May I not park here?"),
        ("Was bedeutet „Schwein haben“?", "Erkläre „den Löffel abgeben“."),
        ("怎么给猫洗澡？", "怎么给狗洗澡？"),
        ("Wie pflege ich eine Orchidee?", "Wie pflege ich einen Bonsai?"),
    ],
)
def test_questions_of_one_pattern_differ(one: str, other: str) -> None:
    assert questions_differ(facts(one), facts(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I get rid of hiccups?", "What stops hiccups quickly?"),
        ('Explain "break a leg"', 'What do people mean by "break a leg"?'),
        ("How much is 12 times 12?", "Multiply 12 by 12"),
        ("How can I whiten my trainers?", "How do I whiten trainers?"),
        ("Comment enlever une tache d'encre ?", "De l'encre sur ma chemise : que faire ?"),
    ],
)
def test_a_question_in_other_words_does_not(one: str, other: str) -> None:
    assert not questions_differ(facts(one), facts(other))


def test_answers_with_other_numbers_differ() -> None:
    assert answers_differ(facts("It takes 20 minutes."), facts("Allow 45 minutes."))
    assert not answers_differ(facts("It takes 20 minutes."), facts("Allow 20 minutes, or 25."))
    assert not answers_differ(facts("It takes 20 minutes."), facts("Twenty minutes."))


def test_rows_in_two_languages_or_in_an_unknown_one_stay() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (2, 1))
    asked = "How do I keep bread fresh for longer?"
    told = "Wrap the loaf in a clean cloth and keep it in a box."
    german = ("Womit bleibt Brot länger frisch?", "Den Laib in ein sauberes Tuch wickeln und in einen Kasten legen.")
    same = ("What makes a loaf last some more days?", "A clean cloth around it, and a box to store it in, do well.")

    def repeated(other: tuple[str, str], known: frozenset[str] | None = None) -> bool:
        found = semantic_duplicates([asked, other[0]], [told, other[1]], vectors, 0.9, known)
        return bool(found.of[1] == 0)

    assert repeated(same) and not repeated(german) and not repeated(same, frozenset({"de"}))
    assert (language(told), language(german[1]), language("  ")) == ("en", "de", "")


def test_what_is_unlike_all_others_keeps_the_least_company() -> None:
    texts = [
        f"The {colour} {animal} runs over the field."
        for colour in ("red", "white")
        for animal in ("fox", "dog", "hare")
    ]
    scores = company(embed([*texts, "SELECT max(price) FROM invoices GROUP BY year;"]), nearest=2)
    assert scores.argmin() == 6
    assert company(embed(texts[:1])).tolist() == [1.0]


def test_pairs_across_are_all_pairs_above() -> None:
    rng = np.random.default_rng(3)
    rows, others = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rng.normal(size=(n, 8)) for n in (1500, 40)))
    found = pairs_across(rows, others, 0.8)
    products = rows @ others.T
    told = set(zip(found.later.tolist(), found.earlier.tolist(), strict=True))
    assert {pair for pair in zip(*map(np.ndarray.tolist, np.nonzero(products > 0.802)), strict=True)} <= told
    assert all(products[pair] > 0.798 for pair in told) and told


def test_a_question_in_other_words_is_found_and_its_neighbour_stays() -> None:
    questions = ["Why do cats purr?"]
    prompts = ["What makes a kitten purr so loudly", "Why do dogs purr?", "Why do cats purr?"]
    found = questions_asked(prompts, embed(prompts), questions, embed(questions), 0.5)
    assert found.of.tolist() == [0, -1, -1]  # the last has the same words: that is found by them
    assert found.score[0] > 0.5 and np.isnan(found.score[1])


def test_leaks_by_meaning_and_outliers_are_judged_where_asked(tmp_path: Path) -> None:
    run = Run(tmp_path, "meaning")
    run.create()
    texts = [
        ("What makes a kitten purr so loudly", "Small muscles of its throat, moving many times a second."),
        *(
            (f"Name a {colour} flower.", f"A {colour} rose.")
            for colour in ("red", "white", "pink", "yellow", "blue", "black")
        ),
    ]
    records = [
        Record((Message("user", q), Message("assistant", a)), Origin("import", f"k{n}", n))
        for n, (q, a) in enumerate(texts)
    ]
    write_records(records, run.records / "part-0.parquet")

    def failed(judge: str, **semantic: float) -> list[str]:
        curate = {"near": {"above": None}, "test": 0.0, "semantic": semantic}
        run_curate(Recipe.model_validate({"name": "x", "curate": curate}), run, [("exam.jsonl", "Why do cats purr?")])
        said = {verdict.record: verdict for verdict in read_verdicts(run.verdicts / judge)}
        return [said[record.id].reason for record in records if said[record.id].state == "fail"]

    assert failed("contamination") == []
    assert failed("contamination", exam=0.5) == ["asks in other words a question of the exam: exam.jsonl"]
    assert failed("outlier") == []
    (reason,) = failed("outlier", outlier=0.3)
    assert reason.startswith("unlike all others (mean cosine 0.")


@given(st.text(), st.text())
def test_any_two_texts_are_compared(one: str, other: str) -> None:
    assert questions_differ(facts(one), facts(other)) == questions_differ(facts(other), facts(one))
    answers_differ(facts(one), facts(other))
    language(one)


@pytest.mark.parametrize("text", ['"' * 100_000, "1," * 50_000, "„a" * 50_000, "「" * 100_000, "a" * 100_000])
def test_a_hostile_text_is_read_quickly(text: str) -> None:
    start = time.perf_counter()
    facts(text)
    assert time.perf_counter() - start < 1


def planted(model: str, above: float) -> tuple[float, float, int]:
    """Recall and precision over the planted rows, and near misses failed."""
    rows = [line for line in lines() if not set(line["faults"]) - {"semantic_duplicate"}]
    prompts, answers = [row(line).prompt for line in rows], [row(line).completion for line in rows]
    vectors = embed(map(row_text, prompts, answers), model).astype(np.float16)
    failed = semantic_duplicates(prompts, answers, vectors, above, LANGUAGES[model]).of >= 0
    faulty = np.array([bool(line["faults"]) for line in rows])
    near = np.array(["semantic_duplicate" in (line.get("near_miss") or ()) for line in rows])
    found = int((failed & faulty).sum())
    return found / faulty.sum(), found / max(failed.sum(), 1), int((failed & near).sum())


@pytest.mark.slow
def test_the_planted_paraphrases_are_found() -> None:
    recall, precision, near = planted("multilingual", 0.63)
    assert recall >= 0.7 and precision >= 0.9 and near == 0


def test_word_vectors_fail_few_clean_rows_and_find_few_paraphrases() -> None:
    recall, precision, _ = planted("static", 0.64)
    assert precision >= 0.9 and 0.1 < recall < 0.5
