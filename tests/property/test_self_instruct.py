"""Whatever a teacher writes, Self-Instruct's parsers give clean items, its filter loses none, its draws are steady."""

from __future__ import annotations

import re

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from yearling.generate import pool
from yearling.generate.draft import Draft
from yearling.generate.instances import Instance, parse, parse_labels, sift
from yearling.generate.pool import Pool
from yearling.generate.self_instruct import fault
from yearling.generate.self_instruct import parse as parse_list

EXAMPLES = settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])
PIECES = [
    "1. ",
    "9.",
    "10) ",
    "Task 2:",
    "**",
    "Example 1",
    "Input:",
    "Output:",
    "Class label:",
    "none",
    "\n",
    " ",
    "-",
]
replies = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=25).map("".join)
words = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=8)
sentences = (
    st.lists(words, min_size=1, max_size=8)
    .map(" ".join)
    .filter(lambda text: not re.match(r"input|output|example|class|task|no|n(/|$)", text, re.I))
)
heads = st.sampled_from(["{}. ", "{}) ", "**{}.** ", "{} . ", "Task {}: "])
pairs = st.tuples(st.one_of(st.just(""), sentences), sentences)
few = st.sampled_from(["", "a", "b", "c:", "d"])
instances = st.lists(st.tuples(few, few), max_size=8).map(
    lambda found: [Instance(n, *pair) for n, pair in enumerate(found)]
)
texts = st.lists(sentences, min_size=2, max_size=12, unique=True)


@given(replies)
@example("")
@example("9.")
@EXAMPLES
def test_any_reply_gives_items_on_one_line(text: str) -> None:
    for item in parse_list(text):
        assert item == " ".join(item.split()) != ""
        assert fault(item, True) is None or isinstance(fault(item, True), str)


@given(st.lists(sentences, min_size=1, max_size=9), heads, st.integers(1, 900))
@EXAMPLES
def test_a_numbered_list_comes_back(items: list[str], head: str, first: int) -> None:
    text = "\n".join(head.format(number) + item for number, item in enumerate(items, first))
    assert parse_list(text) == items
    assert parse_list(f"Here they are:\n\n{text}\n") == items


@given(replies)
@example("")
@example("Output:")
@example("Class label:")
@EXAMPLES
def test_any_reply_gives_stripped_instances(text: str) -> None:
    for found in (parse(text), parse_labels(text)):
        assert [one.place for one in found] == list(range(len(found)))
        assert all(part == part.strip() for one in found for part in one[1:])
    assert all("\n" not in one.output for one in parse_labels(text))


@given(st.lists(pairs, min_size=1, max_size=5), st.sampled_from(["", "none", "None.", "N/A"]))
@EXAMPLES
def test_examples_in_the_form_that_is_shown_come_back(shown: list[tuple[str, str]], nothing: str) -> None:
    text = "\n".join(f"Example {n}\nInput: {one or nothing}\nOutput: {two}" for n, (one, two) in enumerate(shown, 1))
    assert [one[1:] for one in parse(text)] == shown


@given(st.lists(pairs, min_size=1, max_size=5))
@EXAMPLES
def test_labels_in_the_form_that_is_shown_come_back(shown: list[tuple[str, str]]) -> None:
    text = "\n".join(f"Class label: {label}\nInput: {given}" for given, label in shown)
    assert [one[1:] for one in parse_labels(text)] == shown


@given(instances, st.booleans())
@EXAMPLES
def test_each_instance_is_kept_or_dropped_for_a_reason(found: list[Instance], labelled: bool) -> None:
    kept, dropped = sift(found, labelled)
    assert sorted([*kept, *(one for _, one in dropped)]) == sorted(found)
    assert all(reason for reason, _ in dropped)
    assert [one.place for one in kept] == sorted(one.place for one in kept)
    told = [(one.input, one.output) for one in kept]
    assert len(set(told)) == len(told)
    inputs = [one.input for one in kept if one.input or labelled]
    assert len(set(inputs)) == len(inputs), "one input has one output"
    assert not any(one.output in ("", one.input) or ":" in one.input + one.output for one in kept)
    assert sift(kept, labelled) == (kept, [])


@given(texts, st.integers(0, 50), st.integers(1, 3), st.integers(0, 11), sentences)
@EXAMPLES
def test_a_changed_text_moves_only_draws_that_hold_it(
    texts: list[str], seed: int, count: int, changed: int, other: str
) -> None:
    changed %= len(texts)
    if other in texts:
        return
    old, new = _pool(texts), _pool([other if n == changed else text for n, text in enumerate(texts)])
    for call in range(pool.BLOCK, pool.BLOCK + 40):
        one = [draft.instruction for draft in old.draw(seed, call, count)]
        two = [draft.instruction for draft in new.draw(seed, call, count)]
        assert len(set(one)) == min(count, len(texts))
        assert one == two or texts[changed] in one or other in two
        three = [draft.instruction for draft in _pool([*texts, other]).draw(seed, call, count)]
        assert three == one or other in three, "one more moves only the draws that take it"


def _pool(texts: list[str]) -> Pool:
    made = Pool()
    for text in texts:
        made.add(0, Draft(text, "", text, ()))
    return made


@given(st.integers(0, 300), st.integers(0, 300))
@EXAMPLES
def test_blocks_cover_the_calls_and_cross_no_border(start: int, length: int) -> None:
    parts = list(pool.blocks(range(start, start + length)))
    assert [k for part in parts for k in part] == list(range(start, start + length))
    assert all(len({k // pool.BLOCK for k in part}) == 1 for part in parts)
    assert len({part.start // pool.BLOCK for part in parts}) == len(parts)
