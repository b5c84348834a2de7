"""The whole line on real models, and what its run folder says afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from golden_line import GOLDEN, Done, yearling

import yearling as api
from yearling.evaluate.exam import from_json
from yearling.ledger import Ledger
from yearling.measure.accepted import accepted_split
from yearling.recipe_file import load_recipe
from yearling.record import read_records
from yearling.run_folder import Run, read_json

Golden = tuple[Run, Done]
pytestmark = pytest.mark.timeout(600)


def manifest(run: Run, stage: str) -> Any:
    found = run.manifest(stage)
    assert found is not None, stage
    return found


def test_every_stage_is_done_and_proved(golden: Golden) -> None:
    run, _ = golden
    assert manifest(run, "generate").counts["rows"] == 16
    mask = manifest(run, "train").proofs["mask"]
    assert mask["rows"] == manifest(run, "curate").counts["train"]
    assert 0 < mask["label_tokens"] < mask["tokens"]
    adapter = manifest(run, "train").proofs["adapter"]
    assert adapter["loss"] == pytest.approx(adapter["trained_loss"], rel=0.02)
    assert adapter["loss"] < adapter["base_loss"]
    parity = manifest(run, "export").proofs["parity"]
    for kind, bound in {"f16": 1.002, "q4_k_m": 1.10}.items():
        assert parity[kind]["ratio"] <= bound
    assert manifest(run, "export").proofs["answer"]["answer"]


def test_the_exam_asks_what_training_has_not_seen(golden: Golden) -> None:
    run, _ = golden
    recipe = load_recipe(GOLDEN)
    exam = from_json(read_json(run.exam / "exam.json"))
    held_out = {record.id for record in accepted_split(run, recipe, "test")}
    taught = {record.prompt for record in accepted_split(run, recipe, "train")}
    assert {answer.record for answer in exam.answers} <= held_out
    assert not {answer.prompt for answer in exam.answers} & taught
    assert [line.name for line in exam.lines] == ["base", "student", "student q4_k_m", "teacher"]
    page = (run.exam / "report.html").read_text(encoding="utf-8")
    assert "capital of France" in page and (run.exam / "report.md").is_file()


def test_the_same_command_again_does_nothing(golden: Golden) -> None:
    run, _ = golden
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.manifest.json")}
    done = yearling(run.root, "run", str(GOLDEN))
    assert done.code == 0
    assert done.err.count("done before, nothing to do") == 5
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*.manifest.json")}


@pytest.mark.slow
def test_a_larger_num_tops_up_from_the_ledger(golden: Golden, tmp_path: Path) -> None:
    run, _ = golden
    copy = tmp_path / "project"
    shutil.copytree(run.root, copy, ignore=shutil.ignore_patterns("export", "train", "adapter", "*.lock"))
    with Ledger(copy / "ledger.sqlite", "golden") as ledger:
        paid = ledger.count("settled")
    done = yearling(copy, "generate", str(GOLDEN), "--generate.num", "18")
    assert done.code == 0, done.err
    old, new = list(read_records(run.records)), list(read_records(copy / "runs" / "golden" / "records"))
    assert [record.id for record in new[:16]] == [record.id for record in old]
    assert len(new) == 18
    with Ledger(copy / "ledger.sqlite", "golden") as ledger:
        assert ledger.count("settled") > paid
    sent = manifest(Run(copy, "golden"), "generate").counts
    assert sent["sent"] == sent["calls"] - paid + _eval_calls(run)


def _eval_calls(run: Run) -> int:
    """Calls that the exam made: they are in the ledger and no part of generate."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(run.ledger)) as db:
        return int(db.execute("SELECT count(*) FROM calls WHERE stage = 'eval'").fetchone()[0])


@pytest.mark.slow
def test_commands_that_look(golden: Golden, tmp_path: Path) -> None:
    run, _ = golden
    status = json.loads(yearling(run.root, "status", "--json").out)
    assert [s["state"] for s in status["stages"]] == ["not yet", "done", "done", "done", "done", "done"]
    life = yearling(run.root, "trace")
    for word in ("born", "novelty", "export"):
        assert word in life.out.lower(), life.out
    assert "golden" in yearling(run.root, "runs", "list").out
    out = tmp_path / "accepted.json"
    done = yearling(run.root, "curate", str(GOLDEN), "-o", str(out), "--format", "alpaca")
    assert done.code == 0, done.err
    assert len(json.loads(out.read_text(encoding="utf-8"))) == manifest(run, "curate").counts["accepted"]


def test_chat_and_the_notebook_interface(golden: Golden) -> None:
    run, _ = golden
    done = yearling(run.root, "chat", "golden", "-p", "What is the capital of France?", "--temperature", "0")
    assert done.code == 0, done.err
    assert api.ask(api.open_run("golden", run.root), "What is the capital of France?", 512).strip() == done.out.strip()
    assert len(api.records(run)) == 16
    assert api.exam(run).rows == manifest(run, "eval").counts["rows"]
