"""The commands around judgement: curate with its pictures, and audit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from yearling.errors import UserError
from yearling.places import remote
from yearling.terminal import read_recipe, sent, show

if TYPE_CHECKING:
    from yearling.recipe import Recipe
    from yearling.run_folder import Run

Written = Literal["alpaca", "sharegpt", "messages", "prompt-completion", "csv", "parquet"]
RECIPE = "recipe.yaml"
DATA = re.compile(r"\.(?:jsonl?|ndjson|csv|parquet)\Z", re.I)


def curate(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="recipe, run, data file or folder, or hf:org/name")] = RECIPE,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write accepted records (or the page) here")] = None,
    format: Annotated[Written, typer.Option(help="format of what is written")] = "messages",
    explain: Annotated[bool, typer.Option("--explain", help="show why rows were kept or not; writes a page")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="judge nothing, show what the rows hold")] = False,
    keep: Annotated[Optional[list[str]], typer.Option(help="record to keep against the judges; again for more")] = None,  # noqa: UP045
    unkeep: Annotated[Optional[list[str]], typer.Option(help="take a --keep back")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Judge every record; every verdict has a reason.

    Works on a recipe, and alone on anyone's data file. Afterwards --explain shows which judge took what and why.

    Example: yearling curate recipe.yaml, or yearling curate alpaca.json -o clean.jsonl --curate.near.above 0.7,
    or yearling curate --explain, or yearling curate --keep r1:3f2a
    """
    root: Path = context.obj
    named = [] if str(context.get_parameter_source("what")).endswith("DEFAULT") else [what]
    if describe:
        return _describe(root, [*named, *context.args], out, as_json)
    if keep or unkeep or explain:
        run = _meant(root, named)
        if keep or unkeep:
            _keep(root, run, keep or [], unkeep or [])
        return _explain(run, out, as_json) if explain else None
    recipe, alone = _recipe(root, what, context.args)
    from yearling.look import status, status_view
    from yearling.pipeline import run_stages, write_accepted

    run = run_stages(recipe, root, ["import", "curate"] if alone else ["curate"])
    if out:
        with sent(out) as file:
            write_accepted(recipe, root, file, format)
    show(status(run), status_view, as_json)


def audit(
    context: typer.Context,
    run: Annotated[Optional[str], typer.Argument(help="run name; the newest without one")] = None,  # noqa: UP045
    rows: Annotated[int, typer.Option(min=1, help="rows to mark")] = 200,
    seed: Annotated[int, typer.Option(help="which rows are drawn")] = 42,
    of: Annotated[Literal["accepted", "dropped"], typer.Option(help="from which rows")] = "accepted",
    report: Annotated[bool, typer.Option("--report", help="mark nothing, show the rates so far")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
) -> None:
    """Mark rows yourself: instruction valid, input fits, answer right; gives the three rates with intervals.

    Each mark is saved at once; the same command goes on where you stopped.

    Example: yearling audit quickstart --rows 50
    """
    from yearling.audit import audit as ask
    from yearling.audit import audit_view
    from yearling.run_folder import open_run

    found = open_run(context.obj, run)
    show(ask(found, _stored_recipe(found), of, rows, seed, not report), audit_view, as_json)


def _stored_recipe(run: Run) -> Recipe:
    """The recipe by which a run was made."""
    from yearling.recipe_file import load_recipe

    if not (run.path / RECIPE).exists():
        raise UserError(f"{run.path} holds no recipe. Run `yearling curate` on it first.")
    return load_recipe(run.path / RECIPE)


def _recipe(root: Path, what: str, knobs: list[str]) -> tuple[Recipe, bool]:
    """The recipe that is meant, and whether it was made up for a data file."""
    path = Path(what)
    afar = what.startswith("hf:") or remote(what)
    data = afar or DATA.search(what) or path.is_dir()
    if not data:
        return read_recipe(path, knobs), False
    from yearling.recipe_file import check_recipe, overridden, parse_overrides
    from yearling.run_folder import Run

    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removeprefix("hf:").rpartition(".")[0] or path.name).strip("-.")
    source = what if afar else str(path.resolve())
    plain: dict[str, Any] = {"name": name or "data", "import": [{"path": source}], "curate": {}}
    recipe = check_recipe(overridden(plain, parse_overrides(knobs)), what)
    _check_folder(Run(root, recipe.name), source)
    return recipe, True


def _check_folder(run: Run, source: str) -> None:
    """A run of the data's name is of that very data, or the name is taken."""
    if run.path.exists() and [remote(one.path) or str(one.path) for one in _stored_recipe(run).import_] != [source]:
        raise UserError(f"{run.path} is another run. Give this one a name of its own: --name {run.name}-2.")


def _meant(root: Path, named: list[str]) -> Run:
    """A run by its name, its recipe or the data it came from; the newest one without any."""
    from yearling.recipe_file import load_recipe
    from yearling.run_folder import list_runs, open_run

    if not named:
        return open_run(root, None)
    if named[0] in [run.name for run in list_runs(root)]:
        return open_run(root, named[0])
    path = Path(named[0])
    if path.suffix in (".yaml", ".yml"):
        return open_run(root, load_recipe(path).name)
    return open_run(root, _recipe(root, named[0], [])[0].name if DATA.search(named[0]) else named[0])


def _keep(root: Path, run: Run, ids: list[str], back: list[str]) -> None:
    """Keep records, or take that back, and judge again, as those who compare must see them."""
    from yearling.curate.explain import keep
    from yearling.pipeline import run_stages
    from yearling.progress import say

    recipe = _stored_recipe(run)
    for names, drop in ((ids, False), (back, True)):
        if names:
            say(keep(run, names, drop))
    run_stages(recipe, root, ["curate"])


def _explain(run: Run, out: Path | None, as_json: bool) -> None:
    from yearling.curate.explain import PAGE, explain, render_html, tables
    from yearling.curate.judges import JUDGES
    from yearling.progress import say
    from yearling.run_folder import write_text

    found = explain(run, [judge.name for judge in JUDGES])
    page = out or run.path / "curate" / PAGE
    with sent(page) as file:
        write_text(file, render_html(found))
    say(f"curate: the page is in {page}")
    show(found.plain() if as_json else found, tables, as_json)


def _describe(root: Path, words: list[str], out: Path | None, as_json: bool) -> None:
    from yearling.curate import describe_stage
    from yearling.recipe import Source
    from yearling.sources.read import read_source

    reader = lambda path: read_source(Source(path=path), 0)  # noqa: E731 - a stage reads no data files itself
    shown = describe_stage.describe_to(root, words, out, reader)
    show(shown.plain() if as_json else shown, describe_stage.tables, as_json)
