"""Signs of row judges: a row that does not show one passes, so that the judge need not be asked."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted.score import lines
from planted.score import row as planted_row

from yearling.curate.judges import ROW_JUDGES, RowJudge
from yearling.curate.rows import PASS, row_of
from yearling.recipe import Recipe
from yearling.record import Message

SIGNED = [judge for judge in ROW_JUDGES if judge.sign]
RECIPE = Recipe.model_validate({"name": "x", "curate": {}})
PHRASES = ("curate/phrases.txt", "curate/reach.txt", "curate/toxic.txt", "measure/personal.txt")
BETWEEN = [" "] * 8 + [
    ". ",
    "! ",
    "\n",
    "\n\n",
    ", ",
    "_",
    "-",
    "*",
    "'",
    '"',
    " i ",
    " you ",
    " my ",
    "@",
    ": ",
    " 7 ",
]


@cache
def fragments() -> list[str]:
    """Pieces of the phrases that the judges look for, and numbers."""
    found = set[str]()
    for name in PHRASES:
        text = files("yearling").joinpath(name).read_text(encoding="utf-8")
        found |= {piece.strip() for piece in re.split(r"[|()\[\]?<>\\:&=\n]+", text) if piece.isascii()}
    return [*sorted(filter(None, found)), "4111 1111 1111 1111", "+44 20 7946 0958", "ann@corp.com", "2024", "key"]


def shows(judge: RowJudge, prompt: str, completion: str) -> bool:
    assert judge.sign
    sides = {"prompt": prompt, "completion": completion}
    return any(
        pc.match_substring_regex(pa.array([sides[side]]), judge.sign().pattern)[0].as_py()
        for side in judge.sign().sides
    )


def check(prompt: str, completion: str) -> None:
    row = row_of([Message("user", prompt), Message("assistant", completion)])
    for judge in SIGNED:
        if not shows(judge, prompt, completion):
            said = judge.make(RECIPE)(row)
            assert said is PASS, (judge.name, said, prompt, completion)


def mixed(fewest: int) -> st.SearchStrategy[str]:
    """Texts of such pieces, stuck together in any way."""
    pairs = st.tuples(st.deferred(lambda: st.sampled_from(fragments())), st.sampled_from(BETWEEN))
    return st.lists(pairs, min_size=fewest, max_size=14).map(lambda parts: "".join(map("".join, parts)))


@given(mixed(1), mixed(1), st.sampled_from([str, str.upper, str.title]))
@settings(max_examples=600, deadline=None)
def test_what_shows_no_sign_passes(prompt: str, completion: str, change: type[str]) -> None:
    check(change(prompt), change(completion))


@pytest.mark.slow
def test_planted_rows_that_show_no_sign_pass() -> None:
    for line in lines():
        row = planted_row(line)
        if [turn.role for turn in row.turns] == ["user", "assistant"] and (row.prompt + row.completion).isascii():
            check(row.prompt, row.completion)


@pytest.mark.parametrize("judge", SIGNED, ids=lambda judge: judge.name)
def test_ordinary_rows_show_no_sign(judge: RowJudge) -> None:
    prompt = "Explain why the leaves of most trees turn yellow in autumn."
    answer = "Trees take the green dye back when days grow short, and the yellow one that was there all summer shows."
    assert not shows(judge, prompt, answer)
