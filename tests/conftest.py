"""What all tests share: a teacher endpoint on loopback, a project folder, and no way out to the network."""

from __future__ import annotations

import importlib.util
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openai_server import OpenAIServer


def _load(name: str) -> Any:
    """A helper module beside this file, importable by its name from every test."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_server = _load("openai_server")
TEACHERS = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "VLLM_API_KEY"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets reach loopback only, and what the machine's owner has set does not reach the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", *TEACHERS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # all is plain HTTP here, and reading the certificates takes a client 30 ms
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *arguments, **named: None)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(real: Any) -> Any:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test reached for {address}")
        return real(self, *arguments)

    return guarded


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A teacher endpoint that is up."""
    with _server.OpenAIServer() as running:
        yield running


@pytest.fixture
def project() -> Iterator[Path]:
    """An empty project folder, in memory where the system has such a place: ledgers wait for the disk at each call."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="yearling-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
