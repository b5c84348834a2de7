"""The first minutes: the demo on small real models, and the recipe that a newcomer starts from.

In: the shipped recipes. Out: a run, its three questions answered side by side, and what to type next.
"""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from yearling.errors import UserError
from yearling.progress import console, say
from yearling.recipe_file import load_recipe
from yearling.run_folder import write_text

if TYPE_CHECKING:
    from yearling.evaluate.exam import Exam

STUDENTS = {
    "gemma": {},
    "smollm2": {
        "name": "quickstart-smollm2",
        "student.base": "shipped:smollm2-135m-instruct",
        "student.template": None,
    },
}


def find_recipe(name: str) -> Path:
    """A recipe that comes with the package: inside it, or beside the sources."""
    inside = Path(str(files("yearling"))) / "recipes" / name
    return inside if inside.is_file() else Path(__file__).parents[2] / "recipes" / name


def run_demo(root: Path, student: str) -> None:
    """Run the quickstart recipe and show base, student and teacher on the same questions."""
    from yearling.evaluate.exam import from_json
    from yearling.evaluate.report import table
    from yearling.pipeline import run_stages
    from yearling.run_folder import read_json
    from yearling.serve import find_model

    if student not in STUDENTS:
        raise UserError(f"--student {student!r} is unknown. There are: {', '.join(STUDENTS)}.")
    began = time.monotonic()
    recipe = load_recipe(find_recipe("quickstart.yaml"), STUDENTS[student])
    say(f"demo: {recipe.name}: everything happens here, nothing is sent anywhere")
    run = run_stages(recipe, root)
    exam = from_json(read_json(run.exam / "exam.json"))
    out = console(stderr=False)
    for question in _questions(exam):
        out.print(question)
    out.print(table(exam))
    out.print(f"report   {run.exam / 'report.html'}")
    out.print(f"model    {find_model(root, run.name)}")
    out.print(f"took     {time.monotonic() - began:.0f} s\n")
    out.print("next     yearling chat                 talk to your student")
    out.print("         yearling trace                one record's life, from birth to release")
    out.print("         yearling init                 a recipe for your own work")


def write_recipe(path: Path, force: bool) -> None:
    """Write the commented starting recipe; raises UserError where a file is in the way."""
    if path.exists() and not force:
        raise UserError(f"{path} exists. Choose another name, or --force.")
    write_text(path, find_recipe("default.yaml").read_text(encoding="utf-8"))
    say(f"init: {path} written. Edit it, then: yearling doctor {path} && yearling run {path}")


def _questions(exam: Exam) -> list[str]:
    shown = []
    for answer in exam.questions:
        lines = [f"[bold]{answer.prompt}[/bold]"]
        for name in ("base", "student", "teacher"):
            if attempt := answer.by_model.get(name):
                text = " ".join(attempt.text.split()).replace("[", "\\[")
                cut = "" if attempt.stopped else " [dim]… did not stop[/dim]"
                lines.append(f"  [cyan]{name:<8}[/cyan] {text[:240]}{'…' if len(text) > 240 else ''}{cut}")
        shown.append("\n".join(lines) + "\n")
    return shown
