"""What a job of Azure ML runs: the recipe beside it, on a project that lies on Blob.

In: the project's address; of several processes their `RANK` and `WORLD_SIZE`, as the platform sets them. Out: the run,
on Blob. One process does all; of several the first does what comes before training and after it, and all train. A
process that waits for the first one has a copy of its own of what was made before.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from yearling.azureml.staging import RECIPE
from yearling.cloud.identity import find_access, token_of
from yearling.cloud.opening import CLOUDS, asking, open_place
from yearling.cloud.project import Mirror, remote_project
from yearling.errors import UserError
from yearling.pipeline import STAGES, run_stages
from yearling.progress import say
from yearling.recipe import Recipe
from yearling.recipe_file import load_recipe
from yearling.train.ranks import ranks_asked

READY = "train.ready.json"
LOOK_S, GIVE_UP_S = 5.0, 24 * 3600.0
RENEW_S = 1200.0  # a token lives for an hour at least
ALONE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def main(arguments: Sequence[str]) -> int:
    """`python -m yearling.azureml.worker PROJECT`, in the folder that holds the recipe."""
    (project,) = arguments
    try:
        recipe = load_recipe(Path(RECIPE))
        with _told_to_mlflow() as told:
            if told and recipe.train and "mlflow" not in recipe.train.track:
                train = recipe.train.model_copy(update={"track": (*recipe.train.track, "mlflow")})
                recipe = recipe.model_copy(update={"train": train})
            rank, ranks = ranks_asked()
            if rank == 0 and (ranks == 1 or not recipe.train):
                with remote_project(project, None, True) as root, _alone():
                    run_stages(recipe, root)
            elif rank == 0:
                _first(recipe, project)
            elif recipe.train:
                _other(recipe, project)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _first(recipe: Recipe, project: str) -> None:
    names = [stage.name for stage in STAGES if stage.wanted(recipe)]
    before, after = names[: names.index("train")], names[names.index("train") + 1 :]
    with remote_project(project, None, True) as root:
        with _alone():
            if before:
                run_stages(recipe, root, before)
        store, path = open_place(project)
        Mirror(store, path, root).send(0.0)
        store.write(f"{path}/runs/{recipe.name}/{READY}".lstrip("/"), json.dumps(_job()).encode())
        run_stages(recipe, root, ["train"])
        with _alone():
            if after:
                run_stages(recipe, root, after)


def _other(recipe: Recipe, project: str) -> None:
    """Wait until the first one is where training begins, then train along."""
    store, path = open_place(project)
    name, ends = f"{path}/runs/{recipe.name}/{READY}".lstrip("/"), time.monotonic() + GIVE_UP_S
    while store.read(name) != json.dumps(_job()).encode():
        if time.monotonic() > ends:
            raise UserError(f"the first process did not come to training within {GIVE_UP_S / 3600:.0f} hours.")
        time.sleep(LOOK_S)
    say("train: the first process is ready")
    # two processes of one machine must not write to one copy
    os.environ["YEARLING_CACHE"] = str(Path.cwd() / f"cache-{os.environ['RANK']}")
    with remote_project(project, None, False) as root:
        run_stages(recipe, root, ["train"])


def _job() -> list[str]:
    """This start of this job; one that was taken away starts anew under another number."""
    return [os.environ.get(name, "") for name in ("AZUREML_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]


@contextmanager
def _alone() -> Iterator[None]:
    """Be one process for a while."""
    kept = {name: os.environ.pop(name) for name in ALONE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _told_to_mlflow() -> Iterator[bool]:
    """The workspace's own tracking by MLflow's plain client: its address, and a token that is renewed meanwhile.

    Says whether there is one.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith("azureml://"):
        yield False
        return
    os.environ["MLFLOW_TRACKING_URI"] = "https://" + address.removeprefix("azureml://")
    settings, done = asking(), threading.Event()
    cloud = CLOUDS[settings.cloud]
    access = find_access(settings.identity, "", settings.client_id, cloud.authority)

    def tell() -> None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = token_of(access, f"{cloud.management}/.default").token

    def renew() -> None:
        while not done.wait(RENEW_S):
            try:
                tell()
            except UserError as error:  # the old one may still be good, and the next try comes
                say(str(error))

    tell()
    threading.Thread(target=renew, daemon=True).start()
    try:
        yield True
    finally:
        done.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
