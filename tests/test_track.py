"""Trackers: real TensorBoard files and a real MLflow store; those that are missing or fail cost no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yearling.errors import UserError
from yearling.run_folder import Run
from yearling.train import track

LINES = [{"step": step, "loss": 2.0 / step, "learning_rate": 1e-3} for step in (1, 2, 3)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path, "one")
    run.create()
    return run


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_each_update(run: Run) -> None:
    with track.tracked(("tensorboard",), run, {"epochs": 2}) as hear:
        for line in LINES:
            hear(line)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run.school / "tensorboard"))
    read.Reload()
    seen = [(event.step, event.value) for event in read.Scalars("train/loss")]
    assert seen == [(line["step"], pytest.approx(line["loss"])) for line in LINES]
    assert sorted(read.Tags()["scalars"]) == ["train/learning_rate", "train/loss"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_each_update(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # without it only a server or a database, which is not here
    with track.tracked(("mlflow",), run, {"epochs": 2}) as hear:
        for line in LINES:
            hear(line)
    (its,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    told = mlflow.MlflowClient().get_metric_history(its.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in told] == [(line["step"], line["loss"]) for line in LINES]
    assert its.data.params == {"epochs": "2"} and its.info.run_name == "one"


def test_a_tracker_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"names wandb, which is not installed\. Run `pip install wandb`"):
        track.check_tracker("wandb")


def test_a_tracker_that_fails_is_left_out_and_the_others_hear_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from contextlib import nullcontext

    heard: list[Any] = []

    def fails(line: Any) -> None:
        if line["step"] == 2:
            raise ConnectionError("the server is gone\nand more")

    trackers = {"tensorboard": lambda *_: nullcontext(fails), "trackio": lambda *_: nullcontext(heard.append)}
    monkeypatch.setattr(track, "_TRACKERS", trackers)
    with track.tracked(("tensorboard", "trackio"), run, {}) as hear:
        for line in LINES:
            hear(line)
    assert heard == LINES
    assert capsys.readouterr().err == "train: tensorboard hears no more: the server is gone\n"


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_that_does_not_start_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at.all")
    told = pytest.raises(UserError, match=r"train\.track: mlflow does not start: .*nowhere")
    with told, track.tracked(("mlflow",), run, {}):
        pytest.fail("it started")
