"""A user's own prompts replace the shipped ones, are checked before anything is asked, and are part of the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_server import asked

from yearling.errors import UserError
from yearling.generate.stage import digest_inputs, run_generate
from yearling.pipeline import STAGES
from yearling.recipe import Recipe
from yearling.record import digest, read_records
from yearling.run_folder import Run, stage_key
from yearling.teachers.words import Words, language_name

if TYPE_CHECKING:
    from openai_server import OpenAIServer

SHIPPED = Path(__file__).parents[1] / "src" / "yearling" / "prompts"
ALPACA = "{count}|{demonstrations}|{form}|{language}|{output}|{traits}"


@pytest.fixture
def folder(project: Path) -> Path:
    made = project / "words"
    made.mkdir()
    return made


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# -- what is said


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.txt")))
def test_a_shipped_prompt_is_its_file(name: str) -> None:
    assert Words().text(name) == (SHIPPED / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
    assert Words().own == {}


def test_a_place_takes_any_text_as_it_stands() -> None:
    said = Words().say("follow", conversation="{language} {{x}} %s \\n", language="English")
    assert "{language} {{x}} %s \\n" in said and said.endswith("Language: English.")


def test_an_own_prompt_replaces_the_shipped_one_alone(folder: Path) -> None:
    put(folder, "follow.txt", "{{As JSON}} in {language}: {conversation}\n\n")
    words = Words(folder)
    assert words.say("follow", conversation="C", language="Dutch") == "{As JSON} in Dutch: C"
    assert words.text("alpaca") == Words().text("alpaca")
    assert words.own == {"follow.txt": digest("{{As JSON}} in {language}: {conversation}")}


def test_a_folder_without_prompts_replaces_nothing(folder: Path) -> None:
    put(folder, "notes.md", "{nonsense")
    assert Words(folder).own == {} and Words(folder).text("alpaca") == Words().text("alpaca")


# -- what is wrong with it


def test_a_folder_that_is_none_is_told(folder: Path) -> None:
    for path in (folder / "none", put(folder, "alpaca.txt", ALPACA)):
        with pytest.raises(UserError, match=r"generate\.variety\.prompts: .* is no folder"):
            Words(path)


def test_a_file_that_replaces_nothing_is_told_with_what_there_is(folder: Path) -> None:
    put(folder, "alpaca.txt", ALPACA)
    put(folder, "alpacca.txt", ALPACA)
    with pytest.raises(UserError, match=r"alpacca\.txt replaces nothing\. There are: alpaca\.txt, .*follow\.txt"):
        Words(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALPACA.replace("{form}", ""), r"differ from the shipped prompt's: \{form\}\. Use each of those"),
        (ALPACA + "{topic}", r"differ from the shipped prompt's: \{topic\}\."),
        (ALPACA.replace("{form}", "{Form}"), r"\{Form\}, \{form\}\."),
        (ALPACA + "{}", r"\{\}\."),
        (ALPACA + "{0}", r"\{0\}\."),
        (ALPACA.replace("{form}", "{form.__class__}"), r"\{form\}, \{form\.__class__\}\."),
        (ALPACA.replace("{form}", "{form[0]}"), r"\{form\[0\]\}\."),
        (ALPACA.replace("{count}", "{count:d}"), r"\{count\} has more than its name"),
        (ALPACA.replace("{form}", "{form!x}"), r"\{form\} has more than its name"),
        (ALPACA + "{", r"alpaca\.txt: .*A brace that is meant as one is written twice"),
        (ALPACA + "}", r"written twice"),
        ("", r"\{count\}, \{demonstrations\}, \{form\}, \{language\}, \{output\}, \{traits\}"),
    ],
)
def test_places_that_differ_are_told_before_anything_is_asked(folder: Path, text: str, said: str) -> None:
    path = put(folder, "alpaca.txt", text)
    with pytest.raises(UserError, match=said) as caught:
        Words(folder)
    assert str(caught.value).startswith(str(path))


@given(st.text("{}:!acountform.[]0 ", max_size=12))
def test_whatever_a_prompt_says_it_can_be_said_or_is_told(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        put(Path(name), "alpaca.txt", ALPACA + text)
        try:
            words = Words(Path(name))
        except UserError:
            return
        values = dict.fromkeys(("demonstrations", "form", "language", "output", "traits"), "x")
        assert words.say("alpaca", count=3, **values).startswith("3|x|x|x|x|x")


def test_a_prompt_that_cannot_be_read_is_told(folder: Path) -> None:
    put(folder, "alpaca.txt", b"ab\xff")
    with pytest.raises(UserError, match=r"alpaca\.txt is not UTF-8 \(byte 2\)"):
        Words(folder)
    (folder / "alpaca.txt").unlink()
    (folder / "alpaca.txt").mkdir()
    with pytest.raises(UserError, match=r"alpaca\.txt cannot be read"):
        Words(folder)


# -- in a run


def recipe(server: OpenAIServer, folder: Path | None) -> Recipe:
    made = {"num": 2, "alpaca": {"per_call": 2}, "variety": {"prompts": str(folder) if folder else None}}
    teacher = {"model": "openai:tutor", "base_url": server.url}
    return Recipe.model_validate({"name": "one", "teacher": teacher, "generate": made})


def test_own_words_are_what_the_teacher_hears(server: OpenAIServer, project: Path, folder: Path) -> None:
    def teach(body: Mapping[str, Any]) -> str:
        if not asked(body).startswith("Mine: 2|"):
            return "Yes."
        tasks = [{"instruction": text, "input": ""} for text in ("Name a larch.", "Why do amber stones float?")]
        return json.dumps({"tasks": tasks})

    server.answer = teach
    put(folder, "alpaca.txt", f"Mine: {ALPACA}\n")
    run = Run(project, "one")
    run.create()
    run_generate(recipe(server, folder), run)
    records = list(read_records(run.records))
    assert len(records) == 2, "the shipped prompt would have been answered with a yes"
    assert {record.origin.prompt_digest for record in records} == {digest([f"Mine: {ALPACA}"])}


def test_own_words_are_part_of_the_stages_key(server: OpenAIServer, project: Path, folder: Path) -> None:
    run = Run(project, "one")
    run.create()
    stage = next(stage for stage in STAGES if stage.name == "generate")

    def key(own: Path | None) -> str:
        made = recipe(server, own)
        return stage_key(stage.settings(made), stage.inputs(made, run), stage.version)

    plain, empty = key(None), key(folder)
    put(folder, "alpaca.txt", ALPACA)
    first = key(folder)
    put(folder, "alpaca.txt", ALPACA + "!")
    second = key(folder)
    put(folder, "alpaca.txt", ALPACA)
    assert key(folder) == first, "the same words, the same key"
    put(folder, "follow.txt", "{conversation} {language}")
    assert len({plain, empty, first, second, key(folder)}) == 5
    inputs = digest_inputs(recipe(server, folder), run)
    assert inputs["alpaca"] == inputs["own alpaca.txt"] == digest(ALPACA)


# -- languages


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en", "English"),
        ("DE", "German"),
        ("pt-BR", "Portuguese (pt-BR)"),
        ("zh-Hant-TW", "Chinese (zh-Hant-TW)"),
        ("tlh", "tlh"),
        ("gsw-CH", "gsw-CH"),
    ],
)
def test_a_language_is_named_as_a_teacher_knows_it(tag: str, name: str) -> None:
    assert language_name(tag) == name
