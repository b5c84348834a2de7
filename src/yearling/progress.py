"""What the user sees while a stage works: a bar with ETA on a terminal, plain lines without one.

In: counts. Out: stderr, and the same facts as events in the run folder. Never stdout: that is for answers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from yearling.run_folder import Run

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_EVERY_S = 5.0
EVENT_EVERY_S = 1.0
PIPE_WIDTH = 160
Advance = Callable[..., None]


def console(stderr: bool = True) -> Console:
    """A Rich console; colours vanish without a terminal or with NO_COLOR."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # into a file or a pipe nothing is cut at the width of a screen that is not there
    width = None if terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=not terminal, width=width)


def say(text: str) -> None:
    """One plain line to stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(run: Run | None, label: str, total: float | None, unit: str) -> Iterator[Advance]:
    """Show work of `total` units; the yielded function takes the count done so far and facts to show.

    `advance(done, total=None, **facts)` may be called as often as one likes.
    """
    if sys.stderr.isatty() and "NO_PROGRESS" not in os.environ:
        with _bar(label, total, unit) as show:
            yield _recorded(run, label, total, unit, show)
    else:
        show = _plain(label, unit)
        yield _recorded(run, label, total, unit, show)


def _recorded(run: Run | None, label: str, total: float | None, unit: str, show: Callable[..., None]) -> Advance:
    last = 0.0

    def advance(done: float, total: float | None = total, **facts: object) -> None:
        nonlocal last
        now = time.monotonic()
        finished = total is not None and done >= total
        show(done, total, facts, finished)
        if run and (finished or now - last >= EVENT_EVERY_S):
            last = now
            run.event("progress", stage=label, done=done, total=total, unit=unit, **facts)

    return advance


def _facts(facts: dict[str, object]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


@contextmanager
def _bar(label: str, total: float | None, unit: str) -> Iterator[Callable[..., None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("[bold]{task.description:<9}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("[dim]{task.fields[facts]}"),
        TimeElapsedColumn(),
        TextColumn("[dim]eta"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console()) as bars:
        task = bars.add_task(label, total=total, facts="")

        def show(done: float, total: float | None, facts: dict[str, object], finished: bool) -> None:
            bars.update(task, completed=done, total=total, facts=_facts(facts))

        yield show


def _plain(label: str, unit: str) -> Callable[..., None]:
    start = last = time.monotonic()

    def show(done: float, total: float | None, facts: dict[str, object], finished: bool) -> None:
        nonlocal last
        now = time.monotonic()
        if not finished and now - last < PLAIN_EVERY_S:
            return
        last = now
        of = f"/{total:g}" if total is not None else ""
        eta = ""
        if total is not None and 0 < done < total:
            eta = f"  eta {(now - start) * (total - done) / done:.0f} s"
        say(f"{label}: {done:g}{of} {unit}  {_facts(facts)}{eta}".rstrip())

    return show
