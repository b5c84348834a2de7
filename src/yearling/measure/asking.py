"""Ask a GGUF file many prompts at once and see whether its answers end by themselves.

In: rendered prompts. Out: the answers and whether each stopped; apart from that, the speed of one answer alone.
Greedy with a mild repeat penalty, as chat asks: the same file gives the same answers, and a small model does not
fall into a loop that sampling would leave. The text is cut into tokens by the file itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from yearling.errors import UserError
from yearling.llama import Server

PARALLEL = 8
TIMEOUT_S = 600
REPEAT_PENALTY = 1.05  # llama.cpp's, over its default window of 64 tokens; every model is asked with it
SPEED_TOKENS = 64  # of the answer by which speed is measured


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one model wrote; `stopped` is whether it ended by itself within the limit."""

    text: str
    stopped: bool
    tokens: int


def ask_file(gguf: Path, prompts: Sequence[str], max_tokens: int, tick: Callable[[int], None]) -> list[Attempt]:
    """Answers in the order of `prompts`; `tick` is told how many are there."""
    answers = []
    with (
        Server(gguf, parallel=PARALLEL) as server,
        httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        for done, answer in enumerate(pool.map(lambda text: _ask(client, text, max_tokens), prompts), 1):
            answers.append(answer)
            tick(done)
    return answers


def measure_speed(gguf: Path, prompt: str) -> float:
    """Tokens a second of one answer that has the machine to itself, as a user at a prompt sees it."""
    with Server(gguf) as server, httpx.Client(base_url=server.url, timeout=TIMEOUT_S, trust_env=False) as client:
        body = _post(client, _ids(client, prompt), SPEED_TOKENS, ignore_eos=True)
    return float(body["timings"]["predicted_per_second"])


def _ask(client: httpx.Client, prompt: str, max_tokens: int) -> Attempt:
    body = _post(client, _ids(client, prompt), max_tokens, repeat_penalty=REPEAT_PENALTY)
    return Attempt(body["content"].strip(), body["stop_type"] == "eos", body["tokens_predicted"])


def _ids(client: httpx.Client, text: str) -> list[int]:
    response = client.post("/tokenize", json={"content": text, "add_special": False, "parse_special": True})
    ids: list[int] = response.raise_for_status().json()["tokens"]
    return ids


def _post(client: httpx.Client, tokens: list[int], limit: int, **more: Any) -> Any:
    body = {"prompt": tokens, "n_predict": limit, "temperature": 0, "cache_prompt": False, **more}
    response = client.post("/completion", json=body)
    if response.is_error:
        raise UserError(f"llama.cpp refused a prompt of {len(tokens)} tokens: {response.text[:200]}")
    return response.json()
