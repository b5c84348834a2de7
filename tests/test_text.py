"""Tokens and folded texts, against their definitions in regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.measure.text import OUTER, fold_marks, fold_spaces, rouge_tokens, unicode_tokens

ascii_text = st.text(st.characters(max_codepoint=127))
like_prose = st.text(st.sampled_from("aB 1 2.,;:!?-'\"()\n\t_*é火"), max_size=40)


@given(st.text() | like_prose)
def test_rouge_tokens_are_runs_of_letters_and_digits(text: str) -> None:
    assert rouge_tokens(text) == re.findall(r"[a-z0-9]+", text.lower())


@given(ascii_text)
def test_unicode_tokens_of_ascii_are_the_same(text: str) -> None:
    assert unicode_tokens(text) == rouge_tokens(text)


@given(ascii_text | like_prose)
def test_marks_go_but_between_digits(text: str) -> None:
    spaced = re.sub("^[-*] ", "", fold_spaces(text))
    mark = f"[{re.escape(OUTER)}]"
    bare = re.sub(rf"(?<=\d){mark}(?=\d)|({mark})", lambda found: " " if found[1] else found[0], spaced)
    assert fold_marks(text) == (" ".join(bare.split()) or fold_spaces(text))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("Über 3.5 km²!", ["über", "3", "5", "km2"]), ("火山 is hot", ["火", "山", "is", "hot"]), ("don't", ["don", "t"])],
)
def test_tokens_of_other_scripts(text: str, tokens: list[str]) -> None:
    assert unicode_tokens(text) == tokens
