"""A fast, deterministic OpenAI-compatible teacher in a process of its own, with faults by plan and its own bill.

In: HTTP requests on loopback. Out: answers that depend on the request alone, faults that depend on the seed, the
request and the number of its attempt alone, and at GET /bill what was asked, billed and delivered (`?full=1`: each
request). Run `python -m teacher_server --port-file F` beside the tests, or open `serving(...)` in a test.
It keeps nothing on disk, streams nothing, and writes one choice an answer. tests/openai_server.py is the small
threaded one for tests that steer the server while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from aiohttp import web
from openai_server import digest
from teacher_answers import RULES, said

Fault = Literal[
    "latency",  # answers several times later
    "429",  # refuses, without saying how long to wait
    "429 wait",  # with Retry-After
    "500",
    "503",
    "drop",  # the work is done and billed, the connection ends before the answer
    "truncated",  # billed; the headers promise more bytes than come
    "garbage",  # billed; status 200, broken JSON
    "empty",  # billed; a whole answer of no words
    "blocked",  # billed; content null, finish_reason content_filter
]
FAULTS: tuple[Fault, ...] = get_args(Fault)
REFUSALS = ("429", "429 wait", "500", "503")
LOST = (*REFUSALS, "drop", "truncated", "garbage")  # no whole answer reaches the client
ROUTES = ("/v1/chat/completions", "/v1/completions")
SLOWER = 4
SLOWEST_AT_ZERO_S = 0.05  # the latency fault where there is no latency to multiply
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Settings:
    """How the server answers; each field is a flag of the command line."""

    seed: int = 0
    latency_ms: float = 0.0
    faults: float = 0.0  # share of attempts that meet one
    kinds: tuple[Fault, ...] = FAULTS
    clean_after: int = 0  # attempts of one request after which no fault comes; 0: faults may come for ever
    rule: str = "words"
    retry_after_s: float = 0.05
    usd_in: float = 0.1  # dollars per million prompt tokens
    usd_out: float = 0.4
    model: str = "test"


@dataclass(slots=True)
class Row:
    """What one request came to, all its attempts together."""

    attempts: int = 0
    prompt_tokens: int = 0  # billed
    completion_tokens: int = 0  # billed
    delivered: int = 0  # whole, well-formed answers handed to a connection that was still open


@dataclass(frozen=True)
class Bill:
    """The server's own account."""

    requests: int
    distinct: int
    billed: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    delivered: int
    delivered_again: int  # whole answers beyond the first of each request: what a client paid for twice
    in_flight: int
    most_in_flight: int
    seconds: Mapping[str, int]  # requests in each second since the first
    faults: Mapping[str, int]
    rows: Mapping[str, Row] = field(default_factory=dict)


def planned_fault(settings: Settings, key: str, attempt: int) -> Fault | None:
    """The fault of an attempt (the first is 0): a matter of seed, request and attempt, never of arrival."""
    if not settings.faults or (settings.clean_after and attempt >= settings.clean_after):
        return None
    dice = hashlib.blake2b(f"{settings.seed}:{key}:{attempt}".encode(), digest_size=16).digest()
    if int.from_bytes(dice[:8], "big") >= settings.faults * 2**64:
        return None
    return settings.kinds[int.from_bytes(dice[8:], "big") % len(settings.kinds)]


class TeacherServer:
    """The endpoint and its bill."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.rows = settings, dict[str, Row]()
        self.requests = self.billed = self.in_flight = self.most_in_flight = 0
        self.seconds, self.faults = Counter[int](), Counter[str]()
        self._began = 0.0
        self._answer = RULES[settings.rule]
        self._head = '{"id":"%s","object":"%s","created":1,"model":' + json.dumps(settings.model) + ',"choices":['
        self._models = json.dumps({"object": "list", "data": [{"id": settings.model, "object": "model"}]}).encode()

    async def respond(self, request: web.BaseRequest) -> web.Response:
        """The one door: completions, the list of models, the bill."""
        if request.path in ROUTES and request.method == "POST":
            return await self._complete(request)
        if request.path == "/v1/models":
            return _json(200, self._models)
        if request.path == "/bill":
            return _json(200, json.dumps(asdict(self.bill(bool(request.query.get("full"))))).encode())
        return _json(404, b'{"error": {"message": "no such route"}}')

    def bill(self, full: bool = False) -> Bill:
        """The account as it stands."""
        rows = self.rows.values()
        prompt, completion = sum(r.prompt_tokens for r in rows), sum(r.completion_tokens for r in rows)
        return Bill(
            requests=self.requests,
            distinct=len(self.rows),
            billed=self.billed,
            prompt_tokens=prompt,
            completion_tokens=completion,
            usd=(prompt * self.settings.usd_in + completion * self.settings.usd_out) / 1e6,
            delivered=sum(r.delivered for r in rows),
            delivered_again=sum(max(r.delivered - 1, 0) for r in rows),
            in_flight=self.in_flight,
            most_in_flight=self.most_in_flight,
            seconds={str(second): count for second, count in sorted(self.seconds.items())},
            faults=dict(self.faults),
            rows=dict(self.rows) if full else {},
        )

    async def _complete(self, request: web.BaseRequest) -> web.Response:
        try:
            body = json.loads(await request.read())
            prompt = len(said(body)) // CHARACTERS_A_TOKEN + 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return _json(400, json.dumps({"error": {"message": f"no request: {error!r}"}}).encode())
        if body.get("stream") or body.get("n", 1) not in (1, None):
            return _json(400, b'{"error": {"message": "one choice, unstreamed, is all that is served here"}}')
        key = digest(request.path, body)
        row = self.rows.setdefault(key, Row())
        fault = planned_fault(self.settings, key, row.attempts)
        row.attempts += 1
        self._count(fault)
        try:
            if fault in REFUSALS:
                return self._refused(fault)
            # billed at arrival: the work is done whether or not the client waits for it
            text, finish, completion = self._written(body, key, fault)
            row.prompt_tokens += prompt
            row.completion_tokens += completion
            self.billed += 1
            await self._wait(fault)
            content = self._body(request.path, key, (text, finish), (prompt, completion))
            return self._delivered(request, row, fault, content)
        finally:
            self.in_flight -= 1

    def _count(self, fault: Fault | None) -> None:
        now = time.monotonic()
        self._began = self._began or now
        self.seconds[int(now - self._began)] += 1
        self.requests += 1
        if fault:
            self.faults[fault] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def _written(self, body: Mapping[str, Any], key: str, fault: Fault | None) -> tuple[str | None, str, int]:
        """Text, why it ends, and its tokens."""
        if fault == "empty":
            return "", "stop", 1
        if fault == "blocked":
            return None, "content_filter", 1
        text = self._answer(body, key)
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        tokens = len(text) // CHARACTERS_A_TOKEN + 1
        if limit and tokens > limit:
            return text[: limit * CHARACTERS_A_TOKEN], "length", int(limit)
        return text, "stop", tokens

    async def _wait(self, fault: Fault | None) -> None:
        seconds = self.settings.latency_ms / 1000
        if fault == "latency":
            seconds = max(seconds * SLOWER, SLOWEST_AT_ZERO_S)
        if seconds:
            await asyncio.sleep(seconds)

    def _body(self, path: str, key: str, said: tuple[str | None, str], usage: tuple[int, int]) -> bytes:
        text, finish = said
        chat = "chat" in path
        content = (
            f'"message":{{"role":"assistant","content":{json.dumps(text)}}}' if chat else f'"text":{json.dumps(text)}'
        )
        return (
            f"{self._head % (key, 'chat.completion' if chat else 'text_completion')}"
            f'{{"index":0,"logprobs":null,"finish_reason":"{finish}",{content}}}],'
            f'"usage":{{"prompt_tokens":{usage[0]},"completion_tokens":{usage[1]},"total_tokens":{sum(usage)}}}}}'
        ).encode()

    def _refused(self, fault: Fault | None) -> web.Response:
        response = _json(int(str(fault)[:3]), b'{"error": {"message": "not now", "type": "refused"}}')
        if fault == "429 wait":
            response.headers["Retry-After"] = f"{self.settings.retry_after_s:g}"
        return response

    def _delivered(self, request: web.BaseRequest, row: Row, fault: Fault | None, content: bytes) -> web.Response:
        if fault == "garbage":
            return _json(200, content[: len(content) // 2])
        link = request.transport
        if link is None or link.is_closing():  # the client went away while the work was done
            return web.Response()
        if fault == "truncated":
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            link.write(head.encode() + content[: len(content) // 2])
        if fault in LOST:
            link.close()
            return web.Response()
        row.delivered += 1
        return _json(200, content)


def _json(status: int, content: bytes) -> web.Response:
    return web.Response(status=status, body=content, content_type="application/json")


async def serve(settings: Settings, port_file: Path, until_parent_ends: bool) -> None:
    """Serve until the process is ended; the port is written to the file once connections are taken."""
    stop = asyncio.Event()
    if until_parent_ends:
        # the other end of stdin closes with the parent, whatever ended it; os.read holds no lock at exit
        loop = asyncio.get_running_loop()
        watch = threading.Thread(target=lambda: (os.read(0, 1), loop.call_soon_threadsafe(stop.set)), daemon=True)
        watch.start()
    server = web.Server(TeacherServer(settings).respond, access_log=None)
    runner = web.ServerRunner(server, handle_signals=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, shutdown_timeout=0.1)
    await site.start()
    part = port_file.with_suffix(".part")
    part.write_text(site.name.rsplit(":", 1)[1], encoding="ascii")
    part.replace(port_file)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Serving:
    """A server in its own process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The base that clients expect."""
        return f"http://127.0.0.1:{self.port}/v1"

    def bill(self, full: bool = False) -> Bill:
        """The account as it stands; `full` with the rows."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/bill{'?full=1' if full else ''}") as answer:
            account = json.load(answer)
        account["rows"] = {key: Row(**row) for key, row in account["rows"].items()}
        return Bill(**account)


@contextmanager
def serving(settings: Settings | None = None) -> Iterator[Serving]:
    """Start the server, wait for its port, end it afterwards; it ends with this process in any case."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "teacher_server", "--port-file", str(port_file), "--until-parent-ends"]
        process = subprocess.Popen(
            [*command, *_flags(settings or Settings())], cwd=Path(__file__).parent, stdin=subprocess.PIPE
        )
        try:
            end = time.monotonic() + 30
            while not port_file.exists():
                assert process.poll() is None and time.monotonic() < end, "the test server did not start"
                time.sleep(0.01)
            yield Serving(int(port_file.read_text(encoding="ascii")), process)
        finally:
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()


def _flags(settings: Settings) -> list[str]:
    values = {**asdict(settings), "kinds": ",".join(settings.kinds)}
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: one flag for each field of Settings."""
    parser = argparse.ArgumentParser(prog="teacher_server", description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True, help="where the port is written once it serves")
    parser.add_argument("--until-parent-ends", action="store_true", help="stop when standard input closes")
    for knob in fields(Settings):
        kind = {"int": int, "float": float}.get(str(knob.type), str)
        parser.add_argument(f"--{knob.name.replace('_', '-')}", type=kind, default=knob.default)
    given = vars(parser.parse_args(arguments))
    port_file, until_parent_ends = given.pop("port_file"), given.pop("until_parent_ends")
    if isinstance(given["kinds"], str):
        given["kinds"] = tuple(given["kinds"].split(","))
    if unknown := set(given["kinds"]) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(Settings(**given), port_file, until_parent_ends))


if __name__ == "__main__":
    main()
