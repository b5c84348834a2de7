"""Rows are born in the number wanted, nothing is asked twice, and what is turned away is kept with its reason."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import asked, digest, seeded

from yearling.errors import BudgetError, UserError
from yearling.generate import alpaca, stage
from yearling.generate.draft import Draft, fault
from yearling.generate.stage import run_generate
from yearling.ledger import Call, Ledger, Reply
from yearling.recipe import Generate, Recipe
from yearling.record import Record, read_records, read_table
from yearling.record import digest as record_digest
from yearling.run_folder import Run
from yearling.teachers import ask

if TYPE_CHECKING:
    from openai_server import Entry, OpenAIServer

SEEDS = [{"id": f"s{n}", "instruction": f"Sum up letter {n}{n}{n}.", "output": "Yes."} for n in range(40)]
PRICE = {"input": 1000.0, "output": 2000.0}


def is_question(body: Mapping[str, Any]) -> bool:
    return asked(body).startswith("Write ")


def sentence(dice: random.Random) -> str:
    """A task that is like no other."""
    words = ["".join(dice.choices("bcdfghjklmnprstv", k=6)) for _ in range(7)]
    return f"Say {' '.join(words)}."


def teach(body: Mapping[str, Any]) -> str:
    """Two new tasks for a question, one line for a task."""
    dice = random.Random(digest(body))
    if not is_question(body):
        return sentence(dice)
    return f"4. Instruction: {sentence(dice)}\nInput: none\n\n5. Instruction: {sentence(dice)}\nInput: {sentence(dice)}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    server.answer = teach


def recipe(server: OpenAIServer, num: int = 5, budget: Any = None, **generate: Any) -> Recipe:
    values = {
        "name": "one",
        "teacher": {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "concurrency": 4},
        "budget": budget or {},
        "generate": {"method": "alpaca", "num": num, "per_call": 2, "max_tokens": 64, **generate},
    }
    return Recipe.model_validate(values)


def bear(recipe: Recipe, project: Path) -> tuple[list[Record], dict[str, int], dict[str, Any]]:
    run = Run(project, recipe.name)
    run.create()
    counts, results = run_generate(recipe, run)
    return list(read_records(run.records)), counts, results


def rejected(project: Path) -> list[dict[str, Any]]:
    import pyarrow as pa

    text = pa.schema([("call", pa.string()), ("reason", pa.string()), ("text", pa.string())])
    return list(read_table(project / "runs" / "one" / "rejected", text))


def questions(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if is_question(entry.body)]


def write_seeds(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# -- the stage


def test_the_rows_wanted_are_born_with_their_origin(server: OpenAIServer, project: Path) -> None:
    records, counts, results = bear(recipe(server), project)
    assert len(records) == counts["rows"] == 5
    assert counts["sent"] == counts["calls"] == len(server.bill)
    assert [record.origin.sequence for record in records] == list(range(5))
    for record in records:
        origin = record.origin
        assert (origin.method, origin.teacher, origin.licence) == ("alpaca", "openai:tutor", "unknown")
        assert origin.prompt_digest == record_digest(alpaca.prompt_text())
        assert len(origin.calls) == 2
        assert origin.key.rpartition("/")[0] == origin.calls[0]
        assert origin.source.count("seed-") == 3
        assert origin.cost_usd is not None and origin.cost_usd > 0
    told = {asked(entry.body): server.answer(entry.body) for entry in server.bill}
    assert all(told[record.prompt] == record.completion for record in records)
    assert any("\n\nSay" in record.prompt for record in records), "the input is under the instruction"
    assert results["cost_usd"] == pytest.approx(server.cost(PRICE["input"], PRICE["output"]))
    ledger = Ledger(Run(project, "one").ledger, "one")
    assert ledger.count("settled") == len(server.bill)
    ledger.close()


def test_the_same_command_again_sends_nothing(server: OpenAIServer, project: Path) -> None:
    records, first, _ = bear(recipe(server), project)
    before = len(server.bill)
    again, counts, _ = bear(recipe(server), project)
    assert again == records
    assert (len(server.bill), counts["sent"], counts["calls"]) == (before, 0, first["calls"])


def test_raising_num_asks_new_calls_only(server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SMALLEST_ROUND", 3)
    monkeypatch.setattr(stage, "LARGEST_ROUND", 5)
    records, _, _ = bear(recipe(server, 20), project)
    first = len(server.bill)
    more, counts, _ = bear(recipe(server, 45), project)
    assert len(more) == 45
    assert more[:20] == records, "what was born stays as it was"
    assert set(server.keys.values()) == {1}
    assert counts["sent"] == len(server.bill) - first > 0
    with closing(sqlite3.connect(Run(project, "one").ledger)) as db:
        rows = db.execute("SELECT sample FROM calls WHERE request LIKE '%Write 2 new%' ORDER BY sample").fetchall()
    assert [number for (number,) in rows] == list(range(len(rows))), "no number is left out"
    ledger = Ledger(Run(project, "one").ledger, "one")
    assert ledger.count("settled") == len(server.bill)
    ledger.close()
    fewer, counts, _ = bear(recipe(server, 10), project)
    assert fewer == records[:10]
    assert counts["sent"] == 0


def test_editing_a_seed_repeats_only_the_calls_that_showed_it(server: OpenAIServer, project: Path) -> None:
    seeds = write_seeds(project / "seeds.jsonl", SEEDS)
    plan = recipe(server, 16, seeds=seeds)
    assert plan.generate is not None
    records, _, _ = bear(plan, project)
    first = len(server.bill)
    edited = int(alpaca.request(alpaca.load_seeds(seeds), plan, plan.generate, 0)[1][0].removeprefix("s"))
    showing = [entry for entry in questions(server.bill) if SEEDS[edited]["instruction"] in asked(entry.body)]
    assert 0 < len(showing) < len(questions(server.bill))
    write_seeds(seeds, [{**row, "instruction": "Edited."} if n == edited else row for n, row in enumerate(SEEDS)])
    changed, _, _ = bear(plan, project)
    new = questions(server.bill[first:])
    assert len(new) == len(showing)
    assert all("Edited." in asked(entry.body) for entry in new)
    assert set(server.keys.values()) == {1}
    assert 0 < len({record.id for record in changed} & {record.id for record in records}) < 16


def test_an_unfinished_answer_is_kept_apart_with_its_reason(server: OpenAIServer, project: Path) -> None:
    server.plan = lambda key, attempt: "length" if int(key, 16) % 3 == 0 else None
    records, counts, results = bear(recipe(server, 12), project)
    turned = rejected(project)
    cut = [entry for entry in server.bill if entry.fault == "length"]
    cut_answers = {server.answer(entry.body) for entry in cut if not is_question(entry.body)}
    assert cut_answers
    found = {row["text"] for row in turned if row["reason"] == "unfinished answer (length)"}
    assert found == cut_answers
    assert not found & {record.completion for record in records}
    of_questions = sum(row["reason"] == "unfinished instruction" for row in turned)
    assert of_questions == len(questions(cut))
    assert counts["rejected"] == len(turned) == sum(results["rejected"].values())


@pytest.mark.parametrize(
    ("fault", "reason"), [("null", "unfinished answer (content_filter)"), ("empty", "empty answer")]
)
def test_an_answer_without_text_is_no_row(server: OpenAIServer, project: Path, fault: Any, reason: str) -> None:
    bear(recipe(server, 2), project)  # the questions are answered in full; other answers are asked for below
    server.plan = lambda key, attempt: fault if int(key, 16) % 3 == 0 else None
    records, _, _ = bear(recipe(server, 2, answer_temperature=0.1), project)
    assert len(records) == 2 and all(record.completion for record in records)
    assert reason in {row["reason"] for row in rejected(project)}


NOTHING = {
    "silence": lambda body: "",
    "prose": lambda body: "...",
    "pictures": lambda body: "1. Instruction: Draw a picture of the sea.\nInput: none",
    "repeats": lambda body: "1. Instruction: Name three colours of the sea.\nInput: none",
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_teacher_that_yields_nothing_ends_with_one_error(server: OpenAIServer, project: Path, kind: str) -> None:
    reasons = {
        "silence": "no task in the reply",
        "prose": "begins with punctuation|no task",
        "pictures": "cannot see",
        "repeats": "not novel",
    }
    server.answer = NOTHING[kind]
    with pytest.raises(UserError, match=f"rows after .* calls; rejected: .*({reasons[kind]})") as caught:
        bear(recipe(server, 3, attempts=1.0), project)
    assert caught.value.exit_code == 2
    assert "generate.attempts" in str(caught.value)
    assert len(server.bill) < 200
    assert not (project / "runs" / "one" / "records").exists()


def test_a_stopped_run_goes_on_to_the_same_rows(server: OpenAIServer, project: Path) -> None:
    calm, _, _ = bear(recipe(server, 20), project / "calm")
    server.bill.clear()
    stops = 0
    while stops < 9:
        try:
            records, _, _ = bear(recipe(server, 20, {"max_cost_usd": 4.0 * 2**stops}), project)
            break
        except BudgetError:
            stops += 1
    assert 2 <= stops < 9
    assert records == calm


def test_faults_change_no_row(server: OpenAIServer, project: Path) -> None:
    calm, _, _ = bear(recipe(server, 12), project / "calm")
    server.bill.clear()
    server.plan = seeded(3, 0.3, ["drop", "500", "garbage", "slow", "429"])
    records, _, _ = bear(recipe(server, 12), project)
    assert any(entry.fault for entry in server.bill)
    assert [record.id for record in records] == [record.id for record in calm]
    assert records == calm


def test_magpie_opens_the_teachers_template(server: OpenAIServer, project: Path) -> None:
    template = project / "teacher.jinja"
    template.write_text("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}", encoding="utf-8")
    dice = random.Random(1)
    server.answer = lambda body: sentence(dice)
    base = recipe(server, 6, method="magpie")
    assert base.teacher is not None
    plan = base.model_copy(update={"teacher": base.teacher.model_copy(update={"template": template})})
    records, counts, _ = bear(plan, project)
    raw = [entry for entry in server.bill if "prompt" in entry.body]
    assert {entry.body["prompt"] for entry in raw} == {"<|user|>"}
    assert len(raw) >= 6, "equal requests are told apart by their sample index"
    assert len({record.prompt for record in records}) == len(records) == 6
    assert records[0].origin.method == "magpie"
    before = len(server.bill)
    again, counts, _ = bear(plan, project)
    assert (again, counts["sent"], len(server.bill)) == (records, 0, before)


def test_the_system_turn_is_said_with_each_task(server: OpenAIServer, project: Path) -> None:
    bear(recipe(server, 3, system="Be short."), project)
    for entry in server.bill:
        turns = [message["role"] for message in entry.body["messages"]]
        assert turns == (["user"] if is_question(entry.body) else ["system", "user"])


def test_few_rows_take_few_calls(server: OpenAIServer, project: Path) -> None:
    def many(body: Mapping[str, Any]) -> str:
        dice = random.Random(digest(body))
        if not is_question(body):
            return sentence(dice)
        return "\n".join(f"{n}. Instruction: {sentence(dice)}\nInput: none" for n in range(4, 12))

    server.answer = many
    bear(recipe(server, 2, per_call=8, max_tokens=64), project)
    assert len(server.bill) <= 24


def test_a_round_is_no_larger_than_allowed(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(*arguments: Any) -> Any:
        calls = arguments[2]
        if calls and is_question(calls[0].request):
            sizes.append(len(calls))
        return ask.ask_all(*arguments)

    monkeypatch.setattr("yearling.generate.stage.ask_all", counted)
    bear(recipe(server, 100), project)
    assert all(stage.SMALLEST_ROUND <= size <= stage.LARGEST_ROUND for size in sizes)


# -- reading a reply

CALL = Call("e", "m", {})


def reply(text: str, finish: str = "stop") -> Reply:
    return Reply(text, finish, 1, 1, None, 0.0, "")


def test_the_form_that_the_prompt_shows_is_read() -> None:
    shown = [alpaca._shown(n, alpaca.Seed("s", f"Name {n} trees.", "" if n % 2 else "In a wood.", "")) for n in (4, 5)]
    assert alpaca.parse("\n\n".join(shown)) == [("Name 4 trees.", "In a wood."), ("Name 5 trees.", "")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Instruction: Name a tree.\nInput: none", [("Name a tree.", "")]),
        ("**Task 4:**\n**Instruction:** Name a tree.\n**Input:** None.", [("Name a tree.", "")]),
        ("4) Instruction: Sum up.\nInput: A letter.\nOutput: Yes.", [("Sum up.", "A letter.")]),
        ("Instruction: Name\n a tree.", [("Name a tree.", "")]),
        ("1. Instruction: A b.\nInput: none\n2. Instruction: D e.\nInput: N/A", [("A b.", ""), ("D e.", "")]),
        ("4. Instruction:\nInput: none", []),
    ],
)
def test_a_reply_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert alpaca.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Instruction: A b.\nInput: <noinput>", [("A b.", "")]),
        ("1. Instruction: ¿Qué es?\nInput: -5 + 3", [("¿Qué es?", "-5 + 3")]),
        ('1. Instruction: "Be" or "is"?\nInput: "Be" it', [('"Be" or "is"?', '"Be" it')]),
    ],
)
def test_a_text_begins_where_it_begins(text: str, expected: list[tuple[str, str]]) -> None:
    assert alpaca.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("1. Name a tree.\n2. Name a river.", [("Name a tree.", ""), ("Name a river.", "")]),
        (
            "4. Instruction: Sort the list.\nInput: 1. pears\n2. apples\n\n5. Instruction: Name a tree.\nInput: none",
            [("Sort the list.", "1. pears\n2. apples"), ("Name a tree.", "")],
        ),
    ],
)
def test_a_reply_without_fields_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert alpaca.parse(text) == expected


def test_the_last_task_of_a_cut_reply_is_dropped() -> None:
    text = "1. Instruction: Name a tree.\nInput: none\n2. Instruction: Name a ri"
    whole, reason = alpaca.drafts(CALL, reply(text), ("s1",))
    assert ([draft.instruction for draft in whole], reason) == (["Name a tree.", "Name a ri"], None)
    cut, reason = alpaca.drafts(CALL, reply(text, "length"), ("s1",))
    assert ([draft.instruction for draft in cut], reason) == (["Name a tree."], "unfinished instruction")
    assert cut[0] == Draft("Name a tree.", "", f"{CALL.key}/0", CALL.key, ("s1",))


def test_a_reply_without_a_task_says_so() -> None:
    assert alpaca.drafts(CALL, reply("", "length"), ())[1] == "no task in the reply"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name three trees.", None),
        ("说出三种颜色", None),
        ("¿Cuál es la capital de Chile?", None),
        ("", "empty instruction"),
        ("Name trees.", "instruction too short"),
        ("word " * 151, "instruction too long"),
        ("Describe the picture above.", "asks for what a text model cannot see"),
        ("Plotting is not a plot twist.", "asks for what a text model cannot see"),
        ("- name three trees", "begins with punctuation"),
    ],
)
def test_what_is_wrong_with_an_instruction(text: str, reason: str | None) -> None:
    assert fault(Draft(text, "", "k", "c")) == reason


# -- the plan


def test_call_k_asks_the_same_on_every_run() -> None:
    seeds = alpaca.load_seeds(None)
    plan = Recipe.model_validate({"name": "x"})
    first = [alpaca.request(seeds, plan, Generate(), k) for k in range(30)]
    assert first == [alpaca.request(seeds, plan, Generate(num=7), k) for k in range(30)]
    assert first != [alpaca.request(seeds, plan, Generate(seed=1), k) for k in range(30)]
    assert len({json.dumps(body) for body, _ in first}) == 30
    body, parents = first[0]
    shown = [seed.instruction for seed in seeds if seed.id in parents]
    assert len(shown) == 3 and all(text in asked(body) for text in shown)
    assert "tasks 4 to 11" in asked(body)


# -- seed tasks


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"seeds.jsonl:2: not JSON"),
        ("[]", r"seeds.jsonl:2: a seed task is an object"),
        ('{"input": "x"}', r"seeds.jsonl:2: a seed task"),
        ('{"instruction": 3}', r"seeds.jsonl:2: a seed task"),
    ],
)
def test_a_wrong_seed_is_named_by_its_line(project: Path, line: str, message: str) -> None:
    path = project / "seeds.jsonl"
    path.write_text(json.dumps(SEEDS[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        alpaca.load_seeds(path)


def test_a_seed_file_that_cannot_serve_is_refused(project: Path) -> None:
    path = project / "seeds.jsonl"
    with pytest.raises(UserError, match="cannot be read"):
        alpaca.load_seeds(path)
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no seed tasks"):
        alpaca.load_seeds(path)
    path.write_bytes(b'{"instruction": "caf\xe9"}')
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 20\)"):
        alpaca.load_seeds(path)


def test_the_published_shape_of_seeds_is_read(project: Path) -> None:
    row = {"instruction": "Sum up.", "instances": [{"input": "A letter.", "output": "Yes."}]}
    (seed,) = alpaca.load_seeds(write_seeds(project / "seeds.jsonl", [row]))
    assert (seed.instruction, seed.input, seed.output) == ("Sum up.", "A letter.", "Yes.")


@pytest.mark.parametrize("instances", [{"input": "x"}, 3, ["x"], [None]])
def test_seeds_of_a_strange_shape_are_the_users_to_mend(project: Path, instances: Any) -> None:
    path = write_seeds(project / "seeds.jsonl", [{"instruction": "Sum up.", "instances": instances}])
    with pytest.raises(UserError, match=":1"):
        alpaca.load_seeds(path)


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\u2029"])
def test_a_line_ends_where_json_lines_end(project: Path, mark: str) -> None:
    path = project / "seeds.jsonl"
    path.write_text(json.dumps({"instruction": f"Sum{mark}up."}, ensure_ascii=False), encoding="utf-8")
    assert len(alpaca.load_seeds(path)) == 1
