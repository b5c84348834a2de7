"""The tokenizer's fields of a GGUF file, copied from the base's own file or rebuilt, and proved.

In: a fast tokenizer of transformers, or the GGUF file a model came from. Out: fields in a GGUF writer.
A copy is verbatim. A rebuilt tokenizer is a guess until proved: llama.cpp knows the rules that cut text into words by
name only, so names are tried until its token ids equal the tokenizer's own on every probe text. Two families are
known: byte-level BPE, and BPE over characters with byte fallback (SentencePiece's way). The probes are in composed
Unicode (NFC), since llama.cpp never composes. Not done here: the chat template, any change to a vocabulary.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from gguf import TokenType

from yearling.errors import UserError
from yearling.export.quantise import copy_fields, field_value, read_gguf, write_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Fields = dict[str, Any]

# llama.cpp's names of cutting rules, the common ones first; where two share their rules the first one is taken
PRE_TOKENIZERS = (
    "smollm", "llama-bpe", "qwen2", "gpt-2", "starcoder", "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",
    "falcon3", "stablelm2", "dbrx", "tekken", "gpt-4o", "qwen35", "refact", "command-r", "olmo", "bloom", "viking",
    "poro-chat", "superbpe", "seed-coder", "hunyuan", "kimi-k2", "minicpm5", "default",
)  # fmt: skip

PROBES = (
    "Hello world", " Hello  world ", "hello", " a", "a", "The quick brown fox jumps over the lazy dog.",
    "I'm you're he'll we've they'd don't IT'S I'M", "it’s ‘quoted’ “text”", "1", "12", "123", "1234567890",
    "In 2023, 3.14159 and 1,000,000.50 cost $99", "abc123def 4x4 a1b2", "v1.2.3-rc4", "10:45 24/12 50%",
    "  two  three   four    spaces", "\ttab\t\ttabs", "line\nline", "line\n\nline\n\n\nline", "\n",
    "\n\n  indented\n", "\r\n", "trailing spaces   ", "def f(x):\n    return x ** 2  # squared\n",
    "for (int i = 0; i < n; ++i) { a[i] += 1; }",
    '{"key": [1, 2, {"b": null}]}', "<div class=\"a\">x</div>", "https://example.com/a?b=c&d=%20", "user@example.com",
    "CamelCase snake_case SCREAMING_CASE kebab-case", "naïve café Ångström ÜBER straße", "Привет, мир! Как дела?",
    "你好，世界。今天天气很好", "こんにちは世界 カタカナ", "안녕하세요 세계", "مرحبا بالعالم", "नमस्ते दुनिया",
    "สวัสดีชาวโลก", "😀 👍🏽 👩‍👩‍👧 🇫🇷", "∑∫√π ≤ ≥ ≠ → ⇒", "!!! ??? ... --- === *** ~~~", "a.b,c;d:e!f?g",
    "x=y+z-w*v/u^t", "… – — • ™ ©", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ㍿ ﬁ", "A" * 40,
    "mixed 中文 and English 123", "\u00a0non-breaking\u2003space",
)  # fmt: skip


# Rules of two names that cut text alike: under the older one, runtimes built before the newer read the file too
# (GPT4All's llama.cpp is of August 2024). The parity proof compares the ids.
OLDER_NAMES = {"smollm": "starcoder"}


def add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, rows: int, metadata_from: Path | None
) -> None:
    """Give `writer` the tokenizer of a model whose embedding has `rows` rows.

    Raises UserError where rows and tokens do not agree, or where llama.cpp would cut text otherwise.
    """
    if metadata_from is None:
        _add(writer, find_fields(tokenizer, rows))
        return
    reader = read_gguf(metadata_from)
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    found = 0 if tokens is None else len(field_value(tokens))
    if found != rows:
        raise UserError(f"{metadata_from} has {found} tokens, the model {rows} rows for them. Export without it.")
    copy_fields(reader, writer, prefix="tokenizer.ggml.", without=("tokenizer.ggml.pre",))
    pre = reader.fields.get("tokenizer.ggml.pre")
    if pre is not None:
        name = str(field_value(pre))
        writer.add_tokenizer_pre(OLDER_NAMES.get(name, name))


def find_fields(tokenizer: PreTrainedTokenizerBase, rows: int) -> Fields:
    """The `tokenizer.ggml` fields under which llama.cpp gives this tokenizer's ids on every probe text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("the tokenizer has no fast form, which the GGUF export reads. Load it with use_fast=True.")
    described = json.loads(backend.to_str())
    refused = []
    with tempfile.TemporaryDirectory() as folder:
        for label, fields in _candidates(described, _common(tokenizer, described, rows)):
            path = Path(folder) / "tokens.gguf"
            _write_tiny(path, fields, rows)
            try:
                difference = first_difference(path, tokenizer)
            except UserError as error:
                difference = str(error)
            if difference is None:
                return fields
            refused.append(f"{label}: {difference}")
    raise UserError(f"llama.cpp would cut text otherwise than this tokenizer. With {refused[0]}.")


def first_difference(path: Path, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Where llama.cpp, reading the GGUF file, first gives other token ids than the tokenizer; None if nowhere."""
    from yearling.llama import Scorer

    with Scorer(path, context=64) as scorer:
        for text in probe_texts(tokenizer):
            expected = _ids(tokenizer, text)
            found = scorer.tokens(text)
            if found != expected:
                return f"{text!r} becomes {found}, not {expected}"
    return None


def probe_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The probes, and the first special tokens in the middle of text."""
    marks = [str(token) for token in tokenizer.all_special_tokens[:4]]
    return [*PROBES, *(f"Hi{mark}there\n{mark}\nuser" for mark in marks), "".join(marks)]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    backend: Any = tokenizer.backend_tokenizer  # only fast tokenizers reach this
    return list(backend.encode(text, add_special_tokens=False).ids)


def _common(tokenizer: PreTrainedTokenizerBase, described: Mapping[str, Any], rows: int) -> Fields:
    """Tokens, their types and the ids with a meaning: what both families share."""
    texts = {int(place): text for text, place in described["model"]["vocab"].items()} if _is_bpe(described) else {}
    kinds = dict.fromkeys(texts, int(TokenType.NORMAL))
    for token in described["added_tokens"]:
        texts[token["id"]] = token["content"]
        kinds[token["id"]] = int(TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED)
    if max(texts) >= rows:
        raise UserError(f"the tokenizer has ids up to {max(texts)}, the model only {rows} rows. Resize its embedding.")
    begin, end = _added(tokenizer)
    fields: Fields = {
        # rows that no token has are padding of the matrix
        "tokenizer.ggml.tokens": [texts.get(place, f"[PAD{place}]") for place in range(rows)],
        "tokenizer.ggml.token_type": [kinds.get(place, int(TokenType.UNUSED)) for place in range(rows)],
        "tokenizer.ggml.add_bos_token": begin,
        "tokenizer.ggml.add_eos_token": end,
    }
    for key, place in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        found = getattr(tokenizer, f"{place}_token_id")
        if found is not None:
            fields[f"tokenizer.ggml.{key}_token_id"] = int(found)
    return fields


def _is_bpe(described: Mapping[str, Any]) -> bool:
    kind = described["model"]["type"]
    if kind != "BPE":
        raise UserError(f"no GGUF export for {kind} tokenizers. Known is BPE, over bytes or with byte fallback.")
    return True


def _added(tokenizer: PreTrainedTokenizerBase) -> tuple[bool, bool]:
    """Whether the tokenizer puts its begin and end tokens around a text."""
    plain, full = _ids(tokenizer, "a"), list(tokenizer("a")["input_ids"])
    for begin in (False, True):
        for end in (False, True):
            if [tokenizer.bos_token_id] * begin + plain + [tokenizer.eos_token_id] * end == full:
                return begin, end
    raise UserError(f"the tokenizer puts more around a text than its begin and end tokens: {full} for {plain}.")


def _candidates(described: Mapping[str, Any], common: Fields) -> Iterator[tuple[str, Fields]]:
    """Complete fields to try, each with a label for messages."""
    pairs = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in described["model"]["merges"]]
    if described["model"]["byte_fallback"]:
        fields = {**common, "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", **_scored(common, pairs)}
        for prefix in (False, True):
            yield f"add_space_prefix {prefix}", {**fields, "tokenizer.ggml.add_space_prefix": prefix}
        return
    merges = [f"{left} {right}" for left, right in pairs]
    for name in PRE_TOKENIZERS:
        own = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.merges": merges}
        yield f"pre-tokenizer {name}", {**common, **own}


def _scored(common: Fields, pairs: list[list[str]]) -> Fields:
    """Scores for SentencePiece's merging: the earlier a merge makes a token, the higher; and byte and unknown types."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, rank)
    tokens, kinds = common["tokenizer.ggml.tokens"], list(common["tokenizer.ggml.token_type"])
    for place, token in enumerate(tokens):
        if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            kinds[place] = int(TokenType.BYTE)
    unknown = common.get("tokenizer.ggml.unknown_token_id")
    if unknown is not None:
        kinds[unknown] = int(TokenType.UNKNOWN)
    scores = [float(-ranks.get(token, len(pairs))) for token in tokens]
    return {"tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": kinds}


def _add(writer: gguf.GGUFWriter, fields: Fields) -> None:
    for key, value in fields.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)


def _write_tiny(path: Path, fields: Fields, rows: int) -> None:
    """The smallest complete model with this vocabulary: llama.cpp tokenises with whole models only."""
    width = 32
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    _add(writer, fields)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (rows, width), "output_norm.weight": (width,)}
    shapes |= {f"blk.0.{name}.weight": (width, width) for name in names}
    shapes |= {f"blk.0.{name}_norm.weight": (width,) for name in ("attn", "ffn")}
    arrays = {name: np.zeros(shape, np.float16 if len(shape) > 1 else np.float32) for name, shape in shapes.items()}
    for name, array in arrays.items():
        writer.add_tensor_info(name, array.shape, array.dtype, array.nbytes)
    write_gguf(writer, path, arrays.values())
