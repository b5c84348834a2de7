"""Anthropic's Messages format.

In: a neutral request (messages, max_tokens, sampling, schema). Out: the route, the body, and the Answer in a reply.
Sends nothing; knows no raw completion. Source: the API reference of Anthropic, version 2023-06-01, and its SDK's types.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from yearling.errors import UserError
from yearling.recipe import Reasoning
from yearling.teachers.teacher import Answer

VERSION = "2023-06-01"
# In the order of blame: a model that takes no budget is asked to think as it sees fit, then not at all.
OPTIONAL = {
    "budget_tokens": r"thinking|budget_tokens",
    "thinking": "thinking",
    "effort": "effort",
    "format": "output_config|output[ _]format|[Ss]tructured outputs?",
    "temperature": "temperature",
    "top_p": "top_p",
    "stop_sequences": "stop_sequences",
}
SMALLEST_BUDGET = 1024
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_EFFORTS = {"minimal": "low"}


def route(model: str, request: Mapping[str, Any]) -> str:
    """The path below the base."""
    return "messages"


def headers(key: str) -> dict[str, str]:
    """What names the caller and the version."""
    return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}


def body(model: str, request: Mapping[str, Any], reasoning: Reasoning, refused: Set[str]) -> dict[str, Any]:
    """The JSON to send; what the endpoint refuses is left out. Turns of one role in a row are joined by the API."""
    if "prompt" in request:
        raise UserError(
            f"anthropic:{model} has no completion mode, which this method needs. "
            "Use `generate: {method: alpaca}`, or a local: or vllm: teacher."
        )
    system = "\n\n".join(m["content"] for m in request["messages"] if m["role"] == "system")
    turns = [{"role": m["role"], "content": m["content"]} for m in request["messages"] if m["role"] != "system"]
    sent: dict[str, Any] = {"model": model, "max_tokens": int(request["max_tokens"])}
    sent["messages"] = turns or [{"role": "user", "content": system}]
    if system and turns:
        sent["system"] = system
    if "stop" in request and "stop_sequences" not in refused:
        stop = request["stop"]
        sent["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    output: dict[str, Any] = {}
    if "schema" in request and "format" not in refused:
        output["format"] = {"type": "json_schema", "schema": request["schema"]}
    if reasoning.effort and "thinking" not in refused:  # which forbids other temperatures
        sent["max_tokens"] += reasoning.max_tokens
        sent["thinking"] = _thinking(reasoning, refused)
        if sent["thinking"]["type"] == "adaptive" and "effort" not in refused:
            output["effort"] = _EFFORTS.get(reasoning.effort, reasoning.effort)
    else:
        sent |= {n: request[n] for n in ("temperature", "top_p") if n in request and n not in refused}
    return {**sent, "output_config": output} if output else sent


def _thinking(reasoning: Reasoning, refused: Set[str]) -> dict[str, Any]:
    shown = {"display": "summarized"} if reasoning.keep else {}
    if "budget_tokens" in refused:
        return {"type": "adaptive", **shown}
    if reasoning.max_tokens < SMALLEST_BUDGET:
        raise UserError(
            f"teacher.reasoning.max_tokens is {reasoning.max_tokens}, and this provider thinks with at least "
            f"{SMALLEST_BUDGET} tokens. Raise it, or take reasoning.effort out."
        )
    return {"type": "enabled", "budget_tokens": reasoning.max_tokens, **shown}


def read(reply: Any) -> Answer:
    """The answer in a reply; raises ValueError, KeyError, IndexError, TypeError or AttributeError where there is none.

    What was written before a refusal is no answer, and left out.
    """
    blocks, usage, finish = reply["content"], reply["usage"], str(reply["stop_reason"] or "")
    thoughts = "".join(b.get("thinking") or "" for b in blocks if b["type"] == "thinking")
    text = "" if finish == "refusal" else "".join(b["text"] for b in blocks if b["type"] == "text")
    shown = f"<think>{thoughts}</think>\n{text}" if thoughts and finish != "refusal" else text
    cached = (usage.get(f"cache_{what}_input_tokens") or 0 for what in ("creation", "read"))
    details = usage.get("output_tokens_details") or {}
    return Answer(
        shown.encode("utf-8", "replace").decode(),
        _FINISHES.get(finish, finish),
        int(usage["input_tokens"]) + sum(map(int, cached)),
        int(usage["output_tokens"]),
        int(details.get("thinking_tokens") or 0),
    )
