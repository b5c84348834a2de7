"""A deterministic OpenAI-compatible endpoint on loopback, with a bill of its own and faults on demand.

In: HTTP requests. Out: answers that depend on the request alone, and `bill`, which says what was asked how often.
What a test asserts of money and of calls it asserts of this bill, never of the client's own accounts.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

Fault = Literal[
    "slow",  # answers late
    "429",
    "429 wait",  # with Retry-After
    "500",
    "401 echo",  # refuses, and says back what the Authorization header held
    "429 credit",  # refuses, and no waiting helps
    "307 elsewhere",  # sends the client to `moved_to`
    "drop",  # the work is done and billed, the connection ends before the answer
    "garbage",  # status 200, no JSON
    "empty",
    "null",  # a blocked answer
    "length",
    "parts",  # content as a list of parts
    "surrogate",  # half of an emoji
]
REFUSALS = ("429", "429 wait", "500", "401 echo", "429 credit", "307 elsewhere")
SAID = {"429 credit": "You exceeded your quota: insufficient_quota"}
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "jetty", "knoll", "larch"]
RETRY_AFTER_S = 1
SLOW_S = 0.05


@dataclass(frozen=True)
class Entry:
    """One request as the server saw it; tokens are 0 where it did no work."""

    key: str
    route: str
    body: Mapping[str, Any]
    fault: Fault | None
    prompt_tokens: int
    completion_tokens: int
    at: float
    authorization: str
    api_key: str  # Azure's header


def digest(*parts: object) -> str:
    """The key of a request."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def schema_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema that a request asks its answer to fit, or None."""
    form = body.get("response_format")
    schema: Mapping[str, Any] | None = form["json_schema"]["schema"] if form else None
    return schema


def words_of(body: Mapping[str, Any]) -> str:
    """The default answer, chosen by the request's hash: an instance of the schema that is asked for, or six words."""
    if schema := schema_of(body):
        from teacher_answers import instance  # it takes its digest from here

        return json.dumps(instance(schema, digest(body), schema))
    return " ".join(random.Random(digest(body)).choices(WORDS, k=6)).capitalize() + "."


def asked(body: Mapping[str, Any]) -> str:
    """What the request says: the last message, or the raw prompt."""
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def seeded(seed: int, share: float, faults: Sequence[Fault]) -> Callable[[str, int], Fault | None]:
    """A plan of faults that depends on the request and the number of its attempt, never on arrival."""

    def plan(key: str, attempt: int) -> Fault | None:
        dice = random.Random(f"{seed}:{key}:{attempt}")
        return dice.choice(faults) if dice.random() < share else None

    return plan


class OpenAIServer:
    """The endpoint; `url` is its base, with the path that clients expect."""

    def __init__(self) -> None:
        self.answer: Callable[[Mapping[str, Any]], str] = words_of
        self.faults: list[Fault | None] = []  # of the next requests, before the plan is asked
        self.plan: Callable[[str, int], Fault | None] = lambda key, attempt: None
        self.refuses: set[str] = set()  # parameters, at the top of a body, that are answered with 400
        self.moved_to = ""
        self.bill: list[Entry] = []
        self.in_flight = self.most_in_flight = 0
        self.open = threading.Event()  # while cleared, requests after the first `let_through` wait
        self.open.set()
        self.let_through = 0
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Exchange)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def keys(self) -> Counter[str]:
        """How often each request came."""
        return Counter(entry.key for entry in self.bill)

    @property
    def tokens(self) -> int:
        """Tokens of all the work that was done."""
        return sum(entry.prompt_tokens + entry.completion_tokens for entry in self.bill)

    def cost(self, usd_in: float, usd_out: float) -> float:
        """The bill in dollars, at prices per million tokens."""
        return sum(e.prompt_tokens * usd_in + e.completion_tokens * usd_out for e in self.bill) / 1e6

    def hold_after(self, count: int) -> None:
        """Answer `count` more requests; the later ones wait until `open` is set."""
        self.let_through = len(self.bill) + count
        self.open.clear()

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Wait until that many requests came in all."""
        end = time.monotonic() + seconds
        while len(self.bill) < count:
            assert time.monotonic() < end, f"{len(self.bill)} of {count} requests came in {seconds} s"
            time.sleep(0.005)

    def respond(self, route: str, body: dict[str, Any], headers: Message) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body of an answer; None drops the connection."""
        key, authorization = digest(route, body), headers.get("Authorization", "")
        with self._lock:
            fault = self.faults.pop(0) if self.faults else self.plan(key, self.keys[key])
            text = "" if fault == "empty" else self.answer(body)
            limit = int(body.get("max_tokens") or body["max_completion_tokens"])
            prompt, completion = len(asked(body)) // 4 + 1, min(len(text) // 4 + 1, limit)
            refused = sorted(self.refuses & set(body))
            worked = (0, 0) if fault in REFUSALS or refused else (prompt, completion)
            late = len(self.bill) >= self.let_through
            keys = authorization, headers.get("api-key", "")
            self.bill.append(Entry(key, route, body, fault, *worked, time.monotonic(), *keys))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if late:
                self.open.wait(60)
            if fault == "slow":
                time.sleep(SLOW_S)
            if refused:
                said = {"message": f"Unsupported parameter: '{refused[0]}' is not supported with this model."}
                return 400, {}, json.dumps({"error": said}).encode()
            if fault == "307 elsewhere":
                return 307, {"Location": self.moved_to}, b""
            return _rendered(route, text, fault, (prompt, completion), authorization)
        finally:
            with self._lock:
                self.in_flight -= 1

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _rendered(
    route: str, text: str, fault: Fault | None, usage: tuple[int, int], authorization: str
) -> tuple[int, dict[str, str], bytes] | None:
    if fault == "drop":
        return None
    if fault == "garbage":
        return 200, {}, b"<html>busy \xff</html>"
    if fault in REFUSALS:
        said = f"wrong key: {authorization}" if fault == "401 echo" else SAID.get(fault, "not now")
        wait = {"Retry-After": str(RETRY_AFTER_S)} if fault == "429 wait" else {}
        return int(fault[:3]), wait, json.dumps({"error": {"message": said}}).encode()
    contents: dict[Fault | None, Any] = {
        "null": None,
        "parts": [{"type": "text", "text": text}],
        "surrogate": text + "\ud83d",
    }
    content = contents.get(fault, text)
    finish = {"length": "length", "null": "content_filter"}.get(fault or "", "stop")
    choice = {"message": {"role": "assistant", "content": content}} if "chat" in route else {"text": content}
    body = {
        "choices": [{"index": 0, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
    }
    return 200, {}, json.dumps(body).encode()


class _Http(ThreadingHTTPServer):
    owner: OpenAIServer
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Exchange(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith(("/v1/chat/completions", "/v1/completions")):
            self.send_error(404)
            return
        answer = self.server.owner.respond(self.path, body, self.headers)
        if answer is None:
            self.close_connection = True
            return
        status, headers, content = answer
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n" + content)  # type: ignore[attr-defined]  # one packet
        self.flush_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to stderr."""
