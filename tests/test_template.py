"""One template renders every conversation: a prompt begins its row, and what is wrong has a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yearling.errors import UserError
from yearling.record import Message
from yearling.students.template import SHIPPED, Template, find_template, read_template

SYSTEM, USER, ANSWER = Message("system", "Be kind."), Message("user", "Hé?\n"), Message("assistant", " Red. ")
EXPECTED = {
    "plain": "<s>Be kind.\n\nQuestion: Hé?\n\nAnswer: Red. </s>\n",
    "alpaca": "<s>Be kind.\n\n### Instruction:\nHé?\n\n\n### Response:\n Red. </s>\n\n",
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHé?\n<|im_end|>\n"
    "<|im_start|>assistant\n Red. <|im_end|>\n",
}
TURNS: list[tuple[Message, ...]] = [
    (USER, ANSWER),
    (SYSTEM, USER, ANSWER),
    (USER, ANSWER, Message("user", "{{ x }} {% y %}"), Message("assistant", "<b>&amp;")),
    (Message("user", ""), Message("assistant", "")),
]


def shipped(name: str) -> Template:
    return Template(find_template(name), "<s>", "</s>", name)


def template(text: str) -> Template:
    return Template(text, "<s>", "</s>", "a test's")


def test_every_shipped_template_is_tested() -> None:
    assert set(EXPECTED) == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_renders_its_bytes(name: str) -> None:
    text = shipped(name).render((SYSTEM, USER, ANSWER))
    expected = EXPECTED[name]
    assert text.replace("Answer:  Red.", "Answer: Red.") == expected if name == "plain" else text == expected


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("turns", TURNS, ids=len)
def test_a_prompt_is_where_its_row_begins(name: str, turns: tuple[Message, ...]) -> None:
    row = shipped(name).render(turns)
    prompt = shipped(name).render(turns[:-1], generation=True)
    assert row.startswith(prompt)
    rest = row.removeprefix(prompt)
    assert turns[-1].content in rest
    assert ("</s>" in rest) or ("<|im_end|>" in rest), "the answer ends with a token that says so"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_words_of_a_conversation_are_not_template(name: str) -> None:
    text = shipped(name).render(TURNS[2])
    assert "{{ x }} {% y %}" in text and "<b>&amp;" in text


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("head", [(), (SYSTEM,), (USER, ANSWER), (SYSTEM, USER, ANSWER)], ids=len)
def test_an_opening_ends_where_the_users_next_turn_begins(name: str, head: tuple[Message, ...]) -> None:
    opening = shipped(name).opening(head)
    assert shipped(name).render((*head, Message("user", "Name a colour."))).startswith(opening + "Name a colour.")
    assert opening.endswith({"plain": "Question: ", "alpaca": "### Instruction:\n", "chatml": "user\n"}[name])
    assert all(turn.content in opening for turn in head), "a conversation goes on where it was"
    assert (SYSTEM in head) == ("Be kind." in opening)


def test_a_template_that_hides_the_user_has_no_opening() -> None:
    with pytest.raises(UserError, match="does not show the user's words"):
        template("{% for m in messages %}{{ m.role }}{% endfor %}").opening()
    stripped = template("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}")
    assert stripped.opening() == "["


def test_a_templates_own_default_system_turn_is_in_the_opening() -> None:
    head = "{% if messages[0].role != 'system' %}[Be a tutor.]{% endif %}"
    assert template(head + "{% for m in messages %}<{{ m.content }}>{% endfor %}").opening() == "[Be a tutor.]<"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{% for m in messages %}", 1),
        ("a\n{{ b", 2),
        ("a\n\n{% endif %}", 3),
        ("{{ a | nofilter }}", 1),
        ("\n{% nonsense %}", 2),
    ],
)
def test_bad_jinja_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UserError, match=rf"\(a test's\) is not Jinja: line {line}: "):
        template(text).render((USER,))


def test_a_template_may_refuse_and_is_named() -> None:
    with pytest.raises(UserError, match=r"\(a test's\) refuses these messages: no system turn"):
        template("{{ raise_exception('no system turn') }}").render((USER,))
    with pytest.raises(UserError, match=r"\(a test's\) fails: .*nothing"):
        template("{{ nothing.at.all }}").render((USER,))


@pytest.mark.parametrize("text", ["{{ 1 + 'a' }}", "{{ 1 // 0 }}", "{{ messages[0].content + 1 }}"])
def test_an_error_inside_a_template_is_the_users_to_mend(text: str) -> None:
    with pytest.raises(UserError, match="a test's"):
        template(text).render((USER,))


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ range(10000000) | list | length }}",
        "{{ '{0.__class__}'.format(1) }}",
    ],
)
def test_a_template_is_kept_in_its_sandbox(text: str) -> None:
    try:
        rendered = template(text).render((USER,))
    except (UserError, OverflowError):
        return
    assert "class" not in rendered and rendered.strip() == ""


def test_loop_controls_and_trimmed_blocks_work() -> None:
    text = "{% for m in messages %}\n  {% if loop.index > 1 %}{% break %}{% endif %}\n{{ m.content }}\n{% endfor %}\n."
    assert template(text).render((Message("user", "a"), Message("user", "b"))) == "a\n."


# -- files


def test_a_template_is_found_by_name_or_path(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{{ messages }}\n\n", encoding="utf-8")
    assert find_template(str(path)) == "{{ messages }}"
    assert find_template("plain").startswith("{{ bos_token }}")
    with pytest.raises(UserError, match=r"student.template 'none' is neither a file nor one of: plain, alpaca, chatml"):
        find_template("none")


def test_a_template_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="own"):
        find_template(str(path))


def test_a_template_file_is_told_by_the_knob_that_named_it(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    with pytest.raises(UserError, match=r"teacher\.template .*own\.jinja cannot be read"):
        read_template(path, "teacher.template")
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"teacher\.template .*not UTF-8 \(byte 2\)"):
        read_template(path, "teacher.template")
    path.write_text("{{ x }}\n", encoding="utf-8")
    assert read_template(path, "teacher.template") == "{{ x }}\n", "its end is part of it"


def test_a_template_is_a_value() -> None:
    one: Any = template("a")
    assert one == template("a") != template("b")
    assert template("a").render(()) == "a"
