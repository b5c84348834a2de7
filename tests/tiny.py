"""Tiny causal models of many families, made from their configurations: no hub, no weights of anybody."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from families import IM, build

from yearling.students.load import Student
from yearling.students.rows import IGNORE, Row

WORDS = 300  # of the vocabulary
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
# by name, what else a configuration of transformers needs to be small
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"head_dim": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 8},
    "phi3": {"pad_token_id": 0},
    "smollm3": {"pad_token_id": 0},
}


def model_of(family: str, seed: int = 0, **more: Any) -> Any:
    """A model of a family with weights by chance."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = {"vocab_size": WORDS, "num_key_value_heads": 2, **SIZES, **FAMILIES.get(family, {}), **more}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).float()


def saved(folder: Path, family: str = "llama", **more: Any) -> Student:
    """A student whose base is such a model, in a folder; it has no tokenizer."""
    model_of(family, **more).save_pretrained(folder)
    return Student(str(folder), None, None, "tiny")


def rows(count: int, seed: int = 0, longest: int = 40) -> list[Row]:
    """Rows of a rule that is soon learnt: every answer counts from one."""
    dice = random.Random(seed)
    made = []
    for place in range(count):
        asked = [dice.randrange(WORDS) for _ in range(dice.randint(2, longest // 2))]
        said = list(range(1, dice.randint(3, longest // 2)))
        made.append(Row(str(place), asked + said, [IGNORE] * len(asked) + said))
    return made


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def project(folder: Path, train: str, count: int = 20) -> Path:
    """A project with a base, `count` rows to import that are soon learnt, and a recipe with these settings."""
    tokenizer = build(IM, eos="<|im_end|>", kind="gpt-2", pad="<|endoftext|>")
    tokenizer.chat_template = CHATML
    folder.mkdir()
    model_of("llama", vocab_size=len(tokenizer), initializer_range=0.3).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    made = [
        {"instruction": f"Count to {n} ({n}).", "output": " ".join(str(i % 10) for i in range(1, n + 1))}
        for n in range(2, count + 2)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, made)), encoding="utf-8")
    recipe = f"name: tiny\nimport: [{{path: rows.jsonl}}]\nstudent: {{base: base}}\ntrain: {train}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder
