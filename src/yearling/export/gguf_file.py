"""A transformers language model as a half-precision GGUF file.

In: a model and its tokenizer in memory, the chat template, a name, and the GGUF file the base came from, if it did.
Out: one file with every tensor of the model: matrices in float16, vectors in float32. Weights are converted one at a
time while they are written, so the memory needed is that of the model and its largest tensor. A model that
llama.cpp would compute otherwise than transformers is refused here: an unknown architecture, a rope scaling or a
layer pattern without a place in the format, a tensor without a name.
Not done here: merging adapters, smaller types (`quantise`), the tokenizer's fields (`tokenizer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from numpy.typing import NDArray

from yearling.errors import UserError
from yearling.export.quantise import write_gguf
from yearling.export.tokenizer import add_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Array = NDArray[Any]

# transformers' model_type -> llama.cpp's architecture
ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}
GEMMA = (gguf.MODEL_ARCH.GEMMA2, gguf.MODEL_ARCH.GEMMA3)


@dataclass(frozen=True)
class _Weight:
    """One tensor on its way: its name in the file, its source, and what is done to its numbers."""

    name: str
    source: torch.Tensor
    change: Callable[[Array], Array]


def write_f16(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    *,
    chat_template: str,
    name: str,
    metadata_from: Path | None,
) -> None:
    """Write `model` to `out`; the tokenizer's fields come from the GGUF file `metadata_from`, or from `tokenizer`.

    Raises UserError for a model, tokenizer or disk that does not allow it; `out` then does not exist.
    """
    config: Any = model.config
    arch = find_architecture(config)
    weights = _weights(model, arch)
    rows = next(len(weight.source) for weight in weights if weight.name == "token_embd.weight")
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_shape(writer, config, arch)
    factors = _add_rope(writer, config, arch)
    _add_attention(writer, config, arch)
    add_tokenizer(writer, tokenizer, rows, metadata_from)
    writer.add_chat_template(chat_template)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for weight in weights:
        kind = np.dtype(np.float32 if weight.source.ndim == 1 else np.float16)
        shape = tuple(weight.source.shape)
        writer.add_tensor_info(weight.name, shape, kind, weight.source.numel() * kind.itemsize)
    write_gguf(writer, out, _arrays(factors, weights))


def find_architecture(config: Any) -> gguf.MODEL_ARCH:
    """llama.cpp's architecture for a transformers configuration; raises UserError with those known."""
    arch = ARCHITECTURES.get(config.model_type)
    if arch is None:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"no GGUF export for models of type {config.model_type!r}. Known are: {known}.")
    activation = config.hidden_activation if arch in GEMMA else config.hidden_act
    expected = "gelu_pytorch_tanh" if arch in GEMMA else "silu"
    if activation != expected:
        raise UserError(f"llama.cpp computes {config.model_type} with {expected}, this model has {activation}.")
    return arch


def _head(config: Any) -> int:
    """Width of one attention head; configurations leave it out where the heads fill the hidden width."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_shape(writer: gguf.GGUFWriter, config: Any, arch: gguf.MODEL_ARCH) -> None:
    context = config.max_position_embeddings
    if arch not in GEMMA and getattr(config, "sliding_window", None) is not None:
        context = min(context, config.sliding_window)  # llama.cpp attends to everything here: exact up to the window
    writer.add_context_length(context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head(config))
    writer.add_value_length(_head(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_attention(writer: gguf.GGUFWriter, config: Any, arch: gguf.MODEL_ARCH) -> None:
    """Gemma's window, caps and scale; llama.cpp fixes which layers slide, so another pattern is refused."""
    if arch not in GEMMA:
        return
    period = 2 if arch == gguf.MODEL_ARCH.GEMMA2 else 6  # every second or sixth layer sees the whole context
    pattern = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(config.num_hidden_layers)]
    if list(config.layer_types) != pattern:
        raise UserError(f"llama.cpp expects full attention in every layer number {period} of {config.model_type}.")
    if config.query_pre_attn_scalar != _head(config):
        scale = config.query_pre_attn_scalar
        raise UserError(f"llama.cpp scales attention by the head width {_head(config)}, this model by {scale}.")
    if getattr(config, "use_bidirectional_attention", False):
        raise UserError("llama.cpp reads this model from left to right only, it was made for both directions.")
    writer.add_sliding_window(config.sliding_window)
    if arch == gguf.MODEL_ARCH.GEMMA2:
        if not (config.attn_logit_softcapping and config.final_logit_softcapping):
            raise UserError("llama.cpp always caps the logits of gemma2, this model does not.")
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    elif config.attn_logit_softcapping or config.final_logit_softcapping:
        raise UserError("llama.cpp knows no logit caps for gemma3, this model has them.")


def _add_rope(writer: gguf.GGUFWriter, config: Any, arch: gguf.MODEL_ARCH) -> Array | None:
    """Rotary embedding fields; returns the divisors of the frequencies where they are a tensor (Llama 3)."""
    rope = config.rope_parameters
    if arch == gguf.MODEL_ARCH.GEMMA3:
        sliding, rope = rope["sliding_attention"], rope["full_attention"]
        if sliding["rope_type"] != "default":
            raise UserError(f"llama.cpp scales no sliding layer's positions, this model does ({sliding['rope_type']}).")
        writer.add_rope_freq_base_swa(sliding["rope_theta"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(_head(config))
    kind = rope["rope_type"]
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or kind not in ("default", "linear", "llama3"):
        raise UserError(f"no GGUF export for the rope scaling {rope!r}. Known are: default, linear, llama3.")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    return _divisors(config, rope) if kind == "llama3" else None


def _divisors(config: Any, rope: dict[str, Any]) -> Array:
    """By what each frequency is divided: shape (head / 2,), taken from transformers' own frequencies."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, None)[0].double().numpy()
    plain = rope["rope_theta"] ** (-np.arange(0, _head(config), 2, dtype=np.float64) / _head(config))
    divisors: Array = (plain / scaled).astype(np.float32)
    return divisors


def _weights(model: PreTrainedModel, arch: gguf.MODEL_ARCH) -> list[_Weight]:
    """Every tensor of the model with its name in the file; a tied output matrix is left out, as llama.cpp reads it."""
    config: Any = model.config
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    state = model.state_dict()
    embedding = model.get_input_embeddings().weight
    weights = []
    for key, tensor in state.items():
        if key == "lm_head.weight" and tensor.data_ptr() == embedding.data_ptr():
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None or tensor.ndim > 2:
            raise UserError(f"{key} has no place in a {config.model_type} GGUF file. Merge adapters before the export.")
        weights.append(_Weight(name, tensor, _change(name, arch, config)))
    return weights


def _change(name: str, arch: gguf.MODEL_ARCH, config: Any) -> Callable[[Array], Array]:
    """What llama.cpp's arithmetic expects of a tensor's numbers, beside what transformers stores."""
    if arch == gguf.MODEL_ARCH.LLAMA and ".attn_q." in name:
        return lambda array: _interleaved(array, config.num_attention_heads)
    if arch == gguf.MODEL_ARCH.LLAMA and ".attn_k." in name:
        return lambda array: _interleaved(array, config.num_key_value_heads)
    if arch in GEMMA and name.endswith("norm.weight"):
        return lambda array: array + 1  # transformers multiplies by 1 + weight
    return lambda array: array


def _interleaved(array: Array, heads: int) -> Array:
    """Rows reordered within each head: llama.cpp turns neighbours (2i, 2i + 1), transformers (i, i + head / 2)."""
    halves = array.reshape(heads, 2, -1, *array.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)


def _arrays(factors: Array | None, weights: list[_Weight]) -> Iterator[Array]:
    import torch

    if factors is not None:
        yield factors
    for weight in weights:
        array = weight.change(weight.source.detach().to("cpu", torch.float32).numpy())
        kind = np.float32 if array.ndim == 1 else np.float16
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(array, dtype=kind)
        if not np.isfinite(narrow).all():
            raise UserError(f"{weight.name} holds values that half precision cannot. Train with a lower learning rate.")
        yield narrow
