"""A project on Azure Blob: killed, gone on with on another machine, held by one at a time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure_cloud import Cloud
from azure_recipe import put_recipe, teach
from golden_line import Done, environment

from yearling.cloud.opening import open_place
from yearling.cloud.project import INDEX, SEGMENT_S, SEGMENTS, Mirror
from yearling.record import read_records

if TYPE_CHECKING:
    from openai_server import OpenAIServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def begin(machine: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line on a machine with nothing but its own cache."""
    command = [sys.executable, "-m", "yearling.cli", *arguments]
    given = environment() | {"YEARLING_CACHE": str(machine)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given)


def end(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err, 0.0)


def test_a_run_is_killed_twice_and_gone_on_with_elsewhere(
    container: str, azure: Cloud, tmp_path: Path, server: OpenAIServer
) -> None:
    server.answer = teach
    recipe, place = put_recipe(tmp_path, server), f"{container}/p"
    for machine, more in (("first", 25), ("second", 25)):
        server.hold_after(more)
        running = begin(tmp_path / machine, "--project", place, "run", str(recipe))
        server.wait_for(len(server.bill) + more + 2, 60)
        time.sleep(SEGMENT_S + 2)  # what was settled is on Blob
        os.kill(running.pid, signal.SIGKILL)
        assert end(running).code == -signal.SIGKILL
        server.open.set()
        time.sleep(0.5)
    before = len(server.bill)
    done = end(begin(tmp_path / "third", "--project", place, "run", str(recipe)))
    assert done.code == 0, done.err
    assert len(server.bill) > before, "it was over before it was killed"
    twice = [key for key, count in server.keys.items() if count > 1]
    assert len(twice) <= 2 * 4, "calls in flight may be lost, no others"
    quiet = end(begin(tmp_path / "quiet", "--project", str(tmp_path / "here"), "run", str(recipe)))
    assert quiet.code == 0, quiet.err
    assert end(begin(tmp_path / "fourth", "blob", "cp", f"{place}/runs", str(tmp_path / "back"))).code == 0
    rows = [
        list(read_records(folder / "one" / "records")) for folder in (tmp_path / "back", tmp_path / "here" / "runs")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 60
    status = end(begin(tmp_path / "fifth", "--project", place, "status", "--json"))
    assert [stage["state"] for stage in json.loads(status.out)["stages"]][1:3] == ["done", "done"]
    again = end(begin(tmp_path / "sixth", "--project", place, "run", str(recipe)))
    assert again.code == 0 and again.err.count("done before, nothing to do") == 2


def test_a_project_is_held_by_one(container: str, azure: Cloud, tmp_path: Path, server: OpenAIServer) -> None:
    server.answer = teach
    recipe, place = put_recipe(tmp_path, server), f"{container}/p"
    server.hold_after(5)
    first = begin(tmp_path / "first", "--project", place, "run", str(recipe))
    server.wait_for(6, 60)
    second = begin(tmp_path / "second", "--project", place, "run", str(recipe))
    assert second.stderr is not None
    line = next(line for line in second.stderr if "held by process" in line)
    assert f"process {first.pid} of" in line
    server.open.set()
    assert end(first).code == 0
    waited = end(second)
    assert waited.code == 0 and waited.err.count("done before, nothing to do") == 2
    assert max(Counter(server.keys).values()) == 1


def test_a_segment_that_was_sent_as_the_process_died_is_not_heard_twice(container: str, tmp_path: Path) -> None:
    store, path = open_place(f"{container}/p")
    mirror = Mirror(store, path, tmp_path / "here")
    add = "INSERT INTO clock VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds"
    mirror.take([(add, ("r", "generate", 2.0))])
    before = mirror._pending.read_bytes()
    mirror.send_segment()
    mirror._pending.write_bytes(before)  # as if it had died between sending and knowing it
    (tmp_path / "here" / INDEX).unlink()
    again = Mirror(store, path, tmp_path / "here")
    again.fetch()
    again.send_segment()
    assert [blob.name for blob in store.blobs(path)] == [f"{path}/{SEGMENTS}/00000001.jsonl"]
    assert not again._pending.exists() and not list((tmp_path / "here").glob("pending-*"))
    other = Mirror(store, path, tmp_path / "there")
    other.fetch()
    with closing(sqlite3.connect(tmp_path / "there" / "ledger.sqlite")) as db:
        assert db.execute("SELECT seconds FROM clock").fetchall() == [(2.0,)]


def test_what_did_not_change_there_is_not_fetched_and_what_changed_here_stays(
    container: str, azure: Cloud, tmp_path: Path
) -> None:
    store, path = open_place(f"{container}/p")
    mirror = Mirror(store, path, tmp_path / "here")
    mirror.fetch()
    file = tmp_path / "here" / "runs" / "r" / "file"
    file.parent.mkdir(parents=True)
    file.write_text("sent", encoding="utf-8")
    mirror.send(0.0)
    file.write_text("changed, and not sent when the process died", encoding="utf-8")
    azure.asked.clear()
    again = Mirror(store, path, tmp_path / "here")
    again.fetch()
    assert not [asked for method, asked, _ in azure.asked if method == "GET" and "/runs/r/file" in asked]
    assert file.read_text(encoding="utf-8").startswith("changed")
    again.send(0.0)
    assert store.read(f"{path}/runs/r/file") == file.read_bytes()
