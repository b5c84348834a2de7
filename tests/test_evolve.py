"""Evol-Instruct: what is evolved by which operation, what is eliminated, and who is whose family."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import asked, digest

from yearling.generate import evolve
from yearling.generate.stage import digest_inputs, run_generate
from yearling.measure.accepted import kin_of, roots, split_records
from yearling.measure.text import fold
from yearling.recipe import Curate, Recipe
from yearling.record import Message, Origin, Record, read_records, read_table, record_id, write_records
from yearling.run_folder import Run
from yearling.teachers import ask

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
BODY = Mapping[str, Any]
REJECTED = pa.schema([("call", pa.string()), ("reason", pa.string()), ("text", pa.string())])


def is_evolving(body: BODY) -> bool:
    return asked(body).startswith("Below is a prompt")


def is_comparing(body: BODY) -> bool:
    return asked(body).startswith("Here are two prompts")


def evolved_from(body: BODY) -> str:
    """The prompt that the request wants evolved."""
    return str(re.findall(r"<prompt>\n(.*?)\n</prompt>", asked(body), re.S)[-1])


def sentence(body: BODY, begin: str = "Say") -> str:
    dice = random.Random(digest(body))
    return f"{begin} {' '.join(''.join(dice.choices('bcdfghjklmnprstv', k=6)) for _ in range(5))}."


def teach(body: BODY) -> str:
    """A longer prompt, DIFFERENT, or an answer."""
    if is_evolving(body):
        return f"{evolved_from(body)} And {sentence(body, 'also')}"
    return "DIFFERENT" if is_comparing(body) else sentence(body)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    server.answer = teach


def seeds_of(project: Path, texts: Iterable[str], name: str = "seeds.jsonl") -> Path:
    project.mkdir(parents=True, exist_ok=True)
    rows = [{"id": f"s{n}", "instruction": text, "output": "Yes."} for n, text in enumerate(texts)]
    (project / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return project / name


TEXTS = [f"Name {n} kinds of trees that grow near {place}." for n, place in enumerate(("Rome", "Oslo", "Kyoto"), 3)]


def recipe(server: OpenAIServer, seeds: Path | None, num: int = 100, **more: Any) -> Recipe:
    generate = {"method": "evolve", "num": num, "seeds": seeds, **more.pop("generate", {})}
    values = {
        "name": "one",
        "teacher": {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "concurrency": 4},
        "generate": generate,
        **more,
    }
    return Recipe.model_validate(values)


def bear(plan: Recipe, project: Path, prompts: Iterable[Record] = ()) -> list[Record]:
    run = Run(project, plan.name)
    run.create()
    if given_prompts := list(prompts):
        write_records(given_prompts, run.path / "prompts" / "import-000-00000.parquet")
    run_generate(plan, run)
    return list(read_records(run.records))


def rejected(project: Path) -> list[dict[str, Any]]:
    return list(read_table(project / "runs" / "one" / "rejected", REJECTED))


def families(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by the seed that their family began with."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.origin.source.split(",")[0], []).append(record)
    return found


# -- the rounds


def test_each_instruction_is_evolved_once_a_round_and_every_generation_becomes_a_row(
    server: OpenAIServer, project: Path
) -> None:
    records = bear(recipe(server, seeds_of(project, TEXTS)), project)
    assert len(records) == 3 * 5
    assert sum(map(is_evolving, (e.body for e in server.bill))) == 3 * 4, "four rounds unless told otherwise"
    for family in families(records).values():
        prompts = [record.prompt for record in family]
        assert prompts[0] in TEXTS
        assert all(new.startswith(old + " And also") for old, new in itertools.pairwise(prompts))
        numbers = [re.findall(r"round (\d)", record.origin.source) for record in family]
        assert numbers == [[], ["1"], ["2"], ["3"], ["4"]]
        assert [len(record.origin.calls) for record in family] == [1, 3, 3, 3, 3], "evolved, compared, answered"
    told = {asked(e.body): server.answer(e.body) for e in server.bill if not is_evolving(e.body)}
    assert all(told[record.prompt] == record.completion for record in records)
    assert all(record.origin.method == "evolve" and record.origin.prompt_digest for record in records)
    cost = sum(record.origin.cost_usd or 0.0 for record in records)
    assert cost == pytest.approx(server.cost(PRICE["input"], PRICE["output"]))


def test_the_start_is_no_row_where_it_is_not_wanted(server: OpenAIServer, project: Path) -> None:
    plan = recipe(server, seeds_of(project, TEXTS), generate={"evolve": {"rounds": 2, "keep_start": False}})
    records = bear(plan, project)
    assert len(records) == 3 * 2
    assert not {record.prompt for record in records} & set(TEXTS)
    assert not {asked(entry.body) for entry in server.bill} & set(TEXTS), "its answer is not asked for"


def test_the_requests_are_those_of_the_recipe(server: OpenAIServer, project: Path) -> None:
    more = {"temperature": 0.9, "answer": {"temperature": 0.3, "max_tokens": 77, "system": "Be short."}}
    bear(recipe(server, seeds_of(project, TEXTS), generate=more), project)
    for entry in server.bill:
        body = entry.body
        roles = [message["role"] for message in body["messages"]]
        if is_evolving(body):
            assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.9, 0.95, 512)
            assert roles == ["user", "assistant", "user"], "an example goes before"
        elif is_comparing(body):
            assert (body["temperature"], body["max_tokens"], roles) == (0.0, 16, ["user"])
        else:
            assert (body["temperature"], body["max_tokens"], roles) == (0.3, 77, ["system", "user"])


def test_an_input_belongs_to_the_prompt_that_is_evolved(server: OpenAIServer, project: Path) -> None:
    path = project / "seeds.jsonl"
    path.write_text(json.dumps({"instruction": "Sum up the letter.", "input": "Dear Ann, it rains."}), encoding="utf-8")
    records = bear(recipe(server, path), project)
    assert records[1].prompt.startswith("Sum up the letter.\n\nDear Ann, it rains. And also")


def test_the_same_command_again_sends_nothing_and_a_larger_num_goes_on(server: OpenAIServer, project: Path) -> None:
    seeds = seeds_of(project, [f"Name {n} rivers of the north." for n in range(3, 43)])
    few = bear(recipe(server, seeds, num=12), project)
    assert len(few) == 12
    sent = len(server.bill)
    assert sent <= 13 * 8, "a small number takes few families"
    assert bear(recipe(server, seeds, num=12), project) == few
    assert len(server.bill) == sent
    many = bear(recipe(server, seeds, num=60), project)
    assert many[:12] == few and len(many) == 60
    assert set(server.keys.values()) == {1}, "nothing is asked twice"


# -- the operations


class Stub:
    """As much of a Birth as the choice of operations needs."""

    def __init__(self, seed: int = 42) -> None:
        self.settings = Recipe.model_validate({"name": "x", "generate": {"seed": seed}}).generate


def test_six_operations_have_equal_chances() -> None:
    drawn = Counter(evolve.operation(Stub(), f"Name {n} trees.", n % 4 + 1) for n in range(6000))  # type: ignore[arg-type]
    assert set(drawn) == set(evolve.OPERATIONS)
    assert len(evolve.DEPTH) == 5 and len(evolve.OPERATIONS) == 6
    assert all(abs(count - 1000) < 120 for count in drawn.values()), drawn


def test_an_operation_depends_on_seed_text_and_round() -> None:
    def draws(seed: int, text: str) -> list[str]:
        return [evolve.operation(Stub(seed), text, number) for number in range(40)]  # type: ignore[arg-type]

    assert draws(1, "Name a tree.") == draws(1, "Name a tree.")
    assert draws(1, "Name a tree.") != draws(2, "Name a tree.")
    assert draws(1, "Name a tree.") != draws(1, "Name a bird.")
    assert len(set(draws(1, "Name a tree."))) > 1, "another round, another operation"


def test_every_operation_says_what_it_is(server: OpenAIServer, project: Path) -> None:
    seeds = seeds_of(project, [f"Name {n} rivers of the north." for n in range(3, 33)])
    records = bear(recipe(server, seeds, num=150), project)
    by_key = {call: record for record in records for call in record.origin.calls[:1]}
    words = {
        "constraint": "one condition or requirement",
        "deepen": "more deeply and more broadly",
        "concrete": "particular things in place of general ones",
        "reasoning": "several steps of reasoning",
        "input": "made-up data to work on",
        "breadth": "asked for more rarely",
    }
    used = Counter(
        record.origin.source.rpartition(": ")[2] for record in by_key.values() if ":" in record.origin.source
    )
    assert set(used) == set(words)
    requests = {evolved_from(e.body): asked(e.body) for e in server.bill if is_evolving(e.body)}
    for family in families(records).values():
        for before, record in itertools.pairwise(family):
            name = record.origin.source.rpartition(": ")[2]
            assert words[name] in requests[before.prompt]
            assert ("Add 10 to 20 words" in requests[before.prompt]) == (name != "breadth")


def test_complicated_inputs_come_in_many_forms(server: OpenAIServer, project: Path) -> None:
    bear(recipe(server, seeds_of(project, [f"Name {n} rivers." for n in range(3, 43)]), num=200), project)
    texts = [asked(e.body) for e in server.bill if is_evolving(e.body)]
    forms = {form for form in evolve.FORMS if any(f"made-up data to work on, {form}," in text for text in texts)}
    assert len(forms) >= 5


def test_an_edited_seed_changes_its_descendants_only(server: OpenAIServer, project: Path) -> None:
    before = families(bear(recipe(server, seeds_of(project, TEXTS)), project))
    sent = len(server.bill)
    edited = [TEXTS[0], "Describe a walk through a forest.", TEXTS[2]]
    after = families(bear(recipe(server, seeds_of(project, edited)), project))
    assert after["s0"][0].prompt == TEXTS[0]
    assert [[r.id for r in after[s]] for s in ("s0", "s2")] == [[r.id for r in before[s]] for s in ("s0", "s2")]
    assert not {r.id for r in after["s1"]} & {r.id for r in before["s1"]}
    new = server.bill[sent:]
    assert len(new) == 13, "an answer for the start; for each round a call to evolve, to compare and to answer"
    assert all("walk through a forest" in asked(entry.body) for entry in new)


def test_an_inserted_seed_moves_no_other(server: OpenAIServer, project: Path) -> None:
    texts = [f"Name {n} rivers of the north." for n in range(3, 15)]
    before = bear(recipe(server, seeds_of(project, texts)), project)
    sent = len(server.bill)
    after = bear(recipe(server, seeds_of(project, [*texts, "Describe a walk through a forest."])), project)
    assert [r.id for r in after if not r.origin.source.startswith("s12")] == [r.id for r in before]
    assert all("walk through a forest" in asked(entry.body) for entry in server.bill[sent:])
    assert len(server.bill) - sent == 13


# -- the elimination


def scripted(evolved: str = "", verdict: str = "", answer: str = "") -> Callable[[BODY], str]:
    """A teacher who says something else in one place, of the first generation only."""

    def say(body: BODY) -> str:
        if is_evolving(body):
            return evolved.format(parent=evolved_from(body)) if evolved else teach(body)
        if is_comparing(body):
            return verdict or teach(body)
        return answer if answer and "And also" in asked(body) else teach(body)

    return say


LONG = " ".join(f"word{n}" for n in range(79))


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        (scripted(verdict="EQUAL"), "no information gain (the teacher finds both equal)"),
        (scripted(verdict="Equal."), "no information gain (the teacher finds both equal)"),
        (scripted(evolved="{parent}"), "no information gain (a copy)"),
        (scripted(evolved='"{parent}"'), "no information gain (a copy)"),
        (scripted(answer="I am sorry, I cannot do that."), "inability in the answer (sorry)"),
        (scripted(answer="Sorry. " + " ".join(LONG.split()[:78])), "inability in the answer (sorry)"),
        (scripted(answer="It is all of these, and so it is!"), "inability in the answer (only"),
        (scripted(answer="... !?"), "inability in the answer (only"),
        (scripted(evolved="The given prompt, made harder for all."), "copies the evolving prompt (given prompt)"),
        (scripted(evolved="Rewritten Prompt: name a tree."), "copies the evolving prompt (Rewritten Prompt)"),
        (scripted(evolved="#New Prompt# name a tree."), "copies the evolving prompt (#New Prompt#)"),
        (scripted(evolved="<prompt> Name a tree."), "copies the evolving prompt (<prompt>)"),
        (scripted(evolved="Name a tree in 10 to 20 words."), "copies the evolving prompt (10 to 20 words)"),
        (scripted(evolved="{parent} " + LONG + LONG), "grew too much"),
        (scripted(evolved="Name trees."), "instruction too short"),
        (scripted(evolved='""'), "empty instruction"),
    ],
)
def test_an_evolution_that_fails_goes_back_as_it_was(
    server: OpenAIServer, project: Path, teacher: Callable[[BODY], str], reason: str
) -> None:
    server.answer = teacher
    records = bear(recipe(server, seeds_of(project, TEXTS), generate={"evolve": {"rounds": 3}}), project)
    assert {record.prompt for record in records} == set(TEXTS), "only the starting instructions are left"
    turned = rejected(project)
    assert len(turned) == 3 * 3
    assert all(row["reason"].startswith(reason) for row in turned), {row["reason"] for row in turned}
    evolving = Counter(evolved_from(entry.body) for entry in server.bill if is_evolving(entry.body))
    assert evolving == dict.fromkeys(TEXTS, 3), "each round begins with the instruction as it was"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sorry. " + LONG, None),
        ("I am sorry that I came late.", "inability in the answer (sorry)"),
        ("I am sorry " * 26 + "so", "inability in the answer (sorry)"),
        ("No.", None),
        ("31", None),
        ("Yes.", None),
        ("Und so ist es.", None),
        ("", "empty answer"),
        ("don't you", "inability in the answer (only punctuation and stop words)"),
    ],
)
def test_an_answer_that_shows_inability(answer: str, reason: str | None) -> None:
    assert evolve.inability("Name a tree.", answer) == reason
    assert evolve.inability("Write an apology.", answer) == (None if reason and "sorry" in reason else reason)


@pytest.mark.parametrize(
    ("parent", "text", "name", "reason"),
    [
        ("Fix the given prompt.", "Fix the given prompt for a nurse.", "concrete", None),
        ("Name a tree.", "Name a tree " + "so " * 40, "deepen", None),
        ("Name a tree.", "Name a tree " + "so " * 41, "deepen", "grew too much (41 words, 40 are allowed)"),
        ("Name a tree.", "Name a tree " + "so " * 140, "input", None),
        ("Name a tree.", "Name a tree " + "so " * 141, "input", "grew too much (141 words, 140 are allowed)"),
        ("Name a tree.", "说出三种颜色", "breadth", None),
    ],
)
def test_what_is_plainly_wrong(parent: str, text: str, name: str, reason: str | None) -> None:
    assert evolve.failure(parent, text, name) == reason


@pytest.mark.parametrize(
    ("said", "equal"),
    [
        ("EQUAL", True),
        ("They are equal.", True),
        ("DIFFERENT", False),
        ("Not equal", False),
        ("unequal", False),
        ("DIFFERENT, not EQUAL", False),
        ("I do not know", False),
        ("", False),
    ],
)
def test_the_verdict_of_the_comparison(said: str, equal: bool) -> None:
    assert evolve.calls_equal(said) is equal


@pytest.mark.parametrize("fault", ["length", "null"])
def test_an_evolution_that_is_cut_off_or_blocked_fails(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.answer = scripted(verdict="EQUAL")  # what is asked where every evolution fails
    bear(recipe(server, seeds_of(project, TEXTS)), project / "first")
    evolving = {entry.key for entry in server.bill if is_evolving(entry.body)}
    server.plan = lambda key, attempt: fault if key in evolving else None
    server.answer = teach
    records = bear(recipe(server, seeds_of(project, TEXTS)), project)
    assert {record.prompt for record in records} == set(TEXTS)
    reason = {"length": "unfinished instruction", "null": "blocked by the provider"}[fault]
    assert {row["reason"] for row in rejected(project)} == {reason}


def test_a_seed_that_stands_twice_is_one_start(server: OpenAIServer, project: Path) -> None:
    records = bear(recipe(server, seeds_of(project, [TEXTS[0], TEXTS[1], TEXTS[0].upper()])), project)
    assert set(families(records)) == {"s0", "s1"}


def test_two_families_never_meet(server: OpenAIServer, project: Path) -> None:
    server.answer = scripted(evolved="Describe the taste of an unripe quince.")
    records = bear(recipe(server, seeds_of(project, TEXTS)), project)
    prompts = [fold(record.prompt) for record in records]
    assert len(set(prompts)) == len(prompts) == 4
    assert "the same as another instruction" in {row["reason"] for row in rejected(project)}


def test_the_example_is_no_new_instruction(server: OpenAIServer, project: Path) -> None:
    def say(body: BODY) -> str:
        return str(body["messages"][1]["content"]) if is_evolving(body) else teach(body)

    server.answer = say
    records = bear(recipe(server, seeds_of(project, TEXTS)), project)
    assert {record.prompt for record in records} == set(TEXTS)
    assert {row["reason"] for row in rejected(project)} <= {
        "copies the example",
        "grew too much (16 words, 40 are allowed)",
    }


# -- families


@pytest.mark.parametrize("keep_start", [True, False])
def test_a_family_stays_on_one_side_of_the_split(server: OpenAIServer, project: Path, keep_start: bool) -> None:
    seeds = seeds_of(project, [f"Name {n} rivers of the north." for n in range(3, 43)])
    plan = recipe(server, seeds, num=400, generate={"evolve": {"rounds": 3, "keep_start": keep_start}})
    records = bear(plan, project)
    assert len(records) == 40 * (3 + keep_start)
    sides = split_records(records, records, Curate(test=0.4))
    assert sides["train"] and sides["test"]
    side = {record.id: name for name, chosen in sides.items() for record in chosen}
    for family in families(records).values():
        assert len({side[record.id] for record in family}) == 1
        ids = [record.id for record in family]
        root = fold(f"Name {int(family[0].origin.source.split(',')[0][1:]) + 3} rivers of the north.")
        for n, record in enumerate(family):
            nearest_first = (*reversed(ids[:n]), root)
            assert record.origin.parents == (() if keep_start and n == 0 else nearest_first)
        assert {roots(kin_of(records))[i] for i in ids} == {root}


def test_a_family_holds_together_where_its_start_failed_or_was_imported(server: OpenAIServer, project: Path) -> None:
    """The start's answer is a refusal, so it is no row; the same prompt is among the records as imported data."""
    server.answer = lambda body: "Sorry." if asked(body) in TEXTS else teach(body)
    records = bear(recipe(server, seeds_of(project, TEXTS), generate={"evolve": {"rounds": 2}}), project)
    assert len(records) == 3 * 2
    imported = [
        Record((Message("user", text), Message("assistant", "Yes.")), Origin("import", f"k{n}", 100 + n))
        for n, text in enumerate(TEXTS)
    ]
    for known in ([], imported):
        found = roots(kin_of([*records, *known]))
        for source, family in families(records).items():
            text = TEXTS[int(source[1:])]
            mates = [*family, *(r for r in known if r.prompt == text)]
            assert {found[record.id] for record in mates} == {fold(text)}


def test_what_goes_on_keeps_the_family_that_it_had(server: OpenAIServer, project: Path) -> None:
    """Prompts borrowed from a finished run name their old record as the parent."""
    more: dict[str, Any] = {"import": [{"path": project / "old", "answer": True}]}
    plan = recipe(server, None, generate={"evolve": {"rounds": 1}}, **more)
    talk = (Message("system", "Be kind."), Message("user", TEXTS[0]))
    origin = Origin("import", "k0", 0, parents=("r1:old",), licence="cc0", source="old r1:old")
    several = (Message("user", "Hello."), Message("assistant", "Yes?"), Message("user", TEXTS[1]))
    prompts = [Record(talk, origin), Record(several, Origin("import", "k1", 1))]
    start, child = bear(plan, project, prompts)
    assert start.origin.parents == ("r1:old",)
    assert child.origin.parents == (start.id, "r1:old")
    assert start.messages[:2] == (*child.messages[:1], Message("user", TEXTS[0])) == talk
    assert {r.origin.licence for r in (start, child)} == {"cc0; answers: unknown"}
    assert child.origin.source.startswith("old r1:old, round 1: ")
    assert [row["reason"] for row in rejected(project)] == ["goes on from a conversation"]


# -- with the rest


def test_conversations_go_on(server: OpenAIServer, project: Path) -> None:
    def say(body: BODY) -> str:
        return sentence(body, "Then say") if "what the same user says next" in asked(body) else teach(body)

    server.answer = say
    plan = recipe(server, seeds_of(project, TEXTS), generate={"answer": {"turns": 3}, "evolve": {"rounds": 2}})
    records = bear(plan, project)
    assert len(records) == 3 * 3
    for record in records:
        assert [m.role for m in record.messages] == ["user", "assistant"] * 3
    for family in families(records).values():
        assert [record.origin.parents[:-1] for record in family[1:]] == [
            (family[0].id,),
            (family[1].id, family[0].id),
        ], "the ids are those of whole conversations"
        assert all(r.id == record_id(r.messages, r.origin.key) for r in family)


def test_variety_is_drawn(server: OpenAIServer, project: Path) -> None:
    seeds = seeds_of(project, [f"Name {n} rivers of the north." for n in range(3, 13)])
    (project / "systems.txt").write_text("Talk like a sailor.\nTalk like a judge.\n", encoding="utf-8")
    variety = {"systems": project / "systems.txt", "attributes": {"tone": ["formal", "casual"]}}
    records = bear(recipe(server, seeds, generate={"variety": variety, "evolve": {"rounds": 2}}), project)
    assert len(records) == 30
    for family in families(records).values():
        assert len({record.messages[0] for record in family}) == 1, "a family is told the same"
        assert family[0].messages[0].role == "system"
        assert [bool(record.origin.traits) for record in family] == [False, True, True], "a start was not drawn"
        for entry in server.bill:
            if asked(entry.body) == family[1].prompt:
                assert entry.body["messages"][0]["content"] == family[1].messages[0].content
    assert {r.messages[0].content for r in records} == {"Talk like a sailor.", "Talk like a judge."}
    told = {evolved_from(e.body): asked(e.body) for e in server.bill if is_evolving(e.body)}
    for family in families(records).values():
        assert f"It is {family[1].origin.traits}." in told[family[0].prompt]


def test_other_languages_are_asked_for_without_the_english_example(server: OpenAIServer, project: Path) -> None:
    seeds = seeds_of(project, ["Nenne drei Bäume, die im Norden wachsen."])
    bear(recipe(server, seeds, language="de"), project)
    evolving = [entry.body for entry in server.bill if is_evolving(entry.body)]
    assert evolving and all("Language: German." in asked(body) for body in evolving)
    assert {len(body["messages"]) for body in evolving} == {1}


def test_own_words_replace_the_shipped_ones(server: OpenAIServer, project: Path) -> None:
    own = project / "prompts"
    own.mkdir()
    for name in evolve.OPERATIONS:
        place = " {form}" if name == "input" else ""
        (own / f"evolve-{name}.txt").write_text(f"- As {name}.{place}\n", encoding="utf-8")
    plan = recipe(server, seeds_of(project, TEXTS), generate={"variety": {"prompts": own}})
    run = Run(project, "one")
    run.create()
    before = digest_inputs(plan, run)
    records = bear(plan, project)
    assert len(records) == 15
    evolving = [entry.body for entry in server.bill if is_evolving(entry.body)]
    assert all("- As " in asked(body) and len(body["messages"]) == 1 for body in evolving), "no example, no turn"
    (own / "evolve-breadth.txt").write_text("- Otherwise.\n", encoding="utf-8")
    assert digest_inputs(plan, run) != before


# -- whatever a teacher writes

texts = st.text(max_size=80) | st.sampled_from(
    ["<prompt>x</prompt>", '"Name a tree."', "“A”", "#Rewritten Prompt#", "so"]
)


@given(texts, texts, st.sampled_from(evolve.OPERATIONS))
@settings(max_examples=200, deadline=None)
def test_any_reply_is_read(parent: str, text: str, name: str) -> None:
    shown = evolve.bare(text)
    assert shown == shown.strip() and len(shown) <= len(text)
    reason = evolve.failure(parent, shown, name)
    assert reason or (shown and fold(shown) != fold(parent))
    assert evolve.failure(shown, shown, name)
    assert isinstance(evolve.calls_equal(text), bool)
    assert evolve.inability(parent, text, "length")
    assert evolve.inability(parent, text) or evolve.content_words(text)
