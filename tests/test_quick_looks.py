"""A quick look spares the dear look at most texts; it may never hide what that one would find."""

import math
import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.curate import language, merging, remains, shape

ASCII = st.characters(max_codepoint=127)


def drawn(pattern: re.Pattern[str], count: int) -> set[str]:
    """Texts in ASCII that a pattern matches, drawn so that each branch of an alternative is as likely as another."""
    dice, tree = random.Random(1), getattr(re, "_parser").parse(pattern.pattern, pattern.flags)  # noqa: B009
    texts = ("".join(_draw(tree, dice)) for _ in range(count))
    return {text for text in texts if text.isascii() and pattern.search(text)}


def _draw(tree: Any, dice: random.Random) -> Iterator[str]:
    for kind, part in tree:
        match str(kind):
            case "LITERAL":
                yield dice.choice([chr(part), chr(part).upper()])
            case "NOT_LITERAL" | "ANY":
                yield "x"
            case "IN":
                yield _of_class(dice.choice(part), dice)
            case "BRANCH":
                yield from _draw(dice.choices(part[1], [_branches(one) for one in part[1]])[0], dice)
            case "SUBPATTERN":
                yield from _draw(part[-1], dice)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                for _ in range(dice.randint(part[0], min(part[1], part[0] + 1))):
                    yield from _draw(part[2], dice)
            case "ASSERT":
                yield from _draw(part[1], dice) if part[0] < 0 else ()  # what has to stand before
            case "AT" | "ASSERT_NOT":
                pass
            case other:
                raise AssertionError(other)


@cache
def _branches(tree: Any) -> float:
    """About how many different texts stand for a part, damped so that single words are drawn as well."""
    many = 1.0
    for kind, part in tree:
        match str(kind):
            case "BRANCH":
                many *= sum(map(_branches, part[1]))
            case "SUBPATTERN":
                many *= _branches(part[-1])
            case "MAX_REPEAT":
                many *= 1 + _branches(part[2])
    return math.sqrt(many)


def _of_class(part: Any, dice: random.Random) -> str:
    kind, given = str(part[0]), part[1]
    if kind == "LITERAL":
        return chr(given)
    if kind == "RANGE":
        return chr(dice.randint(*given))
    named = {"CATEGORY_SPACE": " \n\t", "CATEGORY_DIGIT": "07", "CATEGORY_WORD": "a_0", "CATEGORY_NOT_SPACE": "x"}
    return dice.choice(named.get(str(given), "x"))


@pytest.mark.parametrize("pattern", [shape.MARK, shape.BARE])
def test_a_prompt_that_ends_in_a_mark_of_no_input_is_looked_at(pattern: re.Pattern[str]) -> None:
    texts = [text for text in drawn(pattern, 20_000) if pattern.search(text[-shape.LAST :])]
    assert len(texts) > 200
    assert [text for text in texts if not shape._may_end_in_mark(text[-shape.LAST :])] == []


def test_no_end_of_a_mark_is_listed_in_vain() -> None:
    """What is drawn above reaches each entry, so one that goes missing is told."""
    cores = {text.rstrip(shape.CLOSING)[-3:].lower() for p in (shape.MARK, shape.BARE) for text in drawn(p, 20_000)}
    assert shape.ENDS - cores == set()


@pytest.mark.parametrize("pattern", [merging.MARKER, merging.INLINE])
def test_a_text_that_opens_a_turn_is_looked_at(pattern: re.Pattern[str]) -> None:
    texts = drawn(pattern, 20_000)
    assert len(texts) > 200
    assert [text for text in texts if not merging._may_be_marked(text)] == []


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
