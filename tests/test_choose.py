"""Rows that are kept cover those that are not, and the choice is always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.curate import choose
from yearling.curate.choose import cover


def groups(sizes: list[int], width: int = 32) -> npt.NDArray[np.float32]:
    """Tight groups far from one another, one after another."""
    draw = np.random.default_rng(1)
    middles = np.repeat(np.eye(width)[: len(sizes)], sizes, axis=0)
    rows = middles + draw.standard_normal(middles.shape) * 0.03
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def worst(rows: npt.NDArray[Any], kept: npt.NDArray[np.int64]) -> float:
    """The cosine of the row that is covered worst to the nearest kept."""
    return float((rows @ rows[kept].T).max(axis=1).min())


def mean(rows: npt.NDArray[Any], kept: npt.NDArray[np.int64]) -> float:
    """The mean cosine of rows to their nearest kept one."""
    return float((rows @ rows[kept].T).max(axis=1).mean())


def test_each_group_is_kept_however_small() -> None:
    sizes = [400, 3, 200, 1, 90, 7, 2, 60]
    group = np.repeat(np.arange(8), sizes)
    assert set(group[cover(groups(sizes), 8)].tolist()) == set(range(8))


@pytest.mark.parametrize("cells", [3, 2048])
def test_it_covers_better_than_chance(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "CELLS", cells)
    draw = np.random.default_rng(2)
    rows = np.repeat(np.eye(16), 200, axis=0) + draw.standard_normal((3200, 16)) * draw.gamma(2, 0.1, (3200, 1))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    chance = [draw.choice(3200, 200, replace=False) for _ in range(9)]
    kept = cover(rows, 200)
    assert worst(rows, kept) > max(worst(rows, one) for one in chance)
    if cells > 200:  # of few cells, rows at their edges are kept
        assert mean(rows, kept) > max(mean(rows, one) for one in chance)


def test_of_equal_rows_the_first_is_kept() -> None:
    rows = groups([1, 1, 1])[[0, 0, 1, 1, 2, 2, 0]]
    assert cover(rows, 3).tolist() == [0, 2, 4]


def test_the_edges() -> None:
    rows = groups([5, 5])
    assert cover(rows, 0).tolist() == []
    assert cover(rows, 10).tolist() == cover(rows, 99).tolist() == list(range(10))
    assert len(cover(np.zeros((6, 4), np.float32), 2)) == 2
    assert len(cover(np.empty((0, 4), np.float32), 3)) == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 80), st.integers(0, 90), st.integers(0, 5))
def test_as_many_as_asked_for_each_once_and_always_the_same(count: int, keep: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float16)
    kept = cover(rows, keep)
    assert len(kept) == min(count, keep) == len(set(kept.tolist()))
    assert np.array_equal(kept, np.sort(kept))
    assert np.array_equal(kept, cover(rows, keep))


def test_cells_of_unequal_size_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "CELLS", 3)
    monkeypatch.setattr(choose, "DEPTH", 1)
    assert len(cover(groups([990, 5, 5]), 500)) == 500
