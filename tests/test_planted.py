"""The planted set: reproducible, counted, and each fault where its label says it is."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import make, private, read, spoil, twins

HERE = Path(__file__).parent / "planted"
SHARED = Path(__file__).parents[2] / "shared" / "data"
KINDS = [
    "empty",
    "too_short",
    "unfinished",
    "loop",
    "merged",
    "encoding",
    "markup",
    "no_input",
    "echo",
    "refusal",
    "boilerplate",
    "language",
    "exact_duplicate",
    "near_duplicate",
    "semantic_duplicate",
    "contradiction",
    "contamination",
    "personal",
    "toxic",
    "impossible",
]
TWINS = ("exact_duplicate", "near_duplicate", "semantic_duplicate")
CARD = re.compile(r"(?<!\d)(?:\d{4}[ -]?){3}\d{4}(?!\d)")
IBAN = re.compile(r"\bDE\d{2}(?: ?\d){18}\b")

Line = dict[str, Any]


def load(name: str) -> list[Line]:
    return [json.loads(line) for line in (HERE / name).read_bytes().decode().rstrip("\n").split("\n")]


ROWS = load("rows.jsonl")
TEST_SET = load("contaminated.jsonl")
BY_ID = {row["id"]: row for row in ROWS}
CLEAN = [row for row in ROWS if not row["faults"]]


def of_kind(kind: str) -> list[Line]:
    return [row for row in ROWS if kind in row["faults"]]


def asked(row: Line) -> str:
    return next(str(m["content"]) for m in row["messages"] if m["role"] == "user")


def said(row: Line) -> str:
    return str(row["messages"][-1]["content"])


def whole(row: Line) -> str:
    return "\n".join(m["content"] for m in row["messages"])


def likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def test_the_committed_files_are_what_the_script_writes() -> None:
    for name, content in make.files().items():
        assert (HERE / name).read_bytes() == content, name


def test_counts_by_kind() -> None:
    counts = Counter(fault for row in ROWS for fault in row["faults"])
    assert sorted(counts) == sorted(KINDS)
    assert all(30 <= count <= 80 for count in counts.values()), counts
    assert len(ROWS) == 2000
    assert 1050 <= len(CLEAN) <= 1150
    missed = Counter(kind for row in ROWS for kind in row.get("near_miss", []))
    assert sorted(missed) == sorted(KINDS)
    assert missed.total() >= 250
    assert not [row["id"] for row in ROWS if row["faults"] and "near_miss" in row]


def test_the_readme_counts_what_is_there() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    told = {
        kind: (int(rows), int(missed)) for kind, rows, missed in re.findall(r"(?m)^\| (\w+) \| (\d+) \| (\d+) \|", text)
    }
    missed = Counter(kind for row in ROWS for kind in row.get("near_miss", []))
    assert told == {kind: (len(of_kind(kind)), missed[kind]) for kind in KINDS}


def test_the_pool_is_wide() -> None:
    pool = read.pool()
    assert len(pool) >= 300
    assert len({row.language for row in pool}) >= 12
    assert len({row["language"] for row in CLEAN}) >= 12
    assert any(m["role"] == "system" for row in CLEAN for m in row["messages"])
    assert any(len(row["messages"]) > 3 for row in CLEAN)


def test_rows_are_well_formed() -> None:
    assert [row["id"] for row in ROWS] == [f"p{i:04d}" for i in range(len(ROWS))]
    for row in ROWS:
        roles = [m["role"] for m in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2) and turns, row["id"]
        assert asked(row).strip(), row["id"]
        assert not re.search(r"\{(mail|phone|card|iban|key|password|address|id|a|q)\}", whole(row)), row["id"]


def test_partners_exist_and_stand_in_order() -> None:
    for row in ROWS:
        partners = [BY_ID[partner] for partner in row.get("of", [])]
        assert bool(partners) == bool({*TWINS, "contradiction"} & set(row["faults"])), row["id"]
        for partner in partners:
            if "contradiction" in row["faults"]:
                assert partner["of"] == [row["id"]]
                assert asked(partner) == asked(row) and said(partner) != said(row)
            else:
                assert not partner["faults"] and partner["id"] < row["id"]


def test_no_text_is_there_twice_without_a_label() -> None:
    first: dict[str, str] = {}
    for row in ROWS:
        other = first.setdefault(twins.normal(whole(row)), row["id"])
        if other != row["id"]:
            assert "exact_duplicate" in row["faults"] and row["of"] == [other], row["id"]
    for row in of_kind("exact_duplicate"):
        assert first[twins.normal(whole(row))] == row["of"][0]


def test_near_and_semantic_duplicates_are_near_and_far_in_words() -> None:
    for row in of_kind("near_duplicate"):
        original = BY_ID[row["of"][0]]
        assert twins.normal(whole(row)) != twins.normal(whole(original))
        assert likeness(whole(row), whole(original)) > 0.8, row["id"]
    alike = [likeness(asked(row), asked(BY_ID[row["of"][0]])) for row in of_kind("semantic_duplicate")]
    assert max(alike) < 0.8 and sum(alike) / len(alike) < 0.5


def test_leaks_hold_their_question_and_clean_rows_none() -> None:
    questions = {row["id"]: row["question"] for row in TEST_SET}
    assert len(questions) == 60
    leaked = of_kind("contamination")
    assert len({row["leaks"] for row in leaked}) == len(leaked)
    for row in leaked:
        question = questions[row["leaks"]]
        users = [m["content"] for m in row["messages"] if m["role"] == "user"]
        held = any(twins.normal(question) in twins.normal(user) for user in users)
        assert held or max(likeness(question.lower(), user.lower()) for user in users) > 0.75, row["id"]
    texts = [twins.normal(whole(row)) for row in ROWS if "contamination" not in row["faults"]]
    assert not [q for q in questions.values() if any(twins.normal(q) in text for text in texts)]


def test_personal_data_passes_the_checks_of_real_data() -> None:
    text = "\n".join(map(whole, of_kind("personal")))
    ibans = IBAN.findall(text)
    cards = CARD.findall(IBAN.sub("", text))
    assert len(cards) >= 3 and len(ibans) >= 5
    assert all(private.luhn(re.sub(r"\D", "", card)) for card in cards)
    assert all(private.iban_holds(iban) for iban in ibans)
    keys = re.findall(r"(?:sk-|key_|AKIA|ghp_)\S+", text)
    assert len(keys) >= 4 and all("EXAMPLE" in key for key in keys)
    clean = "\n".join(map(whole, CLEAN))
    assert not IBAN.search(clean)
    assert not [card for card in CARD.findall(clean) if private.luhn(re.sub(r"\D", "", card))]


def test_faults_of_form_are_there() -> None:
    assert not [row["id"] for row in of_kind("empty") if said(row).strip(" \t\r\n\u3000\u00a0\u200b")]
    assert all(said(row).strip() for row in CLEAN)
    assert all(said(row)[-1].isalnum() or said(row)[-1] == "," for row in of_kind("unfinished"))
    for row in of_kind("loop"):
        assert re.search(r"(.{3,}?)(?:\s*(?:- )?\1){2,}", said(row), re.DOTALL), row["id"]
    for row in of_kind("echo"):
        assert twins.normal(asked(row)) in twins.normal(said(row))
    odd = re.compile(
        "[\x00-\x08\x0b\x1b\x7f-\x9f\ufffd]|[ÃÂâ].|[àáãäåæçèìíÐÑØÙ][\u0080-\u00bf–—‘’“”€‚ƒ„…†‡ˆ‰Š‹ŒŽ™š›œž]"
    )
    assert not [row["id"] for row in of_kind("encoding") if not odd.search(said(row))]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public seed files are not beside this checkout")
def test_no_text_of_public_seed_files() -> None:
    public = set()
    for path in SHARED.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            task = json.loads(line)
            texts = [task["instruction"], *(t for i in task["instances"] for t in (i["input"], i["output"]))]
            public |= {twins.normal(text) for text in texts}
    assert len(public) > 300
    # shorter texts, such as "yes" or a number, are nobody's
    public = {text for text in public if len(text) >= 20}
    ours = {twins.normal(m["content"]) for row in ROWS for m in row["messages"]}
    assert not public & ours


@given(st.integers(0, 10_000), st.integers(0, 15), st.integers(1, 9))
def test_a_wrong_digit_breaks_a_card(n: int, place: int, shift: int) -> None:
    digits = re.sub(r"\D", "", private.card(n))
    assert private.luhn(digits)
    wrong = digits[:place] + str((int(digits[place]) + shift) % 10) + digits[place + 1 :]
    assert not private.luhn(wrong)


@given(st.integers(0, 10_000))
def test_made_ibans_hold(n: int) -> None:
    assert private.iban_holds(private.iban(n)) and len(private.iban(n).replace(" ", "")) == 22


@given(st.text())
def test_mojibake_changes_what_is_beyond_ascii_only(text: str) -> None:
    assert (spoil.mojibake(text) == text) == text.isascii()


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert twins.normal(twins.normal(text)) == twins.normal(text)
