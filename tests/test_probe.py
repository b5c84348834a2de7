"""The probe: more data, more epochs or a larger student?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from golden_line import yearling

from yearling.train.probe import _read


@pytest.mark.slow
def test_a_probe_trains_three_times_and_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.project(tmp_path / "p", "{epochs: 4, batch_size: 4, learning_rate: 0.02}", count=80)
    monkeypatch.chdir(project)
    assert yearling(project, "import", "recipe.yaml").code == 0
    done = yearling(project, "train", "recipe.yaml", "--probe", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [share["rows"] for share in told["shares"]] == [6, 18, 59] and told["held_out"] == 11
    assert told["shares"][0]["perplexity"]["value"] > told["shares"][2]["perplexity"]["value"]
    assert told["data"]["high"] < 1 and told["says"][0].startswith("more data would help: from 18 to 59 rows")
    run = project / "runs" / "tiny"
    assert not (run / "adapter").exists() and not list(run.rglob("update-*"))
    again = yearling(project, "train", "recipe.yaml", "--probe")
    assert again.code == 0 and "probe:" not in again.err, "a share that is done is not trained again"
    assert "more data would help" in again.out


@pytest.mark.slow
def test_too_few_rows_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.project(tmp_path / "p", "{epochs: 1}", count=20)
    monkeypatch.chdir(project)
    assert yearling(project, "import", "recipe.yaml").code == 0
    done = yearling(project, "train", "recipe.yaml", "--probe")
    assert done.code == 2 and "a probe needs 60 rows of the train split, there are" in done.err


def test_where_nothing_helps_a_larger_student_is_named() -> None:
    same = {"rows": 10, "middle": [[-1.0, -2.0]] * 9, "end": [[-1.0, -2.0]] * 9}
    said = _read([same, same, same | {"rows": 100}], 9)["says"]
    assert said[0].startswith("more data would change nothing that can be seen")
    assert said[-1] == "neither data nor epochs help: a larger student is what is left to try"
