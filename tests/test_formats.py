"""What each provider is sent, byte for byte of its JSON, and how what it answers is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Asked, Said, ScriptedServer

from yearling.errors import TeacherError, UserError
from yearling.ledger import Ledger, Reply
from yearling.recipe import Reasoning
from yearling.recipe import Teacher as Settings
from yearling.teachers import anthropic, ask, gemini, openai
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import Answer, TransientError, open_teacher
from yearling.teachers.wire import failure

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Name a colour."},
    {"role": "user", "content": "One word."},
]
REQUEST = {"messages": TURNS, "max_tokens": 30, "temperature": 0.5, "top_p": 0.9, "stop": ["\n"], "seed": 7}
SCHEMA = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}, "required": ["n"]}
THINKING = {"effort": "low", "max_tokens": 2000}
ANTHROPIC = {
    "content": [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": "Red."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": None, "output_tokens": 9},
}
GEMINI: dict[str, Any] = {
    "candidates": [
        {"content": {"parts": [{"text": "Hm.", "thought": True}, {"text": "Red."}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 7},
}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-1234567")
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-1234567")


@pytest.fixture
def script() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def ask_one(script: ScriptedServer, project: Path, request: Mapping[str, Any], model: str, **changes: Any) -> Reply:
    base = f"{script.url}/v1beta" if model.startswith("gemini") else f"{script.url}/v1"
    settings = Settings.model_validate({"model": model, "base_url": base, **changes})
    with (
        closing(Ledger(project / "ledger.sqlite", "one")) as ledger,
        open_teacher(settings) as teacher,
        Asker(teacher, ledger, "generate", keep_thoughts=True) as asker,
    ):
        return asker.ask([teacher.call(request, 0)], lambda reply: None)[0]


# -- Anthropic


def test_anthropic_is_asked_in_its_own_format(script: ScriptedServer, project: Path) -> None:
    script.script = [Said(200, ANTHROPIC)]
    reply = ask_one(script, project, REQUEST, "anthropic:claude-x", price={"input": 1e6, "output": 2e6})
    asked = script.asked[0]
    assert (asked.verb, asked.path) == ("POST", "/v1/messages")
    assert asked.headers["x-api-key"] == "sk-ant-1234567" and asked.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "model": "claude-x",
        "max_tokens": 30,
        "system": "Be brief.",
        "messages": TURNS[1:],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["\n"],
    }
    assert (reply.text, reply.finish) == ("<think>Hm.</think>\nRed.", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (8, 9, 8 + 18)


def test_anthropic_thinks_within_its_budget_and_answers_in_a_schema(script: ScriptedServer, project: Path) -> None:
    usage = {"input_tokens": 5, "output_tokens": 900, "output_tokens_details": {"thinking_tokens": 890}}
    script.script = [Said(200, {**ANTHROPIC, "usage": usage})]
    reply = ask_one(script, project, {**REQUEST, "schema": SCHEMA}, "anthropic:claude-x", reasoning=THINKING)
    body = script.asked[0].body
    assert body["max_tokens"] == 2030 and body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert not {"temperature", "top_p", "seed", "schema", "stop"} & body.keys()
    assert (reply.completion_tokens, reply.reasoning_tokens) == (900, 890)


def test_anthropic_is_asked_less_as_it_refuses(script: ScriptedServer, project: Path) -> None:
    said = (
        '"thinking.type.enabled" is not supported here. Use "thinking.type.adaptive" and "output_config.effort".',
        "output_config.effort: this model does not support the effort parameter.",
        "adaptive thinking is not supported on this model",
        "`temperature` is deprecated for this model.",
        "output_config.format: Extra inputs are not permitted",
    )
    refusals = [Said(400, {"type": "error", "error": {"type": "invalid_request_error", "message": m}}) for m in said]
    script.script = [*refusals, Said(200, ANTHROPIC)]
    ask_one(script, project, {**REQUEST, "schema": SCHEMA}, "anthropic:claude-x", reasoning=THINKING)
    bodies = [asked.body for asked in script.asked]
    assert [b.get("thinking", {}).get("type") for b in bodies] == ["enabled", "adaptive", "adaptive", None, None, None]
    assert [b.get("output_config", {}).get("effort") for b in bodies] == [None, "low", None, None, None, None]
    assert ["format" in b.get("output_config", {}) for b in bodies] == [True] * 5 + [False]
    assert [b.get("temperature") for b in bodies] == [None, None, None, 0.5, None, None]
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        facts = {name for (name,) in db.execute("SELECT name FROM facts")}
    assert facts == {f"refuses {name}" for name in ("budget_tokens", "effort", "thinking", "temperature", "format")}
    script.script = [Said(200, ANTHROPIC)]
    ask_one(script, project, {**REQUEST, "max_tokens": 31, "schema": SCHEMA}, "anthropic:claude-x", reasoning=THINKING)
    assert script.asked[-1].body == {**bodies[-1], "max_tokens": 31}, "a later run knows"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"stop_reason": "max_tokens"}, Answer("<think>Hm.</think>\nRed.", "length", 8, 9)),
        ({"stop_reason": "stop_sequence"}, Answer("<think>Hm.</think>\nRed.", "stop", 8, 9)),
        ({"stop_reason": "refusal"}, Answer("", "content_filter", 8, 9)),
        ({"stop_reason": "pause_turn", "content": []}, Answer("", "pause_turn", 8, 9)),
        ({"content": [{"type": "redacted_thinking", "data": "x"}]}, Answer("", "stop", 8, 9)),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, Answer("ab", "stop", 8, 9)),
    ],
)
def test_anthropic_answers_of_every_kind(changes: dict[str, Any], answer: Answer) -> None:
    assert anthropic.read({**ANTHROPIC, **changes}) == answer


# -- Gemini


def test_gemini_is_asked_in_its_own_format(script: ScriptedServer, project: Path) -> None:
    script.script = [Said(200, GEMINI)]
    request = {**REQUEST, "presence_penalty": 0.1, "frequency_penalty": 0.2}
    reply = ask_one(script, project, request, "gemini:gemini-x", price={"input": 1e6, "output": 2e6})
    asked = script.asked[0]
    assert (asked.verb, asked.path) == ("POST", "/v1beta/models/gemini-x:generateContent")
    assert asked.headers["x-goog-api-key"] == "AIza-1234567" and "key=" not in asked.path
    assert asked.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hello."}]},
            {"role": "model", "parts": [{"text": "Hi."}]},
            {"role": "user", "parts": [{"text": "Name a colour."}, {"text": "One word."}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 30,
            "temperature": 0.5,
            "topP": 0.9,
            "seed": 7,
            "stopSequences": ["\n"],
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
        },
    }
    assert (reply.text, reply.finish) == ("<think>Hm.</think>\nRed.", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.reasoning_tokens) == (8, 9, 7)
    assert reply.cost_usd == 8 + 18


def test_gemini_is_asked_less_as_it_refuses(script: ScriptedServer, project: Path) -> None:
    said = (
        "Thinking level is not supported for this model.",
        "Developer instruction is not enabled for models/gemini-x",
        "Penalty is not enabled for models/gemini-x",
        "Invalid JSON payload received. Unknown name \"responseJsonSchema\" at 'generation_config': Cannot find field.",
        "The thinking budget 2000 is invalid. Please choose a value between 1 and 1024.",
        "JSON mode is not enabled for models/gemini-x",
    )
    refusals = [Said(400, {"error": {"code": 400, "message": m, "status": "INVALID_ARGUMENT"}}) for m in said]
    script.script = [*refusals, Said(200, GEMINI)]
    request = {**REQUEST, "schema": SCHEMA, "presence_penalty": 0.1}
    ask_one(script, project, request, "gemini:gemini-x", reasoning={**THINKING, "keep": True})
    bodies = [asked.body for asked in script.asked]
    configs = [body["generationConfig"] for body in bodies]
    level, budget = {"includeThoughts": True, "thinkingLevel": "LOW"}, {"includeThoughts": True, "thinkingBudget": 2000}
    assert [config.get("thinkingConfig") for config in configs] == [level, *[budget] * 4, None, None]
    assert {config["maxOutputTokens"] for config in configs} == {2030}
    assert ["systemInstruction" in body for body in bodies] == [True, True, *[False] * 5]
    assert bodies[-1]["contents"][0]["parts"] == [{"text": "Be brief."}, {"text": "Hello."}]
    assert [config.get("responseJsonSchema") for config in configs] == [SCHEMA] * 4 + [None] * 3
    openapi = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": True}}, "required": ["n"]}
    assert [config.get("responseSchema") for config in configs] == [None] * 4 + [openapi] * 2 + [None]
    assert [config.get("responseMimeType") for config in configs] == ["application/json"] * 6 + [None]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, Answer("", "content_filter", 0, 0)),
        (
            {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8}},
            Answer("", "content_filter", 8, 0),
        ),
        ({**GEMINI, "candidates": [{"finishReason": "SAFETY"}]}, Answer("", "content_filter", 8, 9, 7)),
        (
            {**GEMINI, "candidates": [{**GEMINI["candidates"][0], "finishReason": "PROHIBITED_CONTENT"}]},
            Answer("", "content_filter", 8, 9, 7),
        ),
        ({**GEMINI, "candidates": [{"content": {}, "finishReason": "MAX_TOKENS"}]}, Answer("", "length", 8, 9, 7)),
        ({**GEMINI, "candidates": [{"content": {}, "finishReason": "OTHER"}]}, Answer("", "other", 8, 9, 7)),
    ],
)
def test_gemini_answers_of_every_kind(reply: dict[str, Any], answer: Answer) -> None:
    assert gemini.read(reply) == answer


def test_gemini_through_its_openai_address_speaks_that_format(script: ScriptedServer, project: Path) -> None:
    choice = {"message": {"content": "Red."}, "finish_reason": "stop"}
    script.script = [Said(200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})]
    ask_one(script, project, REQUEST, "gemini:gemini-x", base_url=f"{script.url}/v1beta/openai")
    assert script.asked[0].path == "/v1beta/openai/chat/completions"
    assert script.asked[0].headers["authorization"] == "Bearer AIza-1234567"


# -- both


@pytest.mark.parametrize("model", ["anthropic:claude-x", "gemini:gemini-x"])
def test_a_raw_prompt_is_refused_before_anything_is_sent(script: ScriptedServer, project: Path, model: str) -> None:
    with pytest.raises(UserError, match="no completion mode"):
        ask_one(script, project, {"prompt": "<|user|>", "max_tokens": 9}, model)
    assert not script.asked
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM sends").fetchone() == (0,)


def test_a_budget_of_thoughts_that_is_too_small_is_told(script: ScriptedServer, project: Path) -> None:
    small = {"effort": "high", "max_tokens": 500}
    with pytest.raises(UserError, match=r"reasoning\.max_tokens is 500.*1024"):
        ask_one(script, project, REQUEST, "anthropic:claude-x", reasoning=small)
    assert not script.asked


@pytest.mark.parametrize("module", [anthropic, gemini])
def test_a_system_turn_alone_is_asked_as_a_question(module: Any) -> None:
    body = module.body("m", {"messages": TURNS[:1], "max_tokens": 9}, Reasoning(), set())
    assert not {"system", "systemInstruction"} & body.keys()
    assert "Be brief." in str(body.get("messages") or body.get("contents"))


@pytest.mark.parametrize("module", [anthropic, gemini, openai])
@pytest.mark.parametrize("reply", [{}, [], None, "x", {"candidates": [{}]}, {"choices": []}, {"content": None}, 7])
def test_what_is_no_answer_is_none(module: Any, reply: Any) -> None:
    with pytest.raises((ValueError, KeyError, IndexError, TypeError, AttributeError)):
        module.read(reply)


# -- OpenAI, beyond what tests/test_teachers.py asks


@pytest.mark.parametrize(
    ("message", "finish", "text", "read_as"),
    [
        ({"content": None, "refusal": "I cannot."}, "stop", "", "content_filter"),
        ({"refusal": "I cannot."}, "stop", "", "content_filter"),
        ({"content": "Red.", "refusal": None}, "stop", "Red.", "stop"),
        ({"content": "Red.", "reasoning_content": "Hm."}, "stop", "<think>Hm.</think>\nRed.", "stop"),
        ({"content": "Red.", "reasoning": "Hm."}, "stop", "<think>Hm.</think>\nRed.", "stop"),
        ({"content": "Red.", "reasoning": {"a": 1}}, "stop", "Red.", "stop"),
        ({"role": "assistant"}, "content_filter", "", "content_filter"),
        ({"reasoning": "Hm."}, "length", "<think>Hm.</think>\n", "length"),
    ],
)
def test_openai_answers_of_other_hosts(message: dict[str, Any], finish: str, text: str, read_as: str) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}
    reply = {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}
    assert openai.read(reply) == Answer(text, read_as, 1, 2, 1)


def test_a_redirection_is_told_and_takes_no_key_along(script: ScriptedServer, project: Path) -> None:
    with ScriptedServer(lambda asked: Said(200, ANTHROPIC)) as elsewhere:
        script.script = [Said(307, b"", {"Location": f"{elsewhere.url}/v1/messages"})]
        with pytest.raises(TeacherError, match=r"HTTP 307: the address has moved"):
            ask_one(script, project, REQUEST, "anthropic:claude-x")
        assert not elsewhere.asked


def test_google_says_in_the_body_how_long_to_wait() -> None:
    said = '{"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "34.5s"}]}}'
    error = failure(429, said, None, {}, {})
    assert isinstance(error, TransientError) and error.wait == 34.5 and error.throttled
    assert isinstance(overloaded := failure(529, "{}", None, {}, {}), TransientError) and overloaded.throttled


def test_what_is_asked_is_one_request(script: ScriptedServer, project: Path) -> None:
    script.answer = lambda asked: Said(200, _echo(asked))
    assert ask_one(script, project, REQUEST, "anthropic:claude-x").text == "claude-x"
    assert ask_one(script, project, REQUEST, "anthropic:claude-x").cached
    assert len(script.asked) == 1


def _echo(asked: Asked) -> dict[str, Any]:
    return {**ANTHROPIC, "content": [{"type": "text", "text": asked.body["model"]}]}
