"""`yearling curate --describe`: what a set of records is made of, as a page and as tables; nothing is judged.

In: the words of the command line, and a function that reads data files, for a stage reads none itself. Out: the
description, and one HTML page on disk.
Writes no verdicts and no manifest: a description is looked at, and no stage builds on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from yearling.curate.picture import render_html, tables
from yearling.errors import UserError
from yearling.measure.accepted import accepted, born
from yearling.measure.describe import Description, describe
from yearling.progress import say
from yearling.recipe import Recipe
from yearling.recipe_file import load_recipe
from yearling.record import Record
from yearling.run_folder import Run, list_runs, open_run, write_text

__all__ = ["describe_to", "tables"]
PAGE = "describe.html"
Reader = Callable[[Path], tuple[Iterator[Record], str]]


def describe_to(root: Path, words: Sequence[str], out: Path | None, read: Reader) -> Description:
    """Describe a run or data, write the page, and say where it is.

    Raises UserError where there is nothing to describe.
    """
    what = meant(root, words)
    if isinstance(what, Run):
        records, of = records_of(what)
    else:
        found, told = read(what)
        say(told)
        records, of = list(found), what.name
    if not records:
        raise UserError(f"{of}: there are none to describe. `yearling status` shows what the run holds.")
    description, page = describe(records, of), page_path(root, what, out)
    write_text(page, render_html(description))
    say(f"curate: the picture is in {page}")
    return description


def meant(root: Path, words: Sequence[str]) -> Run | Path:
    """The run that is meant, the newest or one by its name or recipe, or else the data file or folder.

    Raises UserError where it is neither, with the names there are.
    """
    if not words:
        return open_run(root, None)
    if len(words) > 1:
        raise UserError(f"--describe takes one run or data file, and no knobs: {' '.join(words)}. Give one of them.")
    names, target = [run.name for run in list_runs(root)], Path(words[0])
    if words[0] in names:
        return Run(root, words[0])
    if target.suffix in (".yaml", ".yml"):
        return open_run(root, load_recipe(target).name)
    if not target.exists():
        there = f"Runs here: {', '.join(names)}." if names else "There are no runs here."
        raise UserError(f"{target} is neither a run nor a file or folder of data. {there}")
    return target


def records_of(run: Run) -> tuple[list[Record], str]:
    """The accepted records of a run that was curated, else all of it, and what to call them."""
    if run.manifest("curate"):
        # whichever settings the judges had: here it only counts that they spoke
        recipe = Recipe.model_validate({"name": run.name, "curate": {}})
        return accepted(run, recipe), f"run {run.name}: accepted records"
    return born(run), f"run {run.name}: all records, not curated yet"


def page_path(root: Path, what: Run | Path, out: Path | None) -> Path:
    """Where the page goes: to or beside `out`; without it into the run, or into the project under the data's name."""
    if out is not None:
        if out.suffix.lower() in (".html", ".htm"):
            return out
        return (out if out.is_dir() else out.parent) / PAGE
    return what.path / "curate" / PAGE if isinstance(what, Run) else root / f"{what.resolve().stem}.{PAGE}"
