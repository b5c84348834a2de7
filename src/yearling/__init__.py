"""yearling: raise a small language model of your own from a bigger one, on your own machine, every step proved.

The walk of a record, in the order in which the rooms are read:

record, errors      the value that crosses every border; what a user can meet
recipe              every knob, once
run_folder          the run folder: manifests, keys, resume, lock, events
progress            what is seen while a stage works
hub                 where model files come from
ledger              every teacher call, never paid for twice
places · cloud      Azure Blob: names, identities, bytes, a project that lies there
llama               the only door to llama.cpp, in a child process
students            the only owner of model, tokenizer, chat template
teachers            the only door to a teacher
measure             what two stages need: novelty, perplexity, asking, the accepted view
generate · sources  birth: records are written by a teacher, or imported
curate              judgement: verdicts, nothing is deleted
train               school: LoRA on proved rows
export              press: GGUF files, proved against the merged model
evaluate            exam: base, student, teacher side by side
pipeline            the stages in one tuple
azureml             a run as a job of Azure ML
serve · look · audit · masks · doctor · demo · cli   what a user types

In a notebook:

    import yearling

    run = yearling.run("recipe.yaml", {"generate.num": 200})
    yearling.records(run)[0].completion
    yearling.exam(run).ratio
    yearling.ask(run, "What is the capital of France?")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from yearling.evaluate.exam import Exam
    from yearling.record import Record
    from yearling.run_folder import Run

__all__ = ["ask", "exam", "open_run", "records", "run"]


def run(recipe: str | Path, overrides: Mapping[str, Any] | None = None, root: str | Path = ".") -> Run:
    """Run a recipe file in the project folder `root` and return its run; finished stages are passed over.

    With `run_on: {azureml: …}` it runs as a job there and is brought back. `overrides` maps dotted knobs to values.
    Raises yearling.errors.UserError for what a user can mend.
    """
    from pathlib import Path

    from yearling.cli_azure import run_elsewhere
    from yearling.pipeline import run_stages
    from yearling.recipe_file import load_recipe
    from yearling.run_folder import Run

    asked = load_recipe(Path(recipe), overrides)
    if run_elsewhere(asked, Path(root), None):
        return Run(Path(root), asked.name)
    return run_stages(asked, Path(root))


def open_run(name: str | None = None, root: str | Path = ".") -> Run:
    """A finished or unfinished run by name; the newest without one."""
    from pathlib import Path

    from yearling import run_folder

    return run_folder.open_run(Path(root), name)


def records(of: Run) -> list[Record]:
    """All records of a run, in the order of their birth, judged or not."""
    from yearling.measure.accepted import born

    return born(of)


def exam(of: Run) -> Exam:
    """What the eval stage found."""
    from yearling.evaluate.exam import from_json
    from yearling.run_folder import read_json

    return from_json(read_json(of.exam / "exam.json"))


def ask(of: Run, prompt: str, max_tokens: int = 256) -> str:
    """The student's answer to one prompt, from the file that ships."""
    from yearling.llama import Server
    from yearling.serve import find_model, stream

    with Server(find_model(of.root, of.name)) as server:
        return "".join(stream(server, [{"role": "user", "content": prompt}], max_tokens, 0.0))
