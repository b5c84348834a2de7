"""The novelty rule gives the published scores and decisions, on any text, in any order."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz.distance import LCSseq

from yearling.measure import novelty, postings
from yearling.measure.novelty import Match, NoveltyIndex
from yearling.measure.rouge import f_measure
from yearling.measure.text import rouge_tokens, unicode_tokens

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

SEEDS = Path(__file__).parent.parent.parent / "shared/data/self_instruct_seed_tasks.jsonl"
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


def reference(target: str, prediction: str) -> float:
    score: Any = SCORER.score(target, prediction)["rougeL"].fmeasure
    return float(score)


WORDS = ["write", "A", "poem", "about", "the", "sea", "don't", "x2"]


def sentence(rng: random.Random, most: int = 16) -> str:
    """Few different words, so that ties and chance overlap are common."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, most)))


def edited(rng: random.Random, text: str) -> str:
    """The text with up to four words changed, added or lost, so that scores gather around the threshold."""
    words = text.split()
    for _ in range(rng.randint(0, 4)):
        at = rng.randint(0, len(words))
        words[at : at + rng.randint(0, 1)] = rng.choices(WORDS, k=rng.randint(0, 2))
    return " ".join(words)


def test_scores_are_the_reference_floats() -> None:
    rng = random.Random(1)
    above = 0
    for _ in range(3000):
        one = sentence(rng)
        two = edited(rng, one) if rng.random() < 0.5 else sentence(rng)
        index = NoveltyIndex(0.0, "rouge")
        index.add(one, "one")
        found = index.nearest(two)
        expected = reference(one, two)
        assert (found.score if found else 0.0) == expected == reference(two, one)
        above += expected > 0.7
    assert above > 100


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_stream_is_decided_like_the_reference(threshold: float) -> None:
    rng = random.Random(threshold)
    index = NoveltyIndex(threshold, "rouge")
    kept: list[tuple[str, str]] = []
    rejected = 0
    for number in range(150):
        text = edited(rng, rng.choice(kept)[1]) if kept and rng.random() < 0.5 else sentence(rng, most=24)
        best = None
        for id, other in kept:
            score = reference(other, text)
            if score > (best.score if best else threshold):
                best = Match(score, id)
        assert index.add_if_novel(text, str(number)) == best
        if best is None:
            kept.append((str(number), text))
        rejected += best is not None
    assert len(index) == len(kept)
    assert rejected > 20 or threshold == 1.0


@pytest.mark.skipif(not SEEDS.exists(), reason="the Self-Instruct seeds are not here")
def test_seed_tasks_are_decided_like_the_reference() -> None:
    texts = [json.loads(line)["instruction"] for line in SEEDS.read_text(encoding="utf-8").splitlines()][:60]
    index = NoveltyIndex(0.2, "rouge")
    for number, text in enumerate(texts):
        index.add(text, str(number))
    for number, text in enumerate(texts):
        changed = text.replace(" the ", " a ") + " please"
        scores = [reference(other, changed) for other in texts]
        assert index.nearest(changed) == Match(max(scores), str(scores.index(max(scores)))), number


def test_exactly_at_the_threshold_passes_and_above_fails() -> None:
    # 7 of 10 words, in order, on both sides: precision and recall are 0.7, the reference's float is not above 0.7.
    one = "a b c d e f g h i j"
    two = "a b c d e f g x y z"
    assert reference(one, two) == pytest.approx(0.7)
    index = NoveltyIndex(0.7, "rouge")
    index.add(one, "one")
    assert (index.nearest(two) is not None) == (reference(one, two) > 0.7)
    assert NoveltyIndex(0.7).add_if_novel(one, "x") is None
    assert index.nearest("a b c d e f g h y z") is not None


def test_of_equal_scores_the_first_added_wins_and_the_highest_beats_the_first() -> None:
    index = NoveltyIndex(0.5)
    for id, text in (
        ("far", "one two three x y"),
        ("first", "one two three four x"),
        ("second", "y one two three four"),
    ):
        index.add(text, id)
    match = index.nearest("one two three four five")
    assert match == Match(reference("1 2 3 4 5", "1 2 3 4 x"), "first")


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.7, 0.9])
def test_many_parts_answer_like_a_scan(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of many lengths with common and rare words, in an index of several segments and some loose rows."""
    monkeypatch.setattr(postings, "LOOSE", 50)
    monkeypatch.setattr(postings, "BLOCK", 64)
    rng = random.Random(threshold)
    index = NoveltyIndex(threshold, "rouge")
    pool: list[str] = []
    for number in range(1260):
        if pool and rng.random() < 0.3:
            text = edited(rng, rng.choice(pool))
        else:
            text = " ".join(f"w{int(rng.paretovariate(0.6)) % 5000}" for _ in range(rng.choice((1, 4, 9, 14, 14, 40))))
        pool.append(text)
        index.add(text, str(number))
    above = 0
    for text in [edited(rng, rng.choice(pool)) for _ in range(250)] + rng.choices(pool, k=20):
        tokens = rouge_tokens(text)
        scores = [
            f_measure(LCSseq.similarity(tokens, other), len(tokens), len(other)) for other in map(rouge_tokens, pool)
        ]
        best = max(scores)
        expected = Match(best, str(scores.index(best))) if best > threshold else None
        assert index.nearest(text) == expected
        above += expected is not None
    assert above > 100


def test_texts_whose_hashes_collide_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "hash", lambda _: 7, raising=False)
    index = NoveltyIndex(0.7)
    for text in ("one two three", "four five six", "one three two"):
        assert index.add_if_novel(text, text) is None
    assert index.nearest("four five six") == Match(1.0, "four five six")
    assert index.nearest("six five four") is None


def test_texts_longer_than_all_before_them_are_found_again() -> None:
    """What is remembered of lengths is made anew when longer texts come."""
    index = NoveltyIndex(0.5, "rouge")
    for length in (1, 3, 2, 40, 7, 900, 30, 5000):
        text = " ".join(f"{length}w{n}" for n in range(length))
        assert index.add_if_novel(text, str(length)) is None
        longer = f"{text} more" if length > 1 else text
        match = index.nearest(longer)
        assert match is not None and match.id == str(length)
    assert len(index) == 8


def test_add_if_novel_keeps_rejected_texts_out() -> None:
    index = NoveltyIndex(0.7)
    assert index.add_if_novel("list five uses of a brick", "a") is None
    assert index.add_if_novel("list five uses of a bricks", "b") is not None
    assert len(index) == 1


def test_texts_without_tokens_are_novel_each_time() -> None:
    index = NoveltyIndex(0.0)
    assert [index.add_if_novel(text, text) for text in ("", "?!", "", "😀")] == [None] * 4


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("写一首关于大海的诗", "写一首关于大海的诗。"),
        ("اكتب قصيدة عن البحر الأبيض", "اكتب قصيدة عن البحر"),
        ("Écris un poème sur la mer bleue", "ÉCRIS UN POÈME SUR LA MER"),
        ("समुद्र पर एक कविता लिखो आज", "समुद्र पर एक कविता लिखो"),
        ("เขียนบทกวีเกี่ยวกับทะเล", "เขียนบทกวีเกี่ยวกับทะเล!"),
    ],
)
def test_unicode_sees_near_duplicates_that_the_reference_tokenizer_cannot(one: str, two: str) -> None:
    index = NoveltyIndex(0.7, "unicode")
    index.add(one, "one")
    assert index.nearest(two) is not None


def test_unicode_tokens() -> None:
    assert unicode_tokens("Don't STOP, snake_case!") == rouge_tokens("Don't STOP, snake_case!")
    assert unicode_tokens("海のabc詩") == ["海", "の", "abc", "詩"]
    assert unicode_tokens("ｆｕｌｌ Straße Café") == ["full", "strasse", "café"]
    assert unicode_tokens("Cafe\u0301") == unicode_tokens("Café")
    assert unicode_tokens("समुद्र पर") == ["समुद्र", "पर"]
    assert rouge_tokens("Café") == ["caf"]


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_outside_0_and_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        NoveltyIndex(threshold)
