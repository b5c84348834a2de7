"""What curate does beyond its own rules: the teacher's marks, masks, rows kept by hand, anyone's file, the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer, asked
from typer.testing import CliRunner

from yearling.cli import app
from yearling.curate import engine
from yearling.curate.marks import mark_in
from yearling.curate.stage import run_curate
from yearling.errors import BudgetError, UserError
from yearling.measure.accepted import accepted, accepted_split
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, read_records, read_verdicts, write_records
from yearling.run_folder import Run
from yearling.sources.files import list_files

ROWS = [
    ("Name a tree that bears acorns.", "The oak bears acorns in autumn."),
    ("Where do swallows spend the winter?", "They fly south and spend it in Africa."),
    ("How is bread made to rise?", "Yeast turns sugar into gas, which lifts the dough."),
]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path, "x")
    run.create()
    records = [
        Record((Message("user", q), Message("assistant", a)), Origin("import", f"k{n}", n))
        for n, (q, a) in enumerate(ROWS)
    ]
    write_records(records, run.records / "part-0.parquet")
    return run


def recipe(server: OpenAIServer, least: int = 4, **more: Any) -> Recipe:
    teacher = {"model": "openai:tutor", "base_url": server.url, "price": {"input": 1.0, "output": 1.0}}
    curate = {"judge": {"min_score": least}, "test": 0.0}
    return Recipe.model_validate({"name": "x", "teacher": teacher, "curate": curate, **more})


def verdicts(run: Run, judge: str) -> list[tuple[str, str, float | None]]:
    by_id = {v.record: v for v in read_verdicts(run.verdicts / judge)}
    return [(by_id[r.id].state, by_id[r.id].reason, by_id[r.id].score) for r in read_records(run.records)]


def mark(body: Mapping[str, Any]) -> str:
    text = asked(body)
    if "acorns" in text:
        return "Right and clear.\nScore: 5"
    return "The winter is told, the way is not.\nScore: 2" if "swallows" in text else "I would rather not say."


def test_the_teacher_marks_what_is_left_once(server: OpenAIServer, run: Run) -> None:
    server.answer = mark
    counts = run_curate(recipe(server), run)
    assert counts["failed_score"] == 1 and counts["accepted"] == 2
    first, second, third = verdicts(run, "score")
    assert first == ("pass", "marked 5 of 5", 5.0)
    assert second[0] == "fail" and second[2] == 2.0 and "the way is not" in second[1]
    assert third[0] == "skipped" and third[1].startswith("the teacher gave no mark: I would rather")
    assert len(server.bill) == 3 and all("<answer>" in asked(entry.body) for entry in server.bill)
    # a lower bar asks for nothing: the marks are in the ledger
    assert run_curate(recipe(server, least=2), run)["accepted"] == 3
    assert len(server.bill) == 3


def test_marks_are_under_the_budget(server: OpenAIServer, run: Run) -> None:
    server.answer = mark
    with pytest.raises(BudgetError):
        run_curate(recipe(server, budget={"max_tokens": 400}), run)
    assert len(server.bill) < 3


def test_a_rubric_of_ones_own_has_the_same_places(server: OpenAIServer, run: Run, tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Is it kind? {prompt} {answer} {mood}\n", encoding="utf-8")
    plan = recipe(server)
    assert plan.curate and plan.curate.judge
    judge = plan.curate.judge.model_copy(update={"rubric": rubric})
    plan = plan.model_copy(update={"curate": plan.curate.model_copy(update={"judge": judge})})
    with pytest.raises(UserError, match=r"\{mood\}"):
        run_curate(plan, run)
    rubric.write_text("Is it kind? <answer> {prompt} {answer}\n", encoding="utf-8")
    run_curate(plan, run)
    assert all(asked(entry.body).startswith("Is it kind?") for entry in server.bill)


def test_the_teacher_marks_decency_where_asked(server: OpenAIServer, run: Run) -> None:
    server.answer = lambda body: "It threatens.\nScore: 1" if "acorns" in asked(body) else "Score: 5"
    plan = recipe(server)
    assert plan.curate
    plan = plan.model_copy(update={"curate": plan.curate.model_copy(update={"toxic": "teacher", "judge": None})})
    counts = run_curate(plan, run)
    assert (counts["failed_harm"], counts["accepted"]) == (1, 2)
    assert verdicts(run, "harm")[0] == ("fail", "marked 1 of 5: It threatens. Score: 1", 1.0)
    assert all("how decent" in asked(entry.body) for entry in server.bill) and len(server.bill) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Fine.\nScore: 4", 4), ("Score: 4/5", 4), ("**Score:** 3", 3), ("5", 5), ("2/5", 2), ("Score: 14", None),
        ("Scores 1 in style. Score: 3", 3), ("I give it much.", None), ("", None), ("Score: 0", None),
    ],
)  # fmt: skip
def test_a_mark_is_read(text: str, found: int | None) -> None:
    assert mark_in(text) == found


def test_masked_rows_stay_and_are_children_of_what_they_were(tmp_path: Path) -> None:
    run = Run(tmp_path, "x")
    run.create()
    told = Message("assistant", "Write to jane.roe@brightmail.org before the first of May.")
    record = Record((Message("user", "Whom do I ask about the garden?"), told), Origin("import", "k", 0))
    write_records([record], run.records / "part-0.parquet")
    plan = Recipe.model_validate({"name": "x", "curate": {"personal": "mask", "test": 0.0}})
    assert run_curate(plan, run)["accepted"] == 1
    [kept] = accepted(run, plan)
    assert "jane" not in kept.completion and "[e-mail]" in kept.completion
    assert kept.origin.parents == (record.id,) and kept.id != record.id
    assert accepted_split(run, plan, "train") == [kept]
    failing = Recipe.model_validate({"name": "x", "curate": {"test": 0.0}})
    with pytest.raises(UserError, match=r"curate\.personal: mask keeps such rows"):
        run_curate(failing, run)


def command(project: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, ["--project", str(project), *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_anyones_file_is_judged_alone_explained_and_mended_by_hand(tmp_path: Path) -> None:
    data, out = tmp_path / "some rows.jsonl", tmp_path / "clean.jsonl"
    rows = [*ROWS, ("Tell me about the sea.", "I'm sorry, but I can't help with that.")]
    data.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows), encoding="utf-8")
    command(tmp_path, "curate", str(data), "-o", str(out), "--format", "prompt-completion", "--curate.test", "0")
    assert [json.loads(line)["prompt"] for line in out.read_text().splitlines()] == [q for q, _ in ROWS]
    run = Run(tmp_path, "some-rows")
    told = json.loads(command(tmp_path, "curate", "--explain", "--json").stdout)
    assert told["records"] == 4 and told["accepted"] == 3
    assert (run.path / "curate" / "explain.html").is_file()
    [refused] = [v.record for v in read_verdicts(run.verdicts / "refusal") if v.state == "fail"]
    command(tmp_path, "curate", "some-rows", "--keep", refused[:12])
    manifest = run.manifest("curate")
    assert manifest and manifest.counts["accepted"] == 4
    command(tmp_path, "curate", "some-rows", "--unkeep", refused)
    manifest = run.manifest("curate")
    assert manifest and manifest.counts["accepted"] == 3


def test_a_file_takes_no_other_runs_folder(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "x.jsonl"
    data.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in ROWS), encoding="utf-8")
    before = sorted(run.path.rglob("*"))
    (run.path / "recipe.yaml").write_text("name: x\ncurate: {}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"is another run.*--name x-2"):
        command(tmp_path, "curate", str(data))
    assert sorted(run.path.rglob("*")) == sorted([*before, run.path / "recipe.yaml"])
    command(tmp_path, "curate", str(data), "--name", "x-2")
    command(tmp_path, "curate", str(data), "--name", "x-2", "--curate.novelty", "null")
    assert Run(tmp_path, "x-2").manifest("curate")


def test_a_killed_search_for_leaks_is_not_taken_for_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found before a kill is of the questions that were asked then."""
    plan = Recipe.model_validate({"name": "x", "curate": {"test": 0.0}})

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("yearling.curate.contamination.Opinions.fail", killed)
        with pytest.raises(KeyboardInterrupt):
            run_curate(plan, run, [("a", ROWS[0][0])])
    counts = run_curate(plan, run, [("b", ROWS[1][0])])
    assert counts["failed_contamination"] == 1
    assert [state for state, *_ in verdicts(run, "contamination")] == ["pass", "fail", "pass"]


def test_a_name_of_the_hub_is_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    inside = cache / "datasets--me--talks" / "snapshots" / "abc" / "data"
    inside.mkdir(parents=True)
    (inside.parents[2] / "refs").mkdir()
    (inside.parents[2] / "refs" / "main").write_text("abc")
    (inside / "train.jsonl").write_text('{"prompt": "Name a tree.", "completion": "An oak."}\n')
    (inside.parent / "dataset_infos.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("hf:me/talks", "hf:me/talks/data"):
        assert list_files(Path(name)) == ([inside / "train.jsonl"], [])
    for name in ("hf:me/none", "hf:me"):
        with pytest.raises(UserError, match=f"^{name} could not be fetched from the hub"):
            list_files(Path(name))


# -- the engine's steps


def test_a_finished_step_is_not_done_again_and_leftovers_are_not_read(tmp_path: Path) -> None:
    done: list[Path] = []

    def work(out: Path) -> list[str]:
        done.append(out)
        (out / "orphan.parquet").touch()
        (out / "whole.parquet").touch()
        return [str(out / "whole.parquet")]

    assert engine._step(work, tmp_path / "a") == engine._step(work, tmp_path / "a") == [tmp_path / "a/whole.parquet"]
    assert len(done) == 1
    (tmp_path / "a" / engine.DONE).unlink()
    engine._step(work, tmp_path / "a")
    assert len(done) == 2


def test_on_a_cluster_a_failed_step_is_done_again_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ObjectLostError as lost

    tries: list[int] = []

    def work(out: Path) -> list[str]:
        tries.append(1)
        if len(tries) < 3:
            raise lost("0" * 56, b"", "")
        return ["part.parquet"]

    with pytest.raises(lost):
        engine._step(work, tmp_path / "here")
    assert len(tries) == 1, "on one machine a failure is a failure"
    tries.clear()
    monkeypatch.setattr(engine, "_on_cluster", lambda: True)
    assert engine._step(work, tmp_path / "there") == [tmp_path / "there/part.parquet"]
    monkeypatch.setattr(engine, "RETRIES", 0)
    tries.clear()
    with pytest.raises(lost):
        engine._step(work, tmp_path / "once")


@pytest.mark.parametrize("sizes", [[], [3], [5000] * 200, [400_000, 10, 10], [249_999, 1, 1]])
def test_groups_hold_every_file_once_in_order(sizes: list[int]) -> None:
    groups = engine._groups(sizes)
    assert [place for group in groups for place in group] == list(range(len(sizes)))
    assert all(len(group) == 1 or sum(sizes[place] for place in group) <= engine.GROUP for group in groups)
