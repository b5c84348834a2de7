"""The steps of curation tell how far they are while they are under way."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yearling.curate import engine


def slow(seconds: float) -> engine.Work:
    """A worker that takes its time over each batch and gives back what it was given."""

    def work(ids: pa.Array) -> pa.StructArray:
        time.sleep(seconds)
        return pa.StructArray.from_arrays([ids.cast(pa.string())], ["id"])

    return work


def test_a_step_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 100)
    monkeypatch.setattr(engine, "LOOK_S", 0.02)
    ids = [str(number) for number in range(500)]
    pq.write_table(pa.table({"id": ids}), tmp_path / "in.parquet")
    engine.start(None)
    told = list[tuple[int, int]]()
    files = engine.map_files(
        [tmp_path / "in.parquet"], ("id",), (slow, 0.2), pa.schema([("id", pa.string())]), tmp_path / "out",
        lambda done, rows: told.append((done, rows)),
    )  # fmt: skip
    assert sorted(pq.read_table(files)["id"].to_pylist(), key=int) == ids
    assert told == sorted(told) and told[-1] == (500, 500)
    assert len({done for done, _ in told if 0 < done < 500}) >= 2
