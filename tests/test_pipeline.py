"""The stages in their order: the next one works on what one brings in, and is due when what it hangs on changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import asked

from yearling.evaluate.stage import _asked
from yearling.pipeline import STAGES, run_stages
from yearling.recipe import Recipe
from yearling.recipe_file import check_recipe
from yearling.record import Message, Origin, Record, read_records
from yearling.run_folder import Run

if TYPE_CHECKING:
    from openai_server import OpenAIServer

SETTINGS = {stage.name: stage.settings for stage in STAGES}


def recipe(server: OpenAIServer | None = None, teacher: Mapping[str, Any] | None = None, **changes: Any) -> Recipe:
    values = {"model": "openai:tutor", "base_url": server.url if server else None, **(teacher or {})}
    return check_recipe({"name": "one", "teacher": values, **changes}, "r.yaml")


def put(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_data_comes_in_before_the_teacher_is_asked() -> None:
    assert [stage.name for stage in STAGES] == ["import", "generate", "curate", "train", "export", "eval"]


def test_borrowed_prompts_are_answered_and_whole_rows_stand_beside_them(
    server: OpenAIServer, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lent = [{"prompt": f"What is the name of tree {n} in the park?", "completion": "An old answer."} for n in range(5)]
    whole = [{"prompt": "Who planted the trees of the park?", "completion": "The people of the town."}]
    sources: list[dict[str, Any]] = [
        {"path": put(project / "lent.jsonl", lent), "answer": True, "licence": "CC BY"},
        {"path": put(project / "whole.jsonl", whole)},
    ]
    made = {"method": "answer", "num": 4, "answer": {"max_tokens": 64}}
    stages: dict[str, Any] = {"generate": made, "curate": {"novelty": None}, "import": sources}
    plan = recipe(server, **stages)
    run_stages(plan, project)
    run = Run(project, "one")
    records = list(read_records(run.records))
    born = {record.prompt: record.origin.method for record in records}
    assert born == {**{row["prompt"]: "answer" for row in lent[:4]}, whole[0]["prompt"]: "import"}
    assert len({record.origin.sequence for record in records}) == 5, "every birth has its number"
    assert "An old answer." not in {record.completion for record in records}
    assert sorted(asked(entry.body) for entry in server.bill)[:4] == [row["prompt"] for row in lent[:4]]
    curated = run.manifest("curate")
    assert curated and curated.counts["in"] == 5
    before = len(server.bill)
    capsys.readouterr()
    run_stages(plan, project)
    assert capsys.readouterr().err.count("done before, nothing to do") == 3
    put(project / "lent.jsonl", [*lent[:3], {"prompt": "What grows beside the gate of the park?", "completion": ""}])
    run_stages(plan, project)
    assert {record.prompt for record in read_records(run.records)} >= {"What grows beside the gate of the park?"}
    assert [asked(entry.body) for entry in server.bill[before:]] == ["What grows beside the gate of the park?"]


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({"price": {"input": 1, "output": 1}}, False),
        ({"concurrency": 3}, False),
        ({"api_key_env": "MY_KEY"}, False),
        ({"timeout_s": 5}, False),
        ({"batch": True}, False),
        ({"azure": {"identity": "entra"}}, False),
        ({"model": "openai:other"}, True),
        ({"base_url": "http://127.0.0.1:9/v1"}, True),
        ({"structured": False}, True),
        ({"reasoning": {"effort": "low"}}, True),
        ({"local": {"min_p": 0.1}}, True),
        ({"template": "t.jinja"}, True),
    ],
)
def test_what_decides_a_teachers_answers_is_in_the_key(change: dict[str, Any], due: bool) -> None:
    other: dict[str, Any] = {"generate": {}, "eval": {"on": ["merged"]}, "student": {"base": "x"}}
    plain, changed = recipe(**other), recipe(teacher=change, **other)
    for stage in ("generate", "eval"):
        assert (SETTINGS[stage](plain) != SETTINGS[stage](changed)) == due, stage


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({"answer": {"system": "Short."}}, True),
        ({"answer": {"temperature": 0.1}}, True),
        ({"seed": 7}, True),
        ({"answer": {"max_tokens": 64}}, False),
        ({"answer": {"turns": 2}}, False),
        ({"num": 7}, False),
        ({"alpaca": {"per_call": 3}}, False),
    ],
)
def test_the_exam_hangs_on_how_the_teacher_answers_it(change: dict[str, Any], due: bool) -> None:
    """It has a limit of its own, and how the rows came to be is in the rows."""
    other: dict[str, Any] = {"eval": {"on": ["merged"]}, "student": {"base": "x"}}
    plain, changed = recipe(generate={}, **other), recipe(generate=change, **other)
    assert (SETTINGS["eval"](plain) != SETTINGS["eval"](changed)) == due
    assert SETTINGS["generate"](plain) != SETTINGS["generate"](changed)


def test_the_exam_asks_all_that_stands_before_the_last_answer() -> None:
    system, one, two = Message("system", "Be kind."), Message("user", "Tea?"), Message("user", "And milk?")
    yes, no = Message("assistant", "Yes."), Message("assistant", "No.")
    origin = Origin("import", "k", 0)
    asked_for = _asked(Record((system, one, yes, two, no), origin))
    assert [(turn["role"], turn["content"]) for turn in asked_for] == [
        ("system", "Be kind."), ("user", "Tea?"), ("assistant", "Yes."), ("user", "And milk?")
    ]  # fmt: skip
    assert _asked(Record((one,), origin)) == [{"role": "user", "content": "Tea?"}], "a question of the user's own"


def test_caps_make_nothing_due() -> None:
    plain, capped = recipe(generate={}), recipe(generate={}, budget={"max_cost_usd": 1, "share": {"generate": 0.5}})
    assert all(settings(plain) == settings(capped) for settings in (SETTINGS["generate"], SETTINGS["curate"]))
