"""What a teacher is: something that answers a question, at a price, through its own chat template.

In: the recipe's teacher section. Out: a Teacher that is ready to be asked, closed when done.
The ledger, budgets and retries are not known here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from yearling.errors import UserError
from yearling.hub import find_gguf, licence_of
from yearling.ledger import Call, Quote, Reply
from yearling.recipe import Teacher as Settings
from yearling.record import file_digest
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
    def concurrency(self) -> int:
        """Calls in flight at once."""

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        """The ledger's entry for a request: its key decides what is never asked twice."""

    def quote(self, call: Call) -> Quote:
        """The most that the call can cost."""

    async def ask(self, call: Call) -> Reply:
        """Send the call; raises TransientError or RefusedError."""

    async def close(self) -> None:
        """Close what `ask` opened."""

    def template(self) -> Template:
        """The chat template, for methods that write raw prompts; raises UserError where it is unknown."""


class TransientError(Exception):
    """A failure that may pass: try again, after `wait` seconds where the endpoint says so."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class RefusedError(Exception):
    """A failure that will not pass: wrong key, unknown model, malformed request."""


@contextmanager
def open_teacher(settings: Settings) -> Iterator[Teacher]:
    """Start or reach the teacher of a recipe; raises UserError where that cannot work.

    A key comes from the environment only, and a missing one is told before anything is sent.
    """
    from yearling.teachers.wire import WireTeacher

    kind, _, model = settings.model.partition(":")
    if kind == "local":
        from yearling.llama import Server

        path = find_gguf(model)
        with Server(path, parallel=settings.concurrency, context=settings.context) as server:
            endpoint = f"local:{file_digest(path)}"
            yield WireTeacher(settings, f"{server.url}/v1", endpoint, licence_of(model), path.stem, server=server.url)
        return
    if kind != "openai":
        raise UserError(
            f"teacher.model {settings.model!r}: the kind {kind!r} is unknown. Use openai:<model> or local:<file.gguf>."
        )
    if not model:
        raise UserError("teacher.model names no model. Write openai:<model>.")
    base = settings.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    _check_address(base)
    _check_key(settings.api_key_env, needed="api.openai.com" in base)
    yield WireTeacher(settings, base.rstrip("/"), base.rstrip("/"), "unknown", model)


def _check_address(base: str) -> None:
    """An address that no retry can reach is told before the first call."""
    try:
        parts = urlsplit(base)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"teacher.base_url {base!r} is no address. Write it whole, as https://host/v1.")


def _check_key(name: str, needed: bool) -> None:
    key = os.environ.get(name, "")
    if needed and not key.strip():
        raise UserError(f"the key is not set: export {name}=… (or name another variable in teacher.api_key_env).")
    if not key.isascii() or any(c.isspace() for c in key):
        raise UserError(f"the key in {name} holds spaces or letters that no key has. Set {name} anew.")
