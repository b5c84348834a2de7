"""What a job takes along: this very code, its recipe, the small files that the recipe names, and what to install.

In: a recipe. Out: a folder to be uploaded, and the pinned packages of the job's environment, from the lock file. What
already lies on Azure is left there. Asks nobody.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path

import yaml

from yearling.errors import UserError
from yearling.places import remote
from yearling.recipe import Recipe
from yearling.recipe_file import with_paths

EXTRAS = ("train", "azure", "documents", "embed", "demo")  # that a job may need
GPU_EXTRAS = ("qlora",)
MOST = 100_000_000  # bytes of files that are taken along
RECIPE, INPUTS, LOCK = "recipe.yaml", "inputs", "requirements.lock"
NAME = re.compile(r"[A-Za-z0-9._-]+")


def stage(recipe: Recipe, folder: Path) -> Recipe:
    """Fill a folder with all that a job needs; the recipe as the job reads it, with paths in that folder.

    Raises UserError where a file that it names is not there, or too large to be taken along.
    """
    left, taken = MOST, dict[Path, Path]()

    def take(path: Path) -> Path:
        nonlocal left
        if remote(path) or str(path).startswith("hf:"):
            return path
        if path in taken:
            return taken[path]
        if not path.exists():
            raise UserError(f"{path}: there is no such file. The recipe names it, and the job needs it.")
        left -= sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
        if left < 0:
            raise UserError(
                f"{path}: with it a job would take more than {MOST // 10**6} MB along. Put it on Blob and name it "
                f"there: yearling blob cp {path} az://account/container/{path.name}"
            )
        inside = Path(INPUTS) / str(len(taken)) / path.name
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, folder / inside)
        else:
            shutil.copyfile(path, folder / inside)
        taken[path] = inside
        return inside

    there = with_paths(recipe, take).model_copy(update={"run_on": "local"})
    if there.student and Path(there.student.base).exists():
        base = take(Path(there.student.base).absolute())
        there = there.model_copy(update={"student": there.student.model_copy(update={"base": str(base)})})
    shutil.copytree(
        Path(str(files("yearling"))), folder / "yearling", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    plain = there.model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / RECIPE).write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return there


def pins(gpu: bool) -> list[str]:
    """`name==version` of each package of a job, as the lock file has them, with its markers.

    Raises UserError where this installation has no lock file.
    """
    blocks = dict(_blocks(_lock()))
    wanted, left = set[str](), list(_direct((*EXTRAS, *(GPU_EXTRAS if gpu else ()))))
    while left:
        name = left.pop()
        if name not in wanted and name in blocks:
            wanted.add(name)
            left += [other for other, (_, parents) in blocks.items() if name in parents]
    return [blocks[name][0] for name in sorted(wanted)]


def _lock() -> str:
    here = Path(str(files("yearling")))
    for place in (here / LOCK, here.parents[1] / LOCK):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise UserError(f"this installation has no {LOCK}, from which a job's environment is made. Install yearling anew.")


def _blocks(text: str) -> Iterator[tuple[str, tuple[str, set[str]]]]:
    """By package: its pin, and the packages that want it."""
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        first, *rest = block.splitlines()
        if found := NAME.match(first):
            parents = {line.split("#")[-1].replace("via", "").strip() for line in rest if line.lstrip().startswith("#")}
            yield found[0].lower(), (first.rstrip(" \\"), parents - {""})


def _direct(extras: tuple[str, ...]) -> Iterator[str]:
    """The packages that are asked for themselves: always, or by one of some extras."""
    for line in requires("yearling") or []:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if (extra is None or extra[1] in extras) and (found := NAME.match(line)):
            yield found[0].lower().replace("_", "-")
