"""Chat templates: one Jinja text renders training rows, exams, chat and serving.

In: messages. Out: text with special tokens spelt out. Knows nothing of token ids or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.record import Message

if TYPE_CHECKING:
    import jinja2
    import jinja2.ext

SHIPPED = ("plain", "alpaca", "chatml")


@dataclass(frozen=True)
class Template:
    """A Jinja chat template with the two tokens it may name; `name` is for messages to people."""

    text: str
    bos: str
    eos: str
    name: str = "the model's own"

    @cached_property
    def _compiled(self) -> jinja2.Template:
        import jinja2
        import jinja2.sandbox

        def refuse(message: str) -> str:
            raise UserError(f"the chat template ({self.name}) refuses these messages: {message}")

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation()]
        )
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.globals["raise_exception"] = refuse
        try:
            return environment.from_string(self.text)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"the chat template ({self.name}) is not Jinja: line {error.lineno}: {error.message}."
            ) from None

    def render(self, messages: Sequence[Message], generation: bool = False) -> str:
        """The text of a conversation; with `generation`, up to where the assistant begins to answer."""
        import jinja2

        turns = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._compiled.render(
                messages=turns, add_generation_prompt=generation, bos_token=self.bos, eos_token=self.eos
            )
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"the chat template ({self.name}) fails: {error}.") from None

    def opening(self, turns: Sequence[Message] = ()) -> str:
        """The text up to where a user's next turn begins: what Magpie gives a teacher (Xu et al. 2024, section 2.1)."""
        mark = "\x00user turn\x00"
        before, found, _ = self.render((*turns, Message("user", mark))).partition(mark)
        if not found:
            raise UserError(f"the chat template ({self.name}) does not show the user's words, so Magpie cannot use it.")
        return before


def _generation() -> type[jinja2.ext.Extension]:
    """The tag by which some templates mark what an assistant says; what stands in it is rendered as it is."""
    import jinja2.ext

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - the library's own way

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation


def find_template(name: str) -> str:
    """The text of a shipped template, or of a .jinja file; raises UserError where there is none."""
    if name in SHIPPED:
        return (files("yearling.students") / "templates" / f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"student.template {name!r} is neither a file nor one of: {', '.join(SHIPPED)}.")
    return read_template(path, "student.template").rstrip("\n")


def read_template(path: Path, knob: str) -> str:
    """The text of a template's file; raises UserError naming the knob that named it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{knob} {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{knob} {path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
