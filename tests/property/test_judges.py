"""Whatever the records, each judge gives one verdict a record, and splits keep families whole."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.curate.judges import ROW_JUDGES
from yearling.curate.rows import row_of
from yearling.measure.accepted import kin_of, roots, split_of
from yearling.measure.text import fold
from yearling.recipe import Curate, Recipe
from yearling.record import Message, Origin, Record

texts = st.one_of(
    st.text(max_size=60), st.sampled_from(["Name a colour.", "name a colour", "红色", "Red.", "###\n1. ("])
)


@st.composite
def families(draw: st.DrawFn) -> list[Record]:
    """Records of which each may have earlier ones as parents, and prompts that repeat."""
    records: list[Record] = []
    for number in range(draw(st.integers(1, 8))):
        parents = draw(st.lists(st.sampled_from(records), max_size=2, unique=True)) if records else []
        method = draw(st.sampled_from(["alpaca", "import", "evolve"]))
        origin = Origin(method, f"key-{number}", number, parents=tuple(parent.id for parent in parents))
        records.append(Record((Message("user", draw(texts)), Message("assistant", draw(texts))), origin))
    return records


@given(families())
@settings(max_examples=150, deadline=None)
def test_every_judge_of_single_rows_speaks_on_every_row(records: list[Record]) -> None:
    recipe = Recipe.model_validate({"name": "x", "curate": {}})
    for judge in ROW_JUDGES:
        say = judge.make(recipe)
        for record in records:
            said = say(row_of(record.messages))
            assert said.state in ("pass", "fail") and bool(said.reason) == (said.state == "fail"), judge.name
            assert said == say(row_of(record.messages))


@given(families(), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_one_prompt_is_on_one_side(records: list[Record], share: float) -> None:
    settings = Curate(test=share)
    known = roots(kin_of(records))
    side: dict[str, str] = {}
    for record in records:
        assert side.setdefault(fold(record.prompt), split_of(record, settings, known)) == split_of(
            record, settings, known
        )
    # Their order, and records born later, change nothing.
    shuffled = random.Random(0).sample(records, len(records))
    assert roots(kin_of(shuffled)) == known
    for end in range(1, len(records)):
        earlier = roots(kin_of(records[:end]))
        assert earlier == {id: known[id] for id in earlier}


@given(families())
@settings(max_examples=100, deadline=None)
def test_a_root_is_somebodys_prompt_and_its_own_root(records: list[Record]) -> None:
    known = roots(kin_of(records))
    by_prompt = {fold(record.prompt): known[record.id] for record in records}
    assert all(by_prompt[root] == root for root in known.values())


@given(st.text(min_size=1, max_size=40))
def test_the_split_grows_with_its_share(text: str) -> None:
    record = Record((Message("user", text), Message("assistant", "yes")), Origin("alpaca", "k", 0))
    sides = [split_of(record, Curate(test=share / 20), roots(kin_of([record]))) for share in range(21)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == "train"
    assert sides[-1] == "test"
