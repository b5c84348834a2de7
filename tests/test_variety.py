"""What call k draws depends on the seed and k alone, and an edit of one list leaves what is drawn of the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.generate.variety import Lists, Traits, read_lists
from yearling.recipe import Variety

PEOPLE = tuple(f"person {n}" for n in range(20))
TONES = ("dry", "warm", "curt")
LISTS = Lists(PEOPLE, {"tone": TONES, "length": ("one line", "a page")}, ("You sell tea.", "You teach."))
words = st.lists(st.text("abc ", min_size=1, max_size=5), min_size=1, max_size=6).map(tuple)


def drawn(lists: Lists, seed: int = 42, count: int = 200) -> list[Traits]:
    return [lists.draw(seed, call) for call in range(count)]


def test_a_call_draws_one_of_each_list() -> None:
    for traits in drawn(LISTS):
        assert traits.persona in PEOPLE and traits.system in LISTS.systems
        assert [name for name, _ in traits.attributes] == ["tone", "length"]
        assert all(value in LISTS.attributes[name] for name, value in traits.attributes)


@given(words, words, words, st.integers(0, 2**31), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_draw_depends_on_seed_and_call_alone(
    people: tuple[str, ...], tones: tuple[str, ...], systems: tuple[str, ...], seed: int, call: int
) -> None:
    lists = Lists(people, {"tone": tones}, systems)
    first = lists.draw(seed, call)
    for other in (call + 1, 0, call):  # whatever is drawn before it
        again = lists.draw(seed, other)
    assert again == first == Lists(people, {"tone": tones}, systems).draw(seed, call)


def test_another_seed_draws_otherwise() -> None:
    same = sum(one == other for one, other in zip(drawn(LISTS), drawn(LISTS, 43), strict=True))
    assert same < 20


def test_every_value_is_drawn_about_as_often() -> None:
    persons = Counter(traits.persona for traits in drawn(LISTS, count=4000))
    assert len(persons) == 20 and min(persons.values()) > 120 and max(persons.values()) < 290
    pairs = Counter((traits.persona, traits.attributes, traits.system) for traits in drawn(LISTS, count=4000))
    assert len(pairs) == 20 * 3 * 2 * 2, "the lists do not draw in step"


@given(words, words, words, words)
@settings(max_examples=60, deadline=None)
def test_an_edit_of_one_list_leaves_the_draws_of_the_others(
    people: tuple[str, ...], tones: tuple[str, ...], systems: tuple[str, ...], more: tuple[str, ...]
) -> None:
    plain = drawn(Lists(people, {"tone": tones}, systems), count=30)
    edited = drawn(Lists(more, {"tone": tones}, systems), count=30)
    assert [(t.attributes, t.system) for t in edited] == [(t.attributes, t.system) for t in plain]
    edited = drawn(Lists(people, {"new": more, "tone": tones}, systems), count=30)
    assert [(t.persona, t.attributes[-1], t.system) for t in edited] == [
        (t.persona, t.attributes[0], t.system) for t in plain
    ]
    edited = drawn(Lists(people, {"tone": tones}, more), count=30)
    assert [(t.persona, t.attributes) for t in edited] == [(t.persona, t.attributes) for t in plain]


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        (Lists((), {}, ()), ""),
        (Lists(("a nurse",), {}, ()), "asked by: a nurse"),
        (Lists((), {"tone": ("dry",), "empty": ()}, ()), "tone: dry"),
        (
            Lists(("a nurse",), {"tone": ("dry",), "length": ("short",)}, ("S",)),
            "asked by: a nurse; tone: dry; length: short",
        ),
        (Lists((), {}, ("You sell tea.",)), ""),
    ],
)
def test_what_was_drawn_in_words(lists: Lists, text: str) -> None:
    assert lists.draw(42, 7).text == text


def test_lists_are_read_one_a_line(project: Path) -> None:
    people, systems = project / "people.txt", project / "systems.txt"
    people.write_text("  a nurse \n\n\ta smith\r\nein Müller", encoding="utf-8")
    systems.write_text("You sell tea.\n", encoding="utf-8")
    lists = read_lists(Variety(personas=people, systems=systems, attributes={"tone": TONES}))
    assert lists == Lists(("a nurse", "a smith", "ein Müller"), {"tone": TONES}, ("You sell tea.",))
    assert read_lists(Variety()) == Lists((), {}, ())


@pytest.mark.parametrize("knob", ["personas", "systems"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b" \n\n", "is empty. Write one a line"), (b"ab\xff", r"not UTF-8 \(byte 2\)")],
)
def test_a_list_that_cannot_serve_is_told_by_its_knob(
    project: Path, knob: str, content: bytes | None, message: str
) -> None:
    path = project / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"generate\.variety\.{knob}: .*list\.txt.*{message}"):
        read_lists(Variety.model_validate({knob: path}))
