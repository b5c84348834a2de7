"""A recipe whose teacher is on loopback, and what that one answers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_server import asked, digest

if TYPE_CHECKING:
    from openai_server import OpenAIServer


def teach(body: Mapping[str, Any]) -> str:
    """Two new tasks for a question, an answer for a task."""
    dice = random.Random(digest(body))
    words = " ".join("".join(dice.choices("bcdfghjklmnprstvwxz", k=7)) for _ in range(12))
    if asked(body).startswith("Write "):
        other = "".join(dice.choices("bcdfghjklm", k=9))
        return json.dumps(
            {
                "tasks": [
                    {"instruction": f"Say {words}.", "input": ""},
                    {"instruction": f"Tell {other} {words[::-1]}.", "input": ""},
                ]
            }
        )
    return f"{words}."


def put_recipe(folder: Path, server: OpenAIServer) -> Path:
    teacher = f"{{model: 'openai:tutor', base_url: '{server.url}', concurrency: 4, price: {{input: 1, output: 1}}}}"
    recipe = folder / "g.yaml"
    generate = "{num: 60, alpaca: {per_call: 2}, answer: {max_tokens: 256}}"
    recipe.write_text(f"name: one\nteacher: {teacher}\ngenerate: {generate}\ncurate: {{}}\n", encoding="utf-8")
    return recipe
