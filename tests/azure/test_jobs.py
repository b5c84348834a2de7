"""A run as a job of Azure ML: its YAML by the real library, its submission to a management API on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import azure_management
import pytest
import yaml
from azure_cloud import USER, Cloud
from azure_management import SUBSCRIPTION
from golden_line import environment
from scripted_server import Asked, Said, ScriptedServer

from yearling.azureml import jobs, prices, staging, worker
from yearling.cloud import opening
from yearling.cloud.identity import claims
from yearling.cloud.opening import asking, open_place, place_of_datastore
from yearling.errors import UserError
from yearling.places import Datastore, Place, Workspace
from yearling.recipe import Recipe
from yearling.recipe_azure import AzureMl
from yearling.recipe_file import load_recipe

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of azure-ai-ml itself
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PLACE = "az://acct/container/proj"
ROWS = [
    {"instruction": f"Name {n} things that float on water.", "input": "", "output": f"Here are {n} of them: wood, ice."}
    for n in range(3, 40)
]


def recipe_of(folder: Path, **there: Any) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    where = {"subscription": SUBSCRIPTION, "resource_group": "g", "workspace": "w", "compute": "cpu", **there}
    plain = {"name": "tiny", "import": [{"path": "data.jsonl"}], "curate": {}, "run_on": {"azureml": where}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain))
    return load_recipe(folder / "recipe.yaml")


def settings(recipe: Recipe) -> AzureMl:
    assert not isinstance(recipe.run_on, str)
    return recipe.run_on.azureml


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ({}, {"compute": "azureml:cpu", "identity": {"type": "managed_identity"}}),
        ({"identity": USER}, {"identity": {"type": "managed_identity", "client_id": USER}}),
        ({"identity": "user"}, {"identity": {"type": "user_identity"}}),
        (
            {"compute": "serverless:Standard_NC4as_T4_v3", "spot": True, "gpus": 1},
            {"queue_settings": {"job_tier": "spot"}},
        ),
        ({"instances": 2, "gpus": 4}, {"distribution": {"type": "pytorch", "process_count_per_instance": 4}}),
    ],
)
def test_the_yaml_of_a_job_is_one_that_the_library_takes(tmp_path: Path, there: Any, wanted: Any) -> None:
    from azure.ai.ml import load_job

    recipe, out = recipe_of(tmp_path, **there), tmp_path / "job.yml"
    jobs.write_yaml(jobs.job_of(recipe, settings(recipe), tmp_path, PLACE), out)
    plain = yaml.safe_load(out.read_text())
    assert {key: plain[key] for key in wanted} == wanted
    validated = load_job(out)._validate()  # type: ignore[attr-defined] # of a command job
    assert validated.passed, validated
    assert plain["outputs"]["project"]["path"] == "https://acct.blob.core.windows.net/container/proj"
    pip = plain["environment"]["conda_file"]["dependencies"][-1]["pip"]
    assert len(pip) > 50 and all("==" in pin for pin in pip)
    assert not any(pin.startswith(("ruff=", "pytest=", "mypy=")) for pin in pip)
    if "-" in there.get("identity", ""):
        assert plain["environment_variables"]["AZURE_CLIENT_ID"] == USER


def test_a_job_takes_this_code_and_the_files_of_its_recipe_along(tmp_path: Path) -> None:
    recipe, folder = recipe_of(tmp_path / "p"), tmp_path / "code"
    staging.stage(recipe, folder)
    given = {**os.environ, "PYTHONPATH": str(folder)}
    asked = "import yearling, sys; from yearling.recipe_file import load_recipe; from pathlib import Path;"
    asked += (
        "r = load_recipe(Path('recipe.yaml')); print(yearling.__file__, r.run_on, r.import_[0].path.read_text()[:5])"
    )
    command = [sys.executable, "-P", "-c", asked]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(folder / "yearling" / "__init__.py"), "local", '{"ins']


def test_what_cannot_be_taken_along_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(tmp_path)
    monkeypatch.setattr(staging, "MOST", 100)
    with pytest.raises(UserError, match="yearling blob cp"):
        staging.stage(recipe, tmp_path / "code")
    (tmp_path / "data.jsonl").unlink()
    with pytest.raises(UserError, match="there is no such file"):
        staging.stage(recipe, tmp_path / "other")


def test_a_budget_ends_a_job(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, instances=2)
    recipe = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"max_cost_usd": 4, "hour_usd": 1.0})})
    jobs.write_yaml(jobs.job_of(recipe, settings(recipe), tmp_path, PLACE), tmp_path / "job.yml")
    assert yaml.safe_load((tmp_path / "job.yml").read_text())["limits"]["timeout"] == 4 * 3600


@pytest.fixture
def manager(azure: Cloud, monkeypatch: pytest.MonkeyPatch) -> azure_management.Management:
    """The workspace, as the library and as we ask it."""
    there = opening.CLOUDS["public"]._replace(management=azure.manager)
    monkeypatch.setitem(opening.CLOUDS, "public", there)
    told = {"resource_manager": azure.manager, "active_directory": "https://login.microsoftonline.com"}
    told |= {"azure_portal": "https://portal", "aml_resource_id": "https://ml.azure.com", "storage_endpoint": "core.x"}
    told |= {"registry_discovery_endpoint": azure.manager}
    monkeypatch.setitem(opening.SDK_CLOUDS, "public", {"cloud": "Loopback", "cloud_metadata": told})
    monkeypatch.setattr(jobs, "LOOK_S", 0.05)
    return azure.management


def test_a_datastore_is_looked_up(azure: Cloud, manager: azure_management.Management) -> None:
    workspace = Workspace(SUBSCRIPTION, "g", "w")
    found = place_of_datastore(Datastore(workspace, "data", "a/b"), asking())
    assert found == Place("https://devstoreaccount1.blob.core.windows.net", "data", "a/b")
    with pytest.raises(UserError, match="there is no"):
        place_of_datastore(Datastore(workspace, "none", ""), asking())
    manager.refuse = 403
    with pytest.raises(UserError, match="--role Reader"):
        place_of_datastore(Datastore(workspace, "data", ""), asking())


def test_a_run_is_submitted_watched_and_registered(
    container: str, manager: azure_management.Management, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(tmp_path, register_as="mine")
    job = jobs.job_of(recipe, settings(recipe), tmp_path, f"{container}/p")
    jobs.run_there(job)
    ((name, submitted),) = manager.jobs.items()
    told = submitted["properties"]
    assert told["identity"] == {"identityType": "Managed"} and told["computeId"].endswith("/computes/cpu")
    assert told["command"].endswith(f'"{container}/p"') and told["environmentVariables"]["PYTHONUNBUFFERED"] == "1"
    assert f"submitted as {name}" in (said := capsys.readouterr().err) and "azureml: Completed" in said
    assert "data azureml:mine-data:" in said
    assert any("/data/mine-data/" in path for path in manager.kept)


def test_a_job_that_runs_is_watched_and_not_sent_twice(
    container: str, manager: azure_management.Management, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path)
    job = jobs.job_of(recipe, settings(recipe), tmp_path, f"{container}/p")
    manager.statuses = ["Failed"]
    with pytest.raises(UserError, match=r"is Failed\. Its log"):
        jobs.run_there(job)
    manager.statuses = ["Running", "Completed"]
    jobs.run_there(job)
    assert len(manager.jobs) == 1, "it ran when we looked"
    manager.statuses = ["Completed"]
    jobs.run_there(job)
    assert len(manager.jobs) == 2, "one that has ended is sent anew, and finds all done"


def test_a_workspace_that_refuses_says_the_role(
    container: str, manager: azure_management.Management, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path)
    job = jobs.job_of(recipe, settings(recipe), tmp_path, f"{container}/p")
    manager.refuse = 403
    with pytest.raises(UserError, match="AzureML Data Scientist"):
        jobs.run_there(job)


def item(usd: float, meter: str = "D2 v3", product: str = "Dv3 Series") -> dict[str, Any]:
    return {"retailPrice": usd, "meterName": meter, "productName": product}


def test_the_price_of_a_machine_is_the_lists(
    manager: azure_management.Management, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        item(0.1),
        item(0.2, product="Dv3 Series Windows"),
        item(0.03, "D2 v3 Spot"),
        item(0.02, "D2 Low Priority"),
    ]
    asked = list[str]()

    def answer(one: Asked) -> Said:
        asked.append(unquote_plus(one.path))
        return Said(200, {"Items": items})

    with ScriptedServer(answer) as server:
        monkeypatch.setattr(prices, "LIST", f"{server.url}/prices")
        assert prices.priced(recipe_of(tmp_path, instances=3)).budget.hour_usd == pytest.approx(0.3)
        assert prices.priced(recipe_of(tmp_path, spot=True)).budget.hour_usd == pytest.approx(0.03)
        assert "tolower(armSkuName) eq 'standard_d2_v3'" in asked[0] and "armRegionName eq 'westeurope'" in asked[0]
        items.clear()
        assert prices.priced(recipe_of(tmp_path)).budget.hour_usd is None
    assert prices.priced(recipe_of(tmp_path)).budget.hour_usd is None, "the list is not there"


def test_mlflow_is_told_by_a_token_that_is_renewed(azure: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.lives = 30
    monkeypatch.setattr(worker, "RENEW_S", 0.05)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "azureml://westeurope.api.azureml.ms/mlflow/v1.0/x")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    with worker._told_to_mlflow() as told:
        assert told and os.environ["MLFLOW_TRACKING_URI"] == "https://westeurope.api.azureml.ms/mlflow/v1.0/x"
        assert claims(os.environ["MLFLOW_TRACKING_TOKEN"])["aud"] == "https://management.azure.com"
        for _ in range(100):
            if len(azure.tokens) > 2:
                break
            time.sleep(0.05)
        assert len(azure.tokens) > 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with worker._told_to_mlflow() as told:
        assert not told and os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"


def work(code: Path, place: str, **more: str) -> subprocess.Popen[str]:
    """What the job's command does, on a machine of its own."""
    given = environment() | {"PYTHONPATH": str(code), "YEARLING_AZURE_IDENTITY": "managed", **more}
    command = [sys.executable, "-P", "-m", "yearling.azureml.worker", place]
    return subprocess.Popen(command, cwd=code, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_run_of_a_job_comes_back_to_a_project_that_is_here(
    container: str, manager: azure_management.Management, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = open_place(container)
    place = Place(store.place.endpoint, store.place.container, "yearling/p")
    monkeypatch.setattr(jobs, "place_of_datastore", lambda found, azure: place)
    recipe, root = recipe_of(tmp_path / "p"), tmp_path / "p"
    job = jobs.job_of(recipe, settings(recipe), root)
    staging.stage(recipe, tmp_path / "code")
    look = jobs._status

    def status(client: Any, where: AzureMl, name: str) -> str:
        if look(client, where, name) == "Running":
            done = work(tmp_path / "code", place.address, YEARLING_CACHE=str(tmp_path / "node"))
            _, err = done.communicate(timeout=120)
            assert done.returncode == 0, err
        return manager.statuses[0]

    monkeypatch.setattr(jobs, "_status", status)
    jobs.run_there(job)
    assert (root / "runs" / "tiny" / "curate.manifest.json").exists()
    assert json.loads((root / "runs" / "tiny" / "azureml.json").read_text())["job"] in manager.jobs


def test_the_price_of_a_machine_is_looked_up(
    manager: azure_management.Management, tmp_path: Path, azure: Cloud
) -> None:
    recipe = recipe_of(tmp_path)
    assert prices.machine_of(settings(recipe)) == ("STANDARD_D2_V3", azure_management.REGION)
