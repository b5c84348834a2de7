"""What a teacher is: something that answers a question, at a price, through its own chat template.

In: the recipe's teacher section. Out: a Teacher that is ready to be asked, closed when done.
The ledger, budgets and retries are not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

from yearling.errors import UserError
from yearling.ledger import Call, Quote, Reply
from yearling.recipe import Teacher as Settings
from yearling.students.template import Template


class Teacher(Protocol):
    """One model behind one endpoint."""

    @property
    def name(self) -> str:
        """The spec of the recipe, stored with each record."""

    @property
    def licence(self) -> str:
        """The licence of what it writes, or "unknown"."""

    @property
    def endpoint(self) -> str:
        """Its name in the ledger, and in what is remembered of it."""

    @property
    def model(self) -> str:
        """The model's name at the endpoint."""

    @property
    def concurrency(self) -> int:
        """Most calls in flight at once."""

    @property
    def refused(self) -> set[str]:
        """Parameters that the endpoint was found to refuse; they are left out of what is sent, not of the key."""

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        """The ledger's entry for a request: its key decides what is never asked twice."""

    def quote(self, call: Call) -> Quote:
        """The most that the call can cost."""

    async def ask(self, call: Call) -> Reply:
        """Send the call; raises TransientError, ParameterError or RefusedError."""

    async def close(self) -> None:
        """Close what `ask` opened."""

    def template(self) -> Template:
        """The chat template, for methods that write raw prompts; raises UserError where it is unknown."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint's reply says, whatever its format.

    `finish` is "stop", "length", "content_filter" or the endpoint's own word; hidden tokens are part of
    `completion_tokens`. Shown thoughts stand in `text` as <think>…</think>.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0


class TransientError(Exception):
    """A failure that may pass.

    `wait` are the seconds that the endpoint asks for, `throttled` says that it wants fewer calls, `billed` that it
    may have done the work.
    """

    def __init__(self, message: str, wait: float | None = None, throttled: bool = False, billed: bool = False) -> None:
        super().__init__(message)
        self.wait, self.throttled, self.billed = wait, throttled, billed


class ParameterError(Exception):
    """The endpoint does not know an optional parameter: the call may be sent again without it."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class RefusedError(Exception):
    """A failure that will not pass: wrong key, unknown model, malformed request, no credit."""


@dataclass(frozen=True)
class Kind:
    """Where a provider is found; the first key variable that is set is used."""

    base: str
    keys: tuple[str, ...] = ()
    base_env: str = ""
    suffix: str = ""


KINDS = {
    "openai": Kind("https://api.openai.com/v1", ("OPENAI_API_KEY",), "OPENAI_BASE_URL"),
    "azure": Kind("", ("AZURE_OPENAI_API_KEY",), "AZURE_OPENAI_ENDPOINT", "/openai/v1"),
    "gemini": Kind("https://generativelanguage.googleapis.com/v1beta", ("GOOGLE_API_KEY", "GEMINI_API_KEY")),
    "anthropic": Kind("https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY",), "ANTHROPIC_BASE_URL"),
    "ollama": Kind("http://127.0.0.1:11434/v1"),
    "vllm": Kind("http://127.0.0.1:8000/v1", ("VLLM_API_KEY",)),
}


@contextmanager
def open_teacher(settings: Settings) -> Iterator[Teacher]:
    """Start or reach the teacher of a recipe; raises UserError where that cannot work.

    A key comes from the environment only, and a missing one is told before anything is sent.
    """
    from yearling.teachers.wire import WireTeacher

    kind, _, model = settings.model.partition(":")
    if kind != "local" and kind != "replay" and kind not in KINDS:
        raise UserError(
            f"teacher.model {settings.model!r}: the kind {kind!r} is unknown. "
            f"Use openai:<model>, local:<file.gguf>, or one of {', '.join(KINDS)}, replay."
        )
    if not model:
        raise UserError(f"teacher.model names no model. Write {kind}:<model>.")
    if kind == "local":
        with _local(settings, model) as teacher:
            yield teacher
    elif kind == "replay":
        from yearling.teachers.replay import ReplayTeacher

        yield ReplayTeacher(settings, model)
    else:
        base = base_of(settings)
        yield WireTeacher(settings, format_of(kind, base), base, base, model)


@contextmanager
def _local(settings: Settings, model: str) -> Iterator[Teacher]:
    from yearling.hub import find_gguf, licence_of
    from yearling.llama import Server
    from yearling.record import file_digest
    from yearling.teachers import openai
    from yearling.teachers.wire import WireTeacher

    path = find_gguf(model)
    with Server(path, parallel=settings.concurrency, context=settings.local.context) as server:
        endpoint = f"local:{file_digest(path)}"
        yield WireTeacher(settings, openai, f"{server.url}/v1", endpoint, path.stem, licence_of(model))


def format_of(kind: str, base: str) -> ModuleType:
    """The module that speaks a provider's format; Gemini's OpenAI-compatible base speaks OpenAI's."""
    from yearling.teachers import anthropic, gemini, openai

    if kind == "gemini" and base.endswith("/openai"):
        return openai
    return {"anthropic": anthropic, "gemini": gemini}.get(kind, openai)


def key_of(settings: Settings, base: str) -> str:
    """The key of a teacher from the environment, "" where there is none; raises UserError where `base` needs one."""
    kind = KINDS[settings.model.partition(":")[0]]
    names = (settings.api_key_env,) if settings.api_key_env else kind.keys
    name = next((n for n in names if os.environ.get(n, "").strip()), names[-1] if names else "")
    key = os.environ.get(name, "")
    if not key.strip():
        public = kind.base.startswith("https:")  # a server of one's own need not have one
        if names and public and urlsplit(base).hostname == urlsplit(kind.base).hostname:
            raise UserError(f"the key is not set: export {name}=… (or name another variable in teacher.api_key_env).")
        return ""
    if not key.isascii() or any(c.isspace() for c in key):
        raise UserError(f"the key in {name} holds spaces or letters that no key has. Set {name} anew.")
    return key


def base_of(settings: Settings) -> str:
    """The address to ask at; one that no retry can reach is told before the first call."""
    kind = KINDS[settings.model.partition(":")[0]]
    base = settings.base_url or (os.environ.get(kind.base_env) if kind.base_env else "") or kind.base
    if not base:
        raise UserError(
            f"teacher.base_url is missing: export {kind.base_env}=https://<resource>.openai.azure.com, or set base_url."
        )
    try:
        parts = urlsplit(base)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError("teacher.base_url is no address. Write it whole, as https://host/v1.")
    if parts.username or parts.password or parts.query:
        raise UserError(
            "teacher.base_url holds a name, a password or a query. Keep secrets in the environment (api_key_env)."
        )
    base = base.rstrip("/")
    if kind.suffix and "/deployments/" in base:
        raise UserError(
            "teacher.base_url is an address of Azure's older API. Write https://<resource>.openai.azure.com, and the "
            "deployment as azure:<deployment>."
        )
    if kind.suffix and base.endswith("/openai"):
        return base + "/v1"
    return base if "/openai" in parts.path else base + kind.suffix
