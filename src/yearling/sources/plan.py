"""How a source is to be read: its layout and its shape, and why so.

In: a file and the format that the recipe names, or `auto`. Out: a Reading; the first rows are looked at, no more.
Does not turn rows into records.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from yearling.errors import UserError
from yearling.sources.dialogue import is_dialogue
from yearling.sources.files import Layout, header, layout, names, rows
from yearling.sources.shapes import FLAT, LISTS, SHAPES, WANTED, Shape, columns_read, columns_used, missing
from yearling.sources.stackexchange import plan_dump

SAMPLE = 50  # rows that are looked at to tell the shape
FORMATS = (*SHAPES, "csv", "parquet")  # those whose columns have names


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file is to be read, and why so."""

    file: Path
    layout: Layout
    shape: Shape
    why: str
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    prompts: bool  # whether only what was asked is taken

    @property
    def manner(self) -> tuple[str, str]:
        """What the files of one folder have in common."""
        return self.layout if self.layout in ("csv", "parquet", "xml") else "json", self.shape


def plan_file(file: Path, format: str, prompts: bool) -> Reading:
    """How one file is to be read; `why` is empty where no row of it can be told apart."""
    found = layout(file, format)
    if found == "xml":
        return Reading(file, found, "stackexchange", plan_dump(file), (), (), prompts)
    columns = header(file, found)
    if columns is None:
        return _plan_objects(file, found, format, prompts)
    shapes = tuple(s for s in SHAPES if s == format) or (FLAT if found == "csv" else SHAPES)
    row = dict.fromkeys(columns) | _dialogue_in(file, found, columns)
    fits = _fits(row, shapes, prompts)
    if len(fits) > 1:
        raise _ambiguous(file, fits, columns)
    if not fits:
        raise _unknown(file, shapes, columns)
    used = columns_used(fits[0], columns, prompts)
    why = "as the recipe says" if fits[0] == format else f"it has the columns {_named(fits[0], used)}"
    read = columns_read(fits[0], columns, prompts)
    ignored = tuple(name for name in columns if name and name not in read)
    return Reading(file, found, fits[0], why, read, ignored, prompts)


def plan_run(path: Path, prompts: bool) -> Reading:
    """A run folder is read in one way only."""
    return Reading(path, "run", "run", "it has a run.json", (), (), prompts)


def _plan_objects(file: Path, found: Layout, format: str, prompts: bool) -> Reading:
    with closing(rows(file, found)) as every:
        sample = list(islice(every, SAMPLE))
    objects = [row.value for row in sample if not row.problem]
    named = next((shape for shape in SHAPES if shape == format), None)
    # where no row can be told apart any shape shows the same problems, those of the file
    shape, why = (named or "messages"), ("as the recipe says" if named else "")
    if objects and not named:
        shape, why = _decide(file, objects, prompts)
    columns = list(dict.fromkeys(name for value in objects for name in value))
    read = {name for value in objects for name in columns_read(shape, value, prompts)}
    return Reading(file, found, shape, why, (), tuple(name for name in columns if name not in read), prompts)


def _dialogue_in(file: Path, found: Layout, columns: list[str]) -> dict[str, Any]:
    """The first marked text of a table, for the name of its column says too little."""
    name = LISTS["oig"]
    if name not in columns:
        return {}
    with closing(rows(file, found, (name,))) as every:
        texts = (row.value[name] for row in islice(every, SAMPLE) if not row.problem)
        text = next((text for text in texts if is_dialogue(text)), None)
    return {name: text}


def _fits(row: Mapping[str, Any], shapes: tuple[Shape, ...], prompts: bool) -> list[Shape]:
    """The shapes that a row could have; with `prompts` one without an answer counts where none has an answer."""

    def usable(prompts: bool) -> list[Shape]:
        found = [shape for shape in shapes if columns_used(shape, row, prompts)]
        return [s for s in found if s != "oig" or len(shapes) == 1 or is_dialogue(row[LISTS[s]])]

    return usable(False) or (usable(True) if prompts else [])


def _decide(file: Path, objects: list[dict[str, Any]], prompts: bool) -> tuple[Shape, str]:
    """The one shape that explains the sampled rows, and why.

    A row that fits no shape does not sway the choice: it is a problem of its own, reported when the rows are read.
    """
    columns = list(dict.fromkeys(name for value in objects for name in value))
    told = [(value, shapes) for value in objects if (shapes := _fits(value, SHAPES, prompts))]
    if not told:
        raise _unknown(file, SHAPES, columns)
    common = [shape for shape in SHAPES if all(shape in shapes for _, shapes in told)]
    if len(common) > 1:
        raise _ambiguous(file, common, columns)
    if not common:
        kinds = dict.fromkeys(shape for _, shapes in told for shape in shapes)
        raise UserError(f"{file}: its rows are of several formats ({names(kinds)}). Split it into one file for each.")
    every = "every one" if len(told) == len(objects) else f"only {len(told)}"
    which = f"{every} of the first {len(objects)} rows" if len(objects) > 1 else "its one row"
    return common[0], f"{which} has {_named(common[0], columns_used(common[0], told[0][0], prompts))}"


def _named(shape: Shape, used: tuple[str, ...]) -> str:
    """The columns that told a shape."""
    return " and ".join(used) + (" with <human>: turns" if shape == "oig" else "")


def _ambiguous(file: Path, fits: list[Shape], columns: list[str]) -> UserError:
    return UserError(
        f"{file}: its columns fit {' and '.join(fits)} alike: {names(columns)}. Say which with `format: {fits[0]}`."
    )


def _unknown(file: Path, shapes: tuple[Shape, ...], columns: list[str]) -> UserError:
    if len(shapes) == 1:
        return UserError(f"{file}: {missing(shapes[0], columns)} {shapes[0]} needs {WANTED[shapes[0]]}.")
    known = "".join(f"\n  {shape}: {WANTED[shape]}" for shape in shapes)
    return UserError(
        f"{file}: a column is missing, or no known format has these: {names(columns)}. "
        f"Rename them to those of one format ({', '.join(FORMATS)}); what the rows must name:{known}"
    )
