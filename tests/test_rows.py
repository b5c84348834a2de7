"""Training rows: what carries loss, and where a template's answer stops."""

from __future__ import annotations

from dataclasses import replace

import pytest
from families import FAMILIES, build, student, student_of

from yearling.errors import ProofError
from yearling.recipe import Student as Settings
from yearling.record import Message, Origin, Record
from yearling.students.load import Student, open_student
from yearling.students.proof import Proved, prove_rows
from yearling.students.rows import IGNORE, find_stop, make_row, special_ids
from yearling.students.template import Template

USER, ANSWER = Message("user", "Name two colours."), Message("assistant", "Red and blue.")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def record(*messages: Message) -> Record:
    return Record(messages, Origin("test", "k", 0))


@pytest.fixture(scope="module")
def smollm() -> Student:
    """The shipped student with its own tokenizer and template; its weights are not loaded."""
    return open_student(Settings(base="shipped:smollm2-135m-instruct"))


def with_template(student: Student, text: str) -> Student:
    other = replace(student)
    other.__dict__["tokenizer"] = student.tokenizer
    other.__dict__["template"] = Template(text, student.template.bos, student.template.eos, "broken")
    return other


def said(proved: Proved) -> str:
    assert proved.faults
    return str(proved.faults[0])


def test_a_sound_row_passes_and_its_loss_covers_answer_and_stop(smollm: Student) -> None:
    proved = prove_rows(smollm, [record(USER, ANSWER)])
    proved.hold()
    learnt = smollm.tokenizer.decode([label for label in proved.rows[0].labels if label != IGNORE])
    assert learnt == "Red and blue.<|im_end|>"
    assert proved.facts["stop_token"] == "<|im_end|>" and proved.facts["label_tokens"] == 5
    assert proved.facts["output_row"]["same"] == 0, "the weights are here, so the stop token's row was measured"


def test_every_answer_of_a_conversation_carries_loss(smollm: Student) -> None:
    two = record(
        Message("system", "Be brief."), USER, ANSWER, Message("user", "One more."), Message("assistant", "Green.")
    )
    proved = prove_rows(smollm, [two])
    proved.hold()
    learnt = smollm.tokenizer.decode([label for label in proved.rows[0].labels if label != IGNORE])
    assert learnt == "Red and blue.<|im_end|>Green.<|im_end|>"


def test_rows_of_the_shipped_student_are_these_tokens(smollm: Student) -> None:
    row = make_row(smollm, record(Message("system", "Be brief."), USER, ANSWER), "<|im_end|>")
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName two colours.<|im_end|>\n"
    prompt = smollm.tokenizer(text + "<|im_start|>assistant\n")["input_ids"]
    answer = smollm.tokenizer("Red and blue.<|im_end|>")["input_ids"]
    assert row.tokens == [*prompt, *answer]
    assert row.labels == [*[IGNORE] * len(prompt), *answer]
    assert row.completion_start == len(prompt)


@pytest.mark.parametrize("template", ["plain", "alpaca", "chatml"])
def test_the_shipped_templates_pass_on_the_shipped_student(smollm: Student, template: str) -> None:
    shipped = open_student(Settings(base="shipped:smollm2-135m-instruct", template=template))
    shipped.__dict__["tokenizer"] = smollm.tokenizer
    head = Message("system", "Be brief.")
    proved = prove_rows(shipped, [record(USER, ANSWER), record(head, USER, ANSWER, USER, ANSWER)])
    proved.hold()
    assert len(proved.rows) == 2


def test_a_row_that_does_not_fit_is_refused(smollm: Student) -> None:
    found = said(prove_rows(smollm, [record(USER, ANSWER)], limit=10))
    assert "1 of 1 rows do not fit 10 tokens" in found and "student.max_seq_length" in found


def test_a_template_that_drops_the_system_turn_is_refused(smollm: Student) -> None:
    deaf = with_template(smollm, CHATML.replace("in messages", "in messages if m.role != 'system'"))
    one = record(Message("system", "Be brief."), USER, ANSWER)
    assert "drops the system turn" in said(prove_rows(deaf, [one]))
    prove_rows(deaf, [record(USER, ANSWER)]).hold()


def test_another_prompt_at_inference_is_told(smollm: Student) -> None:
    other = with_template(smollm, CHATML.replace("assistant\n", "bot\n"))
    found = said(prove_rows(other, [record(USER, ANSWER)]))
    assert "not a prefix" in found and "'bot\\n'" in found and "'assistant" in found


# -- the stop token


@pytest.mark.parametrize(
    ("family", "stop"),
    [
        ("llama-2", "</s>"),
        ("llama-3", "<|eot_id|>"),
        ("gemma-3", "<end_of_turn>"),
        ("phi-3", "<|end|>"),
        ("phi-4", "<|im_end|>"),
        ("tinyllama", "</s>"),
    ],
)
def test_the_stop_token_is_the_templates_not_the_tokenizers(family: str, stop: str) -> None:
    found = find_stop(student_of(family))
    assert found.text == stop
    assert found.id == student_of(family).tokenizer.convert_tokens_to_ids(stop)
    assert found.id in special_ids(student_of(family).tokenizer)


def test_a_token_that_is_only_marked_special_is_special() -> None:
    tokenizer = student_of("phi-3").tokenizer
    assert tokenizer.convert_tokens_to_ids("<|end|>") not in tokenizer.all_special_ids
    assert tokenizer.convert_tokens_to_ids("<|end|>") in special_ids(tokenizer)
    assert tokenizer.convert_tokens_to_ids("a") not in special_ids(tokenizer)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (CHATML.replace("<|im_end|>", ""), r"ends an answer with '\\n' \(token .*, id \d+\).*could not learn to stop"),
        (CHATML.replace("{{ m.content }}", ""), "does not show the assistant's words"),
        (CHATML.replace("<|im_end|>", "<|end|>"), r"'<\|end\|>' is split into \d+ tokens: the tokenizer does not"),
    ],
    ids=["none", "hidden", "unknown"],
)
def test_a_template_without_a_stop_token_is_told(template: str, told: str) -> None:
    tokenizer = build(FAMILIES["smollm-2"].special, "<|im_start|>", "<|im_end|>")
    with pytest.raises(ProofError, match=told):
        find_stop(student(tokenizer, template))
