"""`kill -9` during generate, train and export, each at three moments: the same command ends the job."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from golden_line import GOLDEN, environment, yearling

from yearling.run_folder import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STAGES = ("generate", "curate", "train", "export")


def settled(project: Path) -> dict[str, tuple[int, str]]:
    """Settled calls: how often each was sent, and its answer."""
    if not (project / "ledger.sqlite").exists():
        return {}
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        sends = "(SELECT count(*) FROM sends WHERE sends.key = calls.key)"
        rows = db.execute(f"SELECT key, {sends}, text FROM calls WHERE state = 'settled'").fetchall()
    return {key: (sends, text) for key, sends, text in rows}


def kill_during(project: Path, stage: str, seconds: float) -> bool:
    """Start the stage, kill the command and all its children the hard way; True if it was still at work."""
    command = [sys.executable, "-m", "yearling.cli", "--project", str(project), stage, str(GOLDEN)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def events(run: Run, stage: str) -> list[dict[str, object]]:
    lines = (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event.get("stage") == stage]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_command_ends_a_killed_stage(project: Path, stage: str) -> None:
    """Runs in the order of the stages: each builds on the one before."""
    run = Run(project, "golden")
    if stage == "curate":
        assert yearling(project, stage, str(GOLDEN)).code == 0
        return
    dice = random.Random(stage)
    longest = {"generate": 8.0, "train": 12.0, "export": 7.0}[stage]
    for _ in range(3):
        before = settled(project)
        assert kill_during(project, stage, dice.uniform(1.5, longest)), "it ended before it was killed"
        assert run.manifest(stage) is None
        after = settled(project)
        assert {key: after[key] for key in before} == before, "a settled call was sent again"
    before = settled(project)
    done = yearling(project, stage, str(GOLDEN))
    assert done.code == 0, done.err
    assert run.manifest(stage) is not None
    assert {key: settled(project)[key] for key in before} == before
    assert not list(run.path.rglob("*.tmp"))
    time.sleep(1.0)
    orphans = subprocess.run(["pgrep", "-f", f"yearling.llama.*{project}"], capture_output=True, text=True, check=False)
    assert orphans.stdout == "", "a child outlived its parent"


def test_training_goes_on_from_its_checkpoint(project: Path) -> None:
    """A command that is killed after a checkpoint does not begin at the first update again."""
    run = Run(project, "golden")
    run.forget("train")
    (run.path / "train.begun.json").unlink()
    command = [sys.executable, "-m", "yearling.cli", "--project", str(project), "train", str(GOLDEN)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    checkpoints = run.school / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("update-*.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = yearling(project, "train", str(GOLDEN))
    assert done.code == 0, done.err
    assert "going on after update " in done.err
    steps = [
        json.loads(line)["step"] for line in (run.school / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps[-1] == max(steps) and steps.count(1) == 1, "update 1 was made twice"
