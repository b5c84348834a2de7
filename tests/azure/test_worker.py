"""Two processes of a job, each with a disk of its own, train as one; a job that was taken away goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import azure_cloud
import pytest
import tiny
from azure_cloud import Cloud
from azure_recipe import put_recipe, teach
from golden_line import environment, yearling
from openai_server import OpenAIServer

from yearling.azureml import staging
from yearling.cloud.opening import open_place
from yearling.recipe_file import load_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
TRAIN = "{epochs: 2, batch_size: 6, learning_rate: 0.01, save_every: 4, precision: float32}"


def node(code: Path, disk: Path, place: str, **more: str) -> subprocess.Popen[str]:
    """A process of the job, on a machine with nothing but its own disk."""
    given = environment() | {"PYTHONPATH": str(code), "YEARLING_AZURE_IDENTITY": "managed", "YEARLING_CACHE": str(disk)}
    disk.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "yearling.azureml.worker", place]
    return subprocess.Popen(command, cwd=code, env=given | more, stderr=subprocess.PIPE, text=True)


def losses(folder: Path) -> list[float]:
    lines = (folder / "train" / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_two_machines_train_as_one(container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = tiny.project(tmp_path / "alone", TRAIN)
    monkeypatch.chdir(alone)
    for verb in ("import", "train"):
        assert (done := yearling(alone, verb, "recipe.yaml")).code == 0, done.err
    code, place = tmp_path / "code", f"{container}/p"
    staging.stage(load_recipe(alone / "recipe.yaml"), code)
    port = str(azure_cloud.free_port())
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "AZUREML_RUN_ID": "job-1"}
    both = [node(code, tmp_path / f"node{n}", place, RANK=str(n), LOCAL_RANK="0", **ranks) for n in (0, 1)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "the first process is ready" in said[1] and said[0].count("adapter proved") == 1
    back = tmp_path / "back"
    assert (done := yearling(alone, "blob", "cp", f"{place}/runs", str(back))).code == 0, done.err
    assert losses(back / "tiny") == pytest.approx(losses(alone / "runs" / "tiny"), rel=1e-4)


def test_a_job_that_was_taken_away_goes_on_on_another_machine(
    container: str, azure: Cloud, tmp_path: Path, server: OpenAIServer
) -> None:
    server.answer = teach
    code, place = tmp_path / "code", f"{container}/p"
    staging.stage(load_recipe(put_recipe(tmp_path, server)), code)
    for machine in ("first", "second"):
        server.hold_after(25)
        running = node(code, tmp_path / machine, place)
        server.wait_for(len(server.bill) + 27, 60)
        time.sleep(4)  # what was settled is on Blob
        os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
        server.open.set()
    third = node(code, tmp_path / "third", place)
    _, err = third.communicate(timeout=120)
    assert third.returncode == 0, err
    assert sum(count > 1 for count in server.keys.values()) <= 2 * 4, "calls in flight may be lost, no others"
    store, _ = open_place(place)
    assert store.find("p/runs/one/curate.manifest.json")
