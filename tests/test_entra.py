"""Azure without a key: whose token is sent, when it is fetched, and what is said where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted_server import Asked, Said, ScriptedServer

from yearling.cloud.identity import Identity, find_access
from yearling.errors import TeacherError, UserError
from yearling.ledger import Ledger, Reply
from yearling.recipe import Teacher as Settings
from yearling.teachers import ask
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

pytest.importorskip("azure.identity", reason="the extra `azure`")

OURS, OTHER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
SCOPE = "https://cognitiveservices.azure.com"


class Endpoints:
    """A machine's identity endpoint and an Azure endpoint, in one."""

    def __init__(self) -> None:
        self.tokens, self.lifetime = 0, 86400.0
        self.refusal: Said | None = None
        self.queries: list[dict[str, list[str]]] = []
        self.named: list[str] = []

    def answer(self, asked: Asked) -> Said | None:
        if asked.path.startswith("/openai"):
            assert asked.path == "/openai/v1/chat/completions"
            self.named.append(asked.headers.get("authorization") or f"api-key {asked.headers['api-key']}")
            choice = {"message": {"content": f"heard {self.named[-1]}"}, "finish_reason": "stop"}
            return Said(200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
        self.queries.append(parse_qs(urlsplit(asked.path).query))
        if self.refusal:
            return self.refusal
        self.tokens += 1
        until = int(time.time() + self.lifetime)
        said = {"access_token": f"token-of-entra-{self.tokens}", "expires_on": str(until), "resource": SCOPE}
        return Said(200, {**said, "token_type": "Bearer"}, {"Content-Type": "application/json"})


@pytest.fixture
def machine() -> Endpoints:
    return Endpoints()


@pytest.fixture
def url(machine: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID", "IDENTITY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer(machine.answer) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
        monkeypatch.setenv("MSI_ENDPOINT", f"{server.url}/msi")  # as on Azure ML compute
        monkeypatch.setenv("MSI_SECRET", "msi-secret-12345")
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
        yield server.url


def asked(project: Path, count: int = 1, **changes: Any) -> list[Reply]:
    settings = Settings.model_validate({"model": "azure:gpt", **changes})
    with (
        closing(Ledger(project / "ledger.sqlite", "one")) as ledger,
        open_teacher(settings) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        turns = [[{"role": "user", "content": f"Question {n}?"}] for n in range(count)]
        calls = [teacher.call({"messages": turn, "max_tokens": 9}, 0) for turn in turns]
        return asker.ask(calls, lambda reply: None)


def test_a_key_goes_first_and_in_its_own_header(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-12345")
    assert asked(project)[0].text == "heard api-key [secret]"
    assert machine.named == ["api-key azure-key-12345"] and not machine.queries
    asked(project / "entra", azure={"identity": "entra"})
    assert machine.named[1:] == ["Bearer token-of-entra-1"], "said so, the identity goes first"


def test_a_key_that_must_be_and_is_not_is_told(project: Path, machine: Endpoints, url: str) -> None:
    with pytest.raises(UserError, match="export AZURE_OPENAI_API_KEY="):
        asked(project, azure={"identity": "key"})
    with pytest.raises(UserError, match="export MY_KEY="):
        asked(project, azure={"identity": "key"}, api_key_env="MY_KEY")
    assert not machine.named and not machine.queries


@pytest.mark.parametrize("base", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
def test_the_address_is_the_resource_or_the_whole_base(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", url + base)
    asked(project)
    assert machine.named == ["Bearer token-of-entra-1"]
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{url}/openai/deployments/gpt")
    with pytest.raises(UserError, match=r"older API.*azure:<deployment>"):
        asked(project)


def test_one_token_serves_many_calls_and_is_never_kept(project: Path, machine: Endpoints, url: str) -> None:
    replies = asked(project, 40)
    assert {reply.text for reply in replies} == {"heard Bearer [secret]"}
    assert machine.named == ["Bearer token-of-entra-1"] * 40
    assert machine.queries == [{"api-version": ["2017-09-01"], "resource": [SCOPE]}]
    assert not any(b"token-of-entra" in path.read_bytes() for path in project.rglob("*") if path.is_file())


def test_a_token_that_is_due_is_fetched_anew_by_one_of_many(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity(find_access("auto", ""), SCOPE)
    assert identity.held() == "" and identity.fetch() == identity.held() == "token-of-entra-1"
    identity._due = 0.0
    got: list[str] = []
    # the library has its own cache and its own idea of due; here every fetch is a new token
    fetched = iter(range(2, 99))

    class Credential:
        def get_token(self, *scopes: str, **more: Any) -> Any:
            time.sleep(0.05)
            from azure.core.credentials import AccessToken

            return AccessToken(f"token-of-entra-{next(fetched)}", int(time.time() + 86400))

    identity.access = replace(identity.access, credential=Credential())
    threads = [threading.Thread(target=lambda: got.append(identity.fetch())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["token-of-entra-2"] * 8


def test_an_identity_that_goes_away_later_is_a_failure_that_may_pass(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "TRIES", 2)
    fetch, count = Identity.fetch, iter(range(99))

    def sometimes(self: Identity) -> str:
        if next(count) in (1, 2):
            raise UserError("azure: no Entra token")
        self._due = 0.0
        token = fetch(self)
        self._due = 0.0  # due again at once
        return token

    monkeypatch.setattr(Identity, "fetch", sometimes)
    with pytest.raises(TeacherError, match=r"2 times: azure: no Entra token"):
        asked(project)
    assert not machine.named
    with closing(Ledger(project / "ledger.sqlite", "one")) as ledger:
        assert ledger.spent().tokens == 0, "what was never sent is not reserved any more"
    assert asked(project)[0].text == "heard Bearer [secret]"


@pytest.mark.parametrize("source", ["recipe", "AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID"])
def test_the_client_id_is_sent_wherever_it_was_set(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    if source != "recipe":
        monkeypatch.setenv(source, OURS)
    azure = {"client_id": OURS} if source == "recipe" else {}
    asked(project, azure=azure)
    assert machine.queries[0]["clientid"] == [OURS]


def test_azure_ml_s_word_for_none_is_no_client_id(
    project: Path, machine: Endpoints, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", "clientid")
    asked(project)
    assert "clientid" not in machine.queries[0]
    with pytest.raises(UserError, match=r"client id 'my-identity' is no client id.*az identity show"):
        asked(project, azure={"client_id": "my-identity"})


@pytest.mark.parametrize("status", [400, 404])
def test_no_identity_is_told_with_what_was_tried(project: Path, machine: Endpoints, url: str, status: int) -> None:
    machine.refusal = Said(status, b"<html>no such identity msi-secret-12345</html>", {"Content-Type": "text/plain"})
    with pytest.raises(UserError) as caught:
        asked(project)
    said = str(caught.value)
    assert "no token as the identity at MSI_ENDPOINT" in said
    assert "AZURE_CLIENT_ID" in said and "az login" in said and "export AZURE_OPENAI_API_KEY=" in said
    assert "msi-secret" not in said
    with pytest.raises(UserError, match=rf"with client id {OTHER} from the settings.*object id"):
        asked(project, azure={"client_id": OTHER})
    assert not machine.named and not (project / "ledger.sqlite-wal").exists()
