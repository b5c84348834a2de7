"""Whatever stands in a recipe, checking it ends with a Recipe or with UserError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.recipe import Recipe
from yearling.recipe_azure import NAME
from yearling.recipe_file import check_recipe, load_recipe, parse_overrides

EXAMPLES = settings(max_examples=100, deadline=None)
UNSHRUNK = settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate])
KEYS = [
    *("name", "language", "teacher", "budget", "generate", "import", "import_", "curate", "student", "train", "export"),
    *("eval", "run_on", "model", "price", "input", "num", "seeds", "method", "path", "format", "length", "novelty"),
    *("base", "template", "max_seq_length", "lora", "r", "epochs", "quant", "on", "questions", "max_cost_usd"),
    *("answer", "system", "turns", "variety", "attributes", "personas", "alpaca", "self_instruct", "per_call"),
    *(
        "evolve",
        "rounds",
        "documents",
        "words",
        "share",
        "reasoning",
        "effort",
        "local",
        "min_p",
        "azure",
        "max_minutes",
    ),
]
WORDS = ["x", "lora", "alpaca", "openai:x", "auto", "f16", "merged", "q8_0", "none", "en", "~", "a/b", "1e-4"]
WORDS += ["answer", "documents", "evolve", "key", "low"]
texts = st.one_of(st.text(max_size=12), st.sampled_from(WORDS))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=4), st.dates(), st.datetimes()
)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), texts, st.integers(0, 3), st.none())
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)
mappings = st.dictionaries(keys, values, max_size=6)
near = st.builds(lambda extra, more: {"name": "x", **extra, **more}, mappings, mappings)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


@given(near)
@EXAMPLES
def test_any_mapping_is_a_recipe_or_a_users_error(data: dict[Any, Any]) -> None:
    try:
        recipe = check_recipe(data, "r.yaml")
    except UserError as error:
        assert str(error).startswith("r.yaml: ")
        assert all(line.strip() for line in str(error).splitlines()[:1])
    else:
        assert isinstance(recipe, Recipe)
        again = check_recipe(recipe.model_dump(by_alias=True), "r.yaml")
        assert again == recipe


@given(data=near)
@settings(EXAMPLES, max_examples=50)
def test_any_written_mapping_is_a_recipe_or_a_users_error(path: Path, data: dict[Any, Any]) -> None:
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="replace")
    with contextlib.suppress(UserError):
        load_recipe(path)


fragments = st.lists(
    st.one_of(st.sampled_from([*KEYS, *WORDS, ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ", ", "'", "#"]), texts),
    max_size=20,
).map("".join)


@given(text=fragments)
@EXAMPLES
def test_any_text_is_a_recipe_or_a_users_error(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(UserError):
        load_recipe(path)


@given(text=st.lists(st.sampled_from(["x: ", "&a ", "*a", "[", "]", "!!int ", "2024-99-99", "\n"]), max_size=6))
@example(text=["x: ", "&a ", "[", "*a", "]"])
@example(text=["x: ", "!!int "])
@UNSHRUNK
def test_any_anchor_tag_and_date_is_a_recipe_or_a_users_error(path: Path, text: list[str]) -> None:
    path.write_text("name: y\n" + "".join(text), encoding="utf-8")
    with contextlib.suppress(UserError):
        load_recipe(path)


@given(data=st.binary(max_size=60))
@EXAMPLES
def test_any_bytes_are_a_recipe_or_a_users_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        load_recipe(path)


@given(st.lists(st.one_of(texts, st.sampled_from(["--", "--a.b", "--a=1", "="])), max_size=5))
@EXAMPLES
def test_any_flags_are_overrides_or_a_users_error(tokens: list[str]) -> None:
    with contextlib.suppress(UserError):
        assert isinstance(parse_overrides(tokens), dict)


@given(st.from_regex(NAME))
@EXAMPLES
def test_a_name_is_one_folder(name: str) -> None:
    with contextlib.suppress(UserError):
        made = check_recipe({"name": name}, "r").name
        assert Path("runs", made).parent == Path("runs")
        assert "\n" not in made
