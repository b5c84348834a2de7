"""Whatever a teacher writes, the parser gives tasks that have an instruction, and well-formed tasks come back whole."""

from __future__ import annotations

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from yearling.generate.alpaca import Seed, _shown, drafts, parse
from yearling.generate.draft import fault
from yearling.ledger import Call, Reply

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
    for instruction, given_text in parse(text):
        assert instruction == " ".join(instruction.split()) != ""
        assert given_text == given_text.strip()


@given(replies, st.sampled_from(["stop", "length", "content_filter", ""]))
@example("", "length")
@EXAMPLES
def test_any_reply_gives_drafts_or_a_reason(text: str, finish: str) -> None:
    call = Call("e", "m", {"text": text})
    found, reason = drafts(call, Reply(text, finish, 1, 1, None, 0.0, ""), ("s",))
    assert found or reason
    assert len({draft.key for draft in found}) == len(found)
    assert all(draft.instruction and draft.call == call.key for draft in found)
    assert all(fault(draft) is None or isinstance(fault(draft), str) for draft in found)


@given(tasks, st.sampled_from(HEADS), st.sampled_from(["none", "None.", "N/A", ""]))
@EXAMPLES
def test_well_formed_tasks_come_back(tasks: list[tuple[str, str]], head: str, nothing: str) -> None:
    lines = [
        f"{head.format(number)}Instruction: {instruction}\nInput: {given_text or nothing}"
        for number, (instruction, given_text) in enumerate(tasks, 4)
    ]
    assert parse("\n\n".join(lines)) == tasks


@given(tasks)
@example([("Name", ""), ("Say", "")])
@EXAMPLES
def test_tasks_in_the_form_that_the_prompt_shows_come_back(tasks: list[tuple[str, str]]) -> None:
    shown = [_shown(number, Seed("s", *task, "")) for number, task in enumerate(tasks, 4)]
    assert parse("\n\n".join(shown)) == tasks
