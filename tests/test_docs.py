"""Documents that are written from the code agree with it, and every shipped recipe is valid."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from yearling.recipe_file import load_recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cli_and_knobs_are_up_to_date(docs: ModuleType) -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == docs.cli(), "run `make docs`"
    assert (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8") == docs.knobs(), "run `make docs`"


def test_every_command_has_an_example(docs: ModuleType) -> None:
    for block in docs.cli().split("## yearling ")[1:]:
        verb = block.split("\n", 1)[0]
        if verb and verb != "runs":
            assert "Example: yearling" in block, verb


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name


def test_a_section_has_at_most_twelve_knobs(docs: ModuleType) -> None:
    for section in docs.knobs().split("\n## ")[1:]:
        knobs = re.findall(r"^\| `", section, re.M)
        assert len(knobs) <= 12, section.split("\n", 1)[0]


def test_the_changelog_names_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version and f"[{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_committed_lock_names_a_host() -> None:
    assert not re.search(r"https?://|--index|--find-links", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
