"""The only door to llama.cpp, always in a child process: a native crash is an error here, not an end.

`Server` is llama.cpp's OpenAI-compatible HTTP server on loopback; `Scorer` gives token ids and log
probabilities; `native` is the C library for code that already runs in a child (the quantiser).
Nothing here knows of runs, records or templates. The child ends when its parent does.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from yearling.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The wheel whose C structures the offsets below were checked against.
PINNED = "2026.10.11549"
BATCH = 128  # tokens a decode call; bounds the logits buffer to BATCH x vocabulary x 4 bytes


@dataclass(frozen=True)
class Scored:
    """Natural-log probabilities of the scored tokens, and the likeliest token at each place."""

    logprobs: list[float]
    best: list[int]


def threads() -> int:
    """Threads for llama.cpp: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class _Child:
    """A Python child that runs this module's `_main` with one JSON argument."""

    def __init__(self, model: Path, job: dict[str, Any]) -> None:
        check_gguf(model)
        self.model = model
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        environment = {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONIOENCODING": "utf-8"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "yearling.llama", json.dumps({**job, "model": str(model)})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C belongs to the parent, which then ends the child in order
        )

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(self._obituary())
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"llama.cpp refused {self.model}{self._cause()}: {answer['error']}")
        return answer

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise UserError(self._obituary()) from None
        return self._read()

    def _obituary(self) -> str:
        code = self._process.wait(timeout=30)
        return f"llama.cpp could not go on with {self.model} (exit {code}): {self.last_lines()}"

    def _cause(self) -> str:
        """The first error in the log of a server, whose own last word is only that it did not start."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()
        said = next((line.partition(" E ")[2] for line in lines if " E " in line), "")
        return f" ({said.strip()})" if said else ""

    def last_lines(self, count: int = 3) -> str:
        """The end of what llama.cpp wrote to its log."""
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return " | ".join(lines[-count:]) or "it said nothing"

    def close(self) -> None:
        """End the child."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue  # the child died with unread input: nothing is left to close
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Server(_Child):
    """llama.cpp's HTTP server over one GGUF file; `url` is its address, without a path.

    Raises UserError where the file is no GGUF, llama.cpp cannot load it, or the port is taken.
    """

    def __init__(self, model: Path, *, parallel: int = 1, context: int = 2048, port: int = 0, name: str = "") -> None:
        if port:
            check_port(port)
        job = {
            "job": "serve",
            "parallel": parallel,
            "context": context,
            "port": port,
            "threads": threads(),
            "name": name,
        }
        super().__init__(model, job)
        try:
            self.url: str = self._read()["url"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def wait(self) -> None:
        """Wait until the server ends by itself."""
        code = self._process.wait()
        raise UserError(f"the server ended (exit {code}): {self.last_lines()}")


class Scorer(_Child):
    """Token ids and log probabilities from one GGUF file."""

    def __init__(self, model: Path, context: int = 2048) -> None:
        super().__init__(model, {"job": "score", "context": context, "threads": threads()})
        try:
            self.vocabulary: int = self._read()["vocabulary"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Scorer:
        return self

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text whose special tokens are spelt out; nothing is added before or after."""
        answer: list[int] = self._ask({"text": text})["tokens"]
        return answer

    def score(self, tokens: Sequence[int], start: int) -> Scored:
        """Log probability of `tokens[start:]`, each given all tokens before it; `start` is at least 1."""
        answer = self._ask({"tokens": list(tokens), "start": start})
        return Scored(answer["logprobs"], answer["best"])


def check_gguf(path: Path) -> None:
    """Raise UserError unless the file begins as a GGUF file does."""
    try:
        with path.open("rb") as handle:
            magic = handle.read(4)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    if magic != b"GGUF":
        raise UserError(f"{path} is not a GGUF file (it begins with {magic!r}). Export or download it again.")


def check_port(port: int) -> None:
    """Raise UserError where something already listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} on 127.0.0.1 cannot be used: {error.strerror}. Choose another with --port."
            ) from None


class _Blob(ctypes.Structure):
    """A parameter structure passed by value: larger than any of llama.cpp's, only its head is read here."""

    _fields_ = [("word", ctypes.c_uint32 * 256)]


class _Batch(ctypes.Structure):
    """`llama_batch` of llama.h."""

    _fields_ = [
        ("count", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embedding", ctypes.c_void_p),
        ("position", ctypes.POINTER(ctypes.c_int32)),
        ("sequences", ctypes.POINTER(ctypes.c_int32)),
        ("sequence", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("output", ctypes.POINTER(ctypes.c_int8)),
    ]


@cache
def native() -> ctypes.CDLL:
    """The C library inside the pinned wheel, with the signatures used here; for child processes only."""
    import xllamacpp

    if xllamacpp.__version__ != PINNED:
        raise UserError(f"xllamacpp {xllamacpp.__version__} is installed; run `pip install xllamacpp=={PINNED}`.")
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    pointer, integer, blob = ctypes.c_void_p, ctypes.c_int32, _Blob
    integers = ctypes.POINTER(integer)
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "llama_model_default_params": (blob, ()),
        "llama_context_default_params": (blob, ()),
        "llama_model_load_from_file": (pointer, (ctypes.c_char_p, blob)),
        "llama_init_from_model": (pointer, (pointer, blob)),
        "llama_model_get_vocab": (pointer, (pointer,)),
        "llama_vocab_n_tokens": (integer, (pointer,)),
        "llama_tokenize": (
            integer,
            (pointer, ctypes.c_char_p, integer, integers, integer, ctypes.c_bool, ctypes.c_bool),
        ),
        "llama_batch_init": (_Batch, (integer, integer, integer)),
        "llama_decode": (integer, (pointer, _Batch)),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), (pointer, integer)),
        "llama_get_memory": (pointer, (pointer,)),
        "llama_memory_clear": (None, (pointer, ctypes.c_bool)),
        "ggml_quantize_init": (None, (ctypes.c_int,)),
        "ggml_row_size": (ctypes.c_size_t, (ctypes.c_int, ctypes.c_int64)),
        "ggml_quantize_chunk": (
            ctypes.c_size_t,
            (ctypes.c_int, pointer, pointer, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, pointer),
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Model:
    """A loaded model and one context, in the child."""

    def __init__(self, path: str, context: int, threads: int) -> None:
        self.library = native()
        model = self.library.llama_model_load_from_file(path.encode(), self.library.llama_model_default_params())
        if not model:
            raise UserError("the file is damaged, or of a kind this llama.cpp does not know. Get it anew")
        settings = self.library.llama_context_default_params()
        # n_ctx, n_batch, n_ubatch; n_outputs_max, ..._per_seq; n_threads, n_threads_batch (llama.h of the pinned wheel)
        for place, value in {0: context, 1: BATCH, 2: BATCH, 5: BATCH, 6: BATCH, 7: threads, 8: threads}.items():
            settings.word[place] = value
        self.context = self.library.llama_init_from_model(model, settings)
        if not self.context:
            raise UserError(f"no context of {context} tokens could be made")
        self.limit = context
        self.vocabulary = self.library.llama_model_get_vocab(model)
        self.size: int = self.library.llama_vocab_n_tokens(self.vocabulary)
        self.batch = self.library.llama_batch_init(BATCH, 0, 1)

    def tokens(self, text: str) -> list[int]:
        raw = text.encode("utf-8")
        room = len(raw) + 8
        buffer = (ctypes.c_int32 * room)()
        count = self.library.llama_tokenize(self.vocabulary, raw, len(raw), buffer, room, False, True)
        return list(buffer[:count])

    def score(self, tokens: list[int], start: int) -> dict[str, Any]:
        if len(tokens) > self.limit:
            raise UserError(f"{len(tokens)} tokens do not fit the context of {self.limit}")
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        logprobs: list[float] = []
        best: list[int] = []
        for first in range(0, len(tokens) - 1, BATCH):
            chunk = tokens[first : min(first + BATCH, len(tokens) - 1)]
            for place, token in enumerate(chunk):
                position = first + place
                self.batch.token[place], self.batch.position[place] = token, position
                self.batch.sequences[place], self.batch.sequence[place][0] = 1, 0
                self.batch.output[place] = position + 1 >= start
            self.batch.count = len(chunk)
            if self.library.llama_decode(self.context, self.batch):
                raise UserError("decoding failed")
            for place in range(max(0, start - 1 - first), len(chunk)):
                logprob, likeliest = _of(self._logits(place), tokens[first + place + 1])
                logprobs.append(logprob)
                best.append(likeliest)
        return {"logprobs": logprobs, "best": best}

    def _logits(self, place: int) -> NDArray[np.float32]:
        import numpy as np

        return np.ctypeslib.as_array(self.library.llama_get_logits_ith(self.context, place), (self.size,))


def _of(logits: NDArray[np.float32], token: int) -> tuple[float, int]:
    import numpy as np

    top = int(logits.argmax())
    shifted = (logits - logits[top]).astype(np.float64)
    return float(shifted[token] - np.log(np.exp(shifted).sum())), top


def _serve(job: dict[str, Any]) -> None:
    """Child: start the HTTP server, print its address, live as long as the parent."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = job["model"]
    settings.model_alias = {job["name"] or Path(job["model"]).stem}
    settings.n_parallel = job["parallel"]
    settings.n_ctx = job["context"] * job["parallel"]
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = job["threads"]
    settings.hostnames = ["127.0.0.1"]
    settings.port = job["port"]
    settings.cors_origins = "http://127.0.0.1"
    settings.warmup = settings.ui = settings.fit_params = False
    settings.endpoint_props = True
    settings.cache_ram_mib = 0
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError:
        raise UserError("it did not start. If the file is damaged, export or download it again.") from None
    _answer({"url": server.listening_address})
    sys.stdin.read()
    os._exit(0)


def _score(job: dict[str, Any]) -> None:
    """Child: answer tokenise and score requests, one JSON line each."""
    model = _Model(job["model"], job["context"], job["threads"])
    _answer({"vocabulary": model.size})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _answer({"tokens": model.tokens(request["text"])} if "text" in request else model.score(**request))
        except UserError as error:
            _answer({"error": str(error)})


def _answer(value: dict[str, Any]) -> None:
    os.write(_ANSWERS, (json.dumps(value) + "\n").encode())


_ANSWERS = 1


def _main(argument: str) -> None:
    global _ANSWERS
    job = json.loads(argument)
    # llama.cpp may print to stdout: answers keep the pipe to themselves, everything else goes to the log
    _ANSWERS = os.dup(1)
    os.dup2(2, 1)
    jobs: dict[str, Callable[[dict[str, Any]], None]] = {"serve": _serve, "score": _score}
    try:
        jobs[job["job"]](job)
    except (UserError, RuntimeError, ValueError) as error:
        _answer({"error": str(error)})


if __name__ == "__main__":
    _main(sys.argv[1])
