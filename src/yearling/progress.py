"""What the user sees while a stage works: a panel on a terminal, plain lines without one.

In: counts and facts. Out: stderr, and the same facts as events in the run folder. Never stdout: that is for answers.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from yearling.panel import Facts, Pace, Standing, line, live
from yearling.run_folder import Run

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_EVERY_S = 5.0
EVENT_EVERY_S = 1.0
PIPE_WIDTH = 160
Advance = Callable[..., None]
Show = Callable[[Standing], None]


def console(stderr: bool = True) -> Console:
    """A Rich console; colours vanish without a terminal or with NO_COLOR."""
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # into a file or a pipe nothing is cut at the width of a screen that is not there
    width = None if terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=not terminal, width=width)


def say(text: str) -> None:
    """One plain line to stderr; a panel that is drawn there stays below it."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(run: Run | None, label: str, total: float | None, unit: str) -> Iterator[Advance]:
    """Show work of `total` units; the yielded function takes the count done so far and facts to show.

    `advance(done, total=None, **facts)` may be called as often as one likes; `flying` gives facts that change
    while nothing is told, and must bear to be called from another thread.
    """
    first = Standing(label, unit, 0, total, {})
    if sys.stderr.isatty() and "NO_PROGRESS" not in os.environ:
        with live(console(), first) as panel:
            yield _recorded(run, first, panel.show)
    else:
        yield _recorded(run, first, _plain())


def _recorded(run: Run | None, first: Standing, show: Show) -> Advance:
    pace, due = Pace(), _Due(EVENT_EVERY_S, at_once=True)

    def advance(
        done: float, total: float | None = first.total, flying: Callable[[], Facts] = dict, **facts: object
    ) -> None:
        at = Standing(first.label, first.unit, done, total, pace.reckon(done, total, facts), flying)
        show(at)
        if run and due.now(at):
            run.event("progress", stage=at.label, done=done, total=total, unit=at.unit, **at.facts)

    return advance


def _plain() -> Show:
    due = _Due(PLAIN_EVERY_S)

    def show(at: Standing) -> None:
        if due.now(at):
            say(line(at))

    return show


class _Due:
    """Whether it is time to tell of a standing again: every so often, and once when all is done."""

    def __init__(self, every_s: float, at_once: bool = False) -> None:
        self._every_s, self._whole = every_s, False
        self._last = float("-inf") if at_once else time.monotonic()

    def now(self, at: Standing) -> bool:
        """Whether it is; if so, that counts as told."""
        now, was_whole = time.monotonic(), self._whole
        self._whole = at.total is not None and at.done >= at.total
        if now - self._last < self._every_s and (was_whole or not self._whole):
            return False
        self._last = now
        return True
