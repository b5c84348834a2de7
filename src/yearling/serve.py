"""Talk to a finished student: streaming chat in the terminal, and the OpenAI-compatible server on loopback.

In: a run or a GGUF file. Out: words on stdout. Needs no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from yearling.cloud.copying import fetch
from yearling.errors import UserError
from yearling.hub import SHIPPED, find_gguf
from yearling.llama import Server
from yearling.measure.asking import REPEAT_PENALTY
from yearling.places import remote
from yearling.progress import say
from yearling.run_folder import open_run

SMALLEST_FIRST = ("q4_k_m", "q8_0", "f16")


def find_model(root: Path, what: str | None) -> Path:
    """The GGUF file of a run (the newest by default), of a path, or of a shipped model.

    Of a run: the last file that its exam asked, which is the one known to answer; without an exam, the smallest.
    """
    if what and remote(what):
        what = str(fetch(what, None))
    if what and (what.endswith(".gguf") or what.startswith(SHIPPED)):
        return find_gguf(what)
    run = open_run(root, what)
    manifest = run.manifest("export")
    files = manifest.results["files"] if manifest else {}
    exam = run.manifest("eval")
    asked = [name for name in exam.settings["eval"]["on"] if name != "merged"] if exam else []
    for kind in (*reversed(asked), *SMALLEST_FIRST):
        if kind in files and (run.path / files[kind]).is_file():
            return run.path / str(files[kind])
    raise UserError(f"run {run.name} has no exported file yet. Run `yearling export` (or `yearling run`) first.")


def stream(server: Server, messages: list[dict[str, str]], max_tokens: int, temperature: float) -> Iterator[str]:
    """Pieces of the answer as they come."""
    body: dict[str, object] = {"messages": messages, "stream": True, "max_tokens": max_tokens}
    body |= {"temperature": temperature, "repeat_penalty": REPEAT_PENALTY}
    with (
        httpx.Client(timeout=600, trust_env=False) as client,
        client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response,
    ):
        if response.is_error:
            raise UserError(f"the model refuses the conversation: {response.read().decode()[:200]}")
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                piece = json.loads(line[6:])["choices"][0]["delta"].get("content")
                if piece:
                    yield piece


def chat(model: Path, prompt: str | None, system: str | None, max_tokens: int, temperature: float) -> None:
    """Answer one prompt, or talk until the user leaves with Ctrl-D; `/new` forgets the conversation."""
    head = [{"role": "system", "content": system}] if system else []
    with Server(model) as server:
        if prompt is not None:
            _answer(server, [*head, {"role": "user", "content": prompt}], max_tokens, temperature)
            return
        say(f"chatting with {model.name}. Ctrl-D leaves, /new starts over.")
        turns = list(head)
        while (words := _ask_user()) is not None:
            if words == "/new":
                turns = list(head)
            elif words:
                turns.append({"role": "user", "content": words})
                turns.append({"role": "assistant", "content": _answer(server, turns, max_tokens, temperature)})


def serve(model: Path, port: int) -> None:
    """Serve a model on loopback until Ctrl-C."""
    with Server(model, parallel=4, port=port, name=model.stem) as server:
        say(f"{model.name} at {server.url}/v1 (OpenAI-compatible; loopback only; Ctrl-C stops)")
        say(f'try: curl {server.url}/v1/chat/completions -d \'{{"messages": [{{"role": "user", "content": "Hi"}}]}}\'')
        server.wait()


def _answer(server: Server, turns: list[dict[str, str]], max_tokens: int, temperature: float) -> str:
    said = []
    for piece in stream(server, turns, max_tokens, temperature):
        said.append(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(said)


def _ask_user() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
