"""The command line: one thin command a verb. Answers go to stdout, everything else to stderr.

Exit codes: 0 done, 2 bad input, 3 over budget, 4 a proof failed, 5 the teacher failed, 130 interrupted, resumable.
Heavy modules are imported inside the commands, so that help costs next to nothing.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from yearling import cli_azure, cli_curate
from yearling.errors import Interrupted, UserError
from yearling.places import remote
from yearling.terminal import of_the_machine, read_recipe, sent, show, usage

app = typer.Typer(
    help="Raise a small language model of your own from a bigger one, on your own machine.",
    epilog="Start with `yearling demo`. Every knob of a recipe is also a flag: --train.learning-rate 1e-4.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(help="List, compare and delete runs.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(runs_app, name="runs")
app.add_typer(cli_azure.app, name="blob")
app.add_typer(cli_azure.azure_app, name="azure")

KNOBS = {"allow_extra_args": True, "ignore_unknown_options": True}
RecipePath = Annotated[Path, typer.Argument(help="recipe file", show_default=True)]
RunName = Annotated[Optional[str], typer.Argument(help="run name; the newest without one")]  # noqa: UP045 - typer reads it
ModelName = Annotated[Optional[str], typer.Argument(help="run name or .gguf file; the newest run without one")]  # noqa: UP045
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
# Verbs that write to a project; the others look at one that lies on Azure without holding it.
WRITING = ("demo", "run", "generate", "import", "curate", "audit", "train", "export", "eval")
_project, _debug = Path(), False


@app.callback()
def options(
    context: typer.Context,
    project: Annotated[
        str, typer.Option(help="project folder, here or az://account/container/path: holds runs/ and the ledger")
    ] = ".",
    debug: Annotated[bool, typer.Option(help="show the traceback of an error")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Options that stand before the verb."""
    global _project, _debug
    _project, _debug = Path(project), debug
    if context.invoked_subcommand != "run":
        _open_project(context)
    context.obj = _project
    if version:
        import importlib.metadata

        print(importlib.metadata.version("yearling"))
        raise typer.Exit


def _open_project(context: typer.Context) -> None:
    """Where the project lies on Azure: bring it here, and hold it where the verb writes."""
    global _project
    if place := remote(_project):
        from yearling.cloud.project import remote_project

        writing = (context.invoked_subcommand or context.info_name) in WRITING
        _project = context.with_resource(remote_project(place, None, writing))


def _run(path: Path, context: typer.Context, names: list[str] | None = None, as_json: bool = False) -> None:
    from yearling.look import status, status_view
    from yearling.pipeline import run_stages

    run = run_stages(read_recipe(path, context.args), _project, names)
    show(status(run), status_view, as_json)


@app.command()
def demo(
    student: Annotated[str, typer.Option(help="gemma (a raw base) or smollm2 (LLaMA architecture)")] = "gemma",
) -> None:
    """Run the whole line on small real models: no key, no GPU.

    Example: yearling demo --student smollm2
    """
    from yearling.demo import run_demo

    run_demo(_project, student)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="file to write")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option(help="overwrite an existing file")] = False,
) -> None:
    """Write a commented recipe for your own work.

    Example: yearling init && yearling run recipe.yaml
    """
    from yearling.demo import write_recipe

    write_recipe(path, force)


@app.command(context_settings=KNOBS)
def run(
    context: typer.Context,
    recipe: RecipePath = Path("recipe.yaml"),
    dry_run: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it
        typer.Option("--dry-run", help="with run_on: azureml, write the job's YAML to this file, submit nothing"),
    ] = None,
) -> None:
    """Run all stages of a recipe; resumes a stopped run. With `run_on: {azureml: …}` it runs as a job there.

    Example: yearling run recipe.yaml --generate.num 200 --train.learning-rate 1e-4
    """
    if cli_azure.run_elsewhere(read_recipe(recipe, context.args), _project, dry_run):
        return
    _open_project(context)
    _run(recipe, context)


@app.command(context_settings=KNOBS)
def estimate(
    context: typer.Context,
    recipe: RecipePath = Path("recipe.yaml"),
    pilot: Annotated[int, typer.Option(min=1, max=20, help="calls to ask at most; the run finds them answered")] = 20,
    no_pilot: Annotated[bool, typer.Option("--no-pilot", help="ask nothing: only what the ledger holds")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a run will take of its teacher and of this machine: calls, cost, memory, time.

    Example: yearling estimate recipe.yaml --generate.num 5000
    """
    from yearling.cloud.copying import here
    from yearling.estimate import stage, view

    asked = cli_azure.priced(here(read_recipe(recipe, context.args)))
    show(stage.estimate(asked, _project, 0 if no_pilot else pilot), view.view, as_json)


@app.command(context_settings=KNOBS)
def generate(context: typer.Context, recipe: RecipePath = Path("recipe.yaml")) -> None:
    """The teacher writes instructions and answers them.

    Example: yearling generate recipe.yaml --generate.num 500
    """
    _run(recipe, context, ["generate"])


@app.command("import", context_settings=KNOBS)
def import_(context: typer.Context, recipe: RecipePath = Path("recipe.yaml")) -> None:
    """Bring in the data sets that the recipe names.

    Example: yearling import recipe.yaml
    """
    _run(recipe, context, ["import"])


app.command(context_settings=KNOBS)(cli_curate.curate)
app.command()(cli_curate.audit)
app.command()(cli_azure.doctor)


@app.command(context_settings=KNOBS)
def train(
    context: typer.Context,
    recipe: RecipePath = Path("recipe.yaml"),
    probe: Annotated[
        bool, typer.Option("--probe", help="would more data, epochs or size help? Leaves no adapter")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the adapter, once the label mask is proved.

    Example: yearling train recipe.yaml --train.epochs 3
    Example: yearling train recipe.yaml --probe
    """
    if not probe:
        return _run(recipe, context, ["train"], as_json)
    from yearling.run_folder import Run
    from yearling.students.load import require_train

    require_train()
    from yearling.train import probe as probing

    asked = read_recipe(recipe, context.args)
    run = Run(_project, asked.name)
    run.create()
    with run.lock():
        show(probing.probe(asked, run), probing.view, as_json)


@app.command(context_settings=KNOBS)
def masks(
    context: typer.Context,
    recipe: RecipePath = Path("recipe.yaml"),
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="write the page here")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Show which tokens carry loss, and prove it for every row; trains nothing.

    Example: yearling masks recipe.yaml -o masks.html
    """
    from yearling import masks
    from yearling.cloud.copying import here
    from yearling.progress import say
    from yearling.run_folder import Run, write_text

    asked = here(read_recipe(recipe, context.args))
    found = masks.masks(asked, Run(_project, asked.name))
    if out:
        with sent(out) as file:
            write_text(file, masks.render_html(found))
        say(f"masks: the page is in {out}")
    show(found, masks.view, as_json)
    masks.hold(found)


@app.command(context_settings=KNOBS)
def export(context: typer.Context, recipe: RecipePath = Path("recipe.yaml")) -> None:
    """Write GGUF files, proved against the merged model.

    Example: yearling export recipe.yaml --export.quant '[f16, q8_0]'
    """
    _run(recipe, context, ["export"])


@app.command("eval", context_settings=KNOBS)
def eval_(context: typer.Context, recipe: RecipePath = Path("recipe.yaml")) -> None:
    """Examine base, student and teacher on held-out prompts.

    Example: yearling eval recipe.yaml --eval.max-rows 100
    """
    _run(recipe, context, ["eval"])


@app.command()
def chat(
    model: ModelName = None,
    prompt: Annotated[Optional[str], typer.Option("-p", "--prompt", help="answer this and leave")] = None,  # noqa: UP045
    system: Annotated[Optional[str], typer.Option(help="system turn")] = None,  # noqa: UP045
    max_tokens: Annotated[int, typer.Option(min=1, help="limit of one answer")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 is greedy")] = 0.3,
) -> None:
    """Talk to the student.

    Example: yearling chat quickstart -p "What is the capital of France?"
    """
    from yearling import serve

    serve.chat(serve.find_model(_project, model), prompt, system, max_tokens, temperature)


@app.command("serve")
def serve_(model: ModelName = None, port: Annotated[int, typer.Option(min=1, max=65535)] = 8080) -> None:
    """Serve the student to any OpenAI client, on 127.0.0.1 only.

    Example: yearling serve quickstart --port 8080
    """
    from yearling import serve

    serve.serve(serve.find_model(_project, model), port)


@app.command()
def status(run: RunName = None, as_json: AsJson = False) -> None:
    """Show where a run stands and what to type next.

    Example: yearling status quickstart --json
    """
    from yearling import look
    from yearling.run_folder import open_run

    show(look.status(open_run(_project, run)), look.status_view, as_json)


@app.command()
def trace(
    record: Annotated[Optional[str], typer.Argument(help="record id or its beginning; an example without one")] = None,  # noqa: UP045
    run: Annotated[Optional[str], typer.Option(help="run name; the newest without one")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Tell one record's life: born, judged, trained on, released.

    Example: yearling trace r1:3f2a
    """
    from yearling.run_folder import open_run
    from yearling.trace import trace, trace_view

    show(trace(open_run(_project, run), record), trace_view, as_json)


@runs_app.command("list")
def runs_list(as_json: AsJson = False) -> None:
    """List all runs of the project.

    Example: yearling runs list
    """
    from yearling import look

    show(look.runs(_project), look.runs_view, as_json)


@runs_app.command("compare")
def runs_compare(first: str, second: str, as_json: AsJson = False) -> None:
    """Show what differs between two runs, settings first.

    Example: yearling runs compare quickstart quickstart-smollm2
    """
    from yearling import look
    from yearling.run_folder import open_run

    rows = look.compare(open_run(_project, first), open_run(_project, second))
    show(rows, lambda data: look.compare_view(data, first, second), as_json)


@runs_app.command("delete")
def runs_delete(name: str, yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Delete a run folder; paid answers stay in the ledger.

    Example: yearling runs delete quickstart --yes
    """
    from yearling import look
    from yearling.progress import say
    from yearling.run_folder import open_run

    found = open_run(_project, name)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {found.path}?", err=True)):
        raise UserError(f"{found.path} was not deleted. Say --yes.")
    say(look.delete(found))


def main() -> None:
    """Entry point: maps every known failure to one line and its exit code."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        code = _explain(error)
    except KeyboardInterrupt:
        code = Interrupted.exit_code
    if code == Interrupted.exit_code:  # the command line library, too, turns Ctrl-C into this code
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _explain(error: Exception) -> int:
    if _debug:
        import traceback

        traceback.print_exception(error)
    message = str(error) if isinstance(error, UserError) else usage(error) or of_the_machine(error, _project)
    if message is None:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("This is a bug in yearling. `yearling --debug …` shows where.", file=sys.stderr)
        return 1
    print(f"error: {message}", file=sys.stderr)
    return error.exit_code if isinstance(error, UserError) else UserError.exit_code


if __name__ == "__main__":
    main()
