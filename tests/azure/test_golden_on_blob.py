"""The golden line with its run on Blob, killed twice, each time gone on with by a machine that has nothing."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from golden_line import GOLDEN, environment

from yearling.cloud.opening import open_place
from yearling.cloud.project import SEGMENT_S, SEGMENTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def begin(machine: Path, place: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "yearling.cli", "--project", place, "run", str(GOLDEN)]
    given = environment() | {"YEARLING_CACHE": str(machine)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given)


def kill_when(running: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    ends = time.monotonic() + 400
    while not reached():
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < ends, "it never came that far"
        time.sleep(0.2)
    time.sleep(SEGMENT_S + 2)  # what was settled is on Blob
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    running.communicate()


def test_the_golden_line_runs_whole_on_blob_killed_twice(container: str, tmp_path: Path) -> None:
    place = f"{container}/golden"
    store, path = open_place(place)

    def settled() -> int:
        segments = [blob.name for blob in store.blobs(f"{path}/{SEGMENTS}")]
        return sum((store.read(name) or b"").count(b"UPDATE calls SET state = 'settled'") for name in segments)

    first = begin(tmp_path / "first", place)
    kill_when(first, lambda: settled() >= 4)
    before = settled()
    shutil.rmtree(tmp_path / "first")  # the machine is gone
    second = begin(tmp_path / "second", place)
    kill_when(second, lambda: store.find(f"{path}/runs/golden/train.begun.json") is not None)
    shutil.rmtree(tmp_path / "second")
    third = begin(tmp_path / "third", place)
    _, err = third.communicate(timeout=900)
    assert third.returncode == 0, err
    assert "generate: done before, nothing to do" in err
    (ledger,) = (tmp_path / "third").glob("azure/*/ledger.sqlite")
    with closing(sqlite3.connect(ledger)) as db:
        settled_twice = "SELECT key FROM sends WHERE state = 'settled' GROUP BY key HAVING COUNT(*) > 1"
        assert db.execute(settled_twice).fetchall() == []
        (paid,) = db.execute("SELECT COUNT(*) FROM calls WHERE state = 'settled'").fetchone()
    assert paid > before >= 4
    names = {blob.name.removeprefix(f"{path}/runs/golden/") for blob in store.blobs(f"{path}/runs/golden")}
    stages = ("generate", "curate", "train", "export", "eval")
    assert {f"{stage}.manifest.json" for stage in stages} <= names
    assert {"export/golden-F16.gguf", "export/golden-Q4_K_M.gguf", "eval/report.html"} <= names
