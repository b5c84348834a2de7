"""What a stage shows of itself: how far, how fast, for how much, and what was turned away.

In: counts and facts as numbers. Out: the same with what follows from them (pace, time and cost to the end), and both
as text: one plain line, or a panel of a few lines of 80 columns that is drawn over itself. Keeps no log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 80
BAR = 28
REASONS = 3  # most frequent ones shown
REFRESH_HZ = 8
# Facts that are told in words of their own; all others by name and value.
KNOWN = (
    "rejected", "reasons", "cached", "in_flight", "limit", "tokens", "cost_usd", "budget_usd",
    "seconds", "eta_s", "tokens_per_s", "projected_usd",
)  # fmt: skip
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """Where a stage stands."""

    label: str
    unit: str
    done: float
    total: float | None
    facts: Facts
    flying: Callable[[], Facts] = dict  # those that change while nothing is told, asked for at each drawing


class Pace:
    """Time and cost to the end, from the pace since work began that was not done before."""

    def __init__(self) -> None:
        self._start = self._since = time.monotonic()
        self._done = 0.0
        self._cost: float | None = None
        self._idle = True

    def reckon(self, done: float, total: float | None, facts: Facts) -> dict[str, Any]:
        """The facts, with what follows from them; what is not known yet is left out, an unknown cost is None."""
        now = time.monotonic()
        # answers from the ledger come in no time: the pace begins with the last one before something was sent
        self._idle = self._idle and "tokens" in facts and not (facts["in_flight"] or facts["tokens"])
        if self._idle:
            self._since, self._done, self._cost = now, done, facts["cost_usd"]
        seconds, rows = now - self._since, done - self._done
        found = {**facts, "seconds": round(now - self._start, 1)}
        left = None if total is None else max(0.0, total - done)
        if left == 0:
            found["eta_s"] = 0.0
        elif left and rows > 0:
            found["eta_s"] = round(seconds * left / rows, 1)
        if "tokens" in facts and seconds > 0:
            found["tokens_per_s"] = round(facts["tokens"] / seconds, 1)
        if facts.get("cost_usd") is not None and self._cost is not None and left is not None and (rows > 0 or not left):
            more = (facts["cost_usd"] - self._cost) * left / rows if left else 0.0
            found["projected_usd"] = facts["cost_usd"] + more
        return found


def line(at: Standing) -> str:
    """All of it in one line."""
    of = f"/{at.total:g}" if at.total is not None else ""
    parts = [f"{at.label}: {at.done:g}{of} {at.unit}", *_groups(at.facts)]
    if at.facts.get("eta_s") and at.total is not None:
        parts.append(f"eta {clock(at.facts['eta_s'])}")
    return "  ".join(part for part in parts if part)


def _groups(facts: Facts) -> list[str]:
    """What is known beside the count: calls, money, rejections, the rest."""
    return [*_calls(facts), *_money(facts), *_rejected(facts), *_others(facts)]


def _calls(facts: Facts) -> list[str]:
    found = []
    if "in_flight" in facts:
        found.append(f"in flight {facts['in_flight']} of {facts['limit']}")
    if facts.get("cached"):
        found.append(f"cached {facts['cached']}")
    if "tokens_per_s" in facts:
        found.append(f"{facts['tokens_per_s']:.0f} tokens/s")
    return found


def _money(facts: Facts) -> list[str]:
    if "cost_usd" not in facts:
        return []
    cap = f" of ${facts['budget_usd']:.2f}" if facts.get("budget_usd") is not None else ""
    if facts["cost_usd"] is None:
        return [f"cost unknown{cap}"]
    whole = f", {dollars(facts['projected_usd'])} projected" if "projected_usd" in facts else ""
    return [f"{dollars(facts['cost_usd'])}{cap} spent{whole}"]


def _rejected(facts: Facts) -> list[str]:
    if "rejected" not in facts:
        return []
    why = ", ".join(f"{reason} {count}" for reason, count in list(facts["reasons"].items())[:REASONS])
    return [f"rejected {facts['rejected']}{f': {why}' if why else ''}"]


def _others(facts: Facts) -> list[str]:
    return [f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if name not in KNOWN]


def dollars(usd: float) -> str:
    """An amount as far as it is worth reading."""
    return f"${usd:.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30, 1:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Panel:
    """The latest standing, drawn whenever the terminal is."""

    def __init__(self, at: Standing) -> None:
        self.at = at
        self._told = self._began = time.monotonic()

    def show(self, at: Standing) -> None:
        """Draw this from now on."""
        self.at, self._told = at, time.monotonic()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        facts, now = {**self.at.facts, **self.at.flying()}, time.monotonic()
        dim = [_calls(facts), _money(facts) + _others(facts), _rejected(facts)]
        lines = [Text("   ".join(parts), "dim", no_wrap=True, overflow="ellipsis") for parts in dim if parts]
        for text in lines:
            text.pad_left(2)
            text.truncate(WIDTH - 1, overflow="ellipsis")
        return Group(self._head(self.at, now), *lines)

    def _head(self, at: Standing, now: float) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1))
        for _ in range(5):
            head.add_column(no_wrap=True)
        of = f"/{at.total:g}" if at.total is not None else ""
        whole = at.total is not None and at.done >= at.total
        eta = at.facts.get("eta_s")
        # between two tellings the clock goes on
        left = "" if eta is None or whole else f"eta {clock(max(0.0, eta - (now - self._told)))}"
        took = clock(now - self._began)
        bar = ProgressBar(total=at.total, completed=at.done, width=BAR, pulse=at.total is None)
        head.add_row(
            Text(at.label, "bold"), bar, Text(f"{at.done:g}{of} {at.unit}"), Text(took, "dim"), Text(left, "cyan")
        )
        return head


@contextmanager
def live(console: Console, at: Standing) -> Iterator[Panel]:
    """A panel on a terminal; what is printed meanwhile stands above it."""
    from rich.live import Live

    panel = Panel(at)
    with Live(panel, console=console, refresh_per_second=REFRESH_HZ):
        yield panel
