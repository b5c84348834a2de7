"""The OpenAI wire format over httpx: chat and raw completion, for any endpoint and for the local server.

In: a Call. Out: a Reply, or a TransientError or RefusedError that says what the endpoint said.
The key lives in the client's header only: it is in no request, reply, error or log.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx

from yearling.errors import UserError
from yearling.ledger import Call, Quote, Reply
from yearling.recipe import Teacher as Settings
from yearling.students.template import Template
from yearling.teachers.teacher import RefusedError, TransientError

TIMEOUT_S = 300.0
LONGEST_RETRY_AFTER_S = 300.0
CHARACTERS_A_TOKEN = 1  # a safe floor for quoting prompts: no tokenizer in use needs more tokens for plain text


class WireTeacher:
    """A teacher that speaks the OpenAI format at `base`; `endpoint` names it in the ledger."""

    def __init__(
        self, settings: Settings, base: str, endpoint: str, licence: str, model: str, server: str | None = None
    ) -> None:
        self.name = settings.model
        self.licence = licence
        self.concurrency = settings.concurrency
        self._settings, self._base, self._endpoint, self._model, self._server = settings, base, endpoint, model, server
        self._key = ""
        self._client: httpx.AsyncClient | None = None

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        """The ledger's entry: local-only sampling settings are left out for endpoints that refuse them."""
        body = dict(request)
        if not self._server:
            body.pop("min_p", None)
            body.pop("seed", None)
        return Call(self._endpoint, self._model, body, sample)

    def quote(self, call: Call) -> Quote:
        """The most the call can cost: the prompt by its characters, the answer by its limit."""
        request = call.request
        text = request.get("prompt") or "".join(m["content"] for m in request.get("messages", ()))
        prompt = len(text.encode()) // CHARACTERS_A_TOKEN + 64
        limit = int(request["max_tokens"])
        return Quote(self._cost(prompt, limit), prompt + limit)

    async def ask(self, call: Call) -> Reply:
        """Send one call; every failure is one of the two errors of `teacher`."""
        if self._client is None:
            key = self._key = os.environ.get(self._settings.api_key_env, "")
            headers = {"Authorization": f"Bearer {key}"} if key and not self._server else {}
            limits = httpx.Limits(max_connections=self.concurrency)
            self._client = httpx.AsyncClient(
                headers=headers, timeout=TIMEOUT_S, limits=limits, trust_env=not self._server
            )
        route = "completions" if "prompt" in call.request else "chat/completions"
        body = {"model": self._model, **call.request}
        began = time.monotonic()
        try:
            response = await self._client.post(f"{self._base}/{route}", json=body)
        except httpx.TransportError as error:
            raise TransientError(f"{type(error).__name__} at {self._base}") from None
        _raise_for(response, self._key)
        return self._reply(response, time.monotonic() - began)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def template(self) -> Template:
        """The template of the local file, or of the file that the recipe names."""
        return self._template

    @cached_property
    def _template(self) -> Template:
        if self._server:
            facts = httpx.get(f"{self._server}/props", timeout=30, trust_env=False).json()
            return Template(facts["chat_template"], facts["bos_token"], facts["eos_token"], f"of {self._model}")
        path = self._settings.template
        if path is None:
            raise UserError(
                "magpie opens the teacher's own chat template, and this endpoint does not show it. "
                "Name the file in teacher.template, or use `generate: {method: alpaca}`."
            )
        try:
            return Template(path.read_text(encoding="utf-8"), "", "", str(path))
        except OSError as error:
            raise UserError(f"teacher.template {path} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            raise UserError(f"teacher.template {path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None

    def _cost(self, prompt: int, completion: int) -> float | None:
        if self._server:
            return 0.0
        price = self._settings.price
        return (prompt * price.input + completion * price.output) / 1e6 if price else None

    def _reply(self, response: httpx.Response, seconds: float) -> Reply:
        try:
            body = response.json()
            choice, usage = body["choices"][0], body["usage"]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            finish = str(choice.get("finish_reason") or "")
            if isinstance(text, list):  # some endpoints answer in parts
                text = "".join(part.get("text") or "" for part in text)
            text = (text or "").encode("utf-8", "replace").decode()  # half of a character is no text
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise TransientError(f"the endpoint answered something else than a completion ({error!r})") from None
        # a blocked answer comes as null content: it is an answer without text, not a failure to be repeated
        return Reply(
            text or "",
            finish,
            prompt,
            completion,
            self._cost(prompt, completion),
            seconds,
            _without(response.text, self._key),
        )


def _raise_for(response: httpx.Response, key: str) -> None:
    if response.is_success:
        return
    said = f"HTTP {response.status_code}: {_without(response.text, key)[:200]}"
    if response.status_code in (408, 409, 425, 429) or response.status_code >= 500:
        raise TransientError(said, _wait(response.headers.get("retry-after")))
    raise RefusedError(said)


def _without(text: str, key: str) -> str:
    """What an endpoint said, with the key taken out where it says it back."""
    return text.replace(key, "…") if key else text


def _wait(value: str | None) -> float | None:
    try:
        wait = float(value) if value else math.nan
    except ValueError:
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_S) if math.isfinite(wait) else None
