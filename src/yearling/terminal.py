"""What commands share: the recipe of a command line, and answers printed as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yearling.recipe import Recipe


def read_recipe(path: Path, knobs: Sequence[str]) -> Recipe:
    """A recipe file with knobs given as flags over it."""
    from yearling.recipe_file import load_recipe, parse_overrides

    return load_recipe(path, parse_overrides(knobs))


def show(data: Any, view: Callable[..., Any], as_json: bool) -> None:
    """Plain values on stdout: as JSON, or rendered by `view`."""
    from yearling.progress import console

    if as_json:
        print(json.dumps(data, indent=1, ensure_ascii=False, default=str))
    else:
        console(stderr=False).print(view(data))
