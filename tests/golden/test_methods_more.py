"""Each way of making data with the real local teacher, by the shipped recipes made small: rows with their whole origin.

A row must come of every 40 calls; what the rows say is not judged here, the teacher is very small.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from yearling.measure.accepted import accepted, split_records
from yearling.measure.text import fold
from yearling.pipeline import run_stages
from yearling.recipe import Curate
from yearling.recipe_file import load_recipe
from yearling.record import Record
from yearling.run_folder import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
RECIPES = Path(__file__).parents[2] / "recipes"
TEACHER = "smollm2-135m-instruct"
SMALL = {
    "teacher.model": f"local:shipped:{TEACHER}",
    "teacher.concurrency": 4,
    "generate.answer.max_tokens": 64,
    "generate.answer.system": "Answer in one short sentence.",
    "curate.novelty": 0.95,
}
LUND = """# Lund

The harbour of Lund opened in 1912. It has three piers and a white lighthouse. The lighthouse is 31 metres tall. Ferries
leave for the island of Ven every two hours. A ticket costs 8 euros.

# Ven

Ven is a small island with 370 people. Farmers on Ven grow wheat. The oldest house on Ven is a stone church from the
year 1200. Visitors rent yellow bicycles at the port.

# Bees

A honey bee has six legs and five eyes. A worker bee lives for six weeks in summer. The queen lays up to 2000 eggs a
day. Bees make honey from nectar.
"""
QUESTIONS = ["Name a colour of the sky.", "What is the capital of France?", "Why do birds sing?", "Describe a tree."]
ANSWERS = [
    "The sky is blue.",
    "The capital of France is Paris.",
    "Birds sing to find a mate.",
    "A tree is tall and green.",
]


def seeds_in(folder: Path) -> str:
    """A file of seed tasks, short enough for a very small teacher."""
    rows = [{"instruction": question, "output": said} for question, said in zip(QUESTIONS, ANSWERS, strict=True)]
    path = folder / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def bear(name: str, project: Path, **overrides: Any) -> tuple[Run, list[Record]]:
    """The accepted rows of a shipped recipe, made small."""
    settings = {**SMALL, **{key.replace("__", "."): value for key, value in overrides.items()}}
    recipe = load_recipe(RECIPES / f"{name}.yaml", settings)
    assert recipe.generate is not None
    stages = ["import", "generate", "curate"] if recipe.import_ else ["generate", "curate"]
    run = run_stages(recipe, project, stages)
    rows = accepted(run, recipe)
    manifest = run.manifest("generate")
    assert manifest is not None
    assert manifest.counts["calls"] <= 40 * len(rows), manifest.results
    for row in rows:
        has_origin(run, row, recipe.generate.method)
    return run, rows


def has_origin(run: Run, row: Record, method: str) -> None:
    """Method, teacher, licence, a cost of nothing, and calls that are in the ledger, with the answer among them."""
    origin = row.origin
    assert (origin.method, origin.cost_usd) == (method, 0.0)
    assert TEACHER in origin.teacher.lower()
    assert "Apache-2.0" in origin.licence
    assert len(set(origin.calls)) == len(origin.calls) > 0
    with closing(sqlite3.connect(run.ledger)) as db:
        marks = ",".join("?" * len(origin.calls))
        found = db.execute(f"SELECT state, text FROM calls WHERE key IN ({marks})", origin.calls).fetchall()
    assert [state for state, _ in found] == ["settled"] * len(origin.calls)
    # in JSON a line break is written otherwise
    first_line = row.completion.split("\n")[0].strip()
    assert any(first_line in text or json.dumps(first_line)[1:-1] in text for _, text in found)


def test_magpie_with_a_second_turn(tmp_path: Path) -> None:
    _, rows = bear("magpie", tmp_path, generate__num=4, generate__answer__temperature=0.2)
    roles = [[message.role for message in row.messages] for row in rows]
    assert ["user", "assistant", "user", "assistant"] in roles
    for row, said in zip(rows, roles, strict=True):
        assert said in (["user", "assistant"], ["user", "assistant"] * 2)
        assert len(row.origin.calls) == len(said), "a call for each turn"


@pytest.mark.parametrize("structured", [True, False], ids=["json", "text"])
def test_alpaca_with_the_answers_in_the_same_call(tmp_path: Path, structured: bool) -> None:
    small: dict[str, Any] = {"generate__num": 1, "generate__alpaca__per_call": 2, "generate__temperature": 0.5}
    small["generate__seeds"] = seeds_in(tmp_path)
    _, rows = bear("alpaca", tmp_path, **small, teacher__structured=structured)
    for row in rows:
        assert row.origin.source and row.origin.prompt_digest
        assert row.origin.key.rpartition("/")[0] == row.origin.calls[-1]


def test_evolve(tmp_path: Path) -> None:
    small = {"generate__num": 8, "generate__evolve__rounds": 2, "generate__temperature": 0.7}
    _, rows = bear("evolve", tmp_path, generate__seeds=seeds_in(tmp_path), **small)
    starts = [row for row in rows if row.prompt in QUESTIONS]
    children = [row for row in rows if row.prompt not in QUESTIONS]
    assert starts and children
    assert all(row.origin.parents == () and len(row.origin.calls) == 1 for row in starts)
    for row in children:
        assert row.origin.parents[-1] in map(fold, QUESTIONS) and len(row.origin.calls) == 3
        assert "round" in row.origin.source and row.origin.prompt_digest
    sides = split_records(rows, rows, Curate(test=0.5))
    root = {row.id: row.origin.parents[-1] if row.origin.parents else fold(row.prompt) for row in rows}
    assert not {root[row.id] for row in sides["train"]} & {root[row.id] for row in sides["test"]}


def test_documents(tmp_path: Path) -> None:
    (tmp_path / "lund.md").write_text(LUND, encoding="utf-8")
    small = {"generate__documents__words": 40, "generate__documents__pairs": 2, "generate__temperature": 0.3}
    _, rows = bear("documents", tmp_path, generate__documents__path=str(tmp_path / "lund.md"), generate__num=4, **small)
    for row in rows:
        assert row.origin.passage and "".join(row.origin.passage.split()) in "".join(LUND.split())
        assert row.origin.source.startswith("lund.md, section ") and len(row.origin.parents) == 1


def test_borrowed_prompts_are_answered(tmp_path: Path) -> None:
    data = tmp_path / "asked.jsonl"
    rows = [{"instruction": text, "input": "", "output": "?"} for text in QUESTIONS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sources = [{"path": str(data), "licence": "CC0", "answer": True}]
    _, found = bear("gpt4all", tmp_path, **{"import": sources})
    assert {row.prompt for row in found} <= set(QUESTIONS)
    assert all("CC0" in row.origin.licence and row.completion != "?" for row in found)
    assert all(row.origin.source.startswith("asked.jsonl") for row in found)
