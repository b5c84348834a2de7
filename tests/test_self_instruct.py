"""Self-Instruct as its source has it: each parameter and rule, in the requests sent and the rows born of them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openai_server import asked, digest

from yearling.generate import instances, pool, self_instruct
from yearling.generate.birth import Birth
from yearling.generate.draft import Draft
from yearling.generate.instances import Instance, parse_labels, sift
from yearling.generate.seeds import load_seeds
from yearling.generate.self_instruct import fault, parse
from yearling.generate.stage import digest_inputs, give_answers, open_birth, run_generate, write_drafts
from yearling.measure.accepted import kin_of, roots
from yearling.recipe import Recipe
from yearling.record import Record, read_records
from yearling.run_folder import Run
from yearling.teachers import ask

if TYPE_CHECKING:
    from openai_server import OpenAIServer

Body = Mapping[str, Any]
PRICE = {"input": 1000.0, "output": 2000.0}
TASK = "Name a fruit that ripens late in the year."
SAMPLING = {"max_tokens": 1024, "temperature": 0.7, "top_p": 0.5, "presence_penalty": 2.0}
STARTS = {"Here ": "write", "A lon": "write", "In a ": "test", "Each ": "label", "Under": "example"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    server.answer = teach


def sentence(dice: random.Random, words: int = 8) -> str:
    """An instruction that is like no other."""
    return "Say " + " ".join("".join(dice.choices("bcdfghjklmnprstv", k=6)) for _ in range(words - 1)) + "."


def stage_of(body: Body) -> str:
    """Which of the four questions a request puts."""
    return STARTS[asked(body)[:5]]


def listed(tasks: Sequence[str], body: Body) -> str:
    """Tasks in the form that a request asks for."""
    if "response_format" in body:
        return json.dumps({"tasks": tasks})
    first = int(re.findall(r"^(\d+)\.", asked(body), re.M)[-1]) + ("messages" in body)
    text = "\n".join(f"{number}. {task}" for number, task in enumerate(tasks, first))
    return text if "messages" in body else text.removeprefix(f"{first}.")


def paired(pairs: Sequence[tuple[str, str]], body: Body) -> str:
    """Instances, given as input and output, in the form that a request asks for."""
    labelled = stage_of(body) == "label"
    if "response_format" in body:
        second = "label" if labelled else "output"
        return json.dumps({"instances": [{"input": given, second: output} for given, output in pairs]})
    if labelled:
        return "\n".join(f"Class label: {output}\nInput: {given}" for given, output in pairs)
    return "\n".join(f"Example {n}\nInput: {given}\nOutput: {output}" for n, (given, output) in enumerate(pairs, 1))


def teach(body: Body) -> str:
    """Seven new tasks, about a third of them classification, and two instances of each."""
    stage, dice = stage_of(body), random.Random(digest(body))
    if stage == "write":
        return listed([sentence(dice) for _ in range(7)], body)
    if stage == "test":
        return "Yes" if int(digest(asked(body).rpartition("Task: ")[2]), 16) % 3 == 0 else "No"
    return paired([(sentence(dice), sentence(dice, 3)) for _ in range(2)], body)


def teach_with(**told: Any) -> Any:
    """`teach`, but for the stages that are told what to say: a text, or tasks or pairs to be put into form."""

    def answer(body: Body) -> str:
        said = told.get(stage_of(body))
        if said is None:
            return teach(body)
        if isinstance(said, str):
            return said
        return listed(said, body) if stage_of(body) == "write" else paired(said, body)

    return answer


def recipe(server: OpenAIServer, *, structured: bool = False, **generate: Any) -> Recipe:
    """The source's temperature and number of instances; `made` are settings of the method."""
    made, language = generate.pop("made", {}), generate.pop("language", "en")
    values = {
        "name": "one",
        "language": language,
        "teacher": {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "structured": structured},
        "generate": {
            "method": "self-instruct",
            "num": 10,
            "temperature": 0.7,
            "self_instruct": {"instances": 5, **made},
            **generate,
        },
    }
    return Recipe.model_validate(values)


@contextmanager
def begun(recipe: Recipe, project: Path) -> Iterator[Birth]:
    run = Run(project, recipe.name)
    run.create()
    with open_birth(recipe, run, lambda birth: None) as birth:
        yield birth


def bear(recipe: Recipe, project: Path) -> list[Record]:
    run = Run(project, recipe.name)
    run.create()
    run_generate(recipe, run)
    return list(read_records(run.records))


def bodies(server: OpenAIServer, stage: str) -> list[Body]:
    return [entry.body for entry in server.bill if stage_of(entry.body) == stage]


def demonstrated(body: Body) -> list[str]:
    """The numbered tasks of a prompt."""
    return re.findall(r"^\d+\. (.*)$", asked(body), re.M)


def parameters(body: Body) -> dict[str, Any]:
    """All of a request but its words and its seed, which it has for the sampler."""
    assert isinstance(body["seed"], int)
    return {name: value for name, value in body.items() if name not in ("model", "messages", "prompt", "seed")}


def reasons(birth: Birth) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in birth.rejected:
        found.setdefault(row["reason"], []).append(row["text"])
    return found


def write_seeds(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def many_seeds(count: int = 60) -> list[dict[str, Any]]:
    dice = random.Random(3)
    return [
        {"id": f"s{n}", "instruction": sentence(dice), "input": "x", "output": "y", "classification": n % 3 == 0}
        for n in range(count)
    ]


# -- stage 1: what is shown


def test_while_nothing_is_written_eight_seeds_are_shown(server: OpenAIServer, project: Path) -> None:
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 12)
        texts = {seed.instruction: seed.id for seed in birth.seeds}
        names = {draft.calls[0]: draft.shown for draft in birth.waiting}
    asked_of = bodies(server, "write")
    assert len(asked_of) == 12
    for body in asked_of:
        assert len(demonstrated(body)) == len(set(demonstrated(body))) == 8
        assert set(demonstrated(body)) <= set(texts)
    assert len({text for body in asked_of for text in demonstrated(body)}) > 60, "drawn anew for each call"
    said = {", ".join(texts[text] for text in demonstrated(body)) for body in asked_of}
    assert set(names.values()) == said, "each draft names what its call showed, in order"


def test_later_calls_show_six_seeds_and_two_of_what_was_accepted(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BLOCK", 4)
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 10)
        write_drafts(birth, 14)  # rounds and blocks need not agree
        written = {draft.key: draft for draft in birth.waiting}
        texts = {seed.id: seed.instruction for seed in birth.seeds}
    texts |= {key: draft.instruction for key, draft in written.items()}
    order = list(dict.fromkeys(draft.calls[0] for draft in written.values()))
    shown = {draft.calls[0]: draft.shown.split(", ") for draft in written.values()}
    places, machine = set(), list[str]()
    for number, call in enumerate(order):
        own = [name for name in shown[call] if name in written]
        assert (len(own), len(shown[call])) == (0 if number < 4 else 2, 8)
        assert all(order.index(written[name].calls[0]) // 4 < number // 4 for name in own), "of earlier blocks only"
        places |= {shown[call].index(name) for name in own}
        machine += own
    said = [demonstrated(body) for body in bodies(server, "write")]
    assert sorted(said) == sorted([texts[name] for name in shown[call]] for call in order)
    assert len(places) == 8, "the order is shuffled"
    assert len(set(machine)) > 20, "drawn anew for each call"


def test_one_written_instruction_leaves_room_for_seven_seeds(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BLOCK", 1)
    server.answer = teach_with(write=[TASK])
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 2)
        assert [draft.instruction for draft in birth.waiting] == [TASK], "the second time it is not novel"
        seeds = {seed.instruction for seed in birth.seeds}
    first, second = bodies(server, "write")
    assert set(demonstrated(first)) <= seeds
    assert len(demonstrated(second)) == 8
    assert [text for text in demonstrated(second) if text not in seeds] == [TASK]


def test_an_instruction_without_an_instance_may_still_be_shown(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BLOCK", 1)
    server.answer = teach_with(example="", label="")
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 1)
        give_answers(birth, 99)
        assert not birth.records and list(reasons(birth)) == ["no instance in the reply"]
        write_drafts(birth, 1)
        seeds = {seed.instruction for seed in birth.seeds}
    assert len([text for text in demonstrated(bodies(server, "write")[1]) if text not in seeds]) == 2


def test_a_demonstration_is_one_line_and_ends_in_no_colon(server: OpenAIServer, project: Path) -> None:
    rows = [{"instruction": "Sum up\n  this   letter:\n"}, {"instruction": "Why: say so."}]
    with begun(recipe(server, seeds=write_seeds(project / "s.jsonl", rows)), project) as birth:
        write_drafts(birth, 1)
    assert sorted(demonstrated(bodies(server, "write")[0])) == ["Sum up this letter", "Why: say so."]


def test_knobs_set_the_numbers(server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BLOCK", 1)
    made = {"human": 3, "machine": 1, "per_call": 4, "completion": True}
    with begun(recipe(server, made=made), project) as birth:
        write_drafts(birth, 2)
        assert len(birth.waiting) == 8 and reasons(birth).keys() == {"more than asked for"}
        seeds = {seed.instruction for seed in birth.seeds}
    for body in bodies(server, "write"):
        assert len(demonstrated(body)) == 4
        assert body["stop"] == ["\n\n", "\n9.", "\n9 ."]
    assert len([text for text in demonstrated(bodies(server, "write")[1]) if text not in seeds]) == 1


def test_seeds_of_classification_alone_have_a_header_of_their_own(server: OpenAIServer, project: Path) -> None:
    rows = [row for row in many_seeds() if row["classification"]]
    with begun(recipe(server, seeds=write_seeds(project / "s.jsonl", rows)), project) as birth:
        write_drafts(birth, 1)
    with begun(recipe(server), project / "mixed") as birth:
        write_drafts(birth, 1)
    own, mixed = bodies(server, "write")
    assert asked(own).startswith("Here are classification tasks that")
    assert asked(mixed).startswith("Here are tasks that")


# -- stage 1: what is sent


def test_a_chat_is_asked_for_a_list(server: OpenAIServer, project: Path) -> None:
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 1)
        assert len(birth.waiting) == 7
    (body,) = bodies(server, "write")
    assert parameters(body) == SAMPLING
    assert [turn["role"] for turn in body["messages"]] == ["user"]
    assert "write tasks 9 to 15, one a line" in asked(body)
    assert "- Language: English." in asked(body)


def test_a_structured_chat_is_asked_for_json(server: OpenAIServer, project: Path) -> None:
    with begun(recipe(server, structured=True), project) as birth:
        write_drafts(birth, 1)
        assert len(birth.waiting) == 7
        seeds = {seed.instruction for seed in birth.seeds}
    (body,) = bodies(server, "write")
    shape = body["response_format"]["json_schema"]["schema"]
    assert parameters(body) == {**SAMPLING, "response_format": body["response_format"]}
    assert shape["properties"] == {"tasks": {"type": "array", "items": {"type": "string"}}}
    shown = next(json.loads(line) for line in asked(body).splitlines() if line.startswith("{"))
    assert len(shown["tasks"]) == 8 and set(shown["tasks"]) <= seeds
    assert "Write 7 new tasks in the same form, as JSON" in asked(body)


def test_a_completion_goes_on_with_the_list(server: OpenAIServer, project: Path) -> None:
    with begun(recipe(server, structured=True, made={"completion": True}), project) as birth:
        write_drafts(birth, 1)
        assert len(birth.waiting) == 7, "completion holds whatever the teacher knows of JSON"
    (entry,) = server.bill
    assert entry.route.endswith("/v1/completions")
    assert parameters(entry.body) == {**SAMPLING, "stop": ["\n\n", "\n16.", "\n16 ."]}
    head, *lines = entry.body["prompt"].split("\n")
    assert head.endswith("in English.") and lines[0] == ""
    assert [line.partition(".")[0] for line in lines[1:]] == [str(number) for number in range(1, 10)]
    assert lines[-1] == "9."


@pytest.mark.parametrize("text", ["It ended in 2016. Why?", "Pay $16. Thanks", "In 16 . and", "Add 16.5 to it."])
def test_no_stop_fires_inside_a_text(server: OpenAIServer, project: Path, text: str) -> None:
    with begun(recipe(server, made={"completion": True}), project) as birth:
        write_drafts(birth, 1)
    assert not any(stop in text for stop in bodies(server, "write")[0]["stop"])


def test_what_was_drawn_is_said(server: OpenAIServer, project: Path) -> None:
    variety = {"attributes": {"tone": ["formal"]}}
    for n, made in enumerate(({}, {"completion": True})):
        with begun(recipe(server, made=made, language="pt-BR", variety=variety), project / str(n)) as birth:
            write_drafts(birth, 1)
            assert birth.waiting[0].traits.text == "tone: formal"
    chat, raw = bodies(server, "write")
    assert asked(chat).endswith("- Language: Portuguese (pt-BR).\n- All of them are tone: formal.")
    assert "in Portuguese (pt-BR). They are tone: formal.\n" in asked(raw)


# -- stage 1: what is read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9. Name a tree.\n10. Name a river.", ["Name a tree.", "Name a river."]),
        ("Here you are:\n\n1) Name a\n   tree.\n2) Name a river.", ["Name a tree.", "Name a river."]),
        ("**9.** Name a tree.\n\n**10. Name a river.**", ["Name a tree.", "Name a river."]),
        ("Task 9: Name a tree.\nTask 10: Name a river.", ["Name a tree.", "Name a river."]),
        ("9 . Name a tree.\n10 . Name a river.", ["Name a tree.", "Name a river."]),
        ("9. Sort these:\n1. pears\n2. apples\n10. Name a river.", ["Sort these: 1. pears 2. apples", "Name a river."]),
        ("9. Add 3.5 and\n10.25 to it.\n10. Why in 2016. or so?", ["Add 3.5 and 10.25 to it.", "Why in 2016. or so?"]),
        ("9. 2. Name a tree.\n10.", ["Name a tree."]),
        ("1. Name a tree.\n1. Name a river.", ["Name a tree.", "Name a river."]),
        ("Name a tree.", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_list_is_read(text: str, expected: list[str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Name three old trees.", None),
        ("Name three trees.", "instruction too short"),
        ("word " * 150, None),
        ("word " * 151, "instruction too long"),
        ("Write a program that sorts numbers.", "asks for a program"),
        ("WRITE A PROGRAM that sorts numbers.", "asks for a program"),
        ("Please write a program that sorts.", None),
        ('"Be" or "is": which one fits?', "begins with punctuation"),
        ("(a) or (b): which one fits?", "begins with punctuation"),
        ("Übersetze den Satz ins Englische.", "begins with a letter of another script"),
        ("说出三种你最喜欢的颜色", "begins with a letter of another script"),
        ("2016 was a leap year. Why?", None),
    ],
)
def test_the_sources_filters(text: str, reason: str | None) -> None:
    assert fault(text, english=True) == reason


@pytest.mark.parametrize(
    "text", ["Übersetze den Satz ins Englische.", "说出三种你最喜欢的颜色", "¿Cuál es la capital de Chile?"]
)
def test_other_languages_begin_with_their_own_letters(text: str) -> None:
    assert fault(text, english=False) is None
    assert fault("!" + text, english=False) == "begins with punctuation"


def test_what_a_text_model_cannot_see_is_dropped(server: OpenAIServer, project: Path) -> None:
    unseen = ["image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"]
    tasks = [f"Tell me about the {word} of old towns." for word in unseen] + [
        "Draw a tree that has no leaves.",
        "Plot the numbers of the last year.",
        "Go to the shop and come back.",
    ]
    server.answer = teach_with(write=tasks)
    with begun(recipe(server, made={"per_call": 20}), project) as birth:
        write_drafts(birth, 1)
        assert birth.waiting == []
        assert reasons(birth) == {"asks for what a text model cannot see": tasks}


def test_words_keep_their_case_and_each_drop_its_reason(server: OpenAIServer, project: Path) -> None:
    good = "explain what NASA and the USA did in 1969."
    server.answer = teach_with(
        write=[good, "Name trees.", "Write a program in BASIC for me.", "- list three old trees"]
    )
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 1)
        assert [draft.instruction for draft in birth.waiting] == [good]
        assert set(reasons(birth)) == {"instruction too short", "asks for a program", "begins with punctuation"}
        assert {row["call"] for row in birth.rejected} == {birth.waiting[0].calls[0]}


@pytest.mark.parametrize("structured", [True, False])
def test_a_reply_that_was_cut_off_loses_its_last_task_only(
    server: OpenAIServer, project: Path, structured: bool
) -> None:
    tasks = [sentence(random.Random(n)) for n in range(4)]
    server.answer = lambda body: listed(tasks, body)[: -2 if structured else None]
    server.faults = ["length"]
    with begun(recipe(server, structured=structured), project) as birth:
        write_drafts(birth, 1)
        assert [draft.instruction for draft in birth.waiting] == tasks[:3]
        assert list(reasons(birth)) == ["unfinished instruction"]


def test_no_more_than_seven_are_taken_of_a_call(server: OpenAIServer, project: Path) -> None:
    tasks = [sentence(random.Random(n)) for n in range(9)]
    server.answer = teach_with(write=tasks)
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 1)
        assert [draft.instruction for draft in birth.waiting] == tasks[:7]
        assert reasons(birth) == {"more than asked for": tasks[7:]}


@pytest.mark.parametrize("fault", ["empty", "null"])
def test_a_call_without_a_task_says_so(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.faults = [fault]
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 1)
        assert list(reasons(birth)) == ["no task in the reply" if fault == "empty" else "blocked by the provider"]


def test_above_seven_tenths_is_not_novel(server: OpenAIServer, project: Path) -> None:
    words = [f"word{n}" for n in range(10)]
    seed, other = " ".join(words), [f"other{n}" for n in range(10)]
    at, above = " ".join([*words[:7], *other[:3]]), " ".join([*words[:8], *other[3:5]])
    new = " ".join(other)
    near = " ".join([*other[:9], "last"])
    path = write_seeds(project / "s.jsonl", [{"instruction": seed}])
    server.answer = teach_with(write=[at, above, new, near])
    with begun(recipe(server, seeds=path), project) as birth:
        write_drafts(birth, 1)
        assert [draft.instruction for draft in birth.waiting] == [at, new], "0.7 itself passes"
        assert reasons(birth) == {"not novel (ROUGE-L 0.80)": [above], "not novel (ROUGE-L 0.90)": [near]}


# -- stage 2: classification or not


def answered(birth: Birth, kind: str = "") -> list[Record]:
    """The rows of one draft, after the question of its kind."""
    birth.waiting = [Draft(TASK, "", "c1:0/0", ("c1:0",), cost_usd=0.5, kind=kind)]
    give_answers(birth, 1)
    return birth.records


@pytest.mark.parametrize("completion", [True, False])
def test_the_question_of_the_kind_is_the_same_for_all(server: OpenAIServer, project: Path, completion: bool) -> None:
    with begun(recipe(server, made={"completion": completion}), project) as birth:
        write_drafts(birth, 2)
        give_answers(birth, 9)
        shown = {seed.instruction: seed.classification for seed in birth.seeds}
    heads = set()
    for body in bodies(server, "test"):
        head, _, last = asked(body).rpartition("Task: ")
        heads.add(head)
        assert last.endswith("\nClassification:")
        told = re.findall(r"Task: (.*)\nClassification: (Yes|No)", head)
        assert [answer for _, answer in told].count("Yes") == 12
        assert [answer for _, answer in told].count("No") == 19
        assert all(shown[text] == (answer == "Yes") for text, answer in told)
        assert [answer for _, answer in told] != sorted((answer for _, answer in told), reverse=True), "shuffled"
        few = {"max_tokens": 3, "stop": ["\n", "Task"]} if completion else {"max_tokens": 8}
        assert parameters(body) == {"temperature": 0.0, **few}
    assert len(heads) == 1 and len(bodies(server, "test")) == 9


def test_another_seed_of_the_plan_shows_others(server: OpenAIServer, project: Path) -> None:
    def shown(seed: int) -> list[list[str]]:
        with begun(recipe(server, seed=seed), project / str(seed)) as birth:
            lists = [instances.questions(birth), *(instances.demonstrations(birth, kind) for kind in (True, False))]
            return [[seed.id for seed in found] for found in lists]

    assert shown(1) == shown(1)
    assert all(one != other for one, other in zip(shown(1), shown(2), strict=True))


def test_a_small_seed_file_shows_what_it_has(server: OpenAIServer, project: Path) -> None:
    rows = [row for row in many_seeds(9)]
    with begun(recipe(server, seeds=write_seeds(project / "s.jsonl", rows)), project) as birth:
        answered(birth)
    told = re.findall(r"Classification: (Yes|No)", asked(bodies(server, "test")[0]))
    assert sorted(told) == ["No"] * 6 + ["Yes"] * 3


def test_seeds_without_labels_are_helped_out_by_the_shipped_ones(server: OpenAIServer, project: Path) -> None:
    rows = [row for row in many_seeds() if not row["classification"]]
    with begun(recipe(server, seeds=write_seeds(project / "s.jsonl", rows)), project) as birth:
        assert {seed.id[:5] for seed in instances.demonstrations(birth, True)} == {"seed-"}
        own = {row["id"] for row in rows}
        assert {seed.id for seed in instances.demonstrations(birth, False)} <= own


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Yes", "classification"),
        (" yes", "classification"),
        ("YES.", "classification"),
        ("**Yes**", "classification"),
        ("Yes, it", "classification"),
        ("Classification: Yes", "classification"),
        ("No", ""),
        ("Yesterday", ""),
        ("Not sure: yes", ""),
        ("", ""),
    ],
)
def test_what_counts_as_yes(server: OpenAIServer, project: Path, said: str, kind: str) -> None:
    server.answer = teach_with(test=said)
    with begun(recipe(server), project) as birth:
        records = answered(birth)
    assert {record.kind for record in records} == {kind}
    assert len(bodies(server, "label" if kind else "example")) == 1


def test_a_blocked_question_counts_as_no(server: OpenAIServer, project: Path) -> None:
    server.faults = ["null"]
    with begun(recipe(server), project) as birth:
        assert {record.kind for record in answered(birth)} == {""}
        assert birth.rejected == []


# -- stage 3: instances


@pytest.mark.parametrize("way", ["text", "json", "completion"])
@pytest.mark.parametrize("labelled", [True, False])
def test_instances_are_asked_as_the_source_asks(server: OpenAIServer, project: Path, way: str, labelled: bool) -> None:
    server.answer = teach_with(test="Yes" if labelled else "No")
    made = {"completion": way == "completion"}
    with begun(recipe(server, structured=way == "json", made=made), project) as birth:
        write_drafts(birth, 2)
        give_answers(birth, 5)
        assert len(birth.records) == 10
        seeds = {seed.instruction: seed for seed in birth.seeds}
    found = bodies(server, "label" if labelled else "example")
    assert len(found) == 5 and not bodies(server, "example" if labelled else "label")
    for body in found:
        assert body["max_tokens"] == (300 if labelled else 350)
        assert (body["temperature"], body["presence_penalty"]) == (0.0, 1.5)
        assert body.get("stop") == (["\nExample 6", "\nTask:"] if made["completion"] else None)
        assert ("response_format" in body) == (way == "json") and ("prompt" in body) == made["completion"]
    heads = {asked(body).rpartition("Task: ")[0] for body in found}
    assert len(heads) == 1, "the same demonstrations for every task, before what differs"
    shown = [seeds[text] for text in re.findall(r"^Task: (.*)$", heads.pop(), re.M)]
    assert len(shown) == (16 if labelled else 11)
    assert {seed.classification for seed in shown} == {labelled}
    text = asked(found[0])
    if labelled:
        marks = text.count('"label": ') if way == "json" else text.count("Class label: ")
        assert marks == 34
    for seed in shown:
        assert all(output in text or json.dumps(output)[1:-1] in text for _, output in seed.instances)


def test_a_label_stands_before_its_input(server: OpenAIServer, project: Path) -> None:
    for structured in (True, False):
        with begun(recipe(server, structured=structured), project / str(structured)) as birth:
            server.answer = teach_with(test="Yes")
            answered(birth)
            server.answer = teach_with(test="No")
            birth.waiting = [Draft(TASK + " Why?", "", "c1:1/0", ("c1:1",))]
            give_answers(birth, 1)
    (json_labels, labels), (json_examples, examples) = bodies(server, "label"), bodies(server, "example")
    assert re.search(r'\{"instances": \[\{"label": "[^"]+", "input": "', asked(json_labels))
    assert re.search(r"\nClass label: .+\nInput: .+\nClass label: .+\nInput: ", asked(labels))
    assert re.search(r'\{"instances": \[\{"input": "[^"]*", "output": "', asked(json_examples))
    assert re.search(r"\nExample 1\nInput: .+\nOutput: .+\nExample 2\nInput: .+\nOutput: ", asked(examples))
    assert re.search(r"\nTask: .+\nOutput: ", asked(examples)), "a seed without an input shows its output alone"
    orders = [list(_one(body)["properties"]) for body in (json_labels, json_examples)]
    assert orders == [["label", "input"], ["input", "output"]]
    assert all(
        _one(body)["required"] == order for body, order in zip((json_labels, json_examples), orders, strict=True)
    )


def _one(body: Body) -> Any:
    return body["response_format"]["json_schema"]["schema"]["properties"]["instances"]["items"]


@pytest.mark.parametrize(("own", "sent"), [(64, 350), (512, 350), (700, 700)])
def test_a_limit_above_the_usual_holds(server: OpenAIServer, project: Path, own: int, sent: int) -> None:
    server.answer = teach_with(test="No")
    with begun(recipe(server, answer={"max_tokens": own}), project) as birth:
        answered(birth)
    assert bodies(server, "example")[0]["max_tokens"] == sent


def test_system_turns_hold_for_what_is_answered(server: OpenAIServer, project: Path) -> None:
    systems = project / "systems.txt"
    systems.write_text("You are a gardener.\n", encoding="utf-8")
    plan = recipe(server, answer={"system": "Be brief."}, variety={"systems": systems})
    with begun(plan, project) as birth:
        write_drafts(birth, 1)
        give_answers(birth, 1)
        record = birth.records[0]
    for entry in server.bill:
        said = [turn["content"] for turn in entry.body["messages"] if turn["role"] == "system"]
        assert said == (["You are a gardener.\n\nBe brief."] if stage_of(entry.body) in ("label", "example") else [])
    assert [(turn.role, turn.content) for turn in record.messages[:1]] == [("system", "You are a gardener.")]


def test_a_raw_prompt_has_no_system_turn_and_so_has_the_row(server: OpenAIServer, project: Path) -> None:
    systems = project / "systems.txt"
    systems.write_text("You are a gardener.\n", encoding="utf-8")
    plan = recipe(server, made={"completion": True}, answer={"system": "Be brief."}, variety={"systems": systems})
    with begun(plan, project) as birth:
        write_drafts(birth, 1)
        give_answers(birth, 1)
        assert [turn.role for turn in birth.records[0].messages] == ["user", "assistant"]
    assert not any(text in asked(e.body) for e in server.bill for text in ("You are a gardener.", "Be brief."))


@pytest.mark.parametrize(("wanted", "form"), [(1, "one example in"), (3, "3 different examples, or one if")])
def test_a_chat_is_told_how_many(server: OpenAIServer, project: Path, wanted: int, form: str) -> None:
    server.answer = teach_with(test="No")
    with begun(recipe(server, made={"instances": wanted}), project) as birth:
        answered(birth)
    assert form in asked(bodies(server, "example")[0])


# -- stage 4: reading and filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Example 1\nInput: p\nOutput: q\nExample 2\nInput: r\nOutput: s", [("p", "q"), ("r", "s")]),
        ("Input: pear\nOutput: poire", [("pear", "poire")]),
        ("Output: poire", [("", "poire")]),
        ("Example 1\nOutput: poire", [("", "poire")]),
        ("Example 1\nInput: none\nOutput: poire", [("", "poire")]),
        ("Example\nInput: pear\nOutput:\npoire\nou\nprune", [("pear", "poire\nou\nprune")]),
        ("**Example 1:**\n**Input:** pear\n**Output:** poire", [("pear", "poire")]),
        ("Example 1\npoire", [("", "poire")]),
        ("Example 1\nInput 1: pear\nOutput 1: poire\nInput 2: plum\nOutput 2: prune", [("pear", "poire")]),
        ("Example 1\nInput: a\nOutput: Example 2 shows it.", [("a", "Example 2 shows it.")]),
        ("Une poire, voila.", []),
        ("", []),
    ],
)  # fmt: skip
def test_examples_are_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [pair[1:] for pair in instances.parse(text)] == expected
    assert [pair.place for pair in instances.parse(text)] == list(range(len(expected)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Class label: warm\nInput: Tea.\nClass label: cold\nIce.", [("Tea.", "warm"), ("Ice.", "cold")]),
        ("Class label: warm\nA\nB\n\nClass label: cold", [("A\nB", "warm"), ("", "cold")]),
        ("**Class label 1:** warm\nInput: none", [("", "warm")]),
        ("It is warm.", []),
        ("", []),
    ],
)  # fmt: skip
def test_labels_are_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [pair[1:] for pair in parse_labels(text)] == expected


A, B, C = Instance(0, "in", "out"), Instance(1, "in 2", "out 2"), Instance(2, "in 3", "out")


@pytest.mark.parametrize(
    ("found", "labelled", "kept", "why"),
    [
        ([A, B, C], False, [A, B, C], []),
        ([A, Instance(1, "same", "same")], False, [A], ["input equals output"]),
        ([A, Instance(1, "in 2", "")], False, [A], ["empty output"]),
        ([A, Instance(1, "List:", "out 2")], False, [A], ["ends in a colon"]),
        ([A, Instance(1, "in 2", "Here it is:")], False, [A], ["ends in a colon"]),
        ([A, B, Instance(2, "in", "other")], False, [], ["contradicts another instance"] * 3),
        ([A, B, Instance(2, "in", "out")], False, [A, B], ["the same instance twice"]),
        ([Instance(0, "", "a"), Instance(1, "", "b")], False, [Instance(0, "", "a"), Instance(1, "", "b")], []),
        ([Instance(0, "", "a"), Instance(1, "", "b")], True, [], ["contradicts another instance"] * 2),
        ([A, Instance(1, "in", "ends:")], False, [A], ["ends in a colon"]),
        ([], False, [], []),
    ],
)
def test_what_is_valid(found: list[Instance], labelled: bool, kept: list[Instance], why: list[str]) -> None:
    whole, dropped = sift(found, labelled)
    assert whole == kept
    assert [reason for reason, _ in dropped] == why


@pytest.mark.parametrize("way", ["text", "json"])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_last_instance_of_a_cut_reply_is_dropped(
    server: OpenAIServer, project: Path, way: str, labelled: bool
) -> None:
    pairs = [("a pear", "une poire"), ("a plum", "une prune"), ("a cherry", "une cerise")]

    def cut(body: Body) -> str:
        whole: str = teach_with(test="Yes" if labelled else "No", label=pairs, example=pairs)(body)
        return whole if stage_of(body) == "test" else whole[: whole.rindex("cerise" if not labelled else "cherry")]

    server.answer = cut
    server.faults = [None, "length"]
    with begun(recipe(server, structured=way == "json"), project) as birth:
        records = answered(birth)
        assert [(r.prompt, r.completion) for r in records] == [
            (f"{TASK}\n\na pear", "une poire"),
            (f"{TASK}\n\na plum", "une prune"),
        ]
        assert list(reasons(birth)) == ["unfinished instance"]
    assert len(server.bill) == 2, "a reply that was cut off is not asked for again"


@pytest.mark.parametrize("fault", ["empty", "null"])
def test_a_task_without_an_instance_says_so(server: OpenAIServer, project: Path, fault: Any) -> None:
    server.answer = teach_with(test="No")
    server.faults = [None, fault]
    with begun(recipe(server), project) as birth:
        assert answered(birth) == []
        assert list(reasons(birth)) == ["no instance in the reply" if fault == "empty" else "blocked by the provider"]


def test_what_is_no_json_twice_is_turned_away(server: OpenAIServer, project: Path) -> None:
    server.answer = teach_with(test="No", example="No idea.")
    with begun(recipe(server, structured=True), project) as birth:
        assert answered(birth) == []
        assert reasons(birth) == {"not the JSON asked for": ["No idea."]}
    assert len(bodies(server, "example")) == 2


def test_the_dice_choose_among_the_valid(server: OpenAIServer, project: Path) -> None:
    pairs = [(f"word {n}", f"mot {n}") for n in range(6)] + [("x", "x")]
    server.answer = teach_with(label=pairs, example=pairs)
    with begun(recipe(server, made={"instances": 2}), project) as birth:
        write_drafts(birth, 3)
        give_answers(birth, 99)
        records, found = birth.records, reasons(birth)
    assert len(records) == 2 * 21
    assert len(found["more instances than wanted"]) == 4 * 21 and len(found["input equals output"]) == 21
    chosen = [tuple(r.completion for r in records[n : n + 2]) for n in range(0, 42, 2)]
    assert all(list(pair) == sorted(pair) for pair in chosen), "in the order of the reply"
    assert len(set(chosen)) > 8, "not the same ones for every task"
    again = bear(recipe(server, num=42, made={"instances": 2}), project)
    assert again == records


# -- the record


def test_a_row_names_all_that_made_it(server: OpenAIServer, project: Path) -> None:
    with begun(recipe(server), project) as birth:
        write_drafts(birth, 2)
        give_answers(birth, 99)
        records, call = birth.records, {c.key: c for c in _calls(birth)}
    assert len(records) == 28 and {record.kind for record in records} == {"", "classification"}
    assert len({record.origin.key for record in records}) == 28
    for record in records:
        origin = record.origin
        stages = [stage_of(call[key].request) for key in origin.calls]
        assert stages == ["write", "test", "label" if record.kind else "example"]
        instruction = record.prompt.partition("\n\n")[0]
        assert asked(call[origin.calls[1]].request).endswith(f"Task: {instruction}\nClassification:")
        assert origin.key.startswith(f"{origin.calls[0]}/") and origin.method == "self-instruct"
        assert origin.parents == (origin.key.rpartition("/")[0],)
        assert len(origin.source.split(", ")) == 8 and origin.prompt_digest
    families = roots(kin_of(records))
    assert len(set(families.values())) == 14, "the instances of an instruction stand on one side of the split"
    paid = sum(record.origin.cost_usd or 0.0 for record in records)
    assert paid == pytest.approx(server.cost(PRICE["input"], PRICE["output"]))


def _calls(birth: Birth) -> list[Any]:
    from yearling.ledger import Call

    rows = birth.asker.ledger._db.execute("SELECT request, sample FROM calls").fetchall()
    teacher = birth.asker.teacher
    return [Call(teacher.endpoint, teacher.model, json.loads(request), sample) for request, sample in rows]


def test_a_single_instance_has_no_family(server: OpenAIServer, project: Path) -> None:
    server.answer = teach_with(test="No", example=[("a pear", "une poire")])
    with begun(recipe(server), project) as birth:
        (record,) = answered(birth)
    assert (record.origin.parents, record.origin.key, record.kind) == ((), "c1:0/0/0", "")
    assert record.prompt == f"{TASK}\n\na pear" and record.completion == "une poire"


# -- the plan


@pytest.mark.parametrize("way", ["text", "json", "completion"])
def test_the_same_command_again_sends_nothing(server: OpenAIServer, project: Path, way: str) -> None:
    plan = recipe(server, num=30, structured=way == "json", made={"completion": way == "completion"})
    records = bear(plan, project)
    sent = len(server.bill)
    assert len(records) == 30
    assert bear(plan, project) == records and len(server.bill) == sent
    assert set(server.keys.values()) == {1}


def test_raising_num_keeps_what_was_born(server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BLOCK", 2)
    few = bear(recipe(server, num=20), project)
    many = bear(recipe(server, num=90), project)
    assert many[:20] == few and len(many) == 90
    assert set(server.keys.values()) == {1}
    assert bear(recipe(server, num=90), project / "at once") == many


def test_an_edited_seed_moves_its_calls_and_their_descendants_only(
    server: OpenAIServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BLOCK", 8)
    rows, path, said = many_seeds(), project / "seeds.jsonl", dict[int, str]()
    plan, plain = recipe(server, seeds=write_seeds(path, rows)), self_instruct.request

    def noted(birth: Birth, shown: Any, traits: Any, call: int) -> dict[str, Any]:
        made = plain(birth, shown, traits, call)
        said[call] = asked(made)
        return made

    def played() -> tuple[dict[int, str], set[str], set[str]]:
        """What each call said, what was accepted, and the seeds that are shown with every draft."""
        with begun(plan, project) as birth:
            write_drafts(birth, 40)
            accepted = {draft.instruction for draft in birth.waiting}
            give_answers(birth, 999)
            fixed = [*instances.questions(birth), *instances.demonstrations(birth, True)]
            fixed += instances.demonstrations(birth, False)
            return dict(said), accepted, {seed.id for seed in fixed}

    monkeypatch.setattr(self_instruct, "request", noted)
    before, old, fixed = played()
    sent = len(server.bill)
    first = next(r for r in rows if r["id"] not in fixed and any(r["instruction"] in before[k] for k in range(8)))
    edited = {**first, "instruction": "Say what a heron eats in a hard winter."}
    write_seeds(path, [edited if row is first else row for row in rows])
    after, new, _ = played()
    fresh = server.bill[sent:]

    own = {k for k in before if first["instruction"] in before[k]}
    assert own == {k for k in after if edited["instruction"] in after[k]}, "in the place where the old one stood"
    gone, come = old - new, new - old
    heirs = {k for k in before if any(t in before[k] for t in gone) or any(t in after[k] for t in come)}
    written = [asked(entry.body) for entry in fresh if stage_of(entry.body) == "write"]
    assert sorted(written) == sorted(after[k] for k in own | heirs)
    assert own and heirs - own and not min(heirs) < 8
    assert {k for k in before if k >= 8} - own - heirs, "a later call that shows none of it stays as it was"
    others = [asked(entry.body) for entry in fresh if stage_of(entry.body) != "write"]
    assert others and all(any(f"Task: {text}\n" in told for text in come) for told in others)
    assert set(server.keys.values()) == {1}


def test_an_edited_instance_of_a_seed_counts_as_another_input(server: OpenAIServer, project: Path) -> None:
    rows = [
        {**row, "instances": [{"input": "x", "output": "y"}, {"input": "p", "output": "q"}]} for row in many_seeds(3)
    ]
    for row in rows:
        del row["input"], row["output"]
    path = write_seeds(project / "s.jsonl", rows)
    plan, run = recipe(server, seeds=path), Run(project, "one")
    assert load_seeds(path)[0].instances == (("x", "y"), ("p", "q"))
    first = digest_inputs(plan, run)
    rows[1]["instances"][1]["output"] = "r"
    write_seeds(path, rows)
    second = digest_inputs(plan, run)
    assert {name for name in first if first[name] != second[name]} == {"seeds"}
    assert {"self-instruct", "self-instruct-list", "classify", "instances", "labels"} <= set(first)


def test_the_shipped_seeds_hold_the_sources_number_of_labelled_examples() -> None:
    several = [seed for seed in load_seeds(None) if seed.more]
    labelled = [seed for seed in several if seed.classification]
    assert (len(labelled), sum(len(seed.instances) for seed in labelled)) == (16, 34)
    for seed in several:
        inputs = [given for given, _ in seed.instances]
        assert len(set(inputs)) == len(inputs) and all(inputs)
    for seed in labelled:
        outputs = [output for _, output in seed.instances]
        assert len(set(outputs)) == len(outputs), "one example for each label shown"
