"""Near duplicates: what MinHash proposes, what the count of word pairs confirms, and which row of a cluster is kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.curate import near
from yearling.curate.stage import run_curate
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, Verdict, read_verdicts, write_records
from yearling.run_folder import Run

words = st.lists(
    st.sampled_from(["one", "two", "three", "four", "five", "six", "7", "8", "火", "山"]), min_size=1, max_size=12
)


def jaccard(one: list[str], other: list[str]) -> float:
    """The plain definition, in sets of pairs."""
    a, b = ({tuple(t[i : i + 2]) for i in range(max(len(t) - 1, 1))} for t in (one, other))
    return len(a & b) / len(a | b)


@given(words, words)
def test_likeness_is_jaccard_of_word_pairs(one: list[str], other: list[str]) -> None:
    assert near.jaccard(*(near.word_pairs(" ".join(text)) for text in (one, other))) == pytest.approx(
        jaccard(one, other)
    )


@given(st.lists(st.integers(0, 5), max_size=60))
def test_agreeing_pairs_have_one_hash_and_join_every_group(values: list[int]) -> None:
    hashes = np.array(values, np.uint64)
    pairs = set(zip(*(side.tolist() for side in near.agreeing(hashes)), strict=True))
    assert all(values[a] == values[b] and a != b for a, b in pairs)
    for value, size in Counter(values).items():
        members = [place for place, one in enumerate(values) if one == value]
        joined = {members[0]}
        for _ in members:
            joined |= {b for a, b in pairs if a in joined} | {a for a, b in pairs if b in joined}
        assert joined == set(members)
        if size <= near.ALL_PAIRS:
            assert {(a, b) for a, b in pairs if values[a] == value} == {
                (a, b) for a in members for b in members if a < b
            }


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_a_cluster_keeps_its_first_born(edges: list[tuple[int, int]]) -> None:
    alike: dict[int, dict[int, float]] = {}
    for a, b in edges:
        alike.setdefault(a, {})[b] = alike.setdefault(b, {})[a] = 0.9
    kept = near.clusters(alike)
    assert set(kept) == set(alike)
    assert all(kept[a] == kept[b] for a, b in edges)
    assert all(kept[first] == first <= place for place, first in kept.items())


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_bands_propose_nearly_all_at_the_threshold(threshold: float) -> None:
    rows = near.rows_a_band(threshold)
    assert (1 - threshold**rows) ** (near.HASHES // rows) <= near.LOST
    bands = near.bands_for(threshold, rows)
    assert bands * rows <= near.HASHES and (1 - threshold**rows) ** bands <= near.LOST
    assert bands == 1 or (1 - threshold**rows) ** (bands - 1) > near.LOST
    assert rows == 1 or rows == 16 or (1 - threshold ** (2 * rows)) ** (near.HASHES // (2 * rows)) > near.LOST


STORY = "The keeper of the lighthouse climbs the stairs at dusk and lights the great lamp for the ships that pass."
ROWS = [
    ("Tell me how a lighthouse is kept at night by its keeper", STORY),
    ("Tell me how a lighthouse is kept at night by its old keeper", STORY[:-1] + " by."),  # both sides nearly the same
    ("Tell me how a lighthouse is kept at night by its keeper alone", "He sleeps, for it lights itself by a switch."),
    ("Name 3 trees that grow near the coast and why", "Oaks, pines and willows, as they bear the salty wind well."),
    ("Name 4 trees that grow near the coast and why", "Oaks, pines and willows, as they bear the salty wind well."),
    ("请给我写一首关于春天的诗好吗", "春风吹过山岗，花开满园香，小鸟在枝头唱，孩子们笑得响。"),
    ("请给我写一首关于春天的小诗好吗", "春风吹过山岗，花开满园香，小鸟在枝头唱，孩子们笑得很响。"),
]


def judged(tmp_path: Path, **settings: object) -> list[Verdict]:
    run = Run(tmp_path, "x")
    run.create()
    records = [
        Record((Message("user", q), Message("assistant", a)), Origin("import", str(n), n))
        for n, (q, a) in enumerate(ROWS)
    ]
    write_records(records, run.records / "part-0.parquet")
    run_curate(Recipe.model_validate({"name": "x", "curate": {"near": settings, "test": 0.0}}), run)
    by_id = {verdict.record: verdict for verdict in read_verdicts(run.verdicts / "near")}
    return [by_id[record.id] for record in records]


def test_both_sides_must_be_alike_and_numbers_must_agree(tmp_path: Path) -> None:
    said = judged(tmp_path)
    assert [verdict.state for verdict in said] == ["pass", "fail", "pass", "pass", "pass", "pass", "fail"]
    assert said[1].reason.startswith(f"nearly the same as {said[0].record} (0.")
    assert said[1].score == pytest.approx(
        min(jaccard(ROWS[0][i].lower().split(), ROWS[1][i].lower().split()) for i in (0, 1))
    )


def test_prompts_or_answers_alone(tmp_path: Path) -> None:
    assert [v.state for v in judged(tmp_path, on="prompt")] == ["pass", "fail", "fail", "pass", "pass", "pass", "fail"]
    (tmp_path / "again").mkdir()
    said = judged(tmp_path / "again", on="answer")
    assert [v.state for v in said] == ["pass", "fail", "pass", "pass", "fail", "pass", "fail"]


def test_switched_off_it_says_so(tmp_path: Path) -> None:
    assert {(v.state, v.reason) for v in judged(tmp_path, above=None)} == {("skipped", "switched off")}
