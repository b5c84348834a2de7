"""Whatever the text, the novelty index agrees with rouge_score and with a search of every pair."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.measure import novelty, postings
from yearling.measure.novelty import Match, NoveltyIndex
from yearling.measure.rouge import f_measure, f_measures, needs
from yearling.measure.text import fold, rouge_tokens, unicode_tokens, word_count

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
THRESHOLDS = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.99, 1.0]), st.floats(0.0, 1.0))


def sentences(words: Sequence[str], least: int, most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), min_size=least, max_size=most).map(" ".join)


few = sentences(["a", "b", "C", "d1", "é", "海", "K"], 0, 14)
texts = st.one_of(few, st.text(max_size=40))
hostile = st.one_of(
    sentences(["a"], 0, 30),  # one token over and over
    sentences(["a", "b"], 0, 20),
    sentences(["a", "b", "c"], 1, 1),  # one-token texts
    st.just(""),
    st.integers(0, 9).map(lambda n: "x " * n + "y " * (10 - n)),  # equal lengths, at and around 7 of 10
    st.integers(5, 9).map(lambda n: "a b c d e f g h i j k l m"[: 2 * n]),  # prefixes of 13: 7 of 13 is the boundary
    st.just("a b c d e f g h i j k l m"),
    sentences([f"w{n}" for n in range(400)], 60, 150),  # long
    st.permutations(["a", "b", "c", "d", "e", "f", "g", "h"]).map(" ".join),  # the same bag in another order
)


def parts(loose: int, few: int) -> ExitStack:
    """An index whose parts are so small that a handful of texts fills many of them."""
    stack = ExitStack()
    for name, value in {"LOOSE": loose, "FEW": few, "LISTED": 1, "BLOCK": 2}.items():
        stack.enter_context(patch.object(postings, name, value))
    stack.enter_context(patch.object(novelty, "FEW", few))
    return stack


def best_of_all(earlier: Sequence[str], text: str, threshold: float) -> Match | None:
    scores = [float(SCORER.score(other, text)["rougeL"].fmeasure) for other in earlier]
    best = max(scores, default=0.0)
    return Match(best, str(scores.index(best))) if best > threshold else None


@given(st.lists(texts, min_size=1, max_size=8), texts, THRESHOLDS)
@settings(max_examples=300, deadline=None)
def test_nearest_is_the_best_of_all_pairs(earlier: list[str], text: str, threshold: float) -> None:
    index = NoveltyIndex(threshold, "rouge")
    for number, other in enumerate(earlier):
        index.add(other, str(number))
    assert index.nearest(text) == best_of_all(earlier, text, threshold)


@given(st.lists(hostile, min_size=1, max_size=24), st.lists(hostile, max_size=3), THRESHOLDS, st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_no_part_of_the_index_loses_a_hostile_text(
    earlier: list[str], asked: list[str], threshold: float, loose: int
) -> None:
    with parts(loose, few=loose - 1):
        index = NoveltyIndex(threshold, "rouge")
        for number, other in enumerate(earlier):
            index.add(other, str(number))
        for text in [*asked, *earlier]:
            assert index.nearest(text) == best_of_all(earlier, text, threshold)


@given(st.lists(st.one_of(hostile, texts), max_size=30), THRESHOLDS, st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_a_stream_through_many_parts_keeps_what_the_reference_keeps(
    stream: list[str], threshold: float, loose: int
) -> None:
    kept: list[str] = []
    with parts(loose, few=loose - 1):
        index = NoveltyIndex(threshold, "rouge")
        for text in stream:
            expected = best_of_all(kept, text, threshold)
            assert index.add_if_novel(text, str(len(kept))) == expected
            if expected is None:
                kept.append(text)
    assert len(index) == len(kept)


@given(st.integers(0, 70), st.integers(0, 90), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_needs_are_what_counting_one_by_one_finds(length: int, longest: int, threshold: float) -> None:
    found = needs(threshold, length, longest)
    least = {
        other: next((c for c in range(1, min(length, other) + 1) if f_measure(c, length, other) > threshold), None)
        for other in range(1, longest + 1)
    }
    for other, common in least.items():
        spare = int(found.spare[min(other, len(found.spare) - 1)])
        assert spare == (-1 if common is None else length + other - 2 * common)
    for rank in range(length):
        fits = [other for other, common in least.items() if common is not None and common <= length - rank]
        assert fits == (list(range(found.shortest, int(found.reach[rank]) + 1)) if rank < len(found.reach) else [])


@given(st.integers(1, 300), st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1))
def test_many_measures_are_the_same_floats(left: int, pairs: list[tuple[int, int]]) -> None:
    common = np.array([min(left, *pair) for pair in pairs])
    right = np.array([pair[0] for pair in pairs])
    expected = [f_measure(min(left, *pair), left, pair[0]) for pair in pairs]
    assert f_measures(common, left, right).tolist() == expected


@given(texts)
@settings(max_examples=200, deadline=None)
def test_a_text_with_tokens_is_never_novel_twice(text: str) -> None:
    index = NoveltyIndex(0.7)
    assert index.add_if_novel(text, "a") is None
    assert (index.add_if_novel(text, "b") == Match(1.0, "a")) == bool(unicode_tokens(text))


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_on_ascii_both_tokenizers_agree(text: str) -> None:
    assert unicode_tokens(text) == rouge_tokens(text)


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_f_is_symmetric_and_bounded_by_lengths(left: int, right: int, data: st.DataObject) -> None:
    common = data.draw(st.integers(0, min(left, right)))
    score = f_measure(common, left, right)
    assert score == f_measure(common, right, left)
    assert 0.0 <= score <= 1.0


@given(st.text())
def test_folding_twice_changes_nothing_that_counts(text: str) -> None:
    assert fold(text.upper().lower()) == fold(text.upper().lower() + "  ")
    assert word_count(text) >= 0
    assert (word_count(text) == 0) == (not text.strip())
