"""A recorded ledger is asked again with nobody there: the same rows, at no cost, and nothing is made up."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_teacher import CHAT
from golden_line import yearling
from openai_server import OpenAIServer, asked, digest, schema_of
from refusal import left_behind, refused

from yearling.errors import TeacherError, UserError
from yearling.generate.stage import run_generate
from yearling.ledger import Ledger
from yearling.recipe import Recipe
from yearling.recipe import Teacher as Settings
from yearling.record import Record, read_records
from yearling.run_folder import Run
from yearling.teachers import openai
from yearling.teachers.ask import Asker
from yearling.teachers.replay import ReplayTeacher
from yearling.teachers.teacher import open_teacher
from yearling.teachers.wire import WireTeacher

METHODS: dict[str, dict[str, Any]] = {
    "alpaca": {"method": "alpaca", "num": 6, "alpaca": {"per_call": 2}, "answer": {"turns": 2}},
    "magpie": {"method": "magpie", "num": 6, "answer": {"turns": 2}},
}


def sentence(dice: random.Random) -> str:
    return f"Say {' '.join(''.join(dice.choices('bcdfghjklmnprstv', k=6)) for _ in range(7))}."


def teach(body: Mapping[str, Any]) -> str:
    dice = random.Random(digest(body))
    if schema_of(body):
        return json.dumps({"tasks": [{"instruction": sentence(dice), "input": sentence(dice)} for _ in "ab"]})
    return sentence(dice)


def plan(method: str, **teacher: Any) -> Recipe:
    price = {"input": 1000.0, "output": 2000.0}
    return Recipe.model_validate(
        {"name": "one", "teacher": {"price": price, **teacher}, "generate": METHODS[method], "curate": {}}
    )


def bear(recipe: Recipe, project: Path) -> tuple[list[Record], dict[str, int], dict[str, Any]]:
    run = Run(project, "one")
    run.create()
    counts, results = run_generate(recipe, run)
    return list(read_records(run.records)), counts, results


def recorded(project: Path, method: str) -> list[Record]:
    """Rows of a run whose server is gone, and its ledger in the project."""
    dice = random.Random(1)
    with OpenAIServer() as server:
        server.answer = teach if method == "alpaca" else lambda body: sentence(dice)
        template = project / "teacher.jinja"
        project.mkdir(exist_ok=True)
        template.write_text(CHAT, encoding="utf-8")
        records, _, results = bear(
            plan(method, model="openai:tutor", base_url=server.url, template=str(template)), project
        )
        assert len(records) == 6 and results["cost_usd"] > 0
        template.unlink()
    return records


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_replayed_with_the_same_rows(project: Path, method: str) -> None:
    first = recorded(project / "there", method)
    ledger = project / "there" / "ledger.sqlite"
    before = ledger.read_bytes()
    again, counts, results = bear(plan(method, model=f"replay:{ledger}"), project / "here")
    assert [(r.id, r.messages, r.origin.calls) for r in again] == [(r.id, r.messages, r.origin.calls) for r in first]
    assert {record.origin.teacher for record in again} == {f"replay:{ledger}"}, "it is said where they come from"
    assert results["cost_usd"] == 0.0 and counts["sent"] > 0
    assert ledger.read_bytes() == before, "what was recorded is read only"
    with Ledger(project / "here" / "ledger.sqlite", "one") as own:
        assert own.count("settled") == counts["sent"]
        (tokens,) = own.read("SELECT sum(prompt_tokens + completion_tokens) FROM calls")[0]
    with Ledger(ledger, "one") as paid:
        assert paid.spent().tokens == tokens > 0, "their tokens are those of the recording"


def test_magpie_finds_its_template_in_the_ledger(project: Path) -> None:
    recorded(project / "there", "magpie")
    ledger = project / "there" / "ledger.sqlite"
    with open_teacher(Settings(model=f"replay:{ledger}")) as teacher:
        assert teacher.template().text == CHAT
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("DELETE FROM facts")
        db.commit()
    said = r"holds no chat template\. Name the file in teacher\.template"
    with open_teacher(Settings(model=f"replay:{ledger}")) as teacher, pytest.raises(UserError, match=said):
        teacher.template()
    own = project / "own.jinja"
    own.write_text("{{ messages }}", encoding="utf-8")
    with open_teacher(Settings(model=f"replay:{ledger}", template=own)) as teacher:
        assert teacher.template().text == "{{ messages }}"


def test_a_question_that_was_not_recorded_is_one_error(project: Path) -> None:
    recorded(project / "there", "alpaca")
    ledger = project / "there" / "ledger.sqlite"
    made = plan("alpaca", model=f"replay:{ledger}").model_dump(mode="json", by_alias=True, exclude_none=True)
    made["generate"]["seed"] = 7
    recipe = project / "r.yaml"
    recipe.write_text(yaml.safe_dump(made), encoding="utf-8")
    done = yearling(project, "generate", str(recipe))
    refused(done, f"{ledger} does not hold this question", "Replay the recipe that was recorded", code=5)
    assert left_behind(project / "runs" / "one") == []


def test_a_failure_that_was_recorded_is_not_replayed(project: Path) -> None:
    ledger = project / "there" / "ledger.sqlite"
    recorded(ledger.parent, "alpaca")
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("UPDATE calls SET state = 'failed' WHERE request NOT LIKE '%Write 2 new%'")
        db.commit()
    with pytest.raises(TeacherError, match="does not hold this question") as caught:
        bear(plan("alpaca", model=f"replay:{ledger}"), project / "here")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("endpoint", ["https://host/v1", "local:" + "a" * 64])
def test_a_replayed_question_has_the_recorded_key(project: Path, endpoint: str) -> None:
    """A local teacher's min_p is in the key, and is not sent to others."""
    settings = Settings.model_validate({"model": "openai:x", "local": {"min_p": 0.2}})
    requests: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 9, "temperature": 0.5, "seed": 3},
        {"prompt": "<|user|>", "max_tokens": 9, "temperature": 1.0, "seed": 4},
        {"messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 9, "schema": {"type": "object"}},
    ]
    path = project / "ledger.sqlite"
    with OpenAIServer() as server, Ledger(path, "one") as ledger:
        teacher = WireTeacher(settings, openai, server.url, endpoint, "m")
        with Asker(teacher, ledger, "generate") as asker:
            calls = [teacher.call(request, sample) for sample, request in enumerate(requests)]
            replies = asker.ask(calls, lambda reply: None)
    replay = ReplayTeacher(settings.model_copy(update={"model": f"replay:{path}"}), str(path))
    assert [replay.call(request, sample).key for sample, request in enumerate(requests)] == [c.key for c in calls]
    with Ledger(project / "other.sqlite", "two") as ledger, Asker(replay, ledger, "generate") as asker:
        told = asker.ask(calls, lambda reply: None)
    assert [(r.text, r.finish, r.prompt_tokens) for r in told] == [(r.text, r.finish, r.prompt_tokens) for r in replies]
    assert {r.cost_usd for r in told} == {0.0}


def test_a_ledger_of_several_models_is_asked_by_name(project: Path) -> None:
    path = project / "ledger.sqlite"
    request = {"messages": [{"role": "user", "content": "Hi?"}], "max_tokens": 9}
    with OpenAIServer() as server, Ledger(path, "one") as ledger:
        server.answer = lambda body: f"I am {body['model']}, you said {asked(body)}"
        for model in ("big", "small"):
            settings = Settings(model=f"openai:{model}", base_url=server.url)
            with open_teacher(settings) as teacher, Asker(teacher, ledger, "generate") as asker:
                asker.ask([teacher.call(request, 0)], lambda reply: None)
    said = r"must name one recorded model as .*#<model>: big, small\."
    for spec in (f"replay:{path}", f"replay:{path}#huge"):
        with pytest.raises(UserError, match=said), open_teacher(Settings(model=spec)):
            pass
    for model in ("big", "small"):
        with (
            Ledger(project / "other.sqlite", "two") as ledger,
            open_teacher(Settings(model=f"replay:{path}#{model}")) as teacher,
            Asker(teacher, ledger, "generate") as asker,
        ):
            (reply,) = asker.ask([teacher.call(request, 0)], lambda reply: None)
            assert reply.text == f"I am {model}, you said Hi?"


def test_what_cannot_be_replayed_is_told_before_anything_is_done(project: Path) -> None:
    path = project / "ledger.sqlite"
    with (
        pytest.raises(UserError, match=r"ledger\.sqlite cannot be read"),
        open_teacher(Settings(model=f"replay:{path}")),
    ):
        pass
    assert not path.exists(), "looking makes no file"
    path.write_bytes(b"not a database " * 100)
    with (
        pytest.raises(UserError, match=r"ledger\.sqlite cannot be read"),
        open_teacher(Settings(model=f"replay:{path}")),
    ):
        pass
    path.unlink()
    Ledger(path, "one").close()
    said = r"must name one recorded model .*: none\."
    with pytest.raises(UserError, match=said), open_teacher(Settings(model=f"replay:{path}")):
        pass
