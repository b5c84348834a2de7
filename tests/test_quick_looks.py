"""A quick look spares the dear look at most texts; it may never hide what that one would find."""

import re
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from yearling.curate import language, merging, remains, shape

ASCII = st.characters(max_codepoint=127)


@pytest.mark.parametrize("pattern", [shape.MARK, shape.BARE])
@given(data=st.data())
def test_a_prompt_that_ends_in_a_mark_of_no_input_is_looked_at(pattern: re.Pattern[str], data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern, alphabet=ASCII))[-shape.LAST :]
    assume(pattern.search(text))
    assert shape._may_end_in_mark(text)


@pytest.mark.parametrize("pattern", [merging.MARKER, merging.INLINE])
@given(data=st.data())
def test_a_text_that_opens_a_turn_is_looked_at(pattern: re.Pattern[str], data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern, alphabet=ASCII))
    assume(pattern.search(text))
    assert merging._may_be_marked(text)


@given(st.text(ASCII))
def test_signs_that_are_no_text_are_seen(text: str) -> None:
    assert (remains.bad_encoding(text, "") is None) == (remains.NO_TEXT.search(text) is None)


NOISE = ["`a", "@b #c", "*d _e |f", "=g", "<h> {i}", "[j]", "(k) /l", "\\m ^n ~o", "+p -q", "1", "$r", "http://s.t"]


@given(st.lists(st.sampled_from([*NOISE, "word", "Word", '"quoted words"', "'so'", "«so»", "„so“", "「so」"])))
def test_code_and_quotes_are_taken_out_wherever_they_stand(parts: list[str]) -> None:
    text = " ".join(parts)
    for quick, full in ((language._NOISY, language._NOISE), (language._QUOTES, language._QUOTED)):
        assert quick.search(text) or full.sub(" ", text) == text


@given(st.text(ASCII))
def test_letters_of_plain_text_are_counted_by_bytes(text: str) -> None:
    assert language._letters(text) * language.LETTERS == pytest.approx(sum(map(str.isalpha, text)))


@pytest.mark.parametrize(
    ("mark", "closing"), list(product(("Input:", "No input", "N/A", "none", "nothing"), (".", "]", '"')))
)
def test_marks_of_no_input_are_seen_in_brackets(mark: str, closing: str) -> None:
    assert shape._may_end_in_mark(f"Name a tree. {mark}{closing} ")
