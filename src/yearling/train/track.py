"""Trackers that hear of each update beside the run's own log: TensorBoard, trackio, Weights & Biases, MLflow.

In: names, the run, what is told of an update. Out: calls into the user's own installation of each. None is needed.
A tracker that fails in the middle is left out from there on, with a line: the training does not depend on it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from yearling.errors import UserError
from yearling.progress import say
from yearling.recipe import Tracker
from yearling.run_folder import Run

Line = Mapping[str, float]
Hear = Callable[[Line], None]


@contextmanager
def tracked(names: Sequence[Tracker], run: Run, settings: Mapping[str, Any]) -> Iterator[Hear]:
    """What takes each update's line (`step`, `loss` …) and hands it on to every tracker named.

    Raises UserError where one does not start.
    """
    with ExitStack() as open_ones:
        hearing = {}
        for name in names:
            fails = _errors(name)
            try:
                hearing[name] = open_ones.enter_context(_TRACKERS[name](run, settings)), fails
            except fails as error:
                raise UserError(
                    f"train.track: {name} does not start: {_line(error)}. Mend it, or leave it out."
                ) from None

        def hear(line: Line) -> None:
            for name, (tell, fails) in list(hearing.items()):
                try:
                    tell(line)
                except fails as error:
                    del hearing[name]
                    say(f"train: {name} hears no more: {_line(error)}")

        yield hear


def check_tracker(name: Tracker) -> None:
    """Raise UserError where a tracker is not installed."""
    if importlib.util.find_spec(name) is None:
        raise UserError(f"train.track names {name}, which is not installed. Run `pip install {name}`, or leave it out.")


def _errors(name: Tracker) -> tuple[type[Exception], ...]:
    """What a tracker's disk or network raises, and what it raises of its own."""
    if name == "wandb":
        return (OSError, importlib.import_module("wandb.errors").Error)
    if name == "mlflow":
        return (OSError, importlib.import_module("mlflow.exceptions").MlflowException)
    return (OSError,)


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), repr(error)).rstrip(".")


def _numbers(line: Line) -> dict[str, float]:
    return {f"train/{name}": value for name, value in line.items() if name != "step"}


@contextmanager
def _tensorboard(run: Run, settings: Mapping[str, Any]) -> Iterator[Hear]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.school / "tensorboard"))

    def tell(line: Line) -> None:
        for name, value in _numbers(line).items():
            writer.add_scalar(name, value, int(line["step"]))

    with writer:
        yield tell


@contextmanager
def _trackio(run: Run, settings: Mapping[str, Any]) -> Iterator[Hear]:
    import trackio

    trackio.init(project="yearling", name=run.name, config=dict(settings), resume="allow")
    try:
        yield lambda line: trackio.log(_numbers(line), step=int(line["step"]))
    finally:
        trackio.finish()


@contextmanager
def _wandb(run: Run, settings: Mapping[str, Any]) -> Iterator[Hear]:
    import wandb

    with wandb.init(project="yearling", name=run.name, config=dict(settings), dir=str(run.school)) as its:
        yield lambda line: its.log(_numbers(line), step=int(line["step"]))


@contextmanager
def _mlflow(run: Run, settings: Mapping[str, Any]) -> Iterator[Hear]:
    import mlflow

    with mlflow.start_run(run_name=run.name):
        mlflow.log_params(dict(settings))

        def tell(line: Line) -> None:
            mlflow.log_metrics(_numbers(line), step=int(line["step"]))

        yield tell


_TRACKERS = {"tensorboard": _tensorboard, "trackio": _trackio, "wandb": _wandb, "mlflow": _mlflow}
