"""The Modelfile's Go template says what the chat template says, or is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from yearling.errors import ProofError
from yearling.export.ollama import derive, go_template, modelfile, prove, render
from yearling.record import Message
from yearling.students.template import SHIPPED, Template, find_template

DEFAULT_SYSTEM = (
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))


@pytest.mark.parametrize("name", SHIPPED)
def test_pieces_render_what_the_template_renders(name: str) -> None:
    template = Template(find_template(name), "<bos>", "<eos>", name)
    pieces = derive(template)
    for talk in (TALK, TALK[:1], (Message("system", "s"), *TALK)):
        assert render(pieces, talk) == template.render(talk, generation=True).removeprefix("<bos>")


def test_a_default_system_turn_is_kept() -> None:
    template = Template(DEFAULT_SYSTEM, "<|im_start|>", "<|im_end|>")
    pieces = derive(template)
    assert pieces.default == "<|im_start|>system\nBe kind.<|im_end|>\n"
    assert render(pieces, TALK) == template.render(TALK, generation=True)
    assert "{{ if not .System }}" in go_template(pieces)


def test_other_pieces_are_red() -> None:
    template = Template(find_template("plain"), "<bos>", "<eos>", "plain")
    broken = replace(derive(template), answer="Reply:")
    with pytest.raises(ProofError, match="cannot be said in Ollama's language"):
        prove(template, broken)


def test_a_template_that_counts_turns_is_refused() -> None:
    counting = "{% for m in messages %}[{{ loop.index }}]{{ m.content }}{% endfor %}"
    with pytest.raises(ProofError, match="ollama: false"):
        derive(Template(counting, "", ""))


def test_the_modelfile_names_its_file_and_stop() -> None:
    text = modelfile("m.gguf", Template(find_template("plain"), "<bos>", "<eos>", "plain"), "<eos>", "Gemma")
    assert "FROM ./m.gguf" in text and 'PARAMETER stop "<eos>"' in text and "Question: {{ .Content }}" in text
