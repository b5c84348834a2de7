"""What a teacher is asked and how its answers are read; nothing is sent where something is plainly wrong."""

from __future__ import annotations

import asyncio
import math
import socket
import sqlite3
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from yearling.errors import TeacherError, UserError
from yearling.ledger import Ledger, Reply
from yearling.recipe import Teacher as Settings
from yearling.teachers import ask
from yearling.teachers.ask import ask_all
from yearling.teachers.teacher import Teacher, open_teacher
from yearling.teachers.wire import _wait

if TYPE_CHECKING:
    from openai_server import Fault, OpenAIServer

CANARY = "sk-canary-7Qz93kfAq0"
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"model": "openai:tutor", **changes})


def chat(text: str = "Name a colour.", **changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 30, **changes}


@contextmanager
def asking(server: OpenAIServer, project: Path, **changes: Any) -> Iterator[tuple[Teacher, Ledger]]:
    with (
        closing(Ledger(project / "ledger.sqlite", "one")) as ledger,
        open_teacher(settings(base_url=server.url, **changes)) as teacher,
    ):
        yield teacher, ledger


def ask_one(server: OpenAIServer, project: Path, request: Mapping[str, Any] | None = None, **changes: Any) -> Reply:
    with asking(server, project, **changes) as (teacher, ledger):
        reply = ask_all(teacher, ledger, [teacher.call(request or chat(), 0)], "generate", lambda reply: None)[0]
    assert reply is not None
    return reply


# -- before anything is sent


def test_a_missing_key_is_told_by_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"export OPENAI_API_KEY=") as caught, open_teacher(settings()):
        pass
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match=r"export MY_KEY="), open_teacher(settings(api_key_env="MY_KEY")):
        pass
    monkeypatch.setenv("MY_KEY", CANARY)
    with open_teacher(settings(api_key_env="MY_KEY")) as teacher:
        assert teacher.name == "openai:tutor"


def test_an_empty_key_is_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(UserError, match="OPENAI_API_KEY"), open_teacher(settings()):
        pass


@pytest.mark.parametrize("model", ["tutor", "gemini:pro", ":x", "openai:", "", "local:/no/such.gguf", "local:"])
def test_a_spec_that_names_no_teacher_is_refused(model: str) -> None:
    with pytest.raises(UserError), open_teacher(settings(model=model)):
        pass


def test_a_base_url_is_used_as_given(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, project: Path) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    with closing(Ledger(project / "l", "one")) as ledger, open_teacher(settings()) as teacher:
        ask_all(teacher, ledger, [teacher.call(chat(), 0)], "generate", lambda reply: None)
    assert [entry.route for entry in server.bill] == ["/v1/chat/completions"]
    ask_one(server, project)
    assert len(server.bill) == 2, "another ledger, asked again"
    with asking(server, project) as (named, _), open_teacher(settings()) as found:
        assert named.call(chat(), 0).key == found.call(chat(), 0).key, "a slash at the end is not another endpoint"


def test_a_template_is_the_files_or_an_error(project: Path) -> None:
    path = project / "t.jinja"
    path.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}", encoding="utf-8")
    with open_teacher(settings(base_url="http://127.0.0.1:9", template=path)) as teacher:
        assert teacher.template().opening(None) == "[user] "
    for template, message in ((None, r"Name the file in teacher\.template"), (project / "none", "cannot be read")):
        with (
            open_teacher(settings(base_url="http://127.0.0.1:9", template=template)) as teacher,
            pytest.raises(UserError, match=message),
        ):
            teacher.template()


def test_a_template_that_is_not_utf8_is_the_users_to_mend(project: Path) -> None:
    path = project / "t.jinja"
    path.write_bytes(b"\xff\xfe{}")
    with open_teacher(settings(base_url="http://127.0.0.1:9", template=path)) as teacher, pytest.raises(UserError):
        teacher.template()


# -- the wire


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, project: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    reply = ask_one(server, project, chat(temperature=0.5, min_p=0.05, seed=3))
    (entry,) = server.bill
    assert entry.body == {"model": "tutor", **chat(temperature=0.5)}, "min_p and seed are for local teachers"
    assert entry.authorization == f"Bearer {CANARY}"
    assert (reply.prompt_tokens, reply.completion_tokens) == (entry.prompt_tokens, entry.completion_tokens)
    assert (reply.finish, reply.cached) == ("stop", False)
    assert reply.text == server.answer(entry.body)
    assert reply.text in reply.raw


def test_without_a_key_none_is_sent(server: OpenAIServer, project: Path) -> None:
    ask_one(server, project)
    assert server.bill[0].authorization == ""


def test_a_raw_prompt_goes_to_completions(server: OpenAIServer, project: Path) -> None:
    reply = ask_one(server, project, {"prompt": "<|user|>", "max_tokens": 9})
    assert server.bill[0].route == "/v1/completions"
    assert reply.text == server.answer(server.bill[0].body)


def test_the_price_is_the_recipes_or_unknown(server: OpenAIServer, project: Path) -> None:
    assert ask_one(server, project).cost_usd is None
    reply = ask_one(server, project, chat("Name a tree."), price=PRICE)
    assert reply.cost_usd == pytest.approx((reply.prompt_tokens + 2 * reply.completion_tokens) / 1e6)


@pytest.mark.parametrize("text", ["a", "word " * 500, "数" * 300, "🙂" * 100])
def test_a_quote_covers_the_bill(server: OpenAIServer, project: Path, text: str) -> None:
    with asking(server, project, price=PRICE) as (teacher, _):
        quote = teacher.quote(teacher.call(chat(text), 0))
    reply = ask_one(server, project, chat(text), price=PRICE)
    assert quote.tokens >= reply.prompt_tokens + reply.completion_tokens
    assert quote.usd is not None and reply.cost_usd is not None
    assert quote.usd >= reply.cost_usd


def test_answers_without_text_are_answers(server: OpenAIServer, project: Path) -> None:
    server.faults = ["null", "empty", "length"]
    blocked = ask_one(server, project)
    empty = ask_one(server, project, chat("Name a tree."))
    cut = ask_one(server, project, chat("Name a river."))
    assert (blocked.text, blocked.finish) == ("", "content_filter")
    assert (empty.text, empty.finish) == ("", "stop")
    assert cut.text and cut.finish == "length"
    assert ask_one(server, project).text == ""
    assert len(server.bill) == 3, "none of them is asked again"


@pytest.mark.parametrize("fault", ["parts", "surrogate"])
def test_strange_content_is_an_answer_or_a_teachers_error(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.faults = [fault] * ask.TRIES
    try:
        assert isinstance(ask_one(server, project).text, str)
    except TeacherError:
        assert len(server.bill) == ask.TRIES


def test_calls_in_flight_are_as_many_as_allowed(server: OpenAIServer, project: Path) -> None:
    reserved: list[int] = []

    def slowly(key: str, attempt: int) -> Fault:
        with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
            reserved.append(db.execute("SELECT count(*) FROM calls WHERE state = 'reserved'").fetchone()[0])
        return "slow"

    server.plan = slowly
    told: list[Reply] = []
    with asking(server, project, concurrency=5) as (teacher, ledger):
        calls = [teacher.call(chat(f"Name tree {n}."), 0) for n in range(20)]
        replies = ask_all(teacher, ledger, calls, "generate", told.append)
    assert server.most_in_flight == max(reserved) == 5
    answers = [server.answer({"model": "tutor", **chat(f"Name tree {n}.")}) for n in range(20)]
    assert [reply.text for reply in replies if reply] == answers, "replies come in the order of the calls"
    assert sorted(r.text for r in told) == sorted(answers), "each reply is told once"


# -- refusals and retries


def test_a_refusal_ends_the_run_at_once(server: OpenAIServer, project: Path) -> None:
    server.faults = ["401 echo"]
    with pytest.raises(TeacherError, match=r"openai:tutor refuses the call: HTTP 401") as caught:
        ask_one(server, project)
    assert caught.value.exit_code == 5
    assert len(server.bill) == 1
    with closing(Ledger(project / "ledger.sqlite", "one")) as ledger:
        assert (ledger.count("failed"), ledger.spent().usd) == (1, 0.0)
    assert ask_one(server, project).text, "a failure is not served"


@pytest.mark.parametrize("fault", ["429", "500", "drop", "garbage"])
def test_what_may_pass_is_tried_again(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.faults = [fault, fault]
    assert ask_one(server, project).text
    assert len(server.bill) == 3


@pytest.mark.parametrize("fault", ["429", "500", "drop", "garbage"])
def test_what_does_not_pass_ends_with_one_error(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.plan = lambda key, attempt: fault
    with pytest.raises(TeacherError, match=r"failed 5 times.*Run the same command again") as caught:
        ask_one(server, project)
    assert caught.value.exit_code == 5
    assert len(server.bill) == ask.TRIES == 5


def test_waits_grow_and_no_wait_follows_the_last_try(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(ask, "FIRST_WAIT_S", 8.0)
    monkeypatch.setattr(ask, "LONGEST_WAIT_S", 20.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    server.plan = lambda key, attempt: "500"
    with pytest.raises(TeacherError):
        ask_one(server, project)
    assert len(waits) == 4
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, [8, 16, 20, 20], strict=True))


def test_retry_after_is_obeyed(server: OpenAIServer, project: Path) -> None:
    server.faults = ["429 wait"]
    assert ask_one(server, project).text
    first, second = server.bill
    assert 1.0 <= second.at - first.at < 3.0


@pytest.mark.parametrize("value", [None, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_is_left_alone(value: str | None) -> None:
    assert _wait(value) is None


@pytest.mark.parametrize("value", ["nan", "inf", "-5", "864000"])
def test_a_retry_after_that_cannot_be_waited_for_is_bounded(value: str) -> None:
    wait = _wait(value)
    assert wait is None or (math.isfinite(wait) and 0 <= wait <= 600)


def test_an_endpoint_that_is_not_there_is_named(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with (
            closing(Ledger(project / "l", "one")) as ledger,
            open_teacher(settings(base_url=url)) as teacher,
            pytest.raises(TeacherError, match=f"ConnectError at {url}"),
        ):
            ask_all(teacher, ledger, [teacher.call(chat(), 0)], "generate", lambda reply: None)


def test_an_endpoint_that_is_not_there_costs_nothing(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with (
            closing(Ledger(project / "l", "one")) as ledger,
            open_teacher(settings(base_url=url, price=PRICE)) as teacher,
        ):
            with pytest.raises(TeacherError):
                ask_all(teacher, ledger, [teacher.call(chat(), 0)], "generate", lambda reply: None)
            assert (ledger.spent().usd, ledger.spent().tokens) == (0.0, 0)


# -- the key


def everywhere(project: Path, error: BaseException | None) -> str:
    """All that a run leaves behind: its files, and its error with all that led to it."""
    files = b"".join(path.read_bytes() for path in sorted(project.rglob("*")) if path.is_file())
    return files.decode("latin-1") + ("".join(traceback.format_exception(error)) if error else "")


@pytest.mark.parametrize("fault", [None, "500", "drop", "garbage"])
def test_the_key_is_nowhere(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server.plan = lambda key, attempt: fault
    error = None
    try:
        ask_one(server, project, price=PRICE)
    except TeacherError as caught:
        error = caught
    assert server.bill[0].authorization == f"Bearer {CANARY}"
    assert bool(error) == bool(fault)
    found = everywhere(project, error)
    assert "Name a colour." in found, "the search looks at the right files"
    assert CANARY not in found + "".join(capfd.readouterr())


def test_a_key_that_the_endpoint_says_back_is_not_repeated(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server.faults = ["401 echo"]
    with pytest.raises(TeacherError) as caught:
        ask_one(server, project)
    assert CANARY not in everywhere(project, caught.value)


@pytest.mark.parametrize("key", [CANARY + "\nX: y", "clé-" + CANARY])
def test_a_key_that_no_header_can_hold_is_the_users_to_mend(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match="MY_KEY") as caught:
        ask_one(server, project, api_key_env="MY_KEY")
    assert CANARY not in str(caught.value)
    assert not server.bill
