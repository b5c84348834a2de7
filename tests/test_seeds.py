"""Checks the seed tasks: shape, counts, balance, novelty, and every answer that can be computed."""

import contextlib
import datetime
import json
import math
import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz.distance import LCSseq

ROOT = Path(__file__).parent.parent
SEEDS = ROOT / "src/yearling/generate/seeds.jsonl"
PUBLISHED = ROOT.parent / "shared/data/self_instruct_seed_tasks.jsonl"
TEXTS = ["id", "kind", "verb", "instruction", "input", "output"]
KEYS = [*TEXTS, "classification", "labels", "check"]
LIMIT = 0.7
ALLOWED: list[Any] = [
    *(abs, all, any, bool, dict, divmod, enumerate, float, int, len, list, max),
    *(min, ord, range, round, set, sorted, str, sum, tuple, zip),
]
DANGLING = {"a", "an", "and", "but", "for", "in", "of", "or", "the", "to", "with"}

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = read_rows(SEEDS)
COMPUTED = [row for row in ROWS if row["check"] not in ("label", "read")]


def holds(row: Row, output: str) -> object:
    names = {item.__name__: item for item in ALLOWED}
    modules = {"math": math, "re": re, "json": json, "datetime": datetime}
    scope = {"__builtins__": names, "input": row["input"], "output": output, **modules}
    return eval(row["check"], scope)


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_l(left: list[str], right: list[str]) -> float:
    shared = LCSseq.similarity(left, right)
    return 2 * shared / max(1, len(left) + len(right))


def test_keys_and_types() -> None:
    for number, row in enumerate(ROWS, 1):
        assert list(row) == KEYS
        assert row["id"] == f"seed-{number:03d}"
        assert all(isinstance(row[key], str) for key in [*TEXTS, "check"])
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row["kind"])
        assert re.fullmatch(r"[a-z]+", row["verb"])
        assert all(row[key] == row[key].strip() for key in TEXTS)
        assert len(row["input"].split()) < 80 and 0 < len(row["output"].split()) <= 90


def test_instructions_are_unique() -> None:
    assert len({row["instruction"].lower() for row in ROWS}) == len(ROWS)


def test_counts() -> None:
    kinds = [row["kind"] for row in ROWS]
    assert len(ROWS) >= 180
    assert len(set(kinds)) >= 25
    assert max(kinds.count(kind) for kind in kinds) <= 12
    assert len({row["verb"] for row in ROWS}) >= 40
    assert sum(row["classification"] for row in ROWS) >= len(ROWS) / 4
    assert len(COMPUTED) >= 70


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_verb_is_in_the_instruction(row: Row) -> None:
    stem = re.sub(r"[ey]$", "", row["verb"])
    assert re.search(rf"\b{stem}", row["instruction"].lower())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_labels(row: Row) -> None:
    assert (row["check"] == "label") == row["classification"] == bool(row["labels"])
    if row["classification"]:
        assert row["output"] in row["labels"]
        assert len(set(row["labels"])) == len(row["labels"])


def test_label_sets_are_balanced() -> None:
    answers: dict[frozenset[str], list[str]] = defaultdict(list)
    for row in ROWS:
        if row["classification"]:
            answers[frozenset(row["labels"])].append(row["output"])
    for given in answers.values():
        assert len(given) < 2 or len(set(given)) >= 2, given


@pytest.mark.parametrize("row", COMPUTED, ids=lambda row: row["id"])
def test_check_holds_and_depends_on_the_output(row: Row) -> None:
    assert holds(row, row["output"]) is True
    with contextlib.suppress(ArithmeticError, LookupError, TypeError, ValueError):  # it may fail outright on nothing
        assert holds(row, "") is False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_output_is_finished(row: Row) -> None:
    output = row["output"]
    assert re.search(r"[\w.!?)\]}\"'”’;%|$*]$", output)
    assert output.split()[-1] not in DANGLING
    if "\n" not in output and len(output.split()) > 12 and row["kind"] != "code":
        assert re.search(r"[.!?][\"'”’)]?$", output)


def test_instructions_are_unlike_each_other() -> None:
    words = [(row["id"], tokens(row["instruction"])) for row in ROWS]
    for (one, left), (two, right) in combinations(words, 2):
        assert rouge_l(left, right) <= LIMIT, (one, two)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="published seeds are absent")
def test_instructions_are_unlike_the_published_ones() -> None:
    published = [tokens(row["instruction"]) for row in read_rows(PUBLISHED)]
    for row in ROWS:
        own = tokens(row["instruction"])
        assert all(rouge_l(own, other) <= LIMIT for other in published), row["id"]
