"""A run as a command job of Azure ML: what it is made of, written as YAML or submitted, watched, brought back.

In: a recipe whose `run_on` says where. Out: the job's YAML, or a run in the project. A job works on a project that lies
on Blob, as `yearling --project az://…` does: one that is taken away starts again and goes on there.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from yearling.azureml.staging import pins, stage
from yearling.cloud.identity import INSTALL, find_access
from yearling.cloud.opening import CLOUDS, SDK_CLOUDS, open_place, place_of_datastore
from yearling.cloud.project import LOCK, Mirror, held
from yearling.errors import Interrupted, UserError
from yearling.places import Datastore, Place, Workspace, place_of, remote
from yearling.progress import say
from yearling.recipe import Recipe
from yearling.recipe_azure import AzureMl, Cloud
from yearling.run_folder import write_text

IMAGES = {  # that Azure ML keeps; torch brings its own CUDA libraries
    False: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
    True: "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:latest",
}
PYTHON, DATASTORE = "3.11", "workspaceblobstore"
LOOK_S = 10.0
ENDED = ("Completed", "Failed", "Canceled", "NotResponding")
SERVERLESS = "serverless:"


@dataclass(frozen=True)
class Job:
    """A recipe, where it runs, and the project there."""

    recipe: Recipe
    settings: AzureMl
    root: Path  # the project here
    place: Place  # and on Blob
    text: str  # how the user named the latter; "" where it was chosen for a project that is here


def job_of(recipe: Recipe, settings: AzureMl, root: Path, text: str = "") -> Job:
    """The job of a recipe; a project that is here gets a place in the workspace's own datastore."""
    workspace = Workspace(settings.subscription, settings.resource_group, settings.workspace)
    given = text or f"azureml://datastores/{DATASTORE}/paths/yearling/{root.resolve().name}"
    found = place_of(given, workspace, CLOUDS[settings.cloud].suffix)
    place = place_of_datastore(found, asking(settings)) if isinstance(found, Datastore) else found
    return Job(recipe, settings, root, place, text)


def asking(settings: AzureMl) -> Cloud:
    """Who asks on this machine: whoever is here. The job's own identity is another one's affair."""
    return Cloud(cloud=settings.cloud)


@contextmanager
def built(job: Job) -> Iterator[Any]:
    """The job as `azure-ai-ml` knows it; its code is a folder that is there meanwhile."""
    ml, entities = _library()
    settings, name = job.settings, job.recipe.name
    with TemporaryDirectory() as folder:
        there = stage(job.recipe, Path(folder))
        gpu = settings.gpus > 0
        conda = {
            "name": "yearling",
            "channels": ["conda-forge"],
            "dependencies": [f"python={PYTHON}", "pip", {"pip": pins(gpu)}],
        }
        environment = entities.Environment(name="yearling", image=IMAGES[gpu], conda_file=conda)
        made = ml.command(
            display_name=name,
            experiment_name="yearling",
            code=folder,
            command=f'PYTHONPATH="$PWD" python -m yearling.azureml.worker "{job.place.address}"',
            environment=environment,
            environment_variables=_variables(settings),
            inputs=_inputs(ml, there, settings),
            outputs={"project": ml.Output(type="uri_folder", path=job.place.address, mode="direct")},
            identity=_identity(entities, settings.identity),
            instance_count=settings.instances,
            distribution=_distribution(ml, settings),
            **_compute(settings),
        )
        if limit := _limit_s(job):
            made.set_limits(timeout=limit)
        yield made


def _variables(settings: AzureMl) -> dict[str, str]:
    given = {"YEARLING_AZURE_CLOUD": settings.cloud, "YEARLING_AZURE_IDENTITY": "managed", "PYTHONUNBUFFERED": "1"}
    if "-" in settings.identity:  # a client id: a machine with several identities has to be told which
        given |= dict.fromkeys(("AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID"), settings.identity)
    if settings.identity == "user":
        given["YEARLING_AZURE_IDENTITY"] = "auto"
    return given


def _identity(entities: Any, who: str) -> Any:
    if who == "user":
        return entities.UserIdentityConfiguration()
    return entities.ManagedIdentityConfiguration(client_id=None if who == "system" else who)


def _compute(settings: AzureMl) -> dict[str, Any]:
    if not settings.compute.startswith(SERVERLESS):
        return {"compute": settings.compute}  # whether a cluster is of spot machines is the cluster's own setting
    size = settings.compute.removeprefix(SERVERLESS)
    return {"instance_type": size, **({"job_tier": "Spot"} if settings.spot else {})}


def _distribution(ml: Any, settings: AzureMl) -> Any:
    each = max(settings.gpus, 1)
    return ml.PyTorchDistribution(process_count_per_instance=each) if settings.instances * each > 1 else None


def _inputs(ml: Any, recipe: Recipe, settings: AzureMl) -> dict[str, Any]:
    """The data sets on Azure, so that the workspace shows whence a run came; they are read where they lie."""
    found = dict[str, Any]()
    for number, source in enumerate(recipe.import_):
        text = remote(source.path)
        if text and not text.startswith("azureml:"):
            place = place_of(text, None, CLOUDS[settings.cloud].suffix)
            assert isinstance(place, Place)
            kind = "uri_file" if "." in place.path.rpartition("/")[2] else "uri_folder"
            found[f"source_{number}"] = ml.Input(type=kind, path=place.address, mode="direct")
    return found


def _limit_s(job: Job) -> int | None:
    """The seconds that the budget pays for, where it names a cap and the price of an hour is known."""
    budget = job.recipe.budget
    if budget.max_cost_usd is None or not budget.hour_usd:
        return None
    return max(int(3600 * budget.max_cost_usd / budget.hour_usd), 60)


def write_yaml(job: Job, out: Path) -> None:
    """Write the job's YAML, for `az ml job create`, with its code in a folder beside it."""
    with built(job) as made:
        code = out.with_name(f"{out.stem}-code")
        shutil.rmtree(code, ignore_errors=True)
        shutil.copytree(made.code, code)
        text = io.StringIO()
        made._to_job().dump(text)
        plain = yaml.safe_load(text.getvalue()) | {"code": f"./{code.name}"}
        write_text(out, yaml.safe_dump(plain, sort_keys=False, width=200))
    say(f"azureml: {out} and {code}; submit them with `az ml job create -f {out}`, or without --dry-run")


def run_there(job: Job) -> None:
    """Submit the job, or take up watching the one that runs; tell what it does until it ends, and bring the run back.

    Raises UserError where it ends otherwise than well.
    """
    client = _client(job.settings)
    store, path = open_place(job.text or job.place.address, asking(job.settings))
    mirror = Mirror(store, path, job.root, only=job.recipe.name)
    note = mirror.name(f"runs/{job.recipe.name}/azureml.json")
    running = json.loads(store.read(note) or b"{}").get("job")
    status = _status(client, job.settings, running) if running else None
    if status is None or status in ENDED:
        if not job.text:
            with held(store, mirror.name(LOCK)):
                mirror.send_whole()
        with built(job) as made, _refused(job.settings):
            submitted = client.jobs.create_or_update(made)
        running = submitted.name
        store.write(note, json.dumps({"job": running}).encode())
        say(f"azureml: submitted as {running}: {submitted.studio_url or 'the studio shows it'}")
    else:
        say(f"azureml: {running} is {status} already; watching it")
    try:
        events = mirror.name(f"runs/{job.recipe.name}/events.jsonl")
        status = _watch(lambda: _status(client, job.settings, running), lambda: store.read(events))
    except KeyboardInterrupt:
        say(f"azureml: {running} goes on without this terminal; the same command watches it again")
        say(f"azureml: to end it: az ml job cancel -n {running} -g {job.settings.resource_group} -w …")
        raise Interrupted from None
    if not job.text:
        mirror.fetch()
    if status != "Completed":
        raise UserError(
            f"azureml: {running} is {status}. Its log: az ml job stream -n {running} -g {job.settings.resource_group} "
            f"-w {job.settings.workspace}. The same command goes on from what it did."
        )
    if job.settings.register_as:
        _register(client, job, str(running))


def _watch(status: Callable[[], str], events: Callable[[], bytes | None]) -> str:
    """Tell the events of a run as they come, until its job has ended; how it ended."""
    told, before = 0, ""
    while True:
        now = status()
        if now != before:
            say(f"azureml: {now}")
            before = now
        lines = (events() or b"").decode("utf-8").splitlines()
        for line in lines[told:]:
            if said := _said(json.loads(line)):
                say(said)
        told = max(told, len(lines))
        if now in ENDED:
            return now
        time.sleep(LOOK_S)


def _said(event: dict[str, Any]) -> str:
    if event["event"] == "stage":
        return f"{event['stage']}: {event['state']}"
    if event["event"] == "progress":
        return f"{event['stage']}: {event['done']}/{event['total']} {event['unit']}"
    return ""


def _register(client: Any, job: Job, name: str) -> None:
    """The finished model and its data as assets of the workspace."""
    _, entities = _library()
    run = f"azureml://jobs/{name}/outputs/project/paths/runs/{job.recipe.name}"
    tags = {"run": job.recipe.name, "job": name}
    wanted = job.settings.register_as
    made = []
    with _refused(job.settings):
        if job.recipe.export:
            model = entities.Model(name=wanted, path=f"{run}/export", type="custom_model", tags=tags)
            made.append(("model", client.models.create_or_update(model)))
        data = entities.Data(name=f"{wanted}-data", path=f"{run}/records", type="uri_folder", tags=tags)
        made.append(("data", client.data.create_or_update(data)))
    for kind, asset in made:
        say(f"azureml: {kind} azureml:{asset.name}:{asset.version}")


def _status(client: Any, settings: AzureMl, name: str) -> str:
    from azure.core.exceptions import ResourceNotFoundError

    with _refused(settings):
        try:
            status = client.jobs.get(name).status
        except ResourceNotFoundError:
            return "Canceled"  # it was deleted
    return str(getattr(status, "value", status))


def _client(settings: AzureMl) -> Any:
    """The workspace, asked as whoever is here."""
    ml, _ = _library()
    cloud = CLOUDS[settings.cloud]
    access = find_access("auto", "", None, cloud.authority)
    say(f"azureml: workspace {settings.workspace} as {access.says}")
    return ml.MLClient(
        access.credential,
        settings.subscription,
        settings.resource_group,
        settings.workspace,
        enable_telemetry=False,
        **SDK_CLOUDS[settings.cloud],
    )


@contextmanager
def _refused(settings: AzureMl) -> Iterator[None]:
    """What the workspace refuses, as one clear error."""
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield  # it draws bars and announces what is experimental
    except HttpResponseError as error:
        role = "AzureML Data Scientist"
        mend = (
            f'Run: az role assignment create --assignee <you> --role "{role}" --scope <id of the workspace>'
            if error.status_code == 403
            else f"Look at run_on.azureml: workspace {settings.workspace}, compute {settings.compute}."
        )
        said = next(iter(str(error.message).splitlines()), "")[:200]
        raise UserError(f"azureml: refused ({error.status_code}): {said} {mend}") from None
    except AzureError as error:
        wrong = re.findall(r"\(x\) (.*)", str(error))  # what the library finds wrong before it asks
        said = " ".join(wrong)[:300] or f"no answer ({type(error).__name__}). Run the same command again."
        raise UserError(f"azureml: {said}") from None


def _library() -> tuple[Any, Any]:
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it announces which of its classes are experimental
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import azure.ai.ml as ml
            from azure.ai.ml import entities
    except ImportError:
        raise UserError(f"run_on: azureml needs azure-ai-ml: {INSTALL}.") from None
    return ml, entities
