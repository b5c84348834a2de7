"""Every recipe in recipes/ loads, names only knobs that exist (in its comments too), and says what its source says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from yearling.generate.stage import ANSWERING, DRAFTING
from yearling.recipe import Method, Recipe
from yearling.recipe_file import load_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
DOCS = ROOT / "docs" / "recipes.md"


def knobs(model: type[BaseModel], before: str = "") -> dict[str, set[str]]:
    """The knobs of each section, by its dotted name."""
    found = {before: {field.alias or name for name, field in model.model_fields.items()}}
    for name, field in model.model_fields.items():
        inner = [field.annotation, *get_args(field.annotation)]
        inner += [part for outer in inner for part in get_args(outer)]
        for part in inner:
            if isinstance(part, type) and issubclass(part, BaseModel):
                key = field.alias or name
                found |= knobs(part, f"{before}.{key}" if before else key)
    return found


KNOBS = knobs(Recipe)
FREE = {"generate.variety.attributes", "budget.share"}  # mappings whose keys are the user's, or a stage's


def named(text: str) -> list[tuple[str, str]]:
    """(section, key) of each key of a recipe, whether it stands there or behind a comment sign at its place."""
    found: list[tuple[str, str]] = []
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        key = re.match(r"(\s*)(# +)?(- )?(?:\{)?([a-z_]+):(?: |$)", line)
        if not key or (key[2] and not key[1] and not line.startswith(("# import:", "#   - "))):
            continue  # what begins a line with a sign is prose, but for a whole section
        depth = len(key[1]) if not line.startswith("#") else len(line[1:]) - len(line[1:].lstrip()) - 1
        path = [(d, name) for d, name in path if d < depth]
        section = ".".join(name for _, name in path)
        found.append((section, key[4]))
        found += flow(line[key.end() :], f"{section}.{key[4]}".strip("."))
        if line.split("#")[0 if not key[2] else 1].rstrip().endswith(":"):
            path.append((depth, key[4]))
        if key[3]:
            found += flow("{" + key[4] + line[key.end() - 1 :], section)
    return found


def flow(text: str, section: str) -> list[tuple[str, str]]:
    """Keys of `{a: 1, b: {c: 2}}`, nested ones in their own section."""
    found: list[tuple[str, str]] = []
    stack = [section]
    for token in re.finditer(r"\{|\}|\s#.*|([a-z_]+)(?=: )", text):
        if token[0] == "{":
            stack.append(f"{stack[-1]}.{found[-1][1]}" if found and len(stack) > 1 else stack[-1])
        elif token[0] == "}":
            stack.pop()
        elif token[1] and len(stack) > 1:
            found.append((stack[-1], token[1]))
        elif token[0].strip().startswith("#"):
            break
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_it_loads_and_its_comments_name_knobs_that_exist(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name and recipe.teacher and recipe.generate
    said = named(path.read_text(encoding="utf-8"))
    assert ("", "generate") in said and ("generate", "method") in said, "the reader of comments reads"
    for section, key in said:
        if section not in FREE:
            assert key in KNOBS.get(section, set()), f"{path.name}: {section}.{key}"


def test_the_reader_sees_what_does_not_exist() -> None:
    text = "generate:\n  # sedes: x\n  answer: {turn: 2}\n# import:\n#   - {path: x, formt: oig}\nteacher:\n  locl: 1\n"
    wrong = [(s, k) for s, k in named(text) if k not in KNOBS.get(s, set())]
    assert wrong == [("generate", "sedes"), ("generate.answer", "turn"), ("import", "formt"), ("teacher", "locl")]


def test_every_way_of_making_data_has_a_recipe() -> None:
    methods = {made.method for path in RECIPES if (made := load_recipe(path).generate)}
    assert methods == set(get_args(Method)) == set(DRAFTING)
    assert set(ANSWERING) <= set(DRAFTING)


PUBLISHED: dict[str, dict[str, Any]] = {
    "alpaca": {
        "generate.alpaca.together": True,
        "generate.alpaca.per_call": 16,
        "generate.alpaca.demonstrations": 3,
        "generate.temperature": 1.0,
        "curate.novelty": 0.7,
    },
    "gpt4all": {
        "train.lora.r": 8,
        "train.lora.alpha": 32,
        "train.lora.dropout": 0.1,
        "train.learning_rate": 5e-5,
        "train.epochs": 4,
        "student.max_seq_length": 1024,
    },
    "magpie": {"generate.temperature": 1.0, "generate.answer.temperature": 0.0},
    "evolve": {
        "generate.evolve.rounds": 4,
        "generate.evolve.keep_start": True,
        "generate.temperature": 1.0,
        "generate.answer.temperature": 1.0,
        "generate.answer.max_tokens": 2048,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters(name: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    for key, value in PUBLISHED[name].items():
        found: Any = recipe
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value, key


def test_the_page_of_recipes_has_each_and_its_links_lead_somewhere() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for path in RECIPES:
        assert f"recipes/{path.name}" in text, path.name
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (DOCS.parent / target).exists(), target
    for section, key in re.findall(
        r"`(generate(?:\.[a-z_]+)*|curate|train|teacher|import)\.([a-z_]+)(?::[^`]*)?`", text
    ):
        assert section in FREE or key in KNOBS[section], f"{section}.{key}"
