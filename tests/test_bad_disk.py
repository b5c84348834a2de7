"""A full disk is one clear line and exit code 2: nothing half-written stays, and with room the same command ends.

The disk is a small one in memory where this user may mount it; elsewhere the system's limit on the size of a file
stands in for it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from golden_line import Done, environment
from openai_server import asked, digest
from refusal import left_behind, refused

from yearling.curate.judges import JUDGES
from yearling.record import read_records, read_verdicts
from yearling.run_folder import Run

if TYPE_CHECKING:
    from openai_server import OpenAIServer

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from yearling.cli import main
main()
"""


@dataclass
class Disk:
    """A project folder on a disk that has no room, until it is given some."""

    folder: Path
    limit: int | None  # bytes of one file, where the disk itself cannot be made small

    def run(self, *arguments: str) -> Done:
        head = [sys.executable, *(["-m", "yearling.cli"] if self.limit is None else ["-c", LIMITED, str(self.limit)])]
        command = [*head, "--project", str(self.folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(), check=False)
        return Done(done.returncode, done.stdout, done.stderr, 0.0)

    def enlarge(self) -> None:
        if self.limit is None:
            _mount("-o", "remount,size=64m", str(self.folder))
        else:
            self.limit = 1 << 30

    def fill(self, leave: int) -> None:
        """Take all room but `leave` bytes."""
        with (self.folder / "ballast").open("wb") as ballast:
            ballast.write(bytes(max(0, shutil.disk_usage(self.folder).free - leave)))


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


@pytest.fixture(params=["disk", pytest.param("limit", marks=pytest.mark.slow)])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk of 1 MB, or files of at most 768 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "limit":
        if sys.platform == "win32":
            pytest.skip("Windows has no limit on the size of a file")
        yield Disk(folder, 768 << 10)
        return
    if not _may_mount() or not _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
        pytest.skip("this user may not mount a disk")
    try:
        yield Disk(folder, None)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def sentence(dice: random.Random, words: int) -> str:
    """Words that no compression shortens much and no two sentences share."""
    return " ".join("".join(dice.choices("bcdfghjklmnprstvwxz", k=7)) for _ in range(words))


def put_rows(folder: Path, count: int) -> Path:
    """A recipe beside a data set of about 0.9 KB a row."""
    dice = random.Random(1)
    rows = [{"instruction": f"Say {sentence(dice, 9)}.", "output": f"{sentence(dice, 100)}."} for _ in range(count)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = folder / "r.yaml"
    recipe.write_text("name: one\nimport: [{path: data.jsonl}]\ncurate: {}\n", encoding="utf-8")
    return recipe


@pytest.mark.slow
def test_import_of_a_file_too_big_for_the_disk(disk: Disk, tmp_path: Path) -> None:
    recipe = put_rows(tmp_path, 3000)
    done = disk.run("import", str(recipe))
    refused(done, f"no space left on the disk for {disk.folder}", "run the same command again")
    assert left_behind(disk.folder) == []
    refused(disk.run("curate", str(recipe)), "no records", "yearling import")
    disk.enlarge()
    assert disk.run("run", str(recipe)).code == 0
    run = Run(disk.folder, "one")
    assert len(list(read_records(run.records))) == 3000
    assert run.manifest("import") and run.manifest("curate")
    assert not list(disk.folder.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["disk"], indirect=True)
@pytest.mark.parametrize("leave", [0, 40 << 10])
def test_curate_on_a_full_disk(disk: Disk, tmp_path: Path, leave: int) -> None:
    recipe = put_rows(tmp_path, 400)
    assert disk.run("import", str(recipe)).code == 0
    disk.fill(leave)
    refused(disk.run("curate", str(recipe)), f"no space left on the disk for {disk.folder}", "same command again")
    run = Run(disk.folder, "one")
    assert not list(disk.folder.rglob("*.tmp"))
    assert run.manifest("curate") is None
    tables = list(run.verdicts.glob("*/verdicts.parquet"))
    assert all(len(list(read_verdicts(table.parent))) == 400 for table in tables), "what is there is whole"
    (disk.folder / "ballast").unlink()
    assert disk.run("curate", str(recipe)).code == 0
    manifest = run.manifest("curate")
    assert manifest and manifest.counts["in"] == 400
    assert len(list(run.verdicts.glob("*/verdicts.parquet"))) == len(JUDGES)


# -- a full disk in the middle of generate


def teach(body: Mapping[str, Any]) -> str:
    """Two new tasks for a question, a long answer for a task: its row in the ledger takes about 8 KB."""
    dice = random.Random(digest(body))
    if asked(body).startswith("Write "):
        return json.dumps({"tasks": [{"instruction": f"Say {sentence(dice, 7)}.", "input": ""} for _ in "ab"]})
    return f"{sentence(dice, 400)}."


def put_recipe(folder: Path, server: OpenAIServer) -> Path:
    teacher = f"{{model: 'openai:tutor', base_url: '{server.url}', concurrency: 4, price: {{input: 1, output: 1}}}}"
    recipe = folder / "g.yaml"
    generate = "{num: 90, alpaca: {per_call: 2}, answer: {max_tokens: 2048}}"
    recipe.write_text(f"name: one\nteacher: {teacher}\ngenerate: {generate}\n", encoding="utf-8")
    return recipe


def settled(ledger: Path) -> dict[str, dict[str, Any]]:
    """Requests whose answers the ledger holds, by their keys; the ledger itself must be sound."""
    with closing(sqlite3.connect(ledger)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT key, model, request FROM calls WHERE state = 'settled'").fetchall()
    return {key: {"model": model, **json.loads(request)} for key, model, request in rows}


def test_generate_on_a_disk_that_fills(disk: Disk, tmp_path: Path, server: OpenAIServer) -> None:
    """What was paid for before the disk was full is never paid for again, and the rows are those of a quiet run."""
    server.answer = teach
    recipe = put_recipe(tmp_path, server)
    done = disk.run("generate", str(recipe))
    refused(done, str(disk.folder), "run the same command again")
    run = Run(disk.folder, "one")
    assert left_behind(disk.folder) == []
    kept = settled(run.ledger)
    before = len(server.bill)
    assert 10 < len(kept) <= before <= len(kept) + 8, "calls in flight may be lost, no others"
    disk.enlarge()
    assert disk.run("generate", str(recipe)).code == 0
    again = Counter(json.dumps(entry.body, sort_keys=True) for entry in server.bill[before:])
    assert not [request for request in kept.values() if json.dumps(request, sort_keys=True) in again]
    assert set(again.values()) == {1}
    assert len(settled(run.ledger)) == len(server.keys)
    quiet = Disk(tmp_path / "quiet", None)
    assert quiet.run("generate", str(recipe)).code == 0
    assert list(read_records(run.records)) == list(read_records(Run(quiet.folder, "one").records))
