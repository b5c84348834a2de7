"""Whatever the text, the novelty index agrees with rouge_score and with a search of every pair."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.measure.novelty import Match, NoveltyIndex, f_measure
from yearling.measure.text import fold, rouge_tokens, unicode_tokens, word_count

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
few = st.lists(st.sampled_from(["a", "b", "C", "d1", "é", "海", "K"]), max_size=14).map(" ".join)
texts = st.one_of(few, st.text(max_size=40))


@given(st.lists(texts, min_size=1, max_size=8), texts, st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.99]))
@settings(max_examples=300, deadline=None)
def test_nearest_is_the_best_of_all_pairs(earlier: list[str], text: str, threshold: float) -> None:
    index = NoveltyIndex(threshold, "rouge")
    for number, other in enumerate(earlier):
        index.add(other, str(number))
    scores = [float(SCORER.score(other, text)["rougeL"].fmeasure) for other in earlier]
    best = max(scores)
    expected = Match(best, str(scores.index(best))) if best > threshold else None
    assert index.nearest(text) == expected


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
