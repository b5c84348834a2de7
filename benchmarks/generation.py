"""The generation benchmark: yearling against a bare aiohttp loop and against other tools, on one deterministic server.

In: flags. Out: a table on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how many
times better yearling is. Two parts: calls a second where the endpoint's latency decides (64 in flight, 250 ms), and
rows a second where it answers at once, as the time for 2,000 rows less the time for 500, so that starting up costs
nobody anything. Each run is a process of its own (benchmarks/peers/), each number a median of interleaved runs, and
each run's rows are checked against the server's bill. A peer that does not install or run is named with the reason.
It is no judgement of quality: every side asks the same calls of the same server.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from sides import FailedError, environment  # noqa: E402
from teacher_server import Serving, Settings, serving  # noqa: E402  (a helper of the tests)

LATENCY_MS = 250.0
OWN = ("yearling", "bare", "yearling_run")  # run by this environment: the driver, the floor, the whole product
BUSY = 0.4  # load a core, before anything is measured
RUN_LIMIT_S = 300
# Pinned where the peer's own ranges let in what it was not written for.
PEERS = {
    "distilabel": ("distilabel[openai]==1.5.3", "openai==1.109.1", "requests==2.34.2", "datasets==5.2.0"),
    "curator": ("bespokelabs-curator==0.1.31", "litellm==1.83.7", "datasets==3.6.0"),
    "data_designer": ("data-designer==0.9.7",),
}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    pairs: int
    requests: int
    rounds: int
    few: int
    many: int


FULL = Plan(pairs=7, requests=1024, rounds=5, few=500, many=2000)
QUICK = Plan(pairs=1, requests=128, rounds=1, few=100, many=300)


@dataclass(frozen=True)
class Side:
    """One contestant: the script of its rows and the Python that runs it."""

    name: str
    python: Path

    @property
    def script(self) -> Path:
        """What it runs."""
        return HERE / "peers" / f"{self.name}_rows.py"


@dataclass(frozen=True)
class Took:
    """One run of a side."""

    seconds: float
    cpu: float
    version: str


@dataclass
class Marginal:
    """What rows beyond the first few cost a side, run by run."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    given = _flags()
    plan = QUICK if given.quick else FULL
    console, news = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    own = Path(sys.executable)
    sides = [Side(name, own) for name in OWN]
    missing: dict[str, str] = {}
    for name in PEERS if given.peers else ():
        news.print(f"environment of {name} …")
        try:
            sides.append(Side(name, environment(given.peers_env / name, PEERS[name])))
        except FailedError as error:
            missing[name] = f"does not install: {error}"
    loads = [os.getloadavg()[0]]
    try:
        with serving(Settings(latency_ms=LATENCY_MS)) as slow:
            bound = _latency_bound(slow, sides[:2], plan, news)
        with serving() as fast:
            marginal, versions = _rows(fast, sides, plan, news, missing)
    except FailedError as error:
        sys.exit(f"yearling's own side failed: {error}")
    loads.append(os.getloadavg()[0])
    result = _result(plan, bound, marginal, missing)
    result["machine"] = _machine(loads, versions)
    _print(console, result)
    if given.json:
        print(json.dumps(result))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/generation.py", description=__doc__)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the numbers mean little")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="only yearling and the bare loop")
    place = Path(tempfile.gettempdir()) / "yearling-peers"
    parser.add_argument("--peers-env", type=Path, default=place, help=f"folder of the peers' environments ({place})")
    return parser.parse_args()


def _finished(command: Sequence[str], limit_s: int, environment: dict[str, str] | None = None) -> str:
    """What the command prints; raises FailedError with its last words."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"ran past {limit_s} s") from None
    if done.returncode:
        last = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()][-1:]
        raise FailedError(f"exit {done.returncode}: {''.join(last)[:300]}")
    return done.stdout


def _run(side: Side, server: Serving, rows: int) -> Took:
    """Run a side once in an empty folder; its rows are held against what the server delivered."""
    before = server.bill()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder) / "work"
        work.mkdir()
        environment = dict(os.environ)
        if side.python != Path(sys.executable):  # peers leave nothing in the user's home and wait for no hub
            environment |= {"HOME": folder, "HF_HOME": str(Path(folder) / "hf"), "HF_HUB_OFFLINE": "1"}
        command = [str(side.python), str(side.script), server.url, str(rows), str(work)]
        lines = _finished(command, RUN_LIMIT_S, environment).splitlines()
    if not lines:
        raise FailedError("printed no result")
    told = json.loads(lines[-1])
    delivered = server.bill().delivered - before.delivered
    if told["rows"] != rows or delivered < rows:
        raise FailedError(f"made {told['rows']} rows of {rows}; the server delivered {delivered} answers")
    return Took(told["seconds"], told["cpu"], told["version"])


def _latency_bound(server: Serving, sides: Sequence[Side], plan: Plan, news: Console) -> dict[str, list[float]]:
    """Calls a second of each side, pair by pair."""
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for pair in range(plan.pairs):
        for side in sides if pair % 2 else reversed(sides):
            took = _run(side, server, plan.requests)
            rates[side.name].append(plan.requests / took.seconds)
        news.print(f"pair {pair + 1}: " + ", ".join(f"{name} {rate[-1]:.1f} calls/s" for name, rate in rates.items()))
    return rates


def _rows(
    server: Serving, sides: Sequence[Side], plan: Plan, news: Console, missing: dict[str, str]
) -> tuple[dict[str, Marginal], dict[str, str]]:
    """Marginal seconds of each side, round by round; a side that fails is named in `missing` and left out."""
    found = {side.name: Marginal() for side in sides}
    versions: dict[str, str] = {}
    for number in range(plan.rounds):
        for side in [*sides[number % len(sides) :], *sides[: number % len(sides)]]:
            if side.name in missing:
                continue
            try:
                few, many = _run(side, server, plan.few), _run(side, server, plan.many)
            except FailedError as error:
                if side.name in OWN:
                    raise
                missing[side.name] = f"does not run: {error}"
                found.pop(side.name)
                continue
            versions[side.name] = many.version
            found[side.name].seconds.append(many.seconds - few.seconds)
            found[side.name].cpu.append(many.cpu - few.cpu)
            news.print(
                f"round {number + 1}: {side.name} {plan.few} rows {few.seconds:.2f} s, {plan.many} rows "
                f"{many.seconds:.2f} s; processor {few.cpu:.2f} s, {many.cpu:.2f} s"
            )
    return found, versions


def _result(
    plan: Plan, bound: dict[str, list[float]], marginal: dict[str, Marginal], missing: dict[str, str]
) -> dict[str, Any]:
    calls = {name: statistics.median(rates) for name, rates in bound.items()}
    extra = plan.many - plan.few
    seconds = {name: statistics.median(side.seconds) for name, side in marginal.items()}
    for name in [name for name, value in seconds.items() if value <= 0]:
        missing[name] = f"{extra} rows more took no longer: too noisy to tell"
        del seconds[name]
    rates = {name: extra / value for name, value in seconds.items()}
    result: dict[str, Any] = {"ratio_latency_bound": calls["yearling"] / calls["bare"]}
    for name in PEERS:
        for key, own in (("ratio_rows_per_second_vs", "yearling"), ("ratio_whole_run_vs", "yearling_run")):
            if name in rates and own in rates:
                result[f"{key}_{name}"] = rates[own] / rates[name]
    return result | {
        "calls_per_second": calls,
        "calls_per_second_all": bound,
        "rows_per_second": rates,
        "marginal_seconds_all": {name: side.seconds for name, side in marginal.items()},
        "cpu_ms_per_row": {name: statistics.median(side.cpu) / extra * 1000 for name, side in marginal.items()},
        "missing": missing,
        "pairs": plan.pairs,
        "requests": plan.requests,
        "rounds": plan.rounds,
        "rows": [plan.few, plan.many],
    }


def _machine(loads: Sequence[float], versions: dict[str, str]) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in loads],
        "versions": versions,
    }


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(title="generation: 64 calls in flight", title_justify="left")
    table.add_column("side", no_wrap=True)
    for heading in (
        "calls/s\nat 250 ms",
        "rows/s\nat 0 ms",
        "least\nto most",
        "processor\nms a row",
        "yearling's rows/s\nover its",
    ):
        table.add_column(heading, justify="right")
    extra = result["rows"][1] - result["rows"][0]
    for name, rate in result["rows_per_second"].items():
        spread = [extra / seconds for seconds in result["marginal_seconds_all"][name] if seconds > 0]
        calls = result["calls_per_second"].get(name)
        table.add_row(
            name.replace("_", "-"),
            f"{calls:.1f}" if calls else "",
            f"{rate:.0f}",
            f"{min(spread):.0f} to {max(spread):.0f}",
            f"{result['cpu_ms_per_row'][name]:.2f}",
            "" if name == "yearling" else f"{result['rows_per_second'].get('yearling', 0) / rate:.2f}",
        )
    console.print(table)
    for name, reason in result["missing"].items():
        console.print(f"{name}: not measured, {reason}", markup=False)
    console.print(
        f"latency-bound: yearling is {result['ratio_latency_bound']:.3f} × the bare loop "
        f"(medians of {result['pairs']} interleaved pairs, {result['requests']} calls each)"
    )
    machine = result["machine"]
    if machine["load"][0] > BUSY * machine["cores"]:
        console.print("Other work ran on this machine: measure again when it is idle.")
    console.print(
        f"{machine['cores']} cores {machine['processor']}, {machine['system']}, Python {machine['python']}, load "
        f"{machine['load'][0]} before and {machine['load'][1]} after; "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    main()
