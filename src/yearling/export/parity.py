"""The parity proof: the file that ships computes what the merged model computes.

In: the merged model in memory, a GGUF file, held-out records. Out: facts for the manifest, or a ProofError.
Same token ids, same template, perplexity within the bound of the file's type; then the file is asked a question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from yearling.errors import ProofError
from yearling.llama import Server
from yearling.measure.perplexity import Scores, common_prefix, in_template, ratio, score_file
from yearling.record import Message, Record
from yearling.students.load import Student

# Perplexity of the file over that of the merged model in float32.
BOUNDS = {"f16": 1.002, "q8_0": 1.01, "q4_k_m": 1.10}
QUESTION = "What is the capital of France?"
Texts = Sequence[tuple[str, str]]


class ParityError(ProofError):
    """A file whose perplexity is past its bound; `ratio` is what was measured."""

    def __init__(self, name: str, ratio: float, bound: float) -> None:
        super().__init__(
            f"parity proof: perplexity of {name} is {ratio:.4f} of the merged model's, more than {bound}. "
            "The file does not hold the model that was trained; do not ship it."
        )
        self.ratio = ratio


def parity_texts(student: Student, records: Sequence[Record]) -> Texts:
    """The rows both sides are scored on, in the student's template."""
    return [in_template(student.template, record) for record in records]


def score_merged(model: Any, student: Student, texts: Texts, tick: Callable[[int], None]) -> Scores:
    """Log probabilities of the completions by the merged model in torch."""
    import torch

    tokens, logprobs = [], []
    model.eval()
    for done, (prompt, whole) in enumerate(texts, 1):
        ids = list(student.tokenizer(whole, add_special_tokens=False)["input_ids"])
        start = max(1, common_prefix(student.tokenizer(prompt, add_special_tokens=False)["input_ids"], ids))
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([ids], device=model.device), logits_to_keep=len(ids) - start + 1
            ).logits
        chosen = torch.log_softmax(logits[0, :-1].float(), dim=-1)
        picked = chosen.gather(1, torch.tensor(ids[start:], device=model.device)[:, None])
        tokens.append(ids)
        logprobs.append(picked[:, 0].tolist())
        tick(done)
    return Scores(tokens, logprobs)


def prove_parity(gguf: Path, kind: str, merged: Scores, texts: Texts, tick: Callable[[int], None]) -> dict[str, Any]:
    """Score a file on the same rows; raises ParityError, or a ProofError naming the row that is cut otherwise."""
    found = score_file(gguf, texts, tick)
    for (prompt, _), wanted, ids in zip(texts, merged.tokens, found.tokens, strict=True):
        if wanted != ids:
            raise ProofError(
                f"parity proof: {gguf.name} cuts the row {prompt[-60:]!r} into other tokens than the student."
            )
    value, low, high = ratio(found.logprobs, merged.logprobs)
    facts = {
        "ratio": value,
        "low": low,
        "high": high,
        "bound": BOUNDS[kind],
        "rows": len(texts),
        "tokens": sum(len(row) for row in found.logprobs),
        "largest_difference": max(
            abs(a - b) for x, y in zip(found.logprobs, merged.logprobs, strict=True) for a, b in zip(x, y, strict=True)
        ),
    }
    if not value <= BOUNDS[kind]:
        raise ParityError(gguf.name, value, BOUNDS[kind])
    return facts


def prove_answer(gguf: Path, student: Student) -> dict[str, Any]:
    """Load a file back as users will, and ask it a question through the template inside the file.

    Raises ProofError where the file renders a conversation otherwise than the student was trained on.
    """
    turns = [{"role": "user", "content": QUESTION}]
    wanted = student.template.render((Message("user", QUESTION),), generation=True)
    with Server(gguf) as server, httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        shown = client.post("/apply-template", json={"messages": turns}).raise_for_status().json()["prompt"]
        # the server puts the begin-of-text token before a prompt itself and may show it or not
        bos = student.template.bos
        if shown.removeprefix(bos) != wanted.removeprefix(bos):
            raise ProofError(f"parity proof: {gguf.name} renders {shown!r}, the student was trained on {wanted!r}.")
        body = {"messages": turns, "max_tokens": 64, "temperature": 0}
        reply = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    ids = student.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    asked = int(reply["usage"]["prompt_tokens"])
    if asked != len(ids):
        raise ProofError(f"parity proof: {gguf.name} reads {asked} tokens where the student was trained on {len(ids)}.")
    choice = reply["choices"][0]
    return {"question": QUESTION, "answer": choice["message"]["content"].strip(), "finish": choice["finish_reason"]}
