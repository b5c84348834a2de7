"""Batches: half the price, reserved and on the disk before they are sent, handed over once whatever happens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer, words
from scripted_server import Said, ScriptedServer

from yearling.errors import BudgetError, TeacherError, UserError
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.recipe import Budget
from yearling.recipe import Teacher as Settings
from yearling.teachers import ask, batch, batch_anthropic, batch_gemini, batch_openai, batch_row
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher

PRICE = {"input": 1000.0, "output": 2000.0}
PAID = 0.5 * (10 * PRICE["input"] + 4 * PRICE["output"]) / 1e6  # of one answer of the server, at half the price
BASES = {"openai": "/v1", "azure": "/openai/v1", "anthropic": "/v1", "gemini": "/v1beta"}
KINDS = pytest.mark.parametrize("kind", BASES)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((batch, "FIRST_PAUSE_S"), (batch, "SETTLE_S"), (batch_anthropic, "FIND_PAUSE_S")):
        monkeypatch.setattr(module, name, 0.001)
    monkeypatch.setattr(batch_openai, "FILE_PAUSE_S", 0.001)
    monkeypatch.setattr(batch, "LONGEST_PAUSE_S", 0.002)
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    for name in ("OPENAI", "AZURE_OPENAI", "ANTHROPIC", "GEMINI"):
        monkeypatch.setenv(f"{name}_API_KEY", "key-1234567")


@pytest.fixture
def provider() -> BatchServer:
    return BatchServer()


@pytest.fixture
def url(provider: BatchServer) -> Iterator[str]:
    with ScriptedServer(provider.answer) as server:
        yield server.url


@contextmanager
def opened(project: Path, kind: str, url: str, **changes: Any) -> Iterator[tuple[Ledger, Asker]]:
    budget, run = changes.pop("budget", Budget()), changes.pop("run", "one")
    values = {"model": f"{kind}:m", "base_url": url + BASES[kind], "batch": True, "price": PRICE, **changes}
    with (
        closing(Ledger(project / "ledger.sqlite", run, budget)) as ledger,
        open_teacher(Settings.model_validate(values)) as teacher,
        Asker(teacher, ledger, "generate") as asker,
    ):
        yield ledger, asker


def asked(asker: Asker, count: int, first: int = 0) -> list[Reply]:
    turns = [[{"role": "user", "content": f"Question {n}?"}] for n in range(first, first + count)]
    requests = [{"messages": turn, "max_tokens": 40, "temperature": 0.5} for turn in turns]
    return asker.ask([asker.teacher.call(request, 0) for request in requests], lambda reply: None)


def rows(project: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        return db.execute(query).fetchall()


# -- what is sent, and what it costs


@KINDS
def test_calls_are_answered_at_half_the_price(project: Path, provider: BatchServer, url: str, kind: str) -> None:
    with opened(project, kind, url) as (ledger, asker):
        replies = asked(asker, 5)
        assert [reply.text for reply in replies] == [f"Question {n}? Yes." for n in range(5)]
        assert all(reply.cost_usd == pytest.approx(PAID) and reply.finish == "stop" for reply in replies)
        assert ledger.spent().usd == pytest.approx(5 * PAID) and ledger.spent().tokens == 70
        assert [reply.cached for reply in asked(asker, 5)] == [True] * 5
    assert len(provider.batches) == 1
    name = rows(project, "SELECT name, state, size, id FROM batches")
    assert [row[1:] for row in name] == [("ended", 5, provider.batches[0].id)]
    kept = rows(project, "SELECT DISTINCT batch, state FROM calls")
    assert kept == [(name[0][0], "settled")]
    raw = [json.loads(text) for (text,) in rows(project, "SELECT raw FROM calls")]
    assert all("Yes." in json.dumps(each) for each in raw)


def test_openai_is_handed_a_file(project: Path, provider: BatchServer, url: str) -> None:
    with opened(project, "openai", url) as (_, asker):
        asked(asker, 2)
    (name,) = (name for (name,) in rows(project, "SELECT name FROM batches"))
    assert provider.batches[0].order == {
        "input_file_id": "file-0",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"yearling": name},
    }
    line = json.loads(provider.files["file-0"].splitlines()[0])
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    turn = [{"role": "user", "content": "Question 0?"}]
    assert line["body"] == {"model": "m", "messages": turn, "max_tokens": 40, "temperature": 0.5}
    assert provider.asked[:3] == ["POST files", "POST batches", "GET batches/batch_0"]


def test_azure_waits_for_its_file_and_leaves_the_version_out(project: Path, provider: BatchServer, url: str) -> None:
    provider.file_states = ["pending", "running", "processed"]
    with opened(project, "azure", url) as (_, asker):
        asked(asker, 1)
    assert provider.asked[:4] == ["POST files", "GET files/file-0", "GET files/file-0", "POST batches"]
    assert provider.batches[0].order["endpoint"] == "/chat/completions"
    assert json.loads(provider.files["file-0"])["url"] == "/chat/completions"


def test_anthropic_and_gemini_are_handed_all_in_one(project: Path, provider: BatchServer, url: str) -> None:
    for kind in ("anthropic", "gemini"):
        with opened(project, kind, url) as (_, asker):
            asked(asker, 2)
    first, second = (each.order for each in provider.batches)
    turn = [{"role": "user", "content": "Question 0?"}]
    assert first["requests"][0]["params"] == {"model": "m", "max_tokens": 40, "messages": turn, "temperature": 0.5}
    assert all(len(each["custom_id"]) <= 64 for each in first["requests"])
    assert "POST models/m:batchGenerateContent" in provider.asked
    inside = second["batch"]["inputConfig"]["requests"]["requests"][0]["request"]
    config = {"maxOutputTokens": 40, "temperature": 0.5}
    assert inside == {
        "contents": [{"role": "user", "parts": [{"text": "Question 0?"}]}],
        "generationConfig": config,
    }


@KINDS
def test_money_and_name_are_on_the_disk_before_anything_is_sent(
    project: Path, provider: BatchServer, url: str, kind: str
) -> None:
    seen: dict[str, Any] = {}

    def look(step: str) -> Said | None:
        held = rows(project, "SELECT count(*), sum(usd) FROM sends WHERE state = 'flying'")
        seen.setdefault(step, (held, rows(project, "SELECT state, size, id FROM batches")))
        return None

    provider.at = look
    with opened(project, kind, url) as (_, asker):
        quote = asker.teacher.quote(asker.teacher.call({"messages": [], "max_tokens": 40}, 0)).usd
        asked(asker, 3)
    for step in ("file", "create", "created"):
        if step in seen:
            (count, usd), (row,) = seen[step][0][0], seen[step][1]
            assert count == 3 and row == ("open", 3, None)
            assert quote and 3 * quote / 2 < usd < 3 * quote / 2 + 0.03, "half of what the calls can cost"
    assert seen["look"][1] == [("open", 3, provider.batches[0].id)]


def test_batches_keep_the_providers_limits(project: Path, provider: BatchServer, url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch_openai, "MOST", 3)
    monkeypatch.setattr(batch_anthropic, "LARGEST", 800)
    monkeypatch.setattr(batch_gemini, "LARGEST", 10)
    for kind, sizes in (("openai", [3, 3, 1]), ("anthropic", [3, 3, 1]), ("gemini", [1] * 7)):
        del provider.batches[:]
        with opened(project / kind, kind, url) as (_, asker):
            assert [reply.text for reply in asked(asker, 7)] == [f"Question {n}? Yes." for n in range(7)]
        assert sorted((len(each.rows) for each in provider.batches), reverse=True) == sizes
        assert kind == "gemini" or all(len(json.dumps(each.order)) <= 800 for each in provider.batches)


def test_progress_is_told_in_one_line(
    project: Path, provider: BatchServer, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.polls = 3
    with opened(project, "openai", url) as (_, asker):
        asked(asker, 8)
    said = [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "handing 8 calls to openai:m"
    assert [line.split(",")[0] for line in said[1:]] == [f"{n} of 8 answered" for n in (2, 4, 6)]
    assert all(line.endswith("; Ctrl-C is safe") and "waiting since" in line for line in said[1:])


# -- caps


def test_what_fits_the_cap_is_handed_over_first(project: Path, provider: BatchServer, url: str) -> None:
    with opened(project, "openai", url, budget=Budget(max_cost_usd=0.5)) as (ledger, asker):
        replies = asked(asker, 8)
        assert all(reply.text for reply in replies)
        assert ledger.spent().usd == pytest.approx(8 * PAID)
    sizes = [len(each.rows) for each in provider.batches]
    assert sum(sizes) == 8 and len(sizes) > 1 and sizes[0] > 1


def test_a_cap_that_nothing_fits_ends_the_run(project: Path, provider: BatchServer, url: str) -> None:
    with opened(project, "openai", url, budget=Budget(max_cost_usd=0.05)) as (_, asker), pytest.raises(BudgetError):
        asked(asker, 8)
    assert not provider.asked
    with opened(project, "openai", url, budget=Budget(max_cost_usd=0.12)) as (ledger, asker):
        with pytest.raises(BudgetError):
            asked(asker, 8)
        assert 0 < ledger.count("settled") < 8 and ledger.spent().usd <= 0.12


# -- what fails


@KINDS
@pytest.mark.parametrize("failure", ["expired", None, (500, None), (200, {"no": "answer"})])
def test_what_failed_is_asked_again_in_another_batch(
    project: Path, provider: BatchServer, url: str, kind: str, failure: Any
) -> None:
    provider.outcome = lambda body, n: (
        failure if n < 2 and words(body) in ("Question 1?", "Question 3?") else (200, None)
    )
    with opened(project, kind, url) as (ledger, asker):
        assert [reply.text for reply in asked(asker, 5)] == [f"Question {n}? Yes." for n in range(5)]
        lost = ledger.spent().lost_usd
        assert (lost > 0) == (failure == (200, {"no": "answer"})), "what was answered is billed"
        assert ledger.spent().usd == pytest.approx(5 * PAID + lost)
    assert [len(each.rows) for each in provider.batches] == [5, 2, 2]
    tags = [tag for each in provider.batches for tag, _ in each.rows]
    assert len(set(tags)) == len(tags) == 9


def test_three_times_is_enough(project: Path, provider: BatchServer, url: str) -> None:
    provider.outcome = lambda body, batch: "expired" if words(body) == "Question 1?" else (200, None)
    with opened(project, "anthropic", url) as (ledger, asker):
        with pytest.raises(TeacherError, match=r"failed in batch b_.*expired.*Run the same command again"):
            asked(asker, 3)
        assert ledger.count("settled") == 2
        assert ledger.spent().usd == pytest.approx(2 * PAID) and ledger.spent().tokens == 28
    assert [len(each.rows) for each in provider.batches] == [3, 1, 1]


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
def test_a_parameter_that_is_refused_is_left_out_of_the_next_batch(
    project: Path, provider: BatchServer, url: str, kind: str
) -> None:
    def outcome(body: dict[str, Any], number: int) -> Any:
        warm = body.get("temperature") or body.get("generationConfig", {}).get("temperature")
        return (400, {"error": {"message": "temperature is not supported"}}) if warm else (200, None)

    provider.outcome = outcome
    with opened(project, kind, url) as (_, asker):
        assert len(asked(asker, 40)) == 40
        assert len(asked(asker, 2, first=90)) == 2
    assert [len(each.rows) for each in provider.batches] == [40, 40, 2]


def test_a_call_that_is_refused_ends_the_run_and_keeps_the_rest(project: Path, provider: BatchServer, url: str) -> None:
    bad = (400, {"error": {"message": "too long"}})
    provider.outcome = lambda body, batch: bad if words(body) == "Question 1?" else (200, None)
    with opened(project, "openai", url) as (ledger, asker):
        with pytest.raises(TeacherError, match="refuses a call: HTTP 400"):
            asked(asker, 4)
        assert ledger.count("settled") == 3
        assert ledger.spent().usd == pytest.approx(3 * PAID)


def test_a_filtered_call_is_an_answer_without_text(project: Path, provider: BatchServer, url: str) -> None:
    provider.outcome = lambda body, batch: (400, {"error": {"code": "content_filter"}})
    with opened(project, "azure", url) as (_, asker):
        assert [(reply.text, reply.finish) for reply in asked(asker, 2)] == [("", "content_filter")] * 2


def test_a_batch_that_failed_as_a_whole_says_why(project: Path, provider: BatchServer, url: str) -> None:
    provider.outcome = lambda body, batch: None
    with opened(project, "gemini", url) as (ledger, asker):
        with pytest.raises(TeacherError, match="holds no answer: succeeded"):
            asked(asker, 2)
        assert ledger.spent().usd == pytest.approx(0.0) and ledger.spent().tokens == 0
    assert len(provider.batches) == 3


@pytest.mark.parametrize("status", [401, 404, 413])
def test_a_batch_that_is_not_taken_costs_nothing(project: Path, provider: BatchServer, url: str, status: int) -> None:
    provider.at = lambda step: Said(status, b"no") if step == "create" else None
    with opened(project, "anthropic", url) as (ledger, asker):
        with pytest.raises(TeacherError, match=f"refuses the batch: HTTP {status}"):
            asked(asker, 3)
        assert ledger.spent().usd == pytest.approx(0.0) and ledger.spent().tokens == 0


def test_calls_asked_singly_after_all_leave_their_batch(project: Path, url: str) -> None:
    """With teacher.batch taken out, an open batch is left alone; what it may have cost stays counted."""
    call, path = Call("e", "m", {"messages": [], "max_tokens": 9}), project / "ledger.sqlite"
    with closing(Ledger(path, "one")) as ledger:
        ledger.plan([call], "generate")
        batch_row.start(ledger, [(call, Quote(0.5, 9))], "generate")
    with closing(Ledger(path, "one")) as ledger:
        assert (ledger.spent().usd, ledger.spent().lost_usd, ledger.count("sent")) == (0.5, 0.0, 1)
        assert [each.size for each in batch_row.unfinished(ledger, "e", "m")] == [1]
        ticket = ledger.reserve(call, Quote(1.0, 9), "generate")
        ledger.settle(ticket, Reply("Red.", "stop", 1, 2, 0.25, 0.1))
    with closing(Ledger(path, "one")) as ledger:
        assert (ledger.spent().usd, ledger.spent().lost_usd, ledger.count("settled")) == (0.75, 0.5, 1)
        assert batch_row.unfinished(ledger, "e", "m") == []
    assert rows(project, "SELECT state FROM batches") == [("ended",)]


@pytest.mark.parametrize("kind", ["ollama", "vllm"])
def test_who_has_no_batch_api_is_told_so(project: Path, url: str, kind: str) -> None:
    settings = Settings.model_validate({"model": f"{kind}:m", "base_url": f"{url}/v1", "batch": True})
    gemini = settings.model_copy(update={"model": "gemini:m", "base_url": f"{url}/v1beta/openai"})
    for each in (settings, gemini):
        with (
            closing(Ledger(project / "ledger.sqlite", "one")) as ledger,
            open_teacher(each) as teacher,
            Asker(teacher, ledger, "generate") as asker,
            pytest.raises(UserError, match=r"has no batch API that is known\. Take teacher\.batch out"),
        ):
            asked(asker, 1)
