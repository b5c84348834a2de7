"""Pairs from passages: asked as JSON or lines, kept where the passage bears them out, never parted by the split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai_server import asked

from yearling.errors import UserError
from yearling.generate import documents
from yearling.generate.passages import Passage, read_passages
from yearling.generate.stage import digest_inputs, run_generate
from yearling.measure.accepted import split_records
from yearling.recipe import Curate, Recipe
from yearling.record import Record, read_records, read_table
from yearling.run_folder import Run
from yearling.teachers import ask
from yearling.teachers.words import Words

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
BODY = Mapping[str, Any]
REJECTED = pa.schema([("call", pa.string()), ("reason", pa.string()), ("text", pa.string())])
PLACES = ["Ansby", "Borup", "Clevin", "Drosk", "Elmtun", "Ferrow", "Gildav", "Hornbu", "Ilkast", "Jorvet"]
SAYS = "The lighthouse of {0} is {1} metres tall. The ferry of {0} carries {2} cars. Farmers near {0} grow {3} rye."
COLOURS = ["red", "white", "golden", "black", "green", "brown", "silver", "purple", "grey", "amber"]


def passage(n: int) -> str:
    return SAYS.format(PLACES[n], 20 + n, 100 + n, COLOURS[n])


def true_pairs(text: str) -> list[tuple[str, str]]:
    """What the test teacher asks about a passage."""
    tall, cars, rye = re.findall(r"[^.]+\.", text)
    place = re.findall(r"of (\w+) is", tall)[0]
    return [
        (f"How high does the lighthouse at {place} stand?", tall.strip()),
        (f"What number of cars fits on the {place} ferry?", cars.strip()),
        (f"Which crop is grown around {place}?", rye.strip()),
    ]


def shown(body: BODY) -> str:
    """The passage that a request is about."""
    return str(re.findall(r"<passage>\n(.*?)\n</passage>", asked(body), re.S)[-1])


def as_json(pairs: Iterable[tuple[str, str]]) -> str:
    return json.dumps({"pairs": [{"question": question, "answer": answer} for question, answer in pairs]})


def as_lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"Question: {question}\nAnswer: {answer}" for question, answer in pairs)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> None:
    monkeypatch.setattr(ask, "FIRST_WAIT_S", 0.001)
    server.answer = lambda body: as_json(true_pairs(shown(body)))


@pytest.fixture
def folder(project: Path) -> Path:
    """Five documents of two passages each."""
    path = project / "docs"
    path.mkdir()
    for n in range(0, 10, 2):
        text = f"# {PLACES[n]}\n\n{passage(n)}\n\n# {PLACES[n + 1]}\n\n{passage(n + 1)}\n"
        (path / f"{PLACES[n]}.md").write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passages are cut elsewhere; here each is three sentences, without its heading."""
    real = read_passages

    def bare(path: Path, words: int) -> list[Passage]:
        found = real(path, words)
        return [Passage(p.text.split("\n\n")[-1], p.source, p.key) for p in found]

    documents._read.cache_clear()
    monkeypatch.setattr(documents, "read_passages", bare)


def recipe(server: OpenAIServer, path: Path, num: int = 100, **more: Any) -> Recipe:
    made = {"path": path, "words": 40, "pairs": 3, **more.pop("documents", {})}
    teacher = {"model": "openai:tutor", "base_url": server.url, "price": PRICE, **more.pop("teacher", {})}
    generate = {"method": "documents", "num": num, "documents": made, **more.pop("generate", {})}
    curate = {"novelty": 0.95}  # the questions of this teacher differ in one word
    values = {"name": "one", "teacher": teacher, "generate": generate, "curate": curate, **more}
    return Recipe.model_validate(values)


def bear(plan: Recipe, project: Path) -> list[Record]:
    run = Run(project, plan.name)
    run.create()
    run_generate(plan, run)
    return list(read_records(run.records))


def rejected(project: Path) -> list[dict[str, Any]]:
    return list(read_table(project / "runs" / "one" / "rejected", REJECTED))


pytestmark = pytest.mark.usefixtures("plain")


# -- the stage


@pytest.mark.parametrize("structured", [True, False])
def test_every_passage_is_asked_about_once(server: OpenAIServer, project: Path, folder: Path, structured: bool) -> None:
    written = as_json if structured else as_lines
    server.answer = lambda body: written(true_pairs(shown(body)))
    records = bear(recipe(server, folder, teacher={"structured": structured}), project)
    assert len(server.bill) == 10 and len(records) == 30, "then there is nothing more to ask about"
    assert {shown(entry.body) for entry in server.bill} == {passage(n) for n in range(10)}
    assert {(r.prompt, r.completion) for r in records} == {p for n in range(10) for p in true_pairs(passage(n))}
    by_key = {p.key: p for p in read_passages(folder, 40)}
    for record in records:
        origin = record.origin
        (key,) = origin.parents
        place = by_key[key]
        assert origin.passage in place.text and record.completion in origin.passage
        assert origin.source == place.source and place.source.startswith(f"{place.source.split('.md')[0]}.md, ")
        assert (origin.method, origin.teacher, len(origin.calls)) == ("documents", "openai:tutor", 1)
        assert origin.prompt_digest
    paid = server.cost(PRICE["input"], PRICE["output"])
    assert sum(record.origin.cost_usd or 0.0 for record in records) == pytest.approx(paid)
    assert not rejected(project)


def test_the_request_is_that_of_the_recipe(server: OpenAIServer, project: Path, folder: Path) -> None:
    generate = {"temperature": 0.4, "answer": {"max_tokens": 90, "system": "Answer like a sailor."}}
    bear(recipe(server, folder, documents={"pairs": 2}, generate=generate), project)
    for entry in server.bill:
        body = entry.body
        assert (body["temperature"], body["max_tokens"]) == (0.4, 2 * (documents.TOKENS_A_QUESTION + 90))
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        text = asked(body)
        assert "Write 2 questions about it" in text and "Answer like a sailor." in text and "English" in text
        assert "has not seen the passage" in text
        assert body["response_format"]["json_schema"]["schema"] == documents.schema(2)
        assert documents._pairs(json.loads(body["messages"][1]["content"])), "the example has the form asked for"


def test_the_example_is_grounded_itself() -> None:
    text = Words().text("documents-example")
    pairs = documents.parse(text)
    assert len(pairs) == 3
    for question, answer in pairs:
        assert documents.ungrounded(question, answer, text[: documents._first_label(text)]) is None


def test_with_the_passage_in_the_prompt(server: OpenAIServer, project: Path, folder: Path) -> None:
    records = bear(recipe(server, folder, documents={"with_passage": True}), project)
    assert len(records) == 30
    for record in records:
        assert record.prompt.endswith(f"?\n\n{record.origin.passage}")
    assert all("has the passage before them" in asked(entry.body) for entry in server.bill)


def test_pairs_of_a_passage_are_never_parted(server: OpenAIServer, project: Path, folder: Path) -> None:
    records = bear(recipe(server, folder), project)
    sides = split_records(records, records, Curate(test=0.4))
    assert sides["train"] and sides["test"]
    assert not {r.origin.passage for r in sides["train"]} & {r.origin.passage for r in sides["test"]}
    assert {r.origin.parents for r in sides["train"]} | {r.origin.parents for r in sides["test"]} == {
        r.origin.parents for r in records
    }


def test_a_smaller_number_asks_less_and_is_the_beginning_of_a_larger_one(
    server: OpenAIServer, project: Path, folder: Path
) -> None:
    few = bear(recipe(server, folder, num=4), project)
    assert len(few) == 4 and len(server.bill) <= 4
    many = bear(recipe(server, folder, num=30), project)
    assert many[:4] == few
    assert set(server.keys.values()) == {1}
    assert len({record.origin.source.split(",")[0] for record in many[:12]}) > 2, "not one file after the other"


def test_an_edited_document_is_asked_about_anew_and_no_other(server: OpenAIServer, project: Path, folder: Path) -> None:
    plan = recipe(server, folder)
    run = Run(project, "one")
    run.create()
    before, sent = digest_inputs(plan, run), 10
    bear(plan, project)
    assert len(server.bill) == sent and digest_inputs(plan, run) == before
    text = (folder / "Ansby.md").read_text(encoding="utf-8").replace("20 metres", "27 metres")
    (folder / "Ansby.md").write_text(text, encoding="utf-8")
    assert digest_inputs(plan, run) != before
    bear(plan, project)
    assert [shown(entry.body) for entry in server.bill[sent:]] == [passage(0).replace("20 metres", "27 metres")]


def test_the_digest_sees_names_and_folders(project: Path, folder: Path) -> None:
    first = documents.digest_documents(folder)
    (folder / "sub").mkdir()
    (folder / "Ansby.md").rename(folder / "sub" / "Ansby.md")
    assert documents.digest_documents(folder) != first
    assert documents.digest_documents(folder / "sub" / "Ansby.md") != first
    assert documents.digest_documents(project / "nothing") == ""


def test_questions_that_are_too_much_alike_are_asked_once(server: OpenAIServer, project: Path, folder: Path) -> None:
    def say(body: BODY) -> str:
        answer = true_pairs(shown(body))[0][1]
        return as_json([("How tall is the lighthouse there?", answer), ("How tall is the lighthouse there?", answer)])

    server.answer = say
    assert len(bear(recipe(server, folder), project)) == 1
    assert {row["reason"] for row in rejected(project)} == {"not novel (ROUGE-L 1.00)"}


def test_what_a_text_model_cannot_see_elsewhere_is_in_the_passage(
    server: OpenAIServer, project: Path, folder: Path
) -> None:
    question = "Which file of the lighthouse holds the map?"
    server.answer = lambda body: as_json([(question, true_pairs(shown(body))[0][1])])
    assert bear(recipe(server, folder), project)[0].prompt == question


@pytest.mark.parametrize("structured", [True, False])
def test_a_reply_that_was_cut_loses_its_last_pair(
    server: OpenAIServer, project: Path, folder: Path, structured: bool
) -> None:
    written = as_json if structured else as_lines
    server.answer = lambda body: written(true_pairs(shown(body)))
    server.plan = lambda key, attempt: "length"
    records = bear(recipe(server, folder, teacher={"structured": structured}), project)
    assert len(records) == 20
    assert [row["reason"] for row in rejected(project)] == ["unfinished answer (length)"] * 10


@pytest.mark.parametrize(
    ("structured", "said", "reason", "calls"),
    [(True, "I cannot.", "not the JSON asked for", 20), (False, "I cannot.", "no pair in the reply", 10)],
)
def test_a_reply_without_pairs_says_so(
    server: OpenAIServer, project: Path, folder: Path, structured: bool, said: str, reason: str, calls: int
) -> None:
    server.answer = lambda body: said
    with pytest.raises(UserError, match=f"no row was born .*rejected: {reason} 10"):
        bear(recipe(server, folder, teacher={"structured": structured}), project)
    assert len(server.bill) == calls


def test_conversations_are_refused_before_anything_is_asked(server: OpenAIServer, project: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="turns: 1"):
        bear(recipe(server, folder, generate={"answer": {"turns": 2}}), project)
    assert not server.bill


def test_language_and_traits_are_honoured(server: OpenAIServer, project: Path, folder: Path) -> None:
    (project / "people.txt").write_text("a fisherman\na tourist\n", encoding="utf-8")
    (project / "systems.txt").write_text("Talk like a sailor.\n", encoding="utf-8")
    variety = {"personas": project / "people.txt", "systems": project / "systems.txt"}
    records = bear(recipe(server, folder, language="de", generate={"variety": variety}), project)
    told = {shown(entry.body): asked(entry.body) for entry in server.bill}
    for record in records:
        text = told[record.origin.passage]
        assert "Language: German." in text and f"The questions are {record.origin.traits}." in text
        assert "Talk like a sailor." in text, "the answers are written as the system turn says"
        assert [m.role for m in record.messages] == ["system", "user", "assistant"]
    assert len({record.origin.traits for record in records}) == 2
    assert all(len(entry.body["messages"]) == 1 for entry in server.bill), "the shipped example is English"


# -- grounding

TEXT = "The lighthouse of Lund was built in 1912 and is 31 metres high. It has twelve rooms. Entry costs 1,200 crowns."


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("How high is the lighthouse of Lund?", "The lighthouse of Lund is 31 metres high.", None),
        ("How high is the lighthouse of Lund?", "31 metres.", None),
        ("How high is the lighthouse of Lund?", "31", None),
        ("How high is the lighthouse of Lund?", "It is 32 metres high.", "the passage has no 32"),
        ("How high is the lighthouse of Lund?", "", "no answer in the reply"),
        ("The lighthouse is high.", "The lighthouse is high!", "repeats the question"),
        ("How many rooms does the lighthouse have?", "It has 12 rooms.", None),
        ("What does entry cost?", "Entry costs 1200 crowns.", None),
        ("What does entry cost?", "Entry costs 1200 crowns and 50 cents.", "the passage has no 50"),
        ("When was the lighthouse built?", "Builders finished the lighthouse in 1912.", "33% of its words"),
        ("When was the lighthouse building begun?", "They were building it in 1912.", "50% of its words"),
        ("Did the lighthouse of Lund stand in 1950?", "In 1950 it was 31 metres high.", None),
        ("Who paints the lighthouse?", "A painter named Olsen paints it each spring.", "0% of its words"),
        ("Is the lighthouse of Lund high?", "Yes.", "says nothing that could be looked up"),
        ("Is the lighthouse of Lund high?", "Yes, it is 31 metres high.", None),
        ("How old is the king of France?", "The lighthouse is 31 metres high.", "question is not about the passage"),
        ("How high is it according to the passage?", "It is 31 metres high.", "points at the passage"),
        ("How high is the lighthouse of the text?", "It is 31 metres high.", "points at the passage (the text)"),
        ("What does this document say of the lighthouse?", "It is 31 metres high.", "points at the passage"),
        ("How high is the lighthouse mentioned above?", "It is 31 metres high.", "points at the passage"),
        ("How many metres above the sea is the lighthouse?", "It is 31 metres high.", None),
        ("How high is the lighthouse of Lund?", "According to the passage it is 31 metres high.", "points at"),
        ("Wie hoch ist der Turm von Lund im Text?", "31 metres.", "points at the passage (im Text)"),
    ],
)
def test_what_stands_on_a_passage(question: str, answer: str, reason: str | None) -> None:
    found = documents.ungrounded(question, answer, TEXT)
    assert found is None if reason is None else found and reason in found


def test_a_passage_may_speak_of_texts_itself() -> None:
    manual = "The text field holds the name. Press save and the document is stored."
    question, answer = "Where is the name typed?", "The name is held by the text field."
    assert documents.ungrounded(question, answer, manual) is None
    assert documents.ungrounded("What happens to the document?", "The document is stored.", manual) is None
    assert documents.ungrounded("What does the passage store?", "The document is stored.", manual)


def test_with_the_passage_a_question_may_point_at_it() -> None:
    question, answer = "How high is the lighthouse of the text?", "It is 31 metres high."
    assert documents.ungrounded(question, answer, TEXT, with_passage=True) is None
    assert documents.ungrounded(question, "It is 32 metres high.", TEXT, with_passage=True)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("grow", "growing", True),
        ("lighthouse", "lighthouses", True),
        ("car", "cars", True),
        ("study", "studies", True),
        ("car", "carbon", False),
        ("light", "lighthouse", False),
        ("is", "it", False),
    ],
)
def test_forms_of_one_word(one: str, other: str, same: bool) -> None:
    assert documents._alike(one, other) is documents._alike(other, one) is same


# -- reading lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Question: A b?\nAnswer: C.", [("A b?", "C.")]),
        ("1. Question: A b?\n   Answer: C.\n2. Question: D?\nAnswer: E.", [("A b?", "C."), ("D?", "E.")]),
        ("**Question 1:** A?\n**Answer 1:** C.\n\n---\n\n**Question:** D?\n**A:** E.", [("A?", "C."), ("D?", "E.")]),
        ("Q: A\nb?\nA: C.\n2.\nQ: D?\nA: E.", [("A b?", "C."), ("D?", "E.")]),
        ("Question: A?\nQuestion: B?\nAnswer: C.\nAnswer: D.", [("B?", "C.")]),
        ("Question: A?\nAnswer: C:\n- d\n- e", [("A?", "C:\n- d\n- e")]),
        ("Question: A?", []),
        ("Answer: C.", []),
        ("Nothing.", []),
        ("", []),
    ],
)  # fmt: skip
def test_lines_are_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert documents.parse(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"pairs": [{"question": " A\nb? ", "answer": " C. "}]}, [("A b?", "C.")]),
        ({"pairs": [{"question": "A?"}, {"question": 3, "answer": "C."}, "x", {"question": "A?", "answer": None}]}, []),
        ({"pairs": {"question": "A?"}}, []),
        ({"pairs": None}, []),
    ],
)
def test_values_are_read(value: Any, expected: list[tuple[str, str]]) -> None:
    assert documents._pairs(value) == expected


LABELS = ["Question:", "Answer:", "Q:", "A:", "1. ", "**", "\n", "?", ".", " ", "---", "Question 2:"]
replies = st.lists(st.sampled_from(LABELS) | st.text(max_size=6), max_size=20).map("".join)
word = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=7)
sentences = st.lists(word, min_size=2, max_size=7).map(" ".join)


@given(replies)
@example("Question:Answer:")
@settings(max_examples=200, deadline=None)
def test_any_reply_gives_pairs_with_a_question(text: str) -> None:
    for question, answer in documents.parse(text):
        assert question == " ".join(question.split())
        assert answer == answer.strip()


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_pairs_in_the_form_that_is_asked_for_come_back(pairs: list[tuple[str, str]]) -> None:
    assert documents.parse(documents._written(pairs, structured=False)) == pairs
    assert documents._pairs(json.loads(documents._written(pairs, structured=True))) == pairs


@given(sentences, sentences, sentences)
@settings(max_examples=150, deadline=None)
def test_what_the_passage_says_is_grounded_and_figures_of_ones_own_are_not(first: str, second: str, more: str) -> None:
    text = f"Lund. {first}. {second}. {more}."
    assert not (documents.ungrounded("What is there in Lund?", f"Lund has {second}.", text) or "").endswith("words)")
    assert documents.ungrounded("What is there in Lund?", f"Lund has 7 {second}.", text)
