"""The OpenAI format, chat and raw completion: what most endpoints and the local server speak.

In: a neutral request (messages or prompt, max_tokens, sampling, schema). Out: the route, the body, and the Answer in
a reply. Sends nothing. Source: the API reference of OpenAI, chat completions and completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from yearling.recipe import Reasoning
from yearling.teachers.teacher import Answer

# Neutral names are this format's own, so most parameters go through as they are; each with how refusals name it.
OPTIONAL = {
    name: rf"\b{name}\b"
    for name in (
        "response_format",
        "reasoning_effort",
        "presence_penalty",
        "frequency_penalty",
        "temperature",
        "top_p",
        "min_p",
        "seed",
        "stop",
        "logit_bias",
    )
}


def route(model: str, request: Mapping[str, Any]) -> str:
    """The path below the base."""
    return "completions" if "prompt" in request else "chat/completions"


def headers(key: str) -> dict[str, str]:
    """What names the caller."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def body(model: str, request: Mapping[str, Any], reasoning: Reasoning, refused: Set[str]) -> dict[str, Any]:
    """The JSON to send; what the endpoint refuses is left out."""
    sent = {"model": model, **request}
    schema = sent.pop("schema", None)
    if schema is not None:
        described = {"name": "answer", "schema": schema, "strict": True}
        sent["response_format"] = {"type": "json_schema", "json_schema": described}
    if reasoning.effort and "prompt" not in sent:
        sent["reasoning_effort"] = reasoning.effort
        sent["max_completion_tokens"] = sent.pop("max_tokens") + reasoning.max_tokens
    elif "max_tokens" in refused:
        sent["max_completion_tokens"] = sent.pop("max_tokens")
    return {name: value for name, value in sent.items() if name not in refused}


def read(reply: Any) -> Answer:
    """The answer in a reply; raises ValueError, KeyError, IndexError, TypeError or AttributeError where there is none.

    A blocked answer comes as null content: it is an answer without text, not a failure to be repeated.
    """
    choice, usage = reply["choices"][0], reply["usage"]
    message, finish = choice.get("message"), str(choice.get("finish_reason") or "")
    if message is None:
        message = {"content": choice["text"]}
    silent = message.get("refusal") or finish in ("content_filter", "length")  # then some leave the field out
    text = message.get("content") if silent else message["content"]
    if isinstance(text, list):  # some endpoints answer in parts
        text = "".join(part.get("text") or "" for part in text)
    if not text and message.get("refusal"):  # the model's own refusal has a field of its own
        finish = "content_filter"
    thoughts = message.get("reasoning_content") or message.get("reasoning")  # as hosts of open models name it
    details = usage.get("completion_tokens_details") or {}
    shown = f"<think>{thoughts}</think>\n{text or ''}" if isinstance(thoughts, str) and thoughts else text or ""
    return Answer(
        shown.encode("utf-8", "replace").decode(),  # half of a character is no text
        finish,
        int(usage["prompt_tokens"]),
        int(usage["completion_tokens"]),
        int(details.get("reasoning_tokens") or 0),
    )
