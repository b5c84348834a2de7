"""What training will take, told before it: rows, memory, time, dollars; and what cannot fit is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import tiny
from golden_line import yearling
from rich.console import Console

from yearling.errors import UserError
from yearling.estimate.stage import estimate
from yearling.estimate.view import view
from yearling.recipe_file import load_recipe
from yearling.run_folder import Run
from yearling.train import fitting


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tiny.project(tmp_path / "p", "{epochs: 2, batch_size: 4}")
    with (project / "recipe.yaml").open("a", encoding="utf-8") as recipe:
        recipe.write("budget: {hour_usd: 3.6}\n")
    monkeypatch.chdir(project)
    return project


def test_rows_that_are_there_are_counted_out(project: Path) -> None:
    recipe = load_recipe(project / "recipe.yaml", None)
    with pytest.raises(UserError, match=r"not there yet\. Run `yearling import`"):
        estimate(recipe, project)
    assert yearling(project, "import", "recipe.yaml").code == 0
    told = estimate(recipe, project)
    training = told["training"]
    assert told["teacher"] is None and told["stages"] == []
    assert (training["rows"], training["rows_from"], training["updates"]) == (16, "accepted", 8)
    assert training["tokens"]["median"] <= training["tokens"]["p99"] <= training["tokens"]["longest"]
    assert training["cost_usd"] == pytest.approx(training["seconds"] * 0.001)
    assert 0 < training["memory"]["bytes"] < training["memory"]["free"]
    shown = io.StringIO()
    Console(file=shown, width=200).print(view(told))
    text = shown.getvalue()
    assert "16 (accepted)" in text and "none is cut" in text and "updates, $" in text
    assert not (Run(project, "tiny").path / "frozen.json").exists(), "an estimate freezes nothing"


def test_what_cannot_fit_is_refused_before_anything_is_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yearling(project, "import", "recipe.yaml").code == 0
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 10**6)
    with pytest.raises(UserError, match=r"this training needs .* are free\. Any of these makes it fit"):
        estimate(load_recipe(project / "recipe.yaml", None), project)


@pytest.mark.slow
def test_the_command_says_it_as_json(project: Path) -> None:
    assert yearling(project, "import", "recipe.yaml").code == 0
    done = yearling(project, "estimate", "recipe.yaml", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["training"]["rows"] == 16
