"""Every path of a recipe and of a command may be one on Azure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from azure_cloud import Cloud
from golden_line import command_line as cli

from yearling.cloud import copying
from yearling.cloud.opening import open_place
from yearling.recipe_file import load_recipe

pytestmark = pytest.mark.timeout(120)
ROWS = [
    {"instruction": f"Name {n} things that float on water.", "input": "", "output": f"Here are {n} of them: wood, ice."}
    for n in range(3, 40)
]


def put(place: str, text: str) -> str:
    store, path = open_place(place)
    store.write(path, text.encode())
    return place


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_data_file_there_is_curated_to_a_file_there(container: str, tmp_path: Path) -> None:
    put(f"{container}/in/data.jsonl", lines(ROWS))
    target = f"{container}/out/clean.jsonl"
    done = cli("--project", str(tmp_path), "curate", f"{container}/in/data.jsonl", "-o", target)
    assert done.code == 0, done.err
    store, path = open_place(target)
    written = [json.loads(line) for line in (store.read(path) or b"").splitlines()]
    assert 0 < len(written) <= len(ROWS) and set(written[0]) == {"messages"}
    again = cli("--project", str(tmp_path), "curate", f"{container}/in/data.jsonl", "-o", target)
    assert again.code == 0 and again.err.count("done before, nothing to do") == 2


def test_each_path_of_a_recipe_is_fetched(container: str, azure: Cloud, tmp_path: Path) -> None:
    places = {name: put(f"{container}/{name}", f"{name}\n") for name in ("seeds.jsonl", "people.txt", "exam.jsonl")}
    put(f"{container}/words/follow.txt", "words\n")
    put(f"{container}/base/config.json", "{}")
    recipe = {
        "name": "x",
        "teacher": {"model": "openai:x", "base_url": "http://127.0.0.1:1/v1", "template": places["people.txt"]},
        "generate": {
            "seeds": places["seeds.jsonl"],
            "variety": {"personas": places["people.txt"], "prompts": f"{container}/words"},
        },
        "curate": {"decontaminate": [places["exam.jsonl"]], "judge": {"rubric": places["exam.jsonl"]}},
        "import": [{"path": f"{container}/in"}],
        "student": {"base": f"{container}/base"},
        "train": {"lora": {"start": f"{container}/base"}},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    loaded = load_recipe(file)
    near = copying.here(loaded)
    assert near.generate and near.curate and near.curate.judge and near.student and near.train and near.teacher
    assert near.generate.seeds and near.generate.seeds.read_text() == "seeds.jsonl\n"
    assert near.generate.variety.personas and near.generate.variety.personas.read_text() == "people.txt\n"
    assert near.generate.variety.prompts and (near.generate.variety.prompts / "follow.txt").read_text() == "words\n"
    assert near.curate.decontaminate[0].read_text() == "exam.jsonl\n" == near.curate.judge.rubric.read_text()  # type: ignore[union-attr]
    assert (Path(near.student.base) / "config.json").read_text() == "{}"
    assert near.train.lora.start == Path(near.student.base)
    assert near.import_ == loaded.import_, "a data set is fetched as it is read"
    asked = len(azure.asked)
    assert copying.here(loaded) == near and len(azure.asked) == asked, "nothing is asked for twice"


def test_what_is_not_there_is_one_clear_error(container: str, tmp_path: Path) -> None:
    for words in (
        ("curate", f"{container}/none.jsonl"),
        ("run", f"{container}/none.yaml"),
        ("serve", f"{container}/x.gguf"),
    ):
        done = cli("--project", str(tmp_path), *words)
        assert done.code == 2 and "there is no blob and no folder of that name" in done.err, done.err
        assert "Traceback" not in done.err
