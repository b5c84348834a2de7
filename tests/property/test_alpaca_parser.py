"""Whatever a teacher writes, the parser gives tasks that have an instruction, and well-formed tasks come back whole."""

from __future__ import annotations

import json
from typing import Any

from fake_teacher import birth_of, replied
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from yearling.generate.alpaca import _shown, drafts, parse
from yearling.generate.draft import fault
from yearling.generate.seeds import Seed
from yearling.recipe import Generate

HEADS = ["{}. ", "{}) ", "Task {}:\n", "**Task {}.**\n", "{}.\n"]
EXAMPLES = settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])
PIECES = ["1. ", "Task 2", "3) ", "**", "Instruction:", "Input:", "Output:", "Answer:", "none", "\n", " ", "-", "#"]
replies = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=25).map("".join)
words = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=8)
sentences = (
    st.lists(words, min_size=1, max_size=8)
    .map(" ".join)
    .filter(
        lambda text: not text.lower().startswith(("instruction", "input", "output", "answer", "task", "n", "empty"))
    )
)
tasks = st.lists(st.tuples(sentences, st.one_of(st.just(""), sentences)), min_size=1, max_size=6)


@given(replies)
@example("")
@EXAMPLES
def test_any_reply_gives_tasks_with_an_instruction(text: str) -> None:
    for instruction, given_text, output in parse(text):
        assert instruction == " ".join(instruction.split()) != ""
        assert given_text == given_text.strip()
        assert output == output.strip()


values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["tasks", "instruction", "input", "output", "x"]), inner, max_size=3),
    ),
    max_leaves=12,
)
documents = values.map(lambda value: json.dumps({"tasks": value}))
cuts = st.tuples(documents, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])


@given(
    st.one_of(replies, documents, cuts),
    st.sampled_from(["stop", "length", "content_filter", ""]),
    st.booleans(),
    st.booleans(),
)
@example("", "length", False, False)
@example('{"tasks": []}', "stop", True, False)
@example('{"tasks": [{}]}', "length", True, True)
@example('{"tasks": [{}, {}]}', "length", True, False)
@EXAMPLES
def test_any_reply_gives_drafts_or_a_reason(text: str, finish: str, structured: bool, together: bool) -> None:
    settings = Generate.model_validate({"alpaca": {"together": together}})
    birth = birth_of(lambda request: replied(text, finish), settings, structured, [Seed("s", "Sum up.", "", "Yes.")])
    found = drafts(birth, range(2))
    assert found or birth.rejected
    assert all(row["reason"] and row["call"].startswith("c1:") for row in birth.rejected)
    assert len({draft.key for draft in found}) == len(found), "each is told apart, whatever it says"
    assert all(draft.key.rpartition("/")[0] == draft.calls[-1] for draft in found)
    assert all((draft.output is not None) == together for draft in found)
    assert all(fault(draft) is None or isinstance(fault(draft), str) for draft in found)


@given(tasks, st.sampled_from(HEADS), st.sampled_from(["none", "None.", "N/A", ""]))
@EXAMPLES
def test_well_formed_tasks_come_back(tasks: list[tuple[str, str]], head: str, nothing: str) -> None:
    lines = [
        f"{head.format(number)}Instruction: {instruction}\nInput: {given_text or nothing}"
        for number, (instruction, given_text) in enumerate(tasks, 4)
    ]
    assert parse("\n\n".join(lines)) == [(*task, "") for task in tasks]


@given(tasks, st.booleans(), sentences)
@example([("Name", ""), ("Say", "")], False, "Yes")
@EXAMPLES
def test_tasks_in_the_form_that_the_prompt_shows_come_back(
    tasks: list[tuple[str, str]], together: bool, output: str
) -> None:
    shown = [_shown(number, Seed("s", *task, output), together) for number, task in enumerate(tasks, 4)]
    assert parse("\n\n".join(shown)) == [(*task, output if together else "") for task in tasks]


@given(tasks)
@EXAMPLES
def test_tasks_as_json_come_back_in_their_order(tasks: list[tuple[str, str]]) -> None:
    text = json.dumps({"tasks": [{"instruction": one, "input": two} for one, two in tasks]})
    birth = birth_of(lambda request: replied(text), seeds=[Seed("s", "Sum up.", "", "Yes.")])
    found = drafts(birth, range(1))
    assert [(draft.instruction, draft.input) for draft in found] == tasks
    assert [draft.key[-2:] for draft in found] == [f"/{number}" for number in range(len(tasks))]
