"""Estimate against actual: the test server and the real local teacher, asked 20 calls at most, then run.

Tokens and dollars within 15 %, time between low and high, and no call sent twice, by the ledger and by the server's own
bill. How often low and high hold the truth is measured over many plans of a teacher whose answers often fail.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_teacher import FakeTeacher
from golden_line import GOLDEN, Done, yearling
from teacher_server import Settings, serving

from yearling.estimate.stage import MOST, estimate
from yearling.generate.seeds import load_seeds
from yearling.generate.stage import run_generate
from yearling.ledger import Call, Reply
from yearling.recipe import Recipe
from yearling.run_folder import Manifest, Run

CLOSE = 0.15


def told(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    answer: dict[str, Any] = json.loads(done.out)
    return answer


def write_recipe(project: Path, recipe: dict[str, Any]) -> Path:
    path = project / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


def compared(project: Path, recipe: dict[str, Any]) -> tuple[dict[str, Any], Manifest]:
    """The estimate, and the manifest of the run that came after it; what both must keep is checked."""
    path = write_recipe(project, recipe)
    before = told(yearling(project, "estimate", str(path), "--json", timeout=1200))
    done = yearling(project, "generate", str(path), timeout=1200)
    assert done.code == 0, done.err
    made = Run(project, recipe["name"]).manifest("generate")
    assert made is not None
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        sent, different = db.execute("SELECT count(*), count(DISTINCT key) FROM sends").fetchone()
        tokens = db.execute("SELECT sum(prompt_tokens + completion_tokens) FROM calls").fetchone()[0]
    assert sent == different == made.counts["calls"], "no call is sent twice, and the run made those of the pilot"
    assert made.counts["calls"] - made.counts["sent"] == before["pilot"]["calls"] <= MOST
    in_all, to_come = before["total"]["in_all"]["expected"], before["total"]["to_come"]
    assert in_all["prompt_tokens"] + in_all["completion_tokens"] == pytest.approx(tokens, rel=CLOSE)
    assert to_come["low"]["seconds"] <= made.seconds <= to_come["high"]["seconds"], before
    return before, made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_finished_run_asks_for_nothing_more(golden: tuple[Run, Done]) -> None:
    run, _ = golden
    after = told(yearling(run.root, "estimate", str(GOLDEN), "--json", "--no-pilot"))
    with closing(sqlite3.connect(run.ledger)) as db:
        query = "SELECT stage, count(*) FROM calls WHERE state = 'settled' AND run = 'golden' GROUP BY stage"
        asked = dict(db.execute(query).fetchall())
    assert {stage["stage"]: stage["answered"]["calls"] for stage in after["stages"]} == asked
    assert asked["generate"] and asked["eval"]
    assert not any(after["total"]["to_come"]["high"].values())


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("method", ["alpaca", "self-instruct"])
def test_on_the_test_server(tmp_path: Path, method: str) -> None:
    with serving(Settings(latency_ms=40, rule="tasks", usd_in=100.0, usd_out=400.0)) as server:
        teacher = {"model": "openai:test", "base_url": server.url, "price": {"input": 100.0, "output": 400.0}}
        recipe = {"name": "server", "teacher": teacher, "generate": {"method": method, "num": 300}}
        before, made = compared(tmp_path, recipe)
        bill = server.bill()
    assert before["total"]["in_all"]["expected"]["cost_usd"] == pytest.approx(bill.usd, rel=CLOSE)
    assert made.cost_usd == pytest.approx(bill.usd)
    assert bill.requests == bill.distinct == made.counts["calls"] and not bill.delivered_again


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_the_local_teacher(tmp_path: Path) -> None:
    """Borrowed prompts, answered by the real teacher; half of what it is asked is asked by the pilot."""
    questions = [seed.instruction for seed in load_seeds(None) if not seed.input][:80]
    lines = [json.dumps({"prompt": question, "completion": ""}) + "\n" for question in questions]
    (tmp_path / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    recipe = {
        "name": "local",
        "teacher": {"model": "local:shipped:smollm2-135m-instruct"},
        "import": [{"path": "prompts.jsonl", "answer": True}],
        "generate": {
            "method": "answer",
            "num": 40,
            "answer": {"system": "Answer in one short sentence.", "max_tokens": 64},
        },
    }
    before, made = compared(tmp_path, recipe)
    assert before["total"]["in_all"]["expected"]["cost_usd"] == made.cost_usd == 0.0


def moody(seed: int) -> FakeTeacher:
    """A teacher whose answers vary threefold in length; every sixth is cut off, every eighth instruction is no good."""

    async def say(call: Call) -> Reply:
        dice = random.Random(f"{seed}:{call.key}")
        words = " ".join("".join(dice.choices("bcdfghjklmnprstv", k=6)) for _ in range(8))
        if "prompt" in call.request:
            good = dice.random() > 1 / 8
            return Reply(f"Say {words}." if good else "Draw.", "stop", 24, dice.randint(10, 60), None, 1.0)
        length, limit = round(dice.lognormvariate(4.2, 0.7)), 160
        return Reply(words, "stop" if length < limit else "length", 60, min(length, limit), None, 1.0)

    return FakeTeacher(say)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_low_and_high_hold_the_truth_nine_times_in_ten(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans, held, errors = 40, 0, []
    for seed in range(plans):
        teacher = moody(seed)

        @contextmanager
        def opened(settings: object, teacher: FakeTeacher = teacher) -> Iterator[FakeTeacher]:
            yield teacher

        monkeypatch.setattr("yearling.generate.stage.open_teacher", opened)
        generate = {"method": "magpie", "num": 60, "answer": {"max_tokens": 160}}
        recipe = Recipe.model_validate(
            {"name": f"moody-{seed}", "teacher": {"model": "openai:x"}, "generate": generate}
        )
        root = project / str(seed)
        before = estimate(recipe, root)["total"]["in_all"]
        Run(root, recipe.name).create()
        _, results = run_generate(recipe, Run(root, recipe.name))
        tokens = results["completion_tokens"]
        held += before["low"]["completion_tokens"] <= tokens <= before["high"]["completion_tokens"]
        errors.append(before["expected"]["completion_tokens"] / tokens - 1)
    assert held >= 0.8 * plans, errors
    assert abs(sorted(errors)[plans // 2]) < 0.08, "neither too low nor too high by habit"
