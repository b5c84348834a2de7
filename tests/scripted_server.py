"""An HTTP server on loopback that says what a test tells it, and keeps what it was asked.

In: HTTP requests. Out: whatever `answer` makes of them; None ends the connection without one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it came; header names are in lower case."""

    verb: str
    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Said:
    """One answer; content that is no bytes is sent as JSON."""

    status: int
    content: Any = b""
    headers: Mapping[str, str] | None = None


class ScriptedServer:
    """The server; `url` is its root, without a slash at the end."""

    def __init__(self, answer: Callable[[Asked], Said | None] | None = None) -> None:
        self.answer = answer or (lambda asked: self.script.pop(0))
        self.script: list[Said | None] = []
        self.asked: list[Asked] = []
        self._http = _Http(("127.0.0.1", 0), _Exchange)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    owner: ScriptedServer
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Exchange(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _exchange(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, content)
        self.server.owner.asked.append(asked)
        said = self.server.owner.answer(asked)
        if said is None:
            self.close_connection = True
            return
        raw = said.content if isinstance(said.content, bytes) else json.dumps(said.content).encode()
        self.send_response(said.status)
        for name, value in {"Content-Length": str(len(raw)), **(said.headers or {})}.items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n" + raw)  # type: ignore[attr-defined]  # one packet
        self.flush_headers()

    do_GET = do_POST = _exchange

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to stderr."""
