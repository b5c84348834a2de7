"""Eight families of chat models, rebuilt small: their turn formats on tokenizers of their kind, without a hub.

The formats of Llama 3, Phi 3, Qwen and Gemma are read from the installed TRL; the others are written here after the
formats that those models document. Tokenizers are trained on a few lines, with the families' own special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from yearling.students.load import Student
from yearling.students.template import Template

LINES = (
    "Name two colours of the rainbow, and one of the sea.",
    "Red and blue are colours.\n\nGreen is one too: the answer is short.\n",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n        print(i)\n",
    "user assistant system question answer Instruction Response",
)

# words, up to three digits, signs with the line ends behind them, line ends, spaces
CUTS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set head = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set head = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + (head if loop.first else '') + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# the system turn goes with the last user turn, as in Mistral's releases 2 and 3
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set head = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}"
    "{% else %}{% set head = '' %}{% set turns = messages %}{% endif %}{{ bos_token }}"
    "{% for m in turns %}{% if m.role == 'user' %}"
    "{% if turns[-2:] and (loop.last or (loop.index0 == turns | length - 2 and turns[-1].role == 'assistant')) %}"
    "{{ '[INST] ' + head + m.content + '[/INST]' }}{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
# the answer's header follows each user turn, whether or not it is asked for
PHI4 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + '<|im_end|>' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}"
    "{% if m.role == 'user' %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}{% endif %}{% endfor %}"
)
SMOLLM2 = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are a helper.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# a system turn that says /no_think puts an empty thinking block before each answer, in the prompt as well
SMOLLM3 = (
    "{% set said = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% set thought = '<think>\n\n</think>\n' if '/no_think' in said else '' %}"
    "{{ '<|im_start|>system\n## Metadata\n\nToday Date: 01 July 2025\nReasoning Mode: ' }}"
    "{{ '/no_think' if thought else '/think' }}{{ '\n\n## Custom Instructions\n\n' }}"
    "{{ said.replace('/no_think', '').replace('/think', '').rstrip() or 'You are a helper.' }}{{ '\n\n<|im_end|>\n' }}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' + thought + m.content.lstrip('\n') + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + thought }}{% endif %}"
)
# markers in plain letters; only the end token is special
TINYLLAMA = (
    "{% for m in messages %}\n{{ '<|' + m.role + '|>\n' + m.content + eos_token }}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """What a family's template and tokenizer are made of; `template` without braces is a name in TRL's wheel."""

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    kind: str = "bytes"
    pad: str | None = None
    plain: tuple[str, ...] = ()  # added tokens that are not special
    adds_bos: bool = False
    no_system: bool = False
    one_system: bool = False  # a system turn with one exchange only


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TURN = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
SPM = ("<unk>", "<s>", "</s>")
THINK = ("<think>", "</think>")
FAMILIES = {
    "llama-2": Family(LLAMA2, SPM, "<s>", "</s>", "llama", adds_bos=True),
    "llama-3": Family("llama3", HEADERS, "<|begin_of_text|>", "<|eot_id|>", adds_bos=True),
    "mistral": Family(MISTRAL, (*SPM, "[INST]", "[/INST]"), "<s>", "</s>", "llama", adds_bos=True, one_system=True),
    "qwen-2.5": Family("qwen2_5", IM, None, "<|im_end|>", pad="<|endoftext|>"),
    "qwen-3": Family("qwen3", IM, None, "<|im_end|>", pad="<|endoftext|>", plain=THINK),
    "gemma-2": Family("gemma", TURN, "<bos>", "<eos>", "gemma", pad="<pad>", adds_bos=True, no_system=True),
    "gemma-3": Family("gemma3", TURN, "<bos>", "<eos>", "gemma", pad="<pad>", adds_bos=True),
    "phi-3": Family("phi3", (*SPM, *PHI), "<s>", "<|endoftext|>", "llama", pad="<|endoftext|>"),
    "phi-4": Family(PHI4, (*IM, "<|im_sep|>"), "<|endoftext|>", "<|im_end|>", pad="<|endoftext|>"),
    "smollm-2": Family(SMOLLM2, IM, "<|im_start|>", "<|im_end|>", "gpt-2", pad="<|im_end|>"),
    "smollm-3": Family(SMOLLM3, IM, None, "<|im_end|>", pad="<|im_end|>", plain=THINK),
    "tinyllama": Family(TINYLLAMA, SPM, "<s>", "</s>", "llama", pad="</s>", adds_bos=True),
}


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """A family's tokenizer, made once."""
    family = FAMILIES[name]
    return build(family.special, family.bos, family.eos, family.kind, family.pad, family.plain, family.adds_bos)


def student_of(name: str) -> Student:
    """A family's student: tokenizer and template, no weights."""
    family = FAMILIES[name]
    text = family.template if "{" in family.template else trl_template(family.template)
    return student(tokenizer_of(name), text, name)


def trl_template(name: str) -> str:
    """A template as TRL ships it."""
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def student(tokenizer: PreTrainedTokenizerFast, template: str, name: str = "a test's", folder: str = "none") -> Student:
    """A student of a tokenizer and a template; its folder need not exist."""
    made = Student(folder, None, None, name)
    made.__dict__["tokenizer"] = tokenizer
    made.__dict__["template"] = Template(template, tokenizer.bos_token or "", tokenizer.eos_token or "", name)
    return made


def build(
    special: Sequence[str],
    bos: str | None = None,
    eos: str | None = None,
    kind: str = "bytes",
    pad: str | None = None,
    plain: Sequence[str] = (),
    adds_bos: bool = False,
    **more: Any,
) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind with these tokens added.

    "gpt-2" and "bytes" (Llama 3's and Qwen's way to cut) are over bytes; "llama" and "gemma" are SentencePiece's way.
    """
    backend = _bytes(kind) if kind in ("bytes", "gpt-2") else _pieces(kind)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    if adds_bos and bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    named = {key: text for key, text in (("bos_token", bos), ("eos_token", eos), ("pad_token", pad)) if text}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named, **more)


def _bytes(kind: str) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "bytes":
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CUTS), "isolated"), whole])
    backend.decoder = decoders.ByteLevel()
    backend.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    return backend


def _pieces(kind: str) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    backend.train_from_iterator([line.replace(" ", "▁") for line in LINES], trainer)
    trained = json.loads(backend.to_str())["model"]
    known = sorted(trained["vocab"], key=lambda text: trained["vocab"][text])
    full = {f"<0x{byte:02X}>": byte for byte in range(256)} | {text: 256 + place for place, text in enumerate(known)}
    pairs = [tuple(pair) for pair in trained["merges"]]
    made = Tokenizer(models.BPE(vocab=full, merges=pairs, byte_fallback=True, fuse_unk=True))
    space = normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if kind == "llama" else space
    decoding = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*decoding, *([decoders.Strip(" ", 1, 0)] if kind == "llama" else [])])
    return made
