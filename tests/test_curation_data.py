"""The planted rows of the curation benchmark: what they are said to hold they hold, and scores follow from it."""

from __future__ import annotations

import importlib.util
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.record import read_records

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"bench_{Path(path).stem}", BENCHMARKS / path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by its name
    import sys

    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


data, clusters = module("curation_data.py"), module("peers/clusters.py").clusters


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rows")
    data.make(place, 10_000)
    return place


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    """The truth of each row, and its texts."""
    found: list[dict[str, Any]] = data.truth_of(folder, 10_000).to_pylist()
    texts = [row["text"] for path in data.parts_of(folder, "texts", 10_000) for row in pq.read_table(path).to_pylist()]
    for row, text in zip(found, texts, strict=True):
        row["texts"] = tuple(text.split("\n\n"))
    return found


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    tokens = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return {tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)}


def likenesses(one: tuple[str, str], other: tuple[str, str]) -> list[float]:
    sides = [(one[0], other[0], 2), (one[1], other[1], 2), (" ".join(one), " ".join(other), 5)]
    sets = [(shingles(a, size), shingles(b, size)) for a, b, size in sides]
    return [len(a & b) / len(a | b) for a, b in sets]


def test_the_first_rows_do_not_depend_on_how_many_follow(folder: Path, tmp_path: Path) -> None:
    data.make(tmp_path, 5000)
    for kind in ("records", "texts"):
        (short,), long = (data.parts_of(place, kind, 5000) for place in (tmp_path, folder))
        assert pq.read_table(short).equals(pq.read_table(long[0]))
    assert data.truth_of(tmp_path, 5000).equals(data.truth_of(folder, 5000))


def test_a_finished_folder_is_left_as_it_is(folder: Path) -> None:
    before = [(path, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()]
    data.make(folder, 5000)
    assert before == [(path, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_rows_come_in_whole_parts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parts of 5000"):
        data.make(tmp_path, 5001)


def test_records_hold_the_same_texts_in_the_same_order(folder: Path, rows: list[dict[str, Any]]) -> None:
    records = list(read_records(folder / "records"))  # verifies the ids
    assert [(record.prompt, record.completion) for record in records] == [row["texts"] for row in rows]
    assert [record.origin.sequence for record in records] == list(range(10_000))


def test_shares_and_lengths_are_as_told(rows: list[dict[str, Any]]) -> None:
    counts = Counter(row["kind"] for row in rows)
    for kind, share in zip(data.KINDS, data.SHARES, strict=True):
        assert counts[kind] / len(rows) == pytest.approx(share, rel=0.15)
    words = np.array([[len(side.split()) for side in row["texts"]] for row in rows]).mean(axis=0)
    assert words == pytest.approx([25, 75], abs=2)


def test_copies_are_of_earlier_rows_of_their_own_each_copied_once(rows: list[dict[str, Any]]) -> None:
    copied = [row["of"] for row in rows if row["kind"] in ("near", "exact")]
    assert len(set(copied)) == len(copied)
    for row in rows:
        if row["kind"] in ("near", "exact"):
            assert row["of"] < row["row"]
            assert rows[row["of"]]["kind"] == "own"
        else:
            assert row["of"] == row["row"]


def test_near_copies_are_as_alike_as_the_truth_says(rows: list[dict[str, Any]]) -> None:
    near = [row for row in rows if row["kind"] == "near"]
    for row in near:
        original = rows[row["of"]]["texts"]
        told = [row["prompt"], row["answer"], row["text"]]
        assert row["texts"] != original
        assert told == pytest.approx(likenesses(original, row["texts"]))
        assert min(told) >= 0.8
    assert sum(row["text"] < 0.9 for row in near) > len(near) / 4  # not all are easy
    assert sum(row["prompt"] < 1 for row in near) > len(near) / 4


def test_exact_copies_are_the_same(rows: list[dict[str, Any]]) -> None:
    assert all(row["texts"] == rows[row["of"]]["texts"] for row in rows if row["kind"] == "exact")


def test_rows_of_a_template_share_half_their_words_and_are_no_copies(rows: list[dict[str, Any]]) -> None:
    families = defaultdict(list)
    for row in rows:
        if row["template"] >= 0:
            families[row["template"]].append(row["texts"])
    pairs = [pair for family in families.values() for pair in combinations(family[:4], 2)]
    assert len(pairs) > 400
    for one, other in pairs:
        assert max(likenesses(one, other)) < 0.7
        for side in (0, 1):
            words = zip(one[side].split(), other[side].split(), strict=True)
            assert np.mean([a == b for a, b in words]) >= 0.5


def test_scores(folder: Path, rows: list[dict[str, Any]]) -> None:
    truth, alone = data.truth_of(folder, 10_000), np.arange(10_000)
    right = truth["of"].to_numpy()
    perfect = data.score(truth, right)
    assert (perfect["recall"], perfect["recall_exact"], perfect["precision"]) == (1, 1, 1)
    nothing = data.score(truth, alone)
    assert (nothing["recall"], nothing["recall_exact"], nothing["precision"], nothing["lost"]) == (0, 0, 1, 0)
    first, second = [row["row"] for row in rows if row["kind"] == "template"][:2]
    joined = right.copy()
    joined[second] = first
    scored = data.score(truth, joined)
    assert (scored["wrong"], scored["templates"], scored["recall"]) == (1, 1, 1)
    assert scored["precision"] == pytest.approx(1 - 1 / scored["lost"])


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_clusters_are_what_hangs_together(pairs: list[tuple[int, int]]) -> None:
    groups = [{row} for row in range(12)]
    for one, other in pairs:
        merged = groups[one] | groups[other]
        for row in merged:
            groups[row] = merged
    found = clusters(12, np.array(pairs, np.int64).reshape(-1, 2))
    assert found.tolist() == [min(group) for group in groups]
