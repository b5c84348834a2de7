"""The mask proof: sound rows pass, and each silent fault of the field is told by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from yearling.errors import ProofError, UserError
from yearling.recipe import Student as Settings
from yearling.record import Message, Origin, Record
from yearling.students.load import Student, open_student
from yearling.students.rows import IGNORE, Row, make_row, prove_rows
from yearling.students.template import Template

USER, ANSWER = Message("user", "Name two colours."), Message("assistant", "Red and blue.")


def record(*messages: Message) -> Record:
    return Record(messages, Origin("test", "k", 0))


@pytest.fixture(scope="module")
def student() -> Student:
    """The shipped student with its own tokenizer and template; its weights are not loaded."""
    return open_student(Settings(base="shipped:smollm2-135m-instruct"))


def with_template(student: Student, text: str) -> Student:
    other = replace(student)
    other.__dict__["tokenizer"] = student.tokenizer
    other.__dict__["template"] = Template(text, student.template.bos, student.template.eos, "broken")
    return other


def prove(student: Student, row_record: Record, row: Row, limit: int = 512) -> None:
    prove_rows(student, [row_record], [row], limit)


def test_a_sound_row_passes_and_its_loss_covers_answer_and_stop(student: Student) -> None:
    one = record(USER, ANSWER)
    row = make_row(student, one)
    facts = prove_rows(student, [one], [row], 512)
    learnt = student.tokenizer.decode([label for label in row.labels if label != IGNORE])
    assert learnt == "Red and blue.<|im_end|>"
    assert facts["stop_token"] == "<|im_end|>" and facts["label_tokens"] == 5


def test_every_answer_of_a_conversation_carries_loss(student: Student) -> None:
    two = record(
        Message("system", "Be brief."), USER, ANSWER, Message("user", "One more."), Message("assistant", "Green.")
    )
    row = make_row(student, two)
    prove(student, two, row)
    learnt = student.tokenizer.decode([label for label in row.labels if label != IGNORE])
    assert learnt == "Red and blue.<|im_end|>Green.<|im_end|>"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda row: replace(row, labels=[IGNORE] * len(row.labels)), "no token carries loss"),
        (lambda row: replace(row, labels=[*row.labels[:-1], IGNORE]), "stop token"),
        (lambda row: replace(row, tokens=row.tokens[:-1], labels=row.labels[:-1]), "stop token"),
        (lambda row: replace(row, labels=list(row.tokens)), "stop tokens carry loss"),
        (lambda row: replace(row, tokens=[row.tokens[0], *row.tokens], labels=[IGNORE, *row.labels]), "twice"),
        (
            lambda row: replace(
                row, labels=[x if i != row.completion_start else IGNORE for i, x in enumerate(row.labels)]
            ),
            "not a prefix",
        ),
    ],
    ids=["all masked", "stop masked", "cut", "prompt in the loss", "begin doubled", "first token masked"],
)
def test_a_broken_row_is_told(student: Student, fault: object, said: str) -> None:
    one = record(USER, ANSWER)
    with pytest.raises(ProofError, match=said):
        prove(student, one, fault(make_row(student, one)))  # type: ignore[operator]


def test_a_row_that_does_not_fit_is_refused(student: Student) -> None:
    one = record(USER, ANSWER)
    with pytest.raises(ProofError, match=r"do not fit 10.*max_seq_length"):
        prove(student, one, make_row(student, one), limit=10)


def test_a_template_without_a_stop_token_is_refused(student: Student) -> None:
    endless = with_template(student, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    with pytest.raises(UserError, match="could not learn to stop"):
        make_row(endless, record(USER, ANSWER))


def test_a_template_that_drops_the_system_turn_is_refused(student: Student) -> None:
    deaf = with_template(
        student,
        "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    one = record(Message("system", "Be brief."), USER, ANSWER)
    with pytest.raises(ProofError, match="drops them"):
        prove(deaf, one, make_row(deaf, one))


def test_another_prompt_at_inference_is_told(student: Student) -> None:
    other = with_template(
        student,
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>bot\n{% endif %}",
    )
    one = record(USER, ANSWER)
    with pytest.raises(ProofError, match=r"not a prefix|does not show"):
        prove(other, one, make_row(other, one))
