"""Instructions before they are answered: how a call asks for them, how its reply is read, and what seeds it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_teacher import birth_of, replied, write_seeds
from openai_server import asked

from yearling.errors import UserError
from yearling.generate import alpaca, magpie
from yearling.generate.draft import Draft, fault
from yearling.generate.seeds import Seed, load_seeds
from yearling.generate.variety import Traits
from yearling.ledger import Reply
from yearling.recipe import Generate
from yearling.record import Message
from yearling.students.template import Template


@pytest.fixture(params=[True, False], ids=["json", "text"])
def structured(request: pytest.FixtureRequest) -> bool:
    """Both forms in which lists are asked for."""
    return bool(request.param)


# -- reading a reply


def drafted(text: str, finish: str = "stop", structured: bool = False, **made: Any) -> tuple[list[Draft], list[str]]:
    """Drafts of one reply, and the reasons for what was turned away."""
    settings = Generate.model_validate({"alpaca": made})
    birth = birth_of(lambda request: replied(text, finish), settings, structured, load_seeds(None))
    found = alpaca.drafts(birth, range(3, 4))
    return found, [row["reason"] for row in birth.rejected]


@pytest.mark.parametrize("output", [False, True])
def test_the_form_that_the_prompt_shows_is_read(output: bool) -> None:
    seeds = [Seed("s", f"Name {n} trees.", "" if n % 2 else "In a wood.", "Oaks.") for n in (4, 5)]
    shown = "\n\n".join(alpaca._shown(n, seed, output) for n, seed in enumerate(seeds, 4))
    told = "Oaks." if output else ""
    assert alpaca.parse(shown) == [("Name 4 trees.", "In a wood.", told), ("Name 5 trees.", "", told)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Instruction: Name a tree.\nInput: none", [("Name a tree.", "")]),
        ("**Task 4:**\n**Instruction:** Name a tree.\n**Input:** None.", [("Name a tree.", "")]),
        ("Instruction: Name\n a tree.", [("Name a tree.", "")]),
        ("1. Instruction: A b.\nInput: none\n2. Instruction: D e.\nInput: N/A", [("A b.", ""), ("D e.", "")]),
        ("4. Instruction:\nInput: none", []),
        ("Task 4\nInstructions: Name a tree.\nInput: none", [("Name a tree.", "")]),
        ("1. Instruction: A b.\nInput: <noinput>", [("A b.", "")]),
        ("1. Instruction: ¿Qué es?\nInput: -5 + 3", [("¿Qué es?", "-5 + 3")]),
        ('1. Instruction: "Be" or "is"?\nInput: "Be" it', [('"Be" or "is"?', '"Be" it')]),
        ("", []),
        ("1. Name a tree.\n2. Name a river.", [("Name a tree.", ""), ("Name a river.", "")]),
        (
            "4. Instruction: Sort the list.\nInput: 1. pears\n2. apples\n\n5. Instruction: Name a tree.\nInput: none",
            [("Sort the list.", "1. pears\n2. apples"), ("Name a tree.", "")],
        ),
    ],
)
def test_a_reply_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert alpaca.parse(text) == [(*task, "") for task in expected]


@pytest.mark.parametrize("name", ["Output", "Answer", "**Output**"])
def test_an_answer_that_comes_along_is_read(name: str) -> None:
    text = f"4) Instruction: Sum up.\nInput: A letter.\n{name}: Yes.\nIndeed.\n5) Instruction: Name a tree."
    assert alpaca.parse(text) == [("Sum up.", "A letter.", "Yes.\nIndeed."), ("Name a tree.", "", "")]


@pytest.mark.parametrize("together", [False, True])
def test_a_drawn_system_turn_stays_with_the_row(together: bool) -> None:
    heard, hear = hearing("1. Instruction: Name a tree.\nInput: none\nOutput: The oak.")
    birth = birth_of(hear, Generate.model_validate({"alpaca": {"together": together}}), False, load_seeds(None))
    birth.lists = replace(birth.lists, systems=("You answer in rhyme.",))
    [draft] = alpaca.drafts(birth, range(1))
    assert draft.before == (Message("system", "You answer in rhyme."),)
    assert ("You answer in rhyme." in asked(heard[0])) == together, "whoever answers is told of it"


CUT_JSON = '{"tasks": [{"instruction": "Name a tree.", "input": "none"}, {"instruction": "Name a ri'
CUT_TEXT = "1. Instruction: Name a tree.\nInput: none\n2. Instruction: Name a ri"


@pytest.mark.parametrize(("text", "structured"), [(CUT_JSON, True), (CUT_TEXT, False)], ids=["json", "text"])
def test_the_last_task_of_a_cut_reply_is_dropped(text: str, structured: bool) -> None:
    cut, reasons = drafted(text, "length", structured)
    assert [draft.instruction for draft in cut] == ["Name a tree."]
    assert reasons == ["unfinished instruction"]
    (call,) = cut[0].calls
    shown = cut[0].shown
    assert shown.count("seed-") == 3
    assert cut[0] == Draft("Name a tree.", "", f"{call}/0", (call,), shown=shown, traits=Traits(), cost_usd=0.25)


def test_a_whole_reply_keeps_its_last_task() -> None:
    whole, reasons = drafted(CUT_TEXT)
    assert [draft.instruction for draft in whole] == ["Name a tree.", "Name a ri"]
    assert reasons == [] and {draft.cost_usd for draft in whole} == {0.125}
    closed = CUT_JSON + 'ver.", "input": "NONE."}]}'
    whole, reasons = drafted(closed, structured=True)
    assert [(draft.instruction, draft.input) for draft in whole] == [("Name a tree.", ""), ("Name a river.", "")]
    assert reasons == []


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize(("text", "structured"), [("", False), ('{"tasks": []}', True)])
def test_a_reply_without_a_task_says_so(text: str, structured: bool, finish: str) -> None:
    assert drafted(text, finish, structured) == ([], ["no task in the reply"])


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
    assert fault(Draft(text, "", "k", ("c",))) == reason


def test_the_filter_of_words_is_for_english() -> None:
    text = "Schreibe ein Audio-Drehbuch mit drei Personen."
    assert fault(Draft(text, "", "k", ("c",))) == "asks for what a text model cannot see"
    assert fault(Draft(text, "", "k", ("c",)), english=False) is None
    for language, reason in (("en", True), ("en-GB", True), ("EN", True), ("de", False), ("eng", False)):
        birth = birth_of(lambda request: replied(""), language=language)
        assert (birth.prompt_fault(text) is not None) == reason, language


# -- the plan


def hearing(text: str, finish: str = "stop") -> tuple[list[Mapping[str, Any]], Callable[[Mapping[str, Any]], Reply]]:
    """What is asked, and a way to answer it with one text."""
    heard: list[Mapping[str, Any]] = []

    def hear(request: Mapping[str, Any]) -> Reply:
        heard.append(request)
        return replied(text, finish)

    return heard, hear


def planned(structured: bool = True, count: int = 30, **made: Any) -> list[Mapping[str, Any]]:
    """What the first calls ask."""
    heard, hear = hearing("", "content_filter")
    birth = birth_of(hear, Generate.model_validate(made), structured, load_seeds(None))
    alpaca.drafts(birth, range(count))
    return heard


def test_call_k_asks_the_same_on_every_run(structured: bool) -> None:
    seeds = load_seeds(None)
    first = planned(structured)
    assert first == planned(structured, num=7)
    assert first == planned(structured, count=50)[:30], "whatever is asked after it"
    assert not any(one == other for one, other in zip(first, planned(structured, seed=1), strict=True))
    assert len({json.dumps(body["messages"]) for body in first}) == 30
    assert len({body["seed"] for body in first}) == 30, "the sampler differs too"
    shown = [seed for seed in seeds if seed.instruction in asked(first[0]).replace('\\"', '"')]
    assert len(shown) == 3
    assert ("schema" in first[0]) == structured
    assert structured or "tasks 4 to 11" in asked(first[0])


def test_samplers_of_neighbouring_recipes_do_not_meet() -> None:
    seeds = [{body["seed"] for body in planned(seed=seed, count=40)} for seed in (42, 43)]
    assert not seeds[0] & seeds[1]


def test_magpie_asks_the_same_text_with_another_sampler() -> None:
    heard, hear = hearing(" Who\n are  you? ")
    made = Generate.model_validate({"method": "magpie", "temperature": 0.9})
    birth = birth_of(hear, made)
    found = magpie.drafts(birth, range(4, 7))
    said = {"prompt": "<|user|>", "max_tokens": magpie.MAX_TOKENS, "temperature": 0.9}
    assert heard == [{**said, "seed": 42 * 1_000_003 + number} for number in (4, 5, 6)]
    assert [draft.instruction for draft in found] == ["Who are you?"] * 3
    assert len({draft.key for draft in found}) == 3, "calls are told apart by their sample index"
    birth = birth_of(lambda request: replied("Who are", "length"), made)
    assert magpie.drafts(birth, range(2)) == [] and len(birth.rejected) == 2


def test_a_turn_mark_that_is_the_first_token_stays() -> None:
    """ChatML models name their turn mark as the token that begins a text; others' first token is the endpoint's."""
    heard, hear = hearing("Who are you?")
    for bos, opening in (("<|im_start|>", "<|im_start|>user\n"), ("<s>", "user\n")):
        birth = birth_of(hear)
        text = "{{ bos_token }}{% for m in messages %}{{ m.role }}\n{{ m.content }}{% endfor %}"
        shown = Template(text, bos, "", "a test's")
        birth.asker.teacher.template = lambda shown=shown: shown  # type: ignore[method-assign,misc]
        magpie.drafts(birth, range(1))
        assert heard[-1]["prompt"] == opening


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
    path.write_text(json.dumps({"instruction": "Sum up."}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_seeds(path)


def test_a_seed_file_that_cannot_serve_is_refused(project: Path) -> None:
    path = project / "seeds.jsonl"
    with pytest.raises(UserError, match="cannot be read"):
        load_seeds(path)
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no seed tasks"):
        load_seeds(path)
    path.write_bytes(b'{"instruction": "caf\xe9"}')
    with pytest.raises(UserError, match=r"not UTF-8 \(byte 20\)"):
        load_seeds(path)


def test_the_published_shape_of_seeds_is_read(project: Path) -> None:
    row = {"instruction": "Sum up.", "instances": [{"input": "A letter.", "output": "Yes."}]}
    (seed,) = load_seeds(write_seeds(project / "seeds.jsonl", [row]))
    assert (seed.instruction, seed.input, seed.output) == ("Sum up.", "A letter.", "Yes.")
    assert not seed.classification
    marks: list[dict[str, Any]] = [{"is_classification": True}, {"classification": True}, {"is_classification": "no"}]
    rows = [{**row, **mark} for mark in marks]
    read = load_seeds(write_seeds(project / "seeds.jsonl", rows))
    assert [seed.classification for seed in read] == [True, True, False]


@pytest.mark.parametrize("instances", [{"input": "x"}, 3, ["x"], [None]])
def test_seeds_of_a_strange_shape_are_the_users_to_mend(project: Path, instances: Any) -> None:
    path = write_seeds(project / "seeds.jsonl", [{"instruction": "Sum up.", "instances": instances}])
    with pytest.raises(UserError, match=":1"):
        load_seeds(path)


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\u2029"])
def test_a_line_ends_where_json_lines_end(project: Path, mark: str) -> None:
    path = project / "seeds.jsonl"
    path.write_text(json.dumps({"instruction": f"Sum{mark}up."}, ensure_ascii=False), encoding="utf-8")
    assert len(load_seeds(path)) == 1
