"""What a teacher is asked and how its answers are read; nothing is sent where something is plainly wrong."""

from __future__ import annotations

import heapq
import json
import socket
import sqlite3
import traceback
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_teacher import FakeTeacher, ask_through

from yearling.errors import TeacherError, UserError
from yearling.ledger import Call, Ledger, Reply
from yearling.recipe import Generate
from yearling.recipe import Teacher as Settings
from yearling.teachers import ask, limit, openai
from yearling.teachers.ask import Asker, answer_request, without_thoughts
from yearling.teachers.teacher import KINDS, Answer, ParameterError, RefusedError, TransientError, open_teacher
from yearling.teachers.wire import _wait, failure

if TYPE_CHECKING:
    from openai_server import Fault, OpenAIServer

CANARY = "sk-canary-7Qz93kfAq0"
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(limit, "PAUSES_S", (0.001, 0.002))


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"model": "openai:tutor", **changes})


def chat(text: str = "Name a colour.", **changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 30, **changes}


@contextmanager
def asking(url: str | None, project: Path, **changes: Any) -> Iterator[Asker]:
    keep = changes.get("reasoning", {}).get("keep", False)
    with (
        Ledger(project / "ledger.sqlite", "one") as ledger,
        open_teacher(settings(base_url=url, **changes)) as teacher,
        Asker(teacher, ledger, "generate", keep) as asker,
    ):
        yield asker


def ask_one(
    server: OpenAIServer | str, project: Path, request: Mapping[str, Any] | None = None, **changes: Any
) -> Reply:
    with asking(server if isinstance(server, str) else server.url, project, **changes) as asker:
        (reply,) = asker.ask([asker.teacher.call(request or chat(), 0)], lambda reply: None)
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
    for empty in ("", " \n"):
        monkeypatch.setenv("OPENAI_API_KEY", empty)
        with pytest.raises(UserError, match="OPENAI_API_KEY"), open_teacher(settings()):
            pass


KEYED = {"openai": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


@pytest.mark.parametrize("kind", KEYED)
def test_each_provider_has_its_own_variable(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nobody's key is sent to somebody else."""
    for other in KEYED:
        if other != kind:
            monkeypatch.setenv(KEYED[other], CANARY)
    with pytest.raises(UserError, match=f"export {KEYED[kind]}="), open_teacher(settings(model=f"{kind}:x")):
        pass
    for name in KINDS[kind].keys:
        with monkeypatch.context() as one:
            one.setenv(name, CANARY)
            with open_teacher(settings(model=f"{kind}:x")) as teacher:
                assert teacher.endpoint == KINDS[kind].base


@pytest.mark.parametrize("kind", ["ollama", "vllm"])
def test_servers_of_ones_own_need_no_key(kind: str) -> None:
    with open_teacher(settings(model=f"{kind}:x")) as teacher:
        assert teacher.endpoint == KINDS[kind].base and teacher.endpoint.startswith("http://127.0.0.1:")


def test_azure_is_reached_at_ones_own_resource(
    monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, project: Path
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", CANARY)
    with pytest.raises(UserError, match=r"export AZURE_OPENAI_ENDPOINT="), open_teacher(settings(model="azure:d")):
        pass
    root = server.url.removesuffix("/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", root + "/")
    ask_one(server.url.removesuffix("/v1"), project, model="azure:d")
    with asking(None, project, model="azure:d") as asker:
        (reply,) = asker.ask([asker.teacher.call(chat(), 0)], lambda reply: None)
    assert reply.cached, "by variable or by recipe, it is one endpoint"
    (entry,) = server.bill
    assert (entry.route, entry.body["model"]) == ("/openai/v1/chat/completions", "d")
    assert (entry.api_key, entry.authorization) == (CANARY, "")


@pytest.mark.parametrize(
    "model", ["tutor", "bard:pro", ":x", "replay:/no/ledger.sqlite", "openai:", "", "local:/no/such.gguf", "local:"]
)
def test_a_spec_that_names_no_teacher_is_refused(model: str) -> None:
    with pytest.raises(UserError), open_teacher(settings(model=model)):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000/v1", "is no address"),
        ("ftp://host/v1", "is no address"),
        ("http://", "is no address"),
        ("http://host:0/v1", "is no address"),
        ("http://host:x/v1", "is no address"),
        ("http://[half/v1", "is no address"),
        (f"https://me:{CANARY}@host/v1", "Keep secrets in the environment"),
        (f"https://host/v1?key={CANARY}", "Keep secrets in the environment"),
    ],
)
def test_an_address_that_no_call_can_reach_is_told_before_the_first(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught, open_teacher(settings(base_url=url)):
        pass
    assert CANARY not in str(caught.value)


def test_a_base_url_is_used_as_given(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, project: Path) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    with asking(None, project / "other") as asker:
        asker.ask([asker.teacher.call(chat(), 0)], lambda reply: None)
    assert [entry.route for entry in server.bill] == ["/v1/chat/completions"]
    ask_one(server, project)
    assert len(server.bill) == 2, "another ledger, asked again"
    with open_teacher(settings(base_url=server.url)) as named, open_teacher(settings()) as found:
        assert named.call(chat(), 0).key == found.call(chat(), 0).key, "a slash at the end is not another endpoint"


def test_a_template_is_the_files_or_an_error(project: Path) -> None:
    path = project / "t.jinja"
    path.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}", encoding="utf-8")
    with open_teacher(settings(base_url="http://127.0.0.1:9", template=path)) as teacher:
        assert teacher.template().opening() == "[user] "
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
    reply = ask_one(server, project, chat(temperature=0.5, seed=3), local={"min_p": 0.1})
    (entry,) = server.bill
    assert entry.body == {"model": "tutor", **chat(temperature=0.5, seed=3)}, "min_p is for local teachers"
    assert entry.authorization == f"Bearer {CANARY}"
    assert (reply.prompt_tokens, reply.completion_tokens) == (entry.prompt_tokens, entry.completion_tokens)
    assert (reply.finish, reply.cached) == ("stop", False)
    assert reply.text == server.answer(entry.body)
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        ((raw, request),) = db.execute("SELECT raw, request FROM calls").fetchall()
    assert json.loads(raw)["choices"][0]["message"]["content"] == reply.text, "the ledger keeps all that was said"
    assert json.loads(request) == chat(temperature=0.5, seed=3)


SCHEMA = {"type": "object", "properties": {"tree": {"type": "string"}}, "required": ["tree"]}


def test_a_schema_is_sent_as_the_endpoint_knows_it(server: OpenAIServer, project: Path) -> None:
    reply = ask_one(server, project, chat(schema=SCHEMA))
    (entry,) = server.bill
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    assert entry.body == {"model": "tutor", **chat(), "response_format": form}
    assert list(json.loads(reply.text)) == ["tree"]


def test_a_teacher_that_thinks_gets_room_to_think(server: OpenAIServer, project: Path) -> None:
    thinking = {"effort": "low", "max_tokens": 100}
    ask_one(server, project, reasoning=thinking)
    (entry,) = server.bill
    said = {"model": "tutor", "messages": chat()["messages"], "reasoning_effort": "low", "max_completion_tokens": 130}
    assert entry.body == said
    with (
        open_teacher(settings(base_url=server.url, price=PRICE)) as plain,
        open_teacher(settings(base_url=server.url, price=PRICE, reasoning=thinking)) as deep,
    ):
        less, more = (teacher.quote(teacher.call(chat(), 0)) for teacher in (plain, deep))
    assert more.tokens - less.tokens == 100, "hidden tokens are reserved too"
    assert less.usd is not None and more.usd == pytest.approx(less.usd + 100 * PRICE["output"] / 1e6)


@pytest.mark.parametrize("keep", [False, True])
def test_thoughts_are_kept_apart(server: OpenAIServer, project: Path, keep: bool) -> None:
    server.answer = lambda body: "<think>Hm.</think>\n\nRed."
    for cached in (False, True):
        reply = ask_one(server, project, reasoning={"keep": keep})
        assert (reply.text, reply.cached) == ("<think>Hm.</think>\n\nRed." if keep else "Red.", cached)
    server.answer = lambda body: "<think>Hm. I never"
    unfinished = ask_one(server, project, chat("Name a tree."), reasoning={"keep": keep})
    assert unfinished.text == ("<think>Hm. I never" if keep else ""), "one that never stopped thinking is no answer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red.", "Red."),
        (" <think>\na\n</think> Red. ", "Red. "),
        ("<think>a</think>b<think>c</think>", "b<think>c</think>"),
        ("Say <think>a</think>.", "Say <think>a</think>."),
        ("<think></think>", ""),
        ("<think>a", ""),
        ("", ""),
    ],
)
def test_thoughts_stand_at_the_start(text: str, expected: str) -> None:
    assert without_thoughts(text) == expected


def test_the_system_turn_joins_that_of_the_conversation() -> None:
    plain = Generate.model_validate({"answer": {"temperature": 0.2, "system": "Be short."}, "seed": 5})
    user, system = {"role": "user", "content": "Hi?"}, {"role": "system", "content": "You sell tea."}
    request = answer_request(plain, [user], 9)
    own = {"role": "system", "content": "Be short."}
    assert request == {"messages": [own, user], "max_tokens": 9, "temperature": 0.2, "seed": 5}
    both = answer_request(plain, [system, user], 9)["messages"]
    assert both == [{"role": "system", "content": "You sell tea.\n\nBe short."}, user]
    assert answer_request(Generate(), [system, user], 9)["messages"] == [system, user]
    assert system["content"] == "You sell tea.", "what is handed in stays as it was"


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


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "json"])
@pytest.mark.parametrize("text", ["a", "word " * 500, "数" * 300, "🙂" * 100])
def test_a_quote_covers_the_bill(server: OpenAIServer, project: Path, text: str, schema: Any) -> None:
    request = chat(text, **({"schema": schema} if schema else {}))
    with open_teacher(settings(base_url=server.url, price=PRICE)) as teacher:
        quote = teacher.quote(teacher.call(request, 0))
    reply = ask_one(server, project, request, price=PRICE)
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


@pytest.mark.parametrize(("fault", "end"), [("parts", ""), ("surrogate", "?")])
def test_strange_content_is_an_answer(server: OpenAIServer, project: Path, fault: Any, end: str) -> None:
    server.faults = [fault]
    reply = ask_one(server, project)
    (entry,) = server.bill
    assert (reply.text, reply.finish) == (server.answer(entry.body) + end, "stop")
    assert ask_one(server, project).text == reply.text, "and one that the ledger can hold"


def message(finish: str | None = "stop", usage: Any = None, **content: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 5, "completion_tokens": 9, **(usage or {})}
    return {"choices": [{"finish_reason": finish, "message": content}], "usage": counts}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (message(content="Red."), Answer("Red.", "stop", 5, 9)),
        (message(None, content="Red."), Answer("Red.", "", 5, 9)),
        (message(content=None, refusal="I cannot."), Answer("", "content_filter", 5, 9)),
        (message("content_filter"), Answer("", "content_filter", 5, 9)),
        (message("length", {"completion_tokens_details": {"reasoning_tokens": 8}}), Answer("", "length", 5, 9, 8)),
        (message(content="Red.", reasoning_content="Hm."), Answer("<think>Hm.</think>\nRed.", "stop", 5, 9)),
        (message(content="Red.", reasoning="Hm."), Answer("<think>Hm.</think>\nRed.", "stop", 5, 9)),
        (message(content=[{"text": "Re"}, {"type": "image"}, {"text": "d."}]), Answer("Red.", "stop", 5, 9)),
    ],
)
def test_a_reply_is_read(reply: Any, expected: Answer) -> None:
    assert openai.read(reply) == expected


@pytest.mark.parametrize("reply", [{}, [], None, {"choices": []}, {"choices": [{}]}, message(text="x"), "no"])
def test_what_is_no_reply_is_not_read(reply: Any) -> None:
    with pytest.raises((ValueError, KeyError, IndexError, TypeError, AttributeError)):
        openai.read(reply)


def test_calls_in_flight_are_as_many_as_allowed(server: OpenAIServer, project: Path) -> None:
    reserved: list[int] = []

    def slowly(key: str, attempt: int) -> Fault:
        with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
            reserved.append(db.execute("SELECT count(*) FROM sends WHERE state = 'flying'").fetchone()[0])
        return "slow"

    server.plan = slowly
    told: list[Reply] = []
    with asking(server.url, project, concurrency=5) as asker:
        calls = [asker.teacher.call(chat(f"Name tree {n}."), 0) for n in range(20)]
        replies = asker.ask(calls, told.append)
        assert asker.limit is not None and asker.limit.flying == 0
    assert server.most_in_flight == max(reserved) == 5, "a call is on the disk before it flies"
    answers = [server.answer({"model": "tutor", **chat(f"Name tree {n}.")}) for n in range(20)]
    assert [reply.text for reply in replies] == answers, "replies come in the order of the calls"
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


def test_no_waiting_helps_against_an_empty_account(server: OpenAIServer, project: Path) -> None:
    server.plan = lambda key, attempt: "429 credit"
    with pytest.raises(TeacherError, match=r"refuses the call: HTTP 429.*insufficient_quota"):
        ask_one(server, project)
    assert len(server.bill) == 1


def test_a_parameter_that_is_refused_is_left_out_from_then_on(
    server: OpenAIServer, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuses = {"temperature", "response_format"}
    with asking(server.url, project, concurrency=4) as asker:
        requests = [chat(f"Name tree {n}.", temperature=0.5, schema=SCHEMA) for n in range(12)]
        replies = asker.ask([asker.teacher.call(request, 0) for request in requests], lambda reply: None)
        assert asker.ledger.spent().tokens == server.tokens, "a refusal costs nothing"
    assert all(reply.text for reply in replies)
    refused = [entry for entry in server.bill if entry.completion_tokens == 0]
    assert 2 <= len(refused) <= 8, "calls that flew meanwhile, and no later ones"
    said = capsys.readouterr().err
    for name in server.refuses:
        assert said.count(f"openai:tutor does not take {name}: left out from now on") == 1
    before = len(server.bill)
    ask_one(server, project, chat("Name a river.", temperature=0.5, schema=SCHEMA))
    assert len(server.bill) == before + 1, "a later run knows"
    assert not server.refuses & set(server.bill[-1].body)
    assert ask_one(server, project, requests[0]).cached, "what is left out of the body is not left out of the key"


def test_a_parameter_that_must_be_there_is_a_refusal(server: OpenAIServer, project: Path) -> None:
    server.refuses = {"messages"}
    with pytest.raises(TeacherError, match=r"refuses the call: HTTP 400"):
        ask_one(server, project)
    assert len(server.bill) == 1


def test_an_endpoint_that_refuses_what_is_left_out_ends_the_run(project: Path) -> None:
    async def say(call: Call) -> Reply:
        raise ParameterError("HTTP 400: temperature", "temperature")

    teacher = FakeTeacher(say)
    with pytest.raises(TeacherError, match=r"fake:x refuses the call: HTTP 400: temperature"):
        ask_through(project / "ledger.sqlite", teacher, 1)
    assert len(teacher.heard) == ask.TRIES + 1


def test_newer_models_want_their_limit_under_another_name(server: OpenAIServer, project: Path) -> None:
    body = {"model": "tutor", **chat()}
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    found = failure(400, said, None, body, openai.OPTIONAL)
    assert isinstance(found, ParameterError) and found.parameter == "max_tokens"
    with open_teacher(settings(base_url=server.url)) as teacher:
        teacher.refused.add("max_tokens")
        assert openai.body("tutor", chat(), settings().reasoning, teacher.refused)["max_completion_tokens"] == 30


SENT = {"model": "m", "temperature": 1.0, "generationConfig": {"seed": 3}}
RETRY = '{"error": {"details": [{"retryDelay": "7.5s"}]}}'
LONG = RETRY.replace("7.5", "9999")


@pytest.mark.parametrize(
    ("status", "said", "wait", "expected"),
    [
        (429, "slow down", None, {"throttled": True, "wait": None, "billed": False}),
        (429, "slow down", 3.0, {"throttled": True, "wait": 3.0}),
        (429, RETRY, None, {"throttled": True, "wait": 7.5}),
        (429, RETRY, 3.0, {"wait": 3.0}),
        (429, LONG, None, {"wait": 300.0}),
        (529, "overloaded", None, {"throttled": True}),
        (503, "", None, {"throttled": False, "billed": False}),
        (408, "", None, {"throttled": False}),
        (400, "'temperature' is not supported", None, {"parameter": "temperature"}),
        (422, "unknown field seed", None, {"parameter": "seed"}),
        (400, "'top_p' is not supported", None, RefusedError),
        (400, "no such thing", None, RefusedError),
        (401, "wrong key", None, RefusedError),
        (404, "no such model", None, RefusedError),
        (402, "Your credit balance is too low", None, RefusedError),
        (400, "Your credit balance is too low for temperature", None, RefusedError),
    ],
)
def test_what_a_status_means(status: int, said: str, wait: float | None, expected: Any) -> None:
    found = failure(status, said, wait, SENT, openai.OPTIONAL)
    assert str(found).startswith(f"HTTP {status}")
    if isinstance(expected, dict):
        assert isinstance(found, ParameterError if "parameter" in expected else TransientError)
        assert {name: getattr(found, name) for name in expected} == expected
    else:
        assert isinstance(found, expected)


def test_a_key_does_not_follow_a_redirection(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server.faults = ["307 elsewhere"]
    server.moved_to = f"{server.url}/chat/completions"
    with pytest.raises(TeacherError, match=rf"HTTP 307: the address has moved; teacher\.base_url is {server.url}"):
        ask_one(server, project)
    assert len(server.bill) == 1


@pytest.mark.parametrize("fault", ["429", "500", "drop", "garbage"])
def test_what_may_pass_is_tried_again(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.faults = [fault, fault]
    assert ask_one(server, project).text
    assert len(server.bill) == 3


@pytest.mark.parametrize(("fault", "billed"), [("500", False), ("drop", True), ("garbage", True)])
def test_what_does_not_pass_ends_with_one_error(server: OpenAIServer, project: Path, fault: Any, billed: bool) -> None:
    server.plan = lambda key, attempt: fault
    with pytest.raises(TeacherError, match=r"failed 8 times.*Run the same command again") as caught:
        ask_one(server, project)
    assert caught.value.exit_code == 5
    assert len(server.bill) == ask.TRIES == 8
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        spent = ledger.spent()
    assert (spent.lost_tokens == spent.tokens >= server.tokens > 0) if billed else (spent.tokens == 0)


def test_a_throttled_call_does_not_use_up_its_tries(server: OpenAIServer, project: Path) -> None:
    """Being told to wait is no failure; what ends it is the breaker, when nothing else is heard."""
    server.faults = ["429"] * (ask.TRIES + 1)
    assert ask_one(server, project).text
    server.plan = lambda key, attempt: "429"
    with pytest.raises(TeacherError, match=r"failed HTTP 429: .*Run the same command again") as caught:
        ask_one(server, project, chat("Name a tree."))
    assert caught.value.exit_code == 5
    asked = server.keys[server.bill[-1].key]
    assert asked == limit.TRIP + len(limit.PAUSES_S), "one call after each pause"


def test_waits_grow_up_to_the_longest(server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dues: list[float] = []
    now = 1000.0

    def at_once(later: list[Any], job: Any) -> None:
        dues.append(job.due - now)
        job.due = 0.0
        heapq.heappush(later, job)

    class Clock:
        monotonic = staticmethod(lambda: now)

    class Heap:
        heappush = staticmethod(at_once)
        heappop = staticmethod(heapq.heappop)

    monkeypatch.setattr(ask, "FIRST_WAIT_S", 8.0)
    monkeypatch.setattr(ask, "LONGEST_WAIT_S", 100.0)
    monkeypatch.setattr(ask, "heapq", Heap)
    monkeypatch.setattr(ask, "time", Clock)
    server.plan = lambda key, attempt: "500"
    with pytest.raises(TeacherError):
        ask_one(server, project)
    assert len(dues) == ask.TRIES - 1, "no wait follows the last try"
    assert all(most / 2 <= due <= most for due, most in zip(dues, [16, 32, 64, 100, 100, 100, 100], strict=True))


def test_retry_after_is_obeyed(server: OpenAIServer, project: Path) -> None:
    server.faults = ["429 wait"]
    assert ask_one(server, project).text
    first, second = server.bill
    assert second.at - first.at >= 1.0


@pytest.mark.parametrize("value", [None, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_is_left_alone(value: str | None) -> None:
    assert _wait({} if value is None else {"Retry-After": value}) is None


@pytest.mark.parametrize(("value", "wait"), [("nan", None), ("inf", None), ("-5", 0.0), ("864000", 300.0), ("2", 2.0)])
def test_a_retry_after_that_cannot_be_waited_for_is_bounded(value: str, wait: float | None) -> None:
    assert _wait({"Retry-After": value}) == wait


def test_an_endpoint_that_is_not_there_is_named_and_costs_nothing(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(TeacherError, match=f"ClientConnectorError at {url}"):
            ask_one(url, project, price=PRICE)
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert (ledger.spent().usd, ledger.spent().tokens) == (0.0, 0)


def test_an_answer_that_does_not_come_in_time_may_be_billed(server: OpenAIServer, project: Path) -> None:
    server.hold_after(0)
    with pytest.raises(TeacherError, match=r"failed 8 times: TimeoutError"):
        ask_one(server, project, price=PRICE, timeout_s=0.05)
    with Ledger(project / "ledger.sqlite", "one") as ledger:
        assert ledger.spent().lost_usd >= server.cost(PRICE["input"], PRICE["output"]) > 0


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
    server.answer = lambda body: f"I know {CANARY}."
    try:
        assert "I know [secret]." in ask_one(server, project, price=PRICE).text
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
