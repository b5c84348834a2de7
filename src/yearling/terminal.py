"""What commands share: the recipe of a command line, and answers printed as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.places import remote

if TYPE_CHECKING:
    from yearling.recipe import Recipe


def read_recipe(path: Path, knobs: Sequence[str]) -> Recipe:
    """A recipe file with knobs given as flags over it."""
    from yearling.recipe_file import load_recipe, parse_overrides

    return load_recipe(near(path), parse_overrides(knobs))


def near(path: Path) -> Path:
    """The path, or this machine's copy of what it names on Azure."""
    if not (text := remote(path)):
        return path
    from yearling.cloud.copying import fetch

    return fetch(text, None)


@contextmanager
def sent(out: Path) -> Iterator[Path]:
    """A file to be written; where `out` names a place on Azure, it goes there once it is."""
    if not (text := remote(out)):
        yield out
        return
    from tempfile import TemporaryDirectory

    from yearling.cloud.copying import copy

    with TemporaryDirectory() as folder:
        yield (file := Path(folder) / out.name)
        copy(str(file), text, None)


def show(data: Any, view: Callable[..., Any], as_json: bool) -> None:
    """Plain values on stdout: as JSON, or rendered by `view`."""
    from yearling.progress import console

    if as_json:
        print(json.dumps(data, indent=1, ensure_ascii=False, default=str))
    else:
        console(stderr=False).print(view(data))
