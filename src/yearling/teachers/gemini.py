"""Gemini's own format, generateContent.

In: a neutral request (messages, max_tokens, sampling, schema). Out: the route, the body, and the Answer in a reply.
Sends nothing; knows no raw completion. Source: the Gemini API reference, v1beta, and its SDK's types.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from yearling.errors import UserError
from yearling.recipe import Reasoning
from yearling.teachers.teacher import Answer

# In the order of blame: newer models think by level, older ones by budget, some not at all.
OPTIONAL = {
    "systemInstruction": "[Dd]eveloper instruction|system_?[Ii]nstruction",
    "thinkingLevel": "[Tt]hinking|[Tt]hinking_?[Ll]evel",
    "thinkingBudget": "[Tt]hinking|[Tt]hinking_?[Bb]udget",
    "responseJsonSchema": "response_?[Jj]son_?[Ss]chema",
    "responseSchema": "response_?[Ss]chema",
    "responseMimeType": "response_?[Mm]ime_?[Tt]ype|JSON mode",
    "presencePenalty": "presence_?[Pp]enalty|Penalty is not enabled",
    "frequencyPenalty": "frequency_?[Pp]enalty|Penalty is not enabled",
    "temperature": "[Tt]emperature",
    "topP": "top_?[Pp]",
    "stopSequences": "stop_?[Ss]equences?",
    "seed": "[Ss]eed",
}
_NAMES = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_BLOCKED = {
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
}
_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(_BLOCKED, "content_filter")}
# what the older of the two schema fields understands of JSON schema
_OPENAPI = (
    *("description", "enum", "format", "maxItems", "maximum", "minItems", "minimum", "nullable", "required"),
    *("maxLength", "minLength", "pattern", "title"),
)


def route(model: str, request: Mapping[str, Any]) -> str:
    """The path below the base."""
    return f"{path(model)}:generateContent"


def path(model: str) -> str:
    """A model's full name: tuned ones come with their own collection."""
    return model if "/" in model else f"models/{model}"


def headers(key: str) -> dict[str, str]:
    """What names the caller."""
    return {"x-goog-api-key": key} if key else {}


def body(model: str, request: Mapping[str, Any], reasoning: Reasoning, refused: Set[str]) -> dict[str, Any]:
    """The JSON to send; what the endpoint refuses is left out, or said in the older way."""
    if "prompt" in request:
        raise UserError(
            f"gemini:{model} has no completion mode, which this method needs. "
            "Use `generate: {method: alpaca}`, or a local: or vllm: teacher."
        )
    config = {name: request[ours] for ours, name in _NAMES.items() if ours in request and name not in refused}
    if "stop" in request and "stopSequences" not in refused:
        stop = request["stop"]
        config["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    if "schema" in request:
        config |= _schema(request["schema"], refused)
    if reasoning.effort:
        config["maxOutputTokens"] += reasoning.max_tokens  # thoughts count against the limit
        config |= _thinking(reasoning, refused)
    return {**_contents(request["messages"], refused), "generationConfig": config}


def _contents(messages: Any, refused: Set[str]) -> dict[str, Any]:
    """System turns apart, turns of one role in a row joined; a model without system turns reads them first."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    turns = [m for m in messages if m["role"] != "system"]
    apart = bool(system and turns and "systemInstruction" not in refused)
    if system and not apart:
        turns = [{"role": "user", "content": system}, *turns]
    contents: list[dict[str, Any]] = []
    for turn in turns:
        role = "model" if turn["role"] == "assistant" else "user"
        if not contents or contents[-1]["role"] != role:
            contents.append({"role": role, "parts": []})
        contents[-1]["parts"].append({"text": turn["content"]})
    return {**({"systemInstruction": {"parts": [{"text": system}]}} if apart else {}), "contents": contents}


def _schema(schema: Mapping[str, Any], refused: Set[str]) -> dict[str, Any]:
    if "responseMimeType" in refused:
        return {}
    if "responseJsonSchema" not in refused:
        return {"responseMimeType": "application/json", "responseJsonSchema": schema}
    if "responseSchema" not in refused:
        return {"responseMimeType": "application/json", "responseSchema": _openapi(schema)}
    return {"responseMimeType": "application/json"}


def _openapi(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema in the words of the older field: types in capitals, unknown words left out."""
    said = {name: schema[name] for name in _OPENAPI if name in schema}
    kinds = schema.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        said |= {"nullable": True} if kind == "null" else {"type": kind.upper()}
    if "properties" in schema:
        said["properties"] = {name: _openapi(part) for name, part in schema["properties"].items()}
    if "items" in schema:
        said["items"] = _openapi(schema["items"])
    if "anyOf" in schema:
        said["anyOf"] = [_openapi(part) for part in schema["anyOf"]]
    return said


def _thinking(reasoning: Reasoning, refused: Set[str]) -> dict[str, Any]:
    thinking: dict[str, Any] = {"includeThoughts": True} if reasoning.keep else {}
    if "thinkingLevel" not in refused:
        thinking["thinkingLevel"] = str(reasoning.effort).upper()
    elif "thinkingBudget" not in refused:
        thinking["thinkingBudget"] = reasoning.max_tokens
    else:
        return {}
    return {"thinkingConfig": thinking}


def read(reply: Any) -> Answer:
    """The answer in a reply; raises ValueError, KeyError, IndexError, TypeError or AttributeError where there is none.

    A blocked prompt has no candidate, a blocked answer may have no content: both are answers without text.
    """
    usage = reply.get("usageMetadata") or {}
    if not reply.get("candidates"):
        if not reply["promptFeedback"]["blockReason"]:
            raise ValueError("no candidate, and no reason for that")
        return Answer("", "content_filter", int(usage.get("promptTokenCount") or 0), 0)
    candidate = reply["candidates"][0]
    said = str(candidate.get("finishReason") or "")
    finish = _FINISHES.get(said, said.lower())
    parts = (candidate.get("content") or {}).get("parts") or []
    thoughts = "".join(p.get("text") or "" for p in parts if p.get("thought"))
    text = "".join(p.get("text") or "" for p in parts if not p.get("thought"))
    hidden = int(usage.get("thoughtsTokenCount") or 0)
    shown = f"<think>{thoughts}</think>\n{text}" if thoughts else text
    return Answer(
        "" if finish == "content_filter" else shown.encode("utf-8", "replace").decode(),
        finish,
        int(usage["promptTokenCount"]) + int(usage.get("toolUsePromptTokenCount") or 0),
        int(usage.get("candidatesTokenCount") or 0) + hidden,
        hidden,
    )
