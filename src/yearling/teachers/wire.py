"""A teacher over HTTP: one session, one format, every failure named for what it is.

In: a Call. Out: a Reply, or an error that says what the endpoint said and whether it may be billed.
The key lives in the request's header only: what comes back is redacted before anything else sees it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from yearling.cloud.identity import Identity
from yearling.errors import UserError
from yearling.ledger import Call, Quote, Reply
from yearling.recipe import Teacher as Settings
from yearling.redact import redactor
from yearling.students.template import Template, read_template
from yearling.teachers.entra import credentials
from yearling.teachers.teacher import Answer, ParameterError, RefusedError, TransientError

CONNECT_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0
CHARACTERS_A_TOKEN = 1  # a safe floor for quoting prompts: no tokenizer in use needs more tokens for plain text
_RETRY_DELAY = re.compile(r'"retryDelay":\s*"([0-9.]+)s"')  # where Google says how long to wait
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit", "credit balance")


class Heard(NamedTuple):
    """What an endpoint said: status, redacted text, and the seconds that it asks to wait."""

    status: int
    text: str
    wait: float | None = None


class Look(NamedTuple):
    """How far a batch is: requests that are done, whether it is over, in the provider's words, and all it said."""

    done: int
    ended: bool
    state: str
    said: Any


class WireTeacher:
    """A teacher that speaks `format` at `base`; `endpoint` names it in the ledger, and local ones begin with local:."""

    def __init__(
        self, settings: Settings, format: ModuleType, base: str, endpoint: str, model: str, licence: str = "unknown"
    ) -> None:
        server = base.removesuffix("/v1") if endpoint.startswith("local:") else None  # its root has more routes
        self.name, self.licence, self.endpoint, self.model = settings.model, licence, endpoint, model
        self.concurrency = settings.concurrency
        self.refused: set[str] = set()
        self.batch = settings.batch
        self._settings, self._format, self._base, self._server = settings, format, base, server
        self._key, self._identity = ("", None) if server else credentials(settings, base)
        self._secrets = {self._key, self._identity.held() if self._identity else ""}
        self._redact = redactor(*self._secrets)
        self._session: aiohttp.ClientSession | None = None

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        """The ledger's entry: local-only sampling settings are left out for endpoints that refuse them."""
        body = dict(request)
        if self._server:
            body["min_p"] = self._settings.local.min_p
        else:
            body.pop("min_p", None)
        self.body(body)  # what the format cannot say is told before anything is reserved
        return Call(self.endpoint, self.model, body, sample)

    def quote(self, call: Call) -> Quote:
        """The most the call can cost: the prompt by its bytes, the answer by its limit and the thoughts allowed."""
        request, reasoning = call.request, self._settings.reasoning
        text = request.get("prompt") or "".join(m["content"] for m in request.get("messages", ()))
        schema = json.dumps(request["schema"]) if "schema" in request else ""
        prompt = (len(text.encode()) + len(schema)) // CHARACTERS_A_TOKEN + 64
        limit = int(request["max_tokens"]) + (reasoning.max_tokens if reasoning.effort else 0)
        return Quote(self.cost(prompt, limit), prompt + limit)

    def cost(self, prompt: int, completion: int) -> float | None:
        """US dollars for so many tokens, None where the price is unknown."""
        if self._server:
            return 0.0
        price = self._settings.price
        return (prompt * price.input + completion * price.output) / 1e6 if price else None

    def body(self, request: Mapping[str, Any], refused: Set[str] | None = None) -> dict[str, Any]:
        """The JSON to send, without what the endpoint was found to refuse by now, or by another time."""
        left_out = self.refused if refused is None else refused
        sent: dict[str, Any] = self._format.body(self.model, request, self._settings.reasoning, left_out)
        return sent

    async def ask(self, call: Call) -> Reply:
        """Send one call; every failure is one of the errors of `teacher`."""
        body = self.body(call.request)
        began = time.monotonic()
        heard = await self.post(self.route(call.request), body)
        return self.reply(body, heard, time.monotonic() - began)

    def reply(self, body: Mapping[str, Any], heard: Heard, seconds: float, share: float = 1.0) -> Reply:
        """The reply in what was heard of a body, at that share of the price; raises the errors of `teacher`."""
        status, text, wait = heard
        if status >= 300:
            if "content_filter" in text and status == 400:  # the provider's filter, told as an error by some
                return self._reply(Answer("", "content_filter", 0, 0), text, seconds, share)
            raise failure(status, text, wait, body, self._format.OPTIONAL)
        try:
            answer = self._format.read(json.loads(text))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            said = f"the endpoint answered something else than a completion ({error!r})"
            raise TransientError(said, billed=True) from None
        return self._reply(answer, text, seconds, share)

    async def post(self, route: str, body: Any) -> Heard:
        """POST JSON below the base."""
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return await self.exchange("POST", route, {"Content-Type": "application/json"}, content)

    def route(self, request: Mapping[str, Any]) -> str:
        """The path at which a request is asked."""
        path: str = self._format.route(self.model, request)
        return path

    async def fetch(self, verb: str, route: str, body: Any = None, seconds: float | None = None) -> Any:
        """What the endpoint says, as JSON; `body` is JSON or a form. Raises the errors of `teacher`."""
        text = await self.text(verb, route, body, seconds)
        try:
            return json.loads(text)
        except ValueError as error:
            raise TransientError(f"the endpoint answered no JSON ({error!r})", billed=verb == "POST") from None

    async def text(self, verb: str, route: str, body: Any = None, seconds: float | None = None) -> str:
        """The same, as it came."""
        form = isinstance(body, aiohttp.FormData)
        content = body if form or body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        named = {} if form or body is None else {"Content-Type": "application/json"}
        heard = await self.exchange(verb, route, named, content, seconds)
        if heard.status >= 300:
            raise failure(*heard, {} if form or body is None else body, self._format.OPTIONAL)
        return heard.text

    async def exchange(
        self, verb: str, route: str, headers: Mapping[str, str], content: Any = None, seconds: float | None = None
    ) -> Heard:
        """One HTTP exchange below the base, with the key in its header; TransientError where the connection fails.

        A redirection is not followed: the key is for this address alone.
        """
        session = self._session or self._open()
        named = {**headers, **await self._named()}
        # a busy machine may be slow: of a local teacher the connection tells that it is gone, not the clock
        limit = None if self._server else seconds or self._settings.timeout_s
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_S)
        sent = {"data": content, "headers": named, "timeout": timeout, "allow_redirects": False}
        try:
            async with session.request(verb, f"{self._base}/{route}", **sent) as response:
                read = await response.read()
                text = self._redact(read.decode("utf-8", "replace"))
                if response.status // 100 == 3:
                    text = f"the address has moved; teacher.base_url is {self._base}. {text}"
                return Heard(response.status, text, _wait(response.headers))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TransientError(f"{type(error).__name__} at {self._base}") from None  # never sent
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise TransientError(f"{type(error).__name__} at {self._base}", billed=verb == "POST") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def template(self) -> Template:
        """The template of the local file, or of the file that the recipe names."""
        return self._template

    @cached_property
    def _template(self) -> Template:
        if self._server:
            import httpx

            facts = httpx.get(f"{self._server}/props", timeout=30, trust_env=False).json()
            return Template(facts["chat_template"], facts["bos_token"], facts["eos_token"], f"of {self.model}")
        path = self._settings.template
        if path is None:
            raise UserError(
                "magpie opens the teacher's own chat template, and this endpoint does not show it. "
                "Name the file in teacher.template, or use `generate: {method: alpaca}`."
            )
        return Template(read_template(path, "teacher.template"), "", "", str(path))

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0)  # how many fly is decided by the driver
        # looked up once: left to the session, each call would read the environment and .netrc anew, in a thread
        proxy = None if self._server else _proxy(self._base)
        self._session = aiohttp.ClientSession(connector=connector, proxy=proxy)
        return self._session

    async def _named(self) -> dict[str, str]:
        if self._identity is not None:
            return {"Authorization": f"Bearer {self._identity.held() or await self._refreshed(self._identity)}"}
        if self._settings.model.startswith("azure:"):
            return {"api-key": self._key}
        named: dict[str, str] = self._format.headers(self._key)
        return named

    async def _refreshed(self, identity: Identity) -> str:
        try:
            token = await asyncio.to_thread(identity.fetch)
        except UserError as error:  # it was there when the teacher was opened
            raise TransientError(str(error)) from None
        self._secrets.add(token)
        self._redact = redactor(*self._secrets)
        return token

    def _reply(self, answer: Answer, raw: str, seconds: float, share: float) -> Reply:
        cost = self.cost(answer.prompt_tokens, answer.completion_tokens)
        return Reply(
            answer.text,
            answer.finish,
            answer.prompt_tokens,
            answer.completion_tokens,
            None if cost is None else cost * share,
            seconds,
            answer.reasoning_tokens,
            raw,
        )


def failure(
    status: int, said: str, wait: float | None, body: Mapping[str, Any], optional: Mapping[str, str]
) -> TransientError | ParameterError | RefusedError:
    """What a status means: to be tried again, to be sent without a parameter, or not to be sent again.

    `optional` are parameters, at any depth of the body, each with the pattern by which refusals name it.
    """
    message = f"HTTP {status}: {said[:200]}"
    if any(word in said for word in _NO_CREDIT):
        return RefusedError(message)
    if status in (408, 409, 425, 429) or status >= 500:
        if wait is None and (delay := _RETRY_DELAY.search(said)):
            wait = min(float(delay[1]), LONGEST_RETRY_AFTER_S)
        return TransientError(message, wait, throttled=status in (429, 529))
    if status in (400, 422):
        if "max_completion_tokens" in said and "max_tokens" in body:
            return ParameterError(message, "max_tokens")
        names = set(_names(body))
        for name, words in optional.items():
            if name in names and re.search(words, said):
                return ParameterError(message, name)
    return RefusedError(message)


def _wait(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds; a date or nonsense counts as unsaid."""
    try:
        wait = float(headers.get("Retry-After") or math.nan)
    except ValueError:
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_S) if math.isfinite(wait) else None


def _names(body: Any) -> Iterator[str]:
    if isinstance(body, dict):
        yield from body
    for part in body.values() if isinstance(body, dict) else body if isinstance(body, list) else ():
        yield from _names(part)


def _proxy(base: str) -> str | None:
    """The proxy that the environment or the system names for an address."""
    parts = urlsplit(base)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
