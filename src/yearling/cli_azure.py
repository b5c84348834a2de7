"""`yearling blob` and `yearling doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from yearling.errors import UserError
from yearling.places import remote
from yearling.terminal import show

if TYPE_CHECKING:
    from yearling.cloud.copying import Copied
    from yearling.recipe import Recipe

app = typer.Typer(help="Look at Azure Blob, and copy to and from it.", rich_markup_mode=None, no_args_is_help=True)
azure_app = typer.Typer(help="Set Azure up for runs.", rich_markup_mode=None, no_args_is_help=True)
Identity = Annotated[
    Optional[str],  # noqa: UP045 - typer reads it
    typer.Option(help="who asks: auto, or one of the ways that doctor --azure names [YEARLING_AZURE_IDENTITY]"),
]
ClientId = Annotated[Optional[str], typer.Option(help="client id of a user-assigned identity [AZURE_CLIENT_ID]")]  # noqa: UP045
CloudName = Annotated[Optional[str], typer.Option("--cloud", help="public, usgov or china [YEARLING_AZURE_CLOUD]")]  # noqa: UP045
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
Source = Annotated[str, typer.Argument(help="file, folder, or az://account/container/path")]
Target = Annotated[str, typer.Argument(help="the other side")]


@app.command()
def ls(
    place: Annotated[str, typer.Argument(help="az://account/container/path")],
    identity: Identity = None,
    client_id: ClientId = None,
    cloud: CloudName = None,
    as_json: AsJson = False,
) -> None:
    """List blobs with their sizes.

    Example: yearling blob ls az://account/container/runs
    """
    from yearling.cloud.opening import asking, open_place

    store, path = open_place(place.rstrip("/"), asking(identity, client_id, cloud))
    for blob in store.blobs(path):  # as they come: a container may hold millions
        when = blob.modified.isoformat(timespec="seconds")
        if as_json:
            print(json.dumps({"name": blob.name, "size": blob.size, "modified": when}))
        else:
            print(f"{blob.size:>15,}  {when}  {blob.name}")


@app.command()
def cp(
    source: Source,
    target: Target,
    identity: Identity = None,
    client_id: ClientId = None,
    cloud: CloudName = None,
    as_json: AsJson = False,
) -> None:
    """Copy a file or a folder to Azure, or from there.

    Example: yearling blob cp runs/quickstart az://account/container/runs/quickstart
    """
    from yearling.cloud.copying import copy
    from yearling.cloud.opening import asking

    _told(copy(source, target, asking(identity, client_id, cloud)), as_json)


@app.command()
def sync(
    source: Source,
    target: Target,
    delete: Annotated[bool, typer.Option("--delete", help="take away what only the target has")] = False,
    identity: Identity = None,
    client_id: ClientId = None,
    cloud: CloudName = None,
    as_json: AsJson = False,
) -> None:
    """Copy what differs: in size, or because the source is newer.

    Example: yearling blob sync az://account/container/data data
    """
    from yearling.cloud.copying import copy
    from yearling.cloud.opening import asking

    _told(copy(source, target, asking(identity, client_id, cloud), True, delete), as_json)


@azure_app.command()
def setup(
    account: Annotated[str, typer.Option(help="storage account for runs and data")],
    container: Annotated[str, typer.Option(help="its container")],
    recipe: Annotated[Path, typer.Argument(help="recipe with `run_on: {azureml: …}`")] = Path("recipe.yaml"),
    location: Annotated[str, typer.Option(help="region")] = "westeurope",
    size: Annotated[str, typer.Option(help="machine size of the compute")] = "Standard_D4s_v3",
    out: Annotated[Path, typer.Option("-o", "--out", help="script to write")] = Path("azure-setup.sh"),
    run: Annotated[bool, typer.Option("--run", help="run it, once you have read it and said yes")] = False,
) -> None:
    """Write the az commands for a compute with an identity, roles and a datastore; with --run, run them.

    Example: yearling azure setup recipe.yaml --account mydata --container runs
    """
    from yearling.azureml import setup as commands
    from yearling.progress import say
    from yearling.recipe_file import load_recipe
    from yearling.run_folder import write_text

    asked = load_recipe(recipe)
    if isinstance(asked.run_on, str):
        raise UserError(f"{recipe} has no `run_on: {{azureml: {{…}}}}`, which names workspace and compute. Add it.")
    wanted = commands.Wanted(account, container, location, size)
    text = commands.script(asked.run_on.azureml, wanted)
    write_text(out, text)
    say(f"azure: the commands are in {out}")
    if run:
        if not sys.stdin.isatty():
            raise UserError(f"--run asks before it runs anything, and nobody is there to answer. Run {out} yourself.")
        print(text)
        if typer.confirm("Run these?"):
            commands.run_script(out)


def run_elsewhere(recipe: Recipe, project: Path, dry_run: Path | None) -> bool:
    """Run a recipe as a job of Azure ML, or write that; False where the recipe runs on this machine."""
    if isinstance(recipe.run_on, str):
        if dry_run:
            raise UserError("--dry-run writes the job of a recipe with `run_on: {azureml: {…}}`. This one runs here.")
        return False
    from yearling.azureml.jobs import job_of, run_there, write_yaml

    job = job_of(priced(recipe), recipe.run_on.azureml, project, remote(project))
    if dry_run:
        write_yaml(job, dry_run)
    else:
        run_there(job)
    return True


def priced(recipe: Recipe) -> Recipe:
    """The recipe with the price of its machines, where they are of Azure ML; any other as it is."""
    if isinstance(recipe.run_on, str):
        return recipe
    from yearling.azureml import prices

    return prices.priced(recipe)


def _told(copied: Copied, as_json: bool) -> None:
    from dataclasses import asdict

    show(asdict(copied), _view, as_json)


def _view(copied: dict[str, Any]) -> str:
    said = f"{copied['files']} files, {copied['bytes'] / 1e6:,.1f} MB copied"
    same = f", {copied['same']} the same" if copied["same"] else ""
    return said + same + (f", {copied['deleted']} deleted" if copied["deleted"] else "")


def doctor(
    context: typer.Context,
    recipe: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it
        typer.Argument(help="check what this recipe needs too; with --azure, a place: az://account/container"),
    ] = None,
    azure: Annotated[bool, typer.Option("--azure", help="look at Azure instead: identity, network, roles")] = False,
    wait: Annotated[float, typer.Option(min=0, help="with --azure: minutes to wait for a role just given")] = 0.0,
    identity: Identity = None,
    client_id: ClientId = None,
    cloud: CloudName = None,
    as_json: AsJson = False,
) -> None:
    """Tell what will work on this machine, and mends for the rest.

    Example: yearling doctor recipe.yaml
    Example: yearling doctor --azure az://account/container
    """
    from dataclasses import asdict

    from yearling import doctor

    if azure:
        from yearling.cloud.opening import asking
        from yearling.doctor_azure import examine_azure

        checks = examine_azure(recipe, asking(identity, client_id, cloud), 60 * wait)
    else:
        from yearling.recipe_file import load_recipe

        checks = doctor.examine(load_recipe(Path(recipe)) if recipe else None, context.obj)
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        show(checks, doctor.view, False)
    if doctor.failed(checks):
        raise typer.Exit(UserError.exit_code)
