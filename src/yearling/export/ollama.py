"""Ollama's Modelfile: its Go template is derived from the chat template and proved to render the same.

In: the chat template. Out: the Modelfile's text. Ollama itself is not needed, and not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yearling.errors import ProofError
from yearling.measure.asking import REPEAT_PENALTY
from yearling.record import Message
from yearling.students.template import Template

_PROBES: tuple[tuple[Message, ...], ...] = (
    (Message("user", "One?"),),
    (Message("system", "Be brief."), Message("user", "One?")),
    (Message("user", "One?"), Message("assistant", "Yes."), Message("user", "Two?")),
    (Message("system", "S"), Message("user", "1"), Message("assistant", "2"), Message("user", "3\n\n{{ x }}")),
)


@dataclass(frozen=True)
class Pieces:
    """What stands before and after each role's words, before the first turn, and where the answer begins.

    `default` opens a conversation without a system turn; the begin-of-text token is left to Ollama, which adds it.
    """

    default: str
    before: dict[str, str]
    after: dict[str, str]
    answer: str


def derive(template: Template) -> Pieces:
    """Take a chat template apart; raises ProofError where it is not of the shape that pieces can express."""
    marks = {role: f"\x00{role}\x00" for role in ("system", "user", "assistant")}
    user, assistant = Message("user", marks["user"]), Message("assistant", marks["assistant"])
    system = Message("system", marks["system"])
    with_system = _bare(template, (system, user))
    two = _bare(template, (user, assistant, user))
    head, _, rest = with_system.partition(marks["system"])
    between, _, tail = rest.partition(marks["user"])
    first, after_user, after_answer = two.split(marks["user"])[0], *_split(two, marks)
    # a user turn begins with what precedes the user's words everywhere, less what closes the turn before it
    before_user = _common_end(_common_end(between, after_answer), first).removeprefix(tail)
    pieces = Pieces(
        default=first.removesuffix(before_user),
        before={"system": head, "user": before_user, "assistant": after_user.removeprefix(tail)},
        after={
            "system": between.removesuffix(before_user),
            "user": tail,
            "assistant": after_answer.removesuffix(before_user),
        },
        answer=_bare(template, (user,), generation=True).partition(marks["user"])[2].removeprefix(tail),
    )
    prove(template, pieces)
    return pieces


def prove(template: Template, pieces: Pieces) -> None:
    """Raise ProofError unless pieces and template render the same bytes for conversations of every shape."""
    for messages in _PROBES:
        wanted, found = _bare(template, messages, generation=True), render(pieces, messages)
        if wanted != found:
            raise ProofError(
                f"the chat template ({template.name}) cannot be said in Ollama's language: {messages[-1].content!r} "
                f"renders {found!r}, not {wanted!r}. Set `export: {{ollama: false}}`, or use a simpler template."
            )


def render(pieces: Pieces, messages: Sequence[Message]) -> str:
    """What Ollama renders from the pieces: the same walk as `go_template` writes down."""
    has_system = messages[0].role == "system"
    turns = "".join(f"{pieces.before[m.role]}{m.content}{pieces.after[m.role]}" for m in messages)
    return ("" if has_system else pieces.default) + turns + pieces.answer


def go_template(pieces: Pieces) -> str:
    """The pieces as a Go text/template over Ollama's `.Messages` and `.System`."""
    turn = "".join(
        f'{{{{ {word} eq .Role "{role}" }}}}{_literal(pieces.before[role])}'
        f"{{{{ .Content }}}}{_literal(pieces.after[role])}"
        for word, role in (("if", "system"), ("else if", "user"), ("else if", "assistant"))
    )
    default = f"{{{{ if not .System }}}}{_literal(pieces.default)}{{{{ end }}}}" if pieces.default else ""
    return f"{default}{{{{ range .Messages }}}}{turn}{{{{ end }}}}{{{{ end }}}}{_literal(pieces.answer)}"


def modelfile(file_name: str, template: Template, stop: str, licence: str) -> str:
    """The Modelfile beside a GGUF file, with a relative FROM."""
    pieces = derive(template)
    lines = [
        f"# ollama create my-model -f Modelfile     (licence of the base: {licence})",
        f"FROM ./{file_name}",
        f'TEMPLATE """{go_template(pieces)}"""',
        f'PARAMETER stop "{stop}"',
        "PARAMETER temperature 0.3",
        f"PARAMETER repeat_penalty {REPEAT_PENALTY}",
    ]
    return "\n".join(lines) + "\n"


def _bare(template: Template, messages: Sequence[Message], generation: bool = False) -> str:
    text = template.render(messages, generation)
    # ChatML models call their turn marker the begin-of-text token: there it opens a turn and stays
    opens = template.bos and not template.bos.startswith("<|im_start")
    return text.removeprefix(template.bos) if opens else text


def _split(two: str, marks: dict[str, str]) -> tuple[str, str]:
    """What stands between the first user turn and the answer, and between the answer and the next user turn."""
    after_user = two.split(marks["user"])[1].partition(marks["assistant"])[0]
    after_answer = two.partition(marks["assistant"])[2].partition(marks["user"])[0]
    return after_user, after_answer


def _common_end(left: str, right: str) -> str:
    length = 0
    while length < min(len(left), len(right)) and left[-1 - length] == right[-1 - length]:
        length += 1
    return left[len(left) - length :]


def _literal(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}') if "{{" in text else text
