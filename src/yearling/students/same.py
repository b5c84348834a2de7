"""Whether a run still meets the tokenizer it began with.

In: a student and a run. Out: digests of the tokenizer's parts, frozen in the run when it first met them; a ProofError
that names the parts which differ later. Compares what a tokenizer does, never how a library writes it down.
"""

from __future__ import annotations

import json
from typing import Any

from yearling.errors import ProofError
from yearling.record import digest
from yearling.run_folder import Run, read_json
from yearling.students.load import Student

# Texts that tokenizers cut in different ways: normalisers, digits, spaces, scripts, signs.
PROBES = (
    "Hello world", " Hello  world ", "I'm you're they'd IT'S", "12345 3.14 1,000", "\tif x:\n\n    return 'y'  # z",
    "line\r\nline\n\n\n", "naïve café A\u030angstro\u0308m ﬁ ㍿", "Привет, мир!", "你好，世界。", "안녕하세요", "مرحبا",
    "नमस्ते", "สวัสดี", "😀 👩‍👩‍👧 🇫🇷", "a.b,c;d:e!f?g --- ... ***", "\u00a0x\u2003y\u200bz", "CamelCase snake_case",
)  # fmt: skip


def tokenizer_facts(student: Student) -> dict[str, str]:
    """Digests of a tokenizer's parts: what tokens it has, which are special, and how it cuts text."""
    tokenizer = student.tokenizer
    backend: Any = getattr(tokenizer, "backend_tokenizer")  # noqa: B009 - only fast tokenizers have it
    model = json.loads(backend.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", ())]
    added = sorted((place, str(token), token.special) for place, token in tokenizer.added_tokens_decoder.items())
    marks = [str(token) for _, token, special in added if special][:8]
    probes = [*PROBES, *(f"Hi{mark}there\n{mark} \n" for mark in marks)]
    return {
        "vocabulary": digest(tokenizer.get_vocab()),
        "merges": digest(merges),
        "added tokens": digest(added),
        "begin, end and padding tokens": digest([tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token]),
        "way of cutting text": digest([tokenizer(text, add_special_tokens=False)["input_ids"] for text in probes]),
    }


def prove_tokenizer(student: Student, run: Run, base: str, write: bool = True) -> str:
    """Freeze the tokenizer of `base` in the run, or compare with what is frozen; returns its digest.

    With `write` off a run that never met the tokenizer is left as it is.
    """
    facts, name = tokenizer_facts(student), f"tokenizer of {base}"
    path = run.path / "frozen.json"
    known = write or (path.exists() and name in read_json(path))
    frozen = run.freeze(name, lambda: facts) if known else facts
    changed = [part for part, found in facts.items() if frozen.get(part) != found]
    if changed:
        raise ProofError(
            f"mask proof: the tokenizer of {base} changed since this run first met it: {', '.join(changed)}. "
            "Put the former one back, or begin anew under another name in the recipe."
        )
    return digest(facts)
