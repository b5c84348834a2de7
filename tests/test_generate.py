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
from fake_teacher import CHAT, write_seeds
from openai_server import asked, digest, seeded

from yearling.errors import BudgetError, UserError
from yearling.generate import stage
from yearling.generate.stage import answers_wanted, digest_inputs, draft_requests, run_generate
from yearling.ledger import Ledger
from yearling.recipe import Generate, Recipe
from yearling.record import Message, Origin, Record, read_records, read_table, write_records
from yearling.record import digest as record_digest
from yearling.run_folder import Run
from yearling.teachers import ask, limit

if TYPE_CHECKING:
    from openai_server import Entry, OpenAIServer

SEEDS = [{"id": f"s{n}", "instruction": f"Sum up letter {n}{n}{n}.", "output": "Yes."} for n in range(40)]
PRICE = {"input": 1000.0, "output": 2000.0}
TWO, SHORT = {"per_call": 2}, {"max_tokens": 64}


def is_question(body: Mapping[str, Any]) -> bool:
    return asked(body).startswith("Write ")


def sentence(dice: random.Random) -> str:
    """A task that is like no other."""
    words = ["".join(dice.choices("bcdfghjklmnprstv", k=6)) for _ in range(7)]
    return f"Say {' '.join(words)}."


def written(body: Mapping[str, Any], tasks: list[tuple[str, ...]]) -> str:
    """Tasks in the form that the question asks for."""
    names = ("instruction", "input", "output")
    if "as JSON" in asked(body):
        return json.dumps({"tasks": [dict(zip(names, task, strict=False)) for task in tasks]})
    blocks = [[f"Task {n}", *map("{}: {}".format, map(str.title, names), task)] for n, task in enumerate(tasks, 4)]
    return "\n\n".join("\n".join(block) for block in blocks)


def teach(body: Mapping[str, Any]) -> str:
    """Two new tasks for a question, one line for a task."""
    dice = random.Random(digest(body))
    if not is_question(body):
        return sentence(dice)
    return written(body, [(sentence(dice), ""), (sentence(dice), sentence(dice))])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(limit, "PAUSES_S", (0.001, 0.002))
    server.answer = teach


@pytest.fixture(params=[True, False], ids=["json", "text"])
def structured(request: pytest.FixtureRequest) -> bool:
    """Both forms in which lists are asked for."""
    return bool(request.param)


def recipe(
    server: OpenAIServer, num: int = 5, budget: Any = None, teacher: Mapping[str, Any] | None = None, **generate: Any
) -> Recipe:
    teaches = {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "concurrency": 4, **(teacher or {})}
    alpaca, answers = ({**plain, **generate.pop(name, {})} for name, plain in (("alpaca", TWO), ("answer", SHORT)))
    made = {"method": "alpaca", "num": num, "alpaca": alpaca, "answer": answers, **generate}
    return Recipe.model_validate({"name": "one", "teacher": teaches, "budget": budget or {}, "generate": made})


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


# -- the stage


def test_the_rows_wanted_are_born_with_their_origin(server: OpenAIServer, project: Path, structured: bool) -> None:
    records, counts, results = bear(recipe(server, teacher={"structured": structured}), project)
    assert len(records) == counts["rows"] == 5
    assert counts["sent"] == counts["calls"] == len(server.bill)
    assert [record.origin.sequence for record in records] == list(range(5))
    shipped = (Path(stage.__file__).parents[1] / "prompts" / "alpaca.txt").read_text(encoding="utf-8").rstrip("\n")
    for record in records:
        origin = record.origin
        assert (origin.method, origin.teacher, origin.licence) == ("alpaca", "openai:tutor", "unknown")
        assert origin.prompt_digest == record_digest([shipped])
        assert len(origin.calls) == 2
        assert origin.key.rpartition("/")[0] == origin.calls[0]
        assert origin.source.count("seed-") == 3
        assert origin.cost_usd is not None and origin.cost_usd > 0
    told = {asked(entry.body): server.answer(entry.body) for entry in server.bill}
    assert all(told[record.prompt] == record.completion for record in records)
    assert any("\n\nSay" in record.prompt for record in records), "the input is under the instruction"
    assert {"response_format" in entry.body for entry in questions(server.bill)} == {structured}
    assert results["cost_usd"] == pytest.approx(server.cost(PRICE["input"], PRICE["output"]))
    with Ledger(Run(project, "one").ledger, "one") as ledger:
        assert ledger.count("settled") == len(server.bill)


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
    with Ledger(Run(project, "one").ledger, "one") as ledger:
        assert ledger.count("settled") == len(server.bill)
    fewer, counts, _ = bear(recipe(server, 10), project)
    assert fewer == records[:10]
    assert counts["sent"] == 0


def test_editing_a_seed_repeats_only_the_calls_that_showed_it(server: OpenAIServer, project: Path) -> None:
    seeds = write_seeds(project / "seeds.jsonl", SEEDS)
    plan = recipe(server, 16, seeds=seeds)
    records, _, _ = bear(plan, project)
    first = len(server.bill)
    edited = int(records[0].origin.source.split(", ")[0].removeprefix("s"))
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


@pytest.mark.parametrize(("fault", "reason"), [("null", "blocked by the provider"), ("empty", "empty answer")])
def test_an_answer_without_text_is_no_row(server: OpenAIServer, project: Path, fault: Any, reason: str) -> None:
    bear(recipe(server, 2), project)  # the questions are answered in full; other answers are asked for below
    server.plan = lambda key, attempt: fault if int(key, 16) % 3 == 0 else None
    records, _, _ = bear(recipe(server, 2, answer={"temperature": 0.1}), project)
    assert len(records) == 2 and all(record.completion for record in records)
    assert reason in {row["reason"] for row in rejected(project)}


NOTHING = {
    "silence": lambda body: "",
    "prose": lambda body: "...",
    "nothing": lambda body: written(body, []),
    "pictures": lambda body: written(body, [("Draw a picture of the sea.", "")]),
    "repeats": lambda body: written(body, [("Name three colours of the sea.", "")]),
}
REASONS = {
    "silence": ("not the JSON asked for", "no task in the reply"),
    "prose": ("not the JSON asked for", "no task in the reply"),
    "nothing": ("no task in the reply", "no task in the reply"),
    "pictures": ("cannot see", "cannot see"),
    "repeats": ("not novel", "not novel"),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_teacher_that_yields_nothing_ends_with_one_error(
    server: OpenAIServer, project: Path, kind: str, structured: bool
) -> None:
    server.answer = NOTHING[kind]
    reason = REASONS[kind][not structured]
    plan = recipe(server, 3, teacher={"structured": structured}, attempts=1.0)
    with pytest.raises(UserError, match=f"rows after .* calls; rejected: .*{reason}") as caught:
        bear(plan, project)
    assert caught.value.exit_code == 2
    assert "generate.attempts" in str(caught.value)
    # what is no JSON is asked for once more
    assert len(server.bill) < (400 if structured and reason.startswith("not the JSON") else 200)
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
    template.write_text(CHAT, encoding="utf-8")
    dice = random.Random(1)
    server.answer = lambda body: sentence(dice)
    plan = recipe(server, 6, teacher={"template": template}, method="magpie")
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
    bear(recipe(server, 3, answer={"system": "Be short."}), project)
    for entry in server.bill:
        turns = [message["role"] for message in entry.body["messages"]]
        assert turns == (["user"] if is_question(entry.body) else ["system", "user"])


def test_few_rows_take_few_calls(server: OpenAIServer, project: Path) -> None:
    def many(body: Mapping[str, Any]) -> str:
        dice = random.Random(digest(body))
        if not is_question(body):
            return sentence(dice)
        return written(body, [(sentence(dice), "") for _ in range(8)])

    server.answer = many
    bear(recipe(server, 2, alpaca={"per_call": 8}), project)
    assert len(server.bill) <= 24


def test_a_round_is_no_larger_than_allowed(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = ask.Asker.ask

    def counted(self: ask.Asker, calls: Any, seen: Any) -> Any:
        if calls and is_question(calls[0].request):
            sizes.append(len(calls))
        return real(self, calls, seen)

    monkeypatch.setattr(ask.Asker, "ask", counted)
    monkeypatch.setattr(stage, "LARGEST_ROUND", 17)
    bear(recipe(server, 100), project)
    assert max(sizes) == 17 and len(sizes) > 2


@pytest.mark.parametrize(
    ("made", "calls", "born", "size"),
    [
        ({"method": "alpaca", "num": 2}, 0, 0, 1),
        ({"method": "alpaca", "num": 100}, 0, 0, 25),  # half of eight tasks are believed good
        ({"method": "alpaca", "num": 100}, 20, 40, 30),  # two rows a call so far
        ({"method": "alpaca", "num": 100}, 20, 99, 1),
        ({"method": "alpaca", "num": 100}, 20, 0, 64),  # nothing so far: no yield below a quarter is believed
        ({"method": "alpaca", "num": 100_000}, 0, 0, 1024),
        ({"method": "magpie", "num": 2}, 0, 0, 8),
        ({"method": "magpie", "num": 40}, 0, 0, 64),
        ({"method": "magpie", "num": 1000}, 0, 0, 250),
    ],
)
def test_the_next_round_is_what_is_likely_to_be_needed(made: Any, calls: int, born: int, size: int) -> None:
    assert draft_requests(Generate.model_validate(made), calls, born) == size


@pytest.mark.parametrize(
    ("num", "asked", "born", "count"), [(2, 0, 0, 8), (100, 0, 0, 200), (100, 80, 60, 54), (100, 200, 10, 360)]
)
def test_as_many_answers_are_asked_as_are_likely_to_be_needed(num: int, asked: int, born: int, count: int) -> None:
    assert answers_wanted(Generate(num=num), asked, born) == count


def test_answers_wait_for_their_round(server: OpenAIServer, project: Path) -> None:
    """Drafts beyond what is needed are not answered: their questions are paid for, their answers are not."""
    server.answer = lambda body: (
        written(body, [(sentence(random.Random(f"{digest(body)}{n}")), "") for n in range(20)])
        if is_question(body)
        else teach(body)
    )
    bear(recipe(server, 3, alpaca={"per_call": 20}), project)
    assert len(questions(server.bill)) == 1
    assert len(server.bill) == 1 + stage.SMALLEST_ROUND


def test_one_call_may_write_the_answers_too(server: OpenAIServer, project: Path, structured: bool) -> None:
    def whole(body: Mapping[str, Any]) -> str:
        dice = random.Random(digest(body))
        return written(body, [(sentence(dice), "", "Yes, it is."), (sentence(dice), "A letter.", "")])

    server.answer = whole
    plan = recipe(server, 3, teacher={"structured": structured}, alpaca={"together": True})
    records, _, results = bear(plan, project)
    assert questions(server.bill) == server.bill, "no answer is asked for by itself"
    assert {record.completion for record in records} == {"Yes, it is."}
    assert all(len(record.origin.calls) == 1 for record in records)
    assert results["rejected"]["no answer in the reply"] >= 3
    fields = '"output": ' if structured else "\nOutput: "
    assert all(fields in asked(entry.body) for entry in server.bill), "the demonstrations show it"


def test_a_reply_that_is_no_json_is_asked_for_once_more(server: OpenAIServer, project: Path) -> None:
    """Without the schema this time, and its cost is the rows' too."""
    server.answer = lambda body: "Gladly!" if "response_format" in body else teach(body)
    records, _, results = bear(recipe(server, 4), project)
    asked_for = questions(server.bill)
    assert len(asked_for) == 2 * sum("response_format" in entry.body for entry in asked_for)
    assert all(len(record.origin.calls) == 3 for record in records)
    assert results["rejected"] == {}
    assert results["cost_usd"] == pytest.approx(server.cost(PRICE["input"], PRICE["output"]))
    with Ledger(Run(project, "one").ledger, "one") as ledger:
        prices = dict(ledger.read("SELECT key, cost_usd FROM calls"))
    first, second, answered = records[0].origin.calls
    assert records[0].origin.cost_usd == pytest.approx((prices[first] + prices[second]) / 2 + prices[answered])


def test_a_question_that_is_blocked_is_not_asked_again(server: OpenAIServer, project: Path) -> None:
    server.faults = ["null"]
    records, _, results = bear(recipe(server, 4), project)
    assert len(records) == 4 and results["rejected"]["blocked by the provider"] == 1
    assert set(server.keys.values()) == {1}
    assert all("response_format" in entry.body for entry in questions(server.bill))


def test_the_language_and_what_was_drawn_are_said(server: OpenAIServer, project: Path, structured: bool) -> None:
    people = project / "people.txt"
    people.write_text("a nurse\na smith\n", encoding="utf-8")
    variety = {"personas": str(people), "attributes": {"tone": ["dry", "warm"]}}
    plan = recipe(server, 6, teacher={"structured": structured}, variety=variety, alpaca={"per_call": 1})
    records, _, _ = bear(plan.model_copy(update={"language": "pt-BR"}), project)
    told = {asked(entry.body).partition("Language: ")[2] for entry in questions(server.bill)}
    drawn = {f"asked by: a {who}; tone: {tone}" for who in ("nurse", "smith") for tone in ("dry", "warm")}
    assert told <= {f"Portuguese (pt-BR).\n- All of them are {traits}." for traits in drawn}
    assert len(told) > 1
    assert {record.origin.traits for record in records} <= drawn and len({r.origin.traits for r in records}) > 1


def test_without_lists_nothing_is_said_of_them(server: OpenAIServer, project: Path) -> None:
    records, _, _ = bear(recipe(server), project)
    assert {asked(entry.body).partition("Language: ")[2] for entry in questions(server.bill)} == {"English."}
    assert {record.origin.traits for record in records} == {""}


def test_magpie_opens_with_what_was_drawn(server: OpenAIServer, project: Path) -> None:
    template, systems = project / "teacher.jinja", project / "systems.txt"
    template.write_text(CHAT, encoding="utf-8")
    systems.write_text("You sell tea.\nYou teach maths.\n", encoding="utf-8")
    dice = random.Random(1)
    server.answer = lambda body: sentence(dice)
    variety = {"systems": str(systems), "attributes": {"tone": ["dry"]}}
    plan = recipe(
        server, 8, teacher={"template": template}, method="magpie", variety=variety, answer={"system": "Short."}
    )
    records, _, _ = bear(plan.model_copy(update={"language": "de"}), project)
    between = "The conversation is in this language: German. The user's question is tone: dry."
    heads = {f"You {what}. {between}" for what in ("sell tea", "teach maths")}
    opened = {entry.body["prompt"] for entry in server.bill if "prompt" in entry.body}
    assert opened == {f"<|system|>{head}<|end|><|user|>" for head in heads}
    roles = [message.role for message in records[0].messages]
    assert roles == ["system", "user", "assistant"], "the system turn is the row's own"
    said = [entry.body["messages"] for entry in server.bill if "messages" in entry.body]
    assert {m[0]["content"] for m in said} == {"You sell tea.\n\nShort.", "You teach maths.\n\nShort."}
    assert {record.messages[0].content for record in records} == {"You sell tea.", "You teach maths."}


@pytest.mark.parametrize("method", ["alpaca", "magpie"])
def test_a_conversation_gets_further_turns(server: OpenAIServer, project: Path, method: str) -> None:
    template = project / "teacher.jinja"
    template.write_text(CHAT, encoding="utf-8")
    dice = random.Random(1)

    def talk(body: Mapping[str, Any]) -> str:
        return teach(body) if "messages" in body and is_question(body) else sentence(dice)

    server.answer = talk
    plan = recipe(server, 4, teacher={"template": template}, method=method, answer={"turns": 3})
    records, _, _ = bear(plan, project)
    assert [[m.role for m in record.messages] for record in records] == [["user", "assistant"] * 3] * 4
    for record in records:
        assert len({m.content for m in record.messages}) == 6
        assert len(record.origin.calls) == 6, "every call that made it"
        last = [entry for entry in server.bill if server_said(entry, record.messages[:-1])]
        assert len(last) == 1, "the last answer was asked for with all that stands before it"
    follow = [asked(entry.body) for entry in server.bill if "next: one question" in asked(entry.body)]
    if method == "alpaca":
        assert follow and all("User: " in text and "Assistant: " in text for text in follow)
    else:
        going_on = [entry.body["prompt"] for entry in server.bill if "prompt" in entry.body]
        assert not follow and any(prompt.count("<|assistant|>") == 2 for prompt in going_on)
    before = len(server.bill)
    again, counts, _ = bear(plan, project)
    assert (again, counts["sent"], len(server.bill)) == (records, 0, before)


def server_said(entry: Entry, turns: tuple[Message, ...]) -> bool:
    return bool(entry.body.get("messages") == [{"role": m.role, "content": m.content} for m in turns])


def test_a_conversation_whose_next_turn_fails_stays_as_it_is(server: OpenAIServer, project: Path) -> None:
    """A user's turn with a fault, or an answer that is cut off, is left out; what stands is a whole row."""
    server.answer = lambda body: "Draw it as a picture." if "next: one question" in asked(body) else teach(body)
    records, _, _ = bear(recipe(server, 3, answer={"turns": 2}), project)
    assert [[m.role for m in record.messages] for record in records] == [["user", "assistant"]] * 3
    server.answer = lambda body: "" if len(body["messages"]) == 3 else teach(body)
    records, _, _ = bear(recipe(server, 3, answer={"turns": 2, "temperature": 0.3}), project)
    assert any(len(entry.body["messages"]) == 3 for entry in server.bill), "a second answer was asked for"
    assert [[m.role for m in record.messages] for record in records] == [["user", "assistant"]] * 3


def test_prompts_are_borrowed_and_answers_are_the_teachers(server: OpenAIServer, project: Path) -> None:
    run = Run(project, "one")
    run.create()
    system, user = Message("system", "You sell tea."), Message("user", "Draw me a picture?")
    first = Origin("import", "k0", 7, licence="CC BY", parents=("r1:old",), source="a.jsonl:1")
    write_records(
        [
            Record((Message("user", "Hi there, who are you?"),), Origin("import", "k1", 8, source="a.jsonl:2")),
            Record((system, Message("user", "Tea?"), Message("assistant", "Yes."), user), first),
        ],
        run.path / "prompts" / "import-000-00000.parquet",
    )
    records, counts, _ = bear(recipe(server, 5, method="answer", answer={"system": "Short."}), project)
    assert counts["rows"] == 2 and len(server.bill) == 2, "there is nothing more to ask about"
    one, two = records
    assert [m.content for m in one.messages[:-1]] == ["You sell tea.", "Tea?", "Yes.", "Draw me a picture?"]
    assert two.prompt == "Hi there, who are you?" and two.completion
    said = one.origin
    assert (said.method, said.key, said.sequence, said.parents) == ("answer", "k0", 0, ("r1:old",))
    assert (said.licence, said.source, said.teacher) == ("CC BY; answers: unknown", "a.jsonl:1", "openai:tutor")
    heads = {entry.body["messages"][0]["content"] for entry in server.bill}
    assert heads == {"You sell tea.\n\nShort.", "Short."}


def test_no_row_at_all_is_an_error(server: OpenAIServer, project: Path) -> None:
    with pytest.raises(UserError, match=r"no row was born and there is nothing more to ask about; rejected: nothing"):
        bear(recipe(server, 5, method="answer"), project)
    assert not server.bill


def test_what_the_stage_depends_on_is_in_its_key(server: OpenAIServer, project: Path) -> None:
    run = Run(project, "one")
    run.create()
    seeds = write_seeds(project / "seeds.jsonl", SEEDS)
    people = project / "people.txt"
    people.write_text("a nurse\n", encoding="utf-8")

    def inputs(**generate: Any) -> dict[str, str]:
        return digest_inputs(recipe(server, 3, **generate), run)

    plain = inputs()
    assert set(plain) == {"alpaca", "seeds"} and inputs() == plain
    assert set(inputs(method="magpie")) == set()
    own = inputs(seeds=str(seeds))
    assert own["alpaca"] == plain["alpaca"] and own["seeds"] != plain["seeds"]
    write_seeds(seeds, [{**SEEDS[0], "output": "No."}, *SEEDS[1:]])
    assert inputs(seeds=str(seeds)) != own
    drawn = inputs(variety={"personas": str(people)})
    people.write_text("a smith\n", encoding="utf-8")
    assert inputs(variety={"personas": str(people)})["lists"] != drawn["lists"]
    assert set(inputs(answer={"turns": 2})) == {*plain, "follow"}
    record = Record((Message("user", "Hi there, who are you?"),), Origin("import", "k1", 8))
    write_records([record], run.path / "prompts" / "a.parquet")
    assert set(inputs(method="answer")) == {"prompts"}
