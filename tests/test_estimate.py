"""What an estimate says is what the run then does: the same first calls, the same rules, nothing asked twice."""

from __future__ import annotations

import io
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_teacher import CHAT
from golden_line import environment
from hypothesis import given
from hypothesis import strategies as st
from openai_server import digest
from rich.console import Console
from teacher_answers import tasks_of

from yearling.errors import BudgetError, UserError
from yearling.estimate.numbers import terms_of
from yearling.estimate.pace import pace_of
from yearling.estimate.stage import MOST, estimate
from yearling.estimate.view import view
from yearling.generate.stage import run_generate
from yearling.pipeline import run_stages
from yearling.recipe import Recipe, Teacher
from yearling.run_folder import Run

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 100.0, "output": 200.0}
EDGES = ("low", "expected", "high")
TOKENS = ("prompt_tokens", "completion_tokens")
DEPOT = re.compile(r"The (\w+) depot holds (\d+) crates\.")


DICE = random.Random(5)


def teach(body: Mapping[str, Any]) -> str:
    """Tasks, instances, pairs that stand on their passage, or words; a raw prompt is never answered twice alike."""
    if "prompt" in body:
        return f"Say {' '.join(''.join(DICE.choices('bcdfghjklmnprstv', k=6)) for _ in range(7))}."
    text = "\n".join(str(m["content"]) for m in body.get("messages", ()))
    if found := DEPOT.findall(text):
        pairs = [(f"How many crates does the {name} depot hold?", f"It holds {count} crates.") for name, count in found]
        return json.dumps({"pairs": [{"question": question, "answer": answer} for question, answer in pairs[:2]]})
    return tasks_of(body, digest(body))


@pytest.fixture(autouse=True)
def _taught(server: OpenAIServer, project: Path) -> None:
    server.answer = teach
    (project / "chat.jinja").write_text(CHAT, encoding="utf-8")
    names = [f"depot{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(60)]
    words = " ".join(random.Random(1).choices(["grain", "salt", "timber", "wool", "glass"], k=44))
    texts = [f"The {name} depot holds {100 + n} crates. It keeps {words}." for n, name in enumerate(names)]
    (project / "notes").mkdir()
    (project / "notes" / "depots.txt").write_text("\n\n".join(texts), encoding="utf-8")
    rows = [{"prompt": f"Tell me about {name}, please.", "completion": "No."} for name in names]
    (project / "borrowed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe(server: OpenAIServer, project: Path, num: int = 40, **sections: Any) -> Recipe:
    generate = {"method": "alpaca", "num": num, "answer": {"max_tokens": 256}, **sections.pop("generate", {})}
    teacher = {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "concurrency": 4,
               "template": project / "chat.jinja", **sections.pop("teacher", {})}  # fmt: skip
    return Recipe.model_validate({"name": "one", "teacher": teacher, "generate": generate, **sections})


METHODS: dict[str, dict[str, Any]] = {
    "alpaca": {"generate": {"method": "alpaca"}},
    "alpaca as text": {"generate": {"method": "alpaca"}, "teacher": {"structured": False}},
    "alpaca together": {"generate": {"method": "alpaca", "alpaca": {"together": True}}},
    "magpie": {"generate": {"method": "magpie"}},
    "magpie, three turns": {"generate": {"method": "magpie", "answer": {"turns": 3, "max_tokens": 256}}},
    "self-instruct": {"generate": {"method": "self-instruct"}},
    "evolve": {"generate": {"method": "evolve", "evolve": {"rounds": 2}}},
    "answer": {"generate": {"method": "answer"}},
    "documents": {"generate": {"method": "documents"}},
}


def chosen(server: OpenAIServer, project: Path, method: str, num: int = 40) -> Recipe:
    sections = json.loads(json.dumps(METHODS[method]))
    if method == "documents":
        sections["generate"]["documents"] = {"path": project / "notes", "words": 50, "pairs": 2}
    if method == "answer":
        sections["import"] = [{"path": project / "borrowed.jsonl", "answer": True}]
    return recipe(server, project, num, **sections)


def bear(plan: Recipe, project: Path) -> tuple[dict[str, int], dict[str, Any]]:
    run = Run(project, plan.name)
    run.create()
    return run_generate(plan, run)


def untimed(told: dict[str, Any]) -> list[dict[str, Any]]:
    """What is to come of each stage; how long the teacher took to start is another each time."""
    return [{**stage["to_come"][edge], "seconds": 0} for stage in told["stages"] for edge in EDGES]


def in_ledger(project: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("method", METHODS)
def test_the_pilot_asks_the_first_calls_of_the_run(server: OpenAIServer, project: Path, method: str) -> None:
    plan = chosen(server, project, method)
    told = estimate(plan, project)
    pilot = len(server.bill)
    assert 0 < pilot <= MOST
    assert told["pilot"]["calls"] == pilot == told["total"]["answered"]["calls"]
    again = estimate(plan, project)
    assert again["pilot"]["calls"] == 0 and len(server.bill) == pilot, "asked again, it asks for nothing more"
    assert untimed(again) == untimed(told)
    counts, _ = bear(plan, project)
    assert set(server.keys.values()) == {1} or method.startswith("magpie"), "nothing is sent twice"
    assert counts["calls"] - counts["sent"] == pilot, "the run made every call of the pilot"


@pytest.mark.parametrize("num", [1, 3, 30, 150])
def test_the_rounds_are_the_runs_own(server: OpenAIServer, project: Path, num: int) -> None:
    """Where every call is good nothing is left to chance but the length of the answers."""
    plan = chosen(server, project, "magpie", num)
    told = estimate(plan, project)["total"]["in_all"]["expected"]
    counts, results = bear(plan, project)
    assert told["calls"] == counts["calls"] == len(server.bill)
    assert told["prompt_tokens"] == sum(entry.prompt_tokens for entry in server.bill)
    assert told["cost_usd"] == pytest.approx(results["cost_usd"], rel=0.15)


@pytest.mark.parametrize("method", ["alpaca", "self-instruct", "answer", "documents"])
def test_when_all_is_answered_nothing_is_to_come(server: OpenAIServer, project: Path, method: str) -> None:
    plan = chosen(server, project, method, 25)
    estimate(plan, project)
    counts, results = bear(plan, project)
    asked = len(server.bill)
    told = estimate(plan, project, 0)
    assert len(server.bill) == asked
    assert told["total"]["answered"]["calls"] == counts["calls"]
    assert told["total"]["answered"]["cost_usd"] == pytest.approx(results["cost_usd"])
    assert told["total"]["answered"]["cost_usd"] == pytest.approx(server.cost(*PRICE.values()))
    for edge in EDGES:
        assert not any(told["total"]["to_come"][edge].values())


def test_a_larger_num_is_estimated_from_the_rows_there_are(server: OpenAIServer, project: Path) -> None:
    small, large = chosen(server, project, "alpaca", 30), chosen(server, project, "alpaca", 90)
    first, _ = bear(small, project)
    asked = len(server.bill)
    told = estimate(large, project)
    assert len(server.bill) == asked, "there is evidence enough"
    assert told["total"]["answered"]["calls"] == first["calls"]
    counts, results = bear(large, project)
    assert told["total"]["to_come"]["expected"]["calls"] == pytest.approx(counts["sent"], rel=0.25)
    assert told["total"]["in_all"]["expected"]["cost_usd"] == pytest.approx(results["cost_usd"], rel=0.15)


def test_a_stopped_run_is_estimated_from_where_it_stopped(server: OpenAIServer, project: Path) -> None:
    plan = chosen(server, project, "alpaca", 60)
    stopped = plan.model_copy(update={"budget": plan.budget.model_copy(update={"max_tokens": 12_000})})
    with pytest.raises(BudgetError):
        bear(stopped, project)
    asked = len(server.bill)
    told = estimate(plan, project)
    assert told["total"]["answered"]["calls"] == asked == len(server.bill) > MOST
    counts, results = bear(plan, project)
    assert told["total"]["in_all"]["expected"]["cost_usd"] == pytest.approx(results["cost_usd"], rel=0.15)
    assert counts["sent"] == len(server.bill) - asked


def test_each_number_lies_between_low_and_high(server: OpenAIServer, project: Path) -> None:
    exam = {"eval": {"against": "teacher"}, "student": {"base": "b"}, "curate": {}}
    told = estimate(recipe(server, project, 300, **exam), project)
    assert [stage["stage"] for stage in told["stages"]] == ["generate", "eval"]
    for part in (*told["stages"], told["total"]):
        low, expected, high = (part["to_come"][edge] for edge in EDGES)
        for name in low:
            assert 0 <= low[name] <= expected[name] <= high[name], name
        assert low["cost_usd"] < high["cost_usd"] and low["seconds"] < high["seconds"]
    generate, asked = (stage["to_come"]["expected"] for stage in told["stages"])
    assert 15 <= asked["calls"] <= 45, "a tenth of the accepted rows is held out"
    total = told["total"]["to_come"]["expected"]
    for name in ("calls", *TOKENS):
        assert total[name] == pytest.approx(generate[name] + asked[name], abs=1)


def test_the_exam_over_imported_rows_is_asked_itself(server: OpenAIServer, project: Path) -> None:
    plan = Recipe.model_validate({
        "name": "one", "teacher": {"model": "openai:tutor", "base_url": server.url, "price": PRICE},
        "import": [{"path": project / "borrowed.jsonl"}], "curate": {"test": 0.6, "off": ["shape"]},
        "student": {"base": "b"}, "eval": {"questions": ["What is salt?"], "max_rows": 30},
    })  # fmt: skip
    with pytest.raises(UserError, match="yearling import"):
        estimate(plan, project)
    assert not server.bill
    run_stages(plan, project, ["import", "curate"])
    told = estimate(plan, project)
    assert len(server.bill) == MOST == told["pilot"]["calls"]
    assert told["total"]["in_all"]["expected"]["calls"] == 31
    assert {(stage, sample) for stage, sample in in_ledger(project, "SELECT stage, sample FROM calls")} == {("eval", 1)}
    assert all(entry.body["max_tokens"] == 256 for entry in server.bill)


@pytest.mark.parametrize("method", ["answer", pytest.param("evolve", marks=pytest.mark.slow), "documents"])
def test_what_is_not_endless_ends_as_the_run_does(server: OpenAIServer, project: Path, method: str) -> None:
    plan = chosen(server, project, method, 5000)
    told = estimate(plan, project)
    counts, results = bear(plan, project)
    assert counts["rows"] < 5000
    assert told["total"]["in_all"]["expected"]["calls"] == pytest.approx(counts["calls"], rel=0.15)
    assert told["total"]["in_all"]["expected"]["cost_usd"] == pytest.approx(results["cost_usd"], rel=0.15)
    assert any("not for the 5000" in note for note in told["notes"])


# -- money


def test_an_unknown_price_is_unknown(server: OpenAIServer, project: Path) -> None:
    told = estimate(recipe(server, project, teacher={"price": None}), project)
    for part in (told["stages"][0], told["total"]):
        assert part["answered"]["cost_usd"] is None
        assert all(part["to_come"][edge]["cost_usd"] is None for edge in EDGES)
    shown = printed(told)
    assert "unknown" in shown and "$0" not in shown and "price is unknown" in shown


def test_terms_follow_the_teacher() -> None:
    def terms(**settings: Any) -> Any:
        return terms_of(Teacher.model_validate(settings), 1.5)

    local = terms(model="local:x.gguf", price={"input": 9, "output": 9})
    assert local.cost(1000, 1000) == 0.0 and local.here
    there = terms(model="openai:x", price={"input": 1, "output": 4}, base_url="https://teacher.example/v1")
    assert there.cost(1e6, 1e6) == 5.0 and not there.here
    half = terms(model="openai:x", price={"input": 1, "output": 4}, batch=True)
    assert half.cost(1e6, 1e6) == 2.5
    assert terms(model="openai:x").cost(1, 1) is None
    assert terms(model="vllm:x").here


def test_what_is_hidden_is_counted(server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openai_server import _rendered

    def thinking(*arguments: Any) -> Any:
        status, headers, content = _rendered(*arguments)  # type: ignore[misc]
        body = json.loads(content)
        body["usage"]["completion_tokens"] += 1000
        body["usage"]["completion_tokens_details"] = {"reasoning_tokens": 1000}
        return status, headers, json.dumps(body).encode()

    monkeypatch.setattr("openai_server._rendered", thinking)
    expected = estimate(recipe(server, project), project)["total"]["in_all"]["expected"]
    assert expected["reasoning_tokens"] == pytest.approx(1000 * expected["calls"], rel=0.02)
    assert expected["completion_tokens"] > expected["reasoning_tokens"]
    assert expected["cost_usd"] > expected["reasoning_tokens"] * PRICE["output"] / 1e6


def test_the_budget_is_compared(server: OpenAIServer, project: Path) -> None:
    free = estimate(recipe(server, project), project)
    need = free["total"]["in_all"]["expected"]["cost_usd"]

    def caps(**budget: Any) -> dict[tuple[str, str], dict[str, Any]]:
        told = estimate(recipe(server, project, budget=budget), project, 0)
        return {(row["cap"], row["of"]): row for row in told["budget"]}

    wide = caps(max_cost_usd=need * 10, max_tokens=10**7, share={"generate": 0.9, "eval": 0.1})
    assert {row["fits"] for row in wide.values()} == {"yes"}
    assert set(wide) == {("max_cost_usd", "all"), ("max_cost_usd", "generate"), ("max_tokens", "all"),
                         ("max_tokens", "generate")}  # fmt: skip
    assert [key for key, row in wide.items() if row["binds_first"]] == [("max_cost_usd", "generate")]
    spent = free["total"]["answered"]["cost_usd"]
    assert wide["max_cost_usd", "all"]["used"] == pytest.approx(spent)
    assert wide["max_cost_usd", "all"]["expected"] > need, "room for the last reservation is needed too"
    assert caps(max_cost_usd=need * 0.8)["max_cost_usd", "all"]["fits"] == "no"
    narrow = caps(max_cost_usd=wide["max_cost_usd", "all"]["expected"] * 1.001)
    assert narrow["max_cost_usd", "all"]["fits"] == "perhaps"
    assert caps(max_minutes=100.0)["max_minutes", "all"]["fits"] == "yes"


def test_the_pilot_is_under_the_budget(server: OpenAIServer, project: Path) -> None:
    with pytest.raises(BudgetError) as caught:
        estimate(recipe(server, project, budget={"max_tokens": 3000}), project)
    assert caught.value.exit_code == 3
    assert server.tokens <= 3000


# -- what cannot be estimated


def test_nothing_known_is_said(server: OpenAIServer, project: Path) -> None:
    with pytest.raises(UserError, match="nothing is known of this plan") as caught:
        estimate(recipe(server, project), project, 0)
    assert caught.value.exit_code == 2 and not server.bill


def test_a_recipe_that_asks_nobody_is_told(server: OpenAIServer, project: Path) -> None:
    plan = Recipe.model_validate({"name": "one", "import": [{"path": project / "borrowed.jsonl"}], "curate": {}})
    with pytest.raises(UserError, match="nothing in the recipe one asks a teacher"):
        estimate(plan, project)


def test_a_teacher_without_a_good_word_is_told(server: OpenAIServer, project: Path) -> None:
    server.answer = lambda body: "I would rather not."
    with pytest.raises(UserError, match="worth an answer: no task in the reply"):
        estimate(recipe(server, project, teacher={"structured": False}), project)
    assert len(server.bill) <= MOST


def test_answers_that_are_never_finished_are_told(server: OpenAIServer, project: Path) -> None:
    plan = chosen(server, project, "magpie", 40)
    respond = server.respond

    def cut(route: str, body: dict[str, Any], headers: Any) -> Any:
        server.faults = ["length"] if "messages" in body else []
        return respond(route, body, headers)

    server.respond = cut  # type: ignore[method-assign]
    told = estimate(plan, project)
    assert any("gives up" in note for note in told["notes"])


# -- time


@given(st.integers(1, 8), st.integers(1, 40), st.floats(0.1, 10))
def test_calls_of_one_length_take_their_waves(most: int, calls: int, seconds: float) -> None:
    flights = [(call // most * seconds, call // most * seconds + seconds) for call in range(calls)]
    pace = pace_of(flights, most)
    waves = -(-calls // most)
    assert pace.shared(calls * seconds) == pytest.approx(waves * seconds)
    assert pace.alone(calls, calls * seconds, seconds, 1.0) == pytest.approx(waves * seconds, rel=0.51)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0.01, 100)), min_size=1, max_size=40), st.integers(1, 16))
def test_no_pace_is_impossible(flights: list[tuple[float, float]], most: int) -> None:
    pace = pace_of([(begin, begin + length) for begin, length in flights], most)
    assert 1.0 <= pace.flew <= len(flights) + 1e-6 and pace.between >= 0
    assert pace.alone(0, 0, 0, 0) == 0.0
    longest, busy = max(length for _, length in flights), sum(length for _, length in flights)
    assert pace.alone(len(flights), busy, longest, 1.0) >= busy / most - 1e-9


# -- the command


def printed(told: Mapping[str, Any]) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(view(told))
    return out.getvalue()


def test_the_table_fits_a_terminal(server: OpenAIServer, project: Path) -> None:
    exam = {"eval": {"against": "teacher"}, "student": {"base": "b"}, "curate": {}}
    told = estimate(
        recipe(server, project, 100_000, **exam, budget={"max_cost_usd": 1.0, "share": {"eval": 0.1}}), project, 8
    )
    shown = printed(told)
    assert max(map(len, shown.splitlines())) <= 80
    expected = told["total"]["to_come"]["expected"]["calls"]
    assert f"{expected:,}".replace(",", " ") in shown
    assert "is not enough" in shown and "8 calls" in shown and "novel" in shown


def command(project: Path, plan: Recipe, *more: str) -> list[str]:
    path = project / "recipe.yaml"
    path.write_text(plan.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
    return [sys.executable, "-m", "yearling.cli", "--project", str(project), "estimate", str(path), *more]


def test_the_command_answers_in_json(server: OpenAIServer, project: Path) -> None:
    plan = recipe(server, project)
    done = subprocess.run(command(project, plan, "--json", "--pilot", "9", "--generate.num", "12"), capture_output=True,
                          text=True, env=environment(), check=True)  # fmt: skip
    told = json.loads(done.stdout)
    assert told["pilot"]["calls"] == len(server.bill) <= 9
    assert told["total"]["in_all"]["expected"]["calls"] < 60
    unknown = command(project, plan, "--no-pilot", "--generate.seed", "7")
    refused = subprocess.run(unknown, capture_output=True, text=True, env=environment(), check=False)
    assert refused.returncode == 2 and "nothing is known" in refused.stderr and refused.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of another process is for POSIX")
def test_a_stopped_pilot_leaves_what_was_answered(server: OpenAIServer, project: Path) -> None:
    server.hold_after(7)
    plan = recipe(server, project)
    stopped = subprocess.Popen(
        command(project, plan), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment()
    )
    server.wait_for(9)
    while in_ledger(project, "SELECT count(*) FROM calls WHERE state = 'settled'") < [(7,)]:
        pass
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(timeout=30) == 130
    server.open.set()
    flying = len(server.bill) - 7
    told = estimate(plan, project)
    assert told["pilot"]["calls"] == MOST - 7
    assert sum(count - 1 for count in server.keys.values()) <= flying, "what was answered is not asked again"
