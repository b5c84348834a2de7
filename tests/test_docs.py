"""Documents that are written from the code agree with it, and every shipped recipe is valid."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from yearling.cli import app
from yearling.recipe import Recipe
from yearling.recipe_file import _Loader, check_recipe, load_recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cli_and_knobs_are_up_to_date(docs: ModuleType) -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert text == docs.cli(), "run `make docs`"
    for block in text.split("## yearling ")[1:]:
        verb = block.split("\n", 1)[0]
        if verb and verb != "runs":
            assert "Example: yearling" in block, verb
    assert (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8") == docs.knobs(), "run `make docs`"


def test_every_command_is_in_the_document(docs: ModuleType) -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [str(group.name) for group in app.registered_groups]
    assert set(names) == {verb.split("/")[0] for verb in docs.VERBS}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name


@pytest.mark.parametrize("name", ["README.md", "docs/walk.md", "docs/recipes.md"])
def test_recipes_in_documents_are_valid(name: str) -> None:
    """A knob that has moved is not shown where it was."""
    path = ROOT / name
    blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.S) if path.exists() else []
    assert blocks or name != "README.md"
    for block in blocks:
        shown = yaml.load(block, Loader=_Loader)
        if "name" in shown:
            check_recipe(shown, name)
        else:
            Recipe.model_validate({"name": "a-part", **shown})


@pytest.mark.parametrize("name", ["README.md", "docs/walk.md", "docs/recipes.md"])
def test_knobs_in_documents_are_knobs(docs: ModuleType, name: str) -> None:
    path = ROOT / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    tables = _rows(docs.knobs())
    sections = [section for section, _ in tables]
    known = {*sections, *(f"{section}.{key}" for section, keys in tables for key in keys)}
    named = re.findall(r"`([a-z_]+\.[a-z_.]+)(?=[:`])", text)
    for knob in (knob for knob in named if knob.split(".")[0] in sections):
        assert knob in known, f"{name} names {knob}"


def _rows(knobs: str) -> list[tuple[str, list[str]]]:
    parts = re.split(r"^## (\S+)$", knobs, flags=re.M)[1:]
    return [(name, re.findall(r"^\| `(\w+)`", text, re.M)) for name, text in zip(parts[::2], parts[1::2], strict=True)]


def test_a_section_has_at_most_twelve_knobs(docs: ModuleType) -> None:
    for section in docs.knobs().split("\n## ")[1:]:
        knobs = re.findall(r"^\| `", section, re.M)
        assert len(knobs) <= 12, section.split("\n", 1)[0]


def test_the_changelog_names_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version and f"[{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_committed_lock_names_a_host() -> None:
    assert not re.search(r"https?://|--index|--find-links", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
