"""What every side of the generation benchmark is asked, and how a side says what it took.

In: a number of rows; a clock read at the start. Out: the prompts; one line of JSON on standard output.
Runs in the peers' own environments: the standard library only.
"""

from __future__ import annotations

import json
import os
import time

MAX_TOKENS = 128  # above every answer of the test server: a peer that treats a cut answer as a failure never sees one
TEMPERATURE = 0.7
CONCURRENCY = 64


def prompts(count: int) -> list[str]:
    """Different short prompts, the same ones every time."""
    return [f"Write about the number {index} in a sentence or two, in plain words." for index in range(count)]


def clock() -> tuple[float, float]:
    """Seconds of the wall, and of the processor: user and system time of this process and of its finished children."""
    spent = os.times()  # its ticks are coarse; good enough for children
    return time.perf_counter(), time.process_time() + spent.children_user + spent.children_system


def tell(began: tuple[float, float], rows: int, version: str, ended: tuple[float, float] | None = None) -> None:
    """The result, as the last line that the benchmark reads; it ends now unless it ended before."""
    seconds, cpu = (after - before for before, after in zip(began, ended or clock(), strict=True))
    print(json.dumps({"seconds": seconds, "cpu": cpu, "rows": rows, "version": version}), flush=True)
