"""What commands share: the recipe of a command line, and answers printed as a table or as JSON."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
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


def usage(error: Exception) -> str | None:
    """What the command line parser says of a wrong flag or verb; None for anything else."""
    show = getattr(error, "format_message", None)
    return f"{show()} `yearling --help` shows the verbs." if show else None


def of_the_machine(error: Exception, project: Path) -> str | None:
    """What the disk or the folder refused, in words; None for anything else."""
    place, said, code = project.resolve(), str(error), getattr(error, "errno", None)
    if isinstance(error, OSError):
        place = Path(error.filename or place)
    elif isinstance(error, sqlite3.Error) and ("full" in said or "disk I/O" in said):
        code = errno.ENOSPC if "full" in said or _is_full(place) else errno.EIO
    elif _is_full(place):
        code = errno.ENOSPC  # native writers know no better than "unexpected pos 576 vs 534", or "channel closed"
    if "No space left" in said or code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left on the disk for {place}. Free some and run the same command again."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return f"{place} cannot be used: {os.strerror(code)}. Choose another place with --project, or mend this one."
    if code == errno.EIO:
        return f"the disk failed at {place}: {os.strerror(code)}. Check it, then run the same command again."
    return None


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < 1 << 20
    except OSError:
        return False
