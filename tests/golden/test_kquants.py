"""Parity with true K-quants: a small LLaMA whose widths are multiples of 256, briefly trained, in all file types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from yearling.export.gguf_file import write_f16
from yearling.export.parity import BOUNDS, parity_texts, prove_parity, score_merged
from yearling.export.quantise import quantise_in_child, read_gguf
from yearling.recipe import Student as Settings
from yearling.record import Message, Origin, Record
from yearling.students.load import Student, open_student

SEEDS = Path(__file__).parents[2] / "src" / "yearling" / "generate" / "seeds.jsonl"
UPDATES = 60


def conversations() -> list[Record]:
    rows = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    return [
        Record((Message("user", row["instruction"]), Message("assistant", row["output"])), Origin("seed", row["id"], n))
        for n, row in enumerate(rows)
    ]


def small_llama(student: Student, texts: list[str]) -> Any:
    """Two layers of width 256 with the tokenizer of SmolLM2, trained for some seconds: its weights are no noise."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(student.tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for update in range(UPDATES):
        chosen = texts[update * 4 % len(texts) :][:4]
        batch = student.tokenizer(chosen, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(**batch, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@pytest.mark.slow
def test_every_file_type_holds_the_model(tmp_path: Path) -> None:
    student = open_student(Settings(base="shipped:smollm2-135m-instruct"))
    records = conversations()
    texts = parity_texts(student, records[:64])
    model = small_llama(student, [whole for _, whole in parity_texts(student, records[64:])])
    merged = score_merged(model, student, texts, lambda done: None)
    assert merged.perplexity < len(student.tokenizer) / 10, "it has learnt something"
    f16 = tmp_path / "f16.gguf"
    write_f16(model, student.tokenizer, f16, chat_template=student.template.text, name="k", metadata_from=student.gguf)
    files = {"f16": f16}
    for kind in ("q8_0", "q4_k_m"):
        files[kind] = tmp_path / f"{kind}.gguf"
        quantise_in_child(f16, files[kind], kind)
    kinds = {tensor.tensor_type for tensor in read_gguf(files["q4_k_m"]).tensors}
    assert {gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K} <= kinds
    assert gguf.GGMLQuantizationType.Q8_0 not in kinds, "no tensor had to fall back"
    for kind, file in files.items():
        assert prove_parity(file, kind, merged, texts, lambda done: None)["ratio"] <= BOUNDS[kind]
