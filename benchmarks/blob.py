"""The Blob benchmark: yearling against obstore, pyarrow's own Azure file system and the SDK with parallel parts.

In: flags. Out: a table on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how many
times yearling's throughput is that of the fastest client, at the lower end of an interval over all pairs. Four jobs:
one large file and a folder of many small ones, up and down, with a key, against Azurite on loopback with its blobs in
memory. A folder is fetched as people do it: what lies there is asked for first.
Each turn has a new Azurite, for one may be half as fast again as the next, and it slows down with each blob: so all
send to the same names, and fetch what yearling sent before, with its checksums. Each client is a process of its own;
they take their laps one after the other, back and forth. The clock starts after their imports, and of a client's laps
in a turn the one in the middle counts. Each turn of yearling is held against that of the fastest peer.
Loopback has no latency and Azurite one thread: only ratios carry over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
AZURITE = HERE.parent / "tests" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
SIDES = ("yearling", "obstore", "pyarrow", "sdk")
SIZES = ("large", "small")
LARGE, SMALL, MANY = 200 << 20, 10 << 10, 2000
LAPS = {"up_large": 3, "down_large": 21, "up_small": 3, "down_small": 3}  # of a turn; Azurite keeps what comes
LIMIT_S, MEMORY = 300, 256  # seconds of a lap; MiB that yearling may take
# of Student's t at 95 %, two-sided, by the pairs less one
T = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Took:
    """Seconds of the wall and of the processor, and the most memory that the process ever had, in MiB."""

    seconds: float
    cpu: float
    peak: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/blob.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--pairs", type=int, default=7, choices=range(3, 11), help="turns of each client (7)")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES), help="one large file, many small ones")
    given = parser.parse_args()
    if not AZURITE.exists():
        parser.error("there is no Azurite: make emulator installs it")
    console, result = Console(soft_wrap=True, width=140), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        put_files(work)
        for size in given.only:
            took = {way: {side: list[Took]() for side in SIDES} for way in ("up", "down")}
            for turn in range(given.pairs):
                print(f"{size}, turn {turn + 1} of {given.pairs} …", file=sys.stderr)
                for way, found in one_turn(work / f"{size}-{turn}", size, turn).items():
                    for side, middle in found.items():
                        took[way][side].append(middle)
            for way, runs in took.items():
                result |= told(console, f"{way}_{size}", runs)
    for key, value in result.items():
        console.print(f"{key}: {value:.2f}")
    if given.json:
        print(json.dumps(result))


def put_files(folder: Path) -> None:
    """A large file and many small ones, of bytes that nothing compresses."""
    dice = random.Random(1)
    (folder / "large").mkdir()
    (folder / "small").mkdir()
    (folder / "large" / "file").write_bytes(dice.randbytes(LARGE))
    for number in range(MANY):
        (folder / "small" / f"{number:04}").write_bytes(dice.randbytes(SMALL))


def one_turn(folder: Path, size: str, turn: int) -> dict[str, dict[str, Took]]:
    """All laps of all clients, up and then down; by way and client, the one in the middle."""
    folder.mkdir()
    found = dict[str, dict[str, Took]]()
    with azurite(folder) as port, ExitStack() as ends:
        clients = {side: ends.enter_context(client(folder, side, size, port)) for side in SIDES}
        for way in ("up", "down"):
            clients["yearling"]("up")  # not counted
            laps: dict[str, list[Took]] = {side: [] for side in SIDES}
            for lap in range(LAPS[f"{way}_{size}"]):
                for side in SIDES if (turn + lap) % 2 else reversed(SIDES):
                    laps[side].append(clients[side](way))
            found[way] = {side: sorted(own, key=lambda lap: lap.seconds)[len(own) // 2] for side, own in laps.items()}
    return found


@contextmanager
def client(folder: Path, side: str, size: str, port: int) -> Iterator[Callable[[str], Took]]:
    """One client's process; it does a lap each time that it is asked for one, and looks at what it fetched."""
    target = folder / side
    target.mkdir()
    command = [sys.executable, str(HERE / "peers" / "blob_side.py"), side, str(port), str(folder.parent / size)]
    with (
        (folder / f"{side}.txt").open("w+", encoding="utf-8") as said,
        subprocess.Popen([*command, str(target)], stdin=PIPE, stdout=PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdin and process.stdout
        into, out = process.stdin, process.stdout

        def lap(way: str) -> Took:
            print(way, file=into, flush=True)
            in_time, _, _ = select.select([out], [], [], LIMIT_S)
            if not in_time:
                raise SystemExit(f"{side}, {way}, {size}: ran past {LIMIT_S} s")
            if not (line := out.readline()):
                said.seek(0)
                raise SystemExit(f"{side}, {way}, {size}: {said.read()[-2000:]}")
            return Took(**json.loads(line))

        try:
            yield lap
        finally:
            process.kill()


def told(console: Console, job: str, took: dict[str, list[Took]]) -> dict[str, float]:
    """A job's table, and its ratios."""
    size = LARGE if job.endswith("large") else MANY * SMALL
    table = Table(title=f"{job}: {size / 1e6:.0f} MB", title_justify="left")
    table.add_column("client", no_wrap=True)
    for heading in ("MB/s", "slowest", "fastest", "CPU s", "peak MiB"):
        table.add_column(heading, justify="right")
    for side, runs in took.items():
        rates = sorted(size / 1e6 / each.seconds for each in runs)
        cpu, peak = statistics.median(each.cpu for each in runs), max(each.peak for each in runs)
        table.add_row(
            side, *(f"{x:.0f}" for x in (statistics.median(rates), rates[0], rates[-1])), f"{cpu:.2f}", f"{peak:.0f}"
        )
    console.print(table)
    fastest = min((s for s in took if s != "yearling"), key=lambda s: statistics.median(r.seconds for r in took[s]))
    pairs = [peer.seconds / own.seconds for own, peer in zip(took["yearling"], took[fastest], strict=True)]
    spread = T[len(pairs) - 1] * statistics.stdev(pairs) / len(pairs) ** 0.5
    mean = statistics.mean(pairs)
    console.print(f"beside {fastest}: {mean:.2f} times its throughput, 95 % from {mean - spread:.2f}")
    peak = max(each.peak for each in took["yearling"])
    return {f"ratio_{job}": mean - spread, f"ratio_{job}_memory": MEMORY / peak}


@contextmanager
def azurite(folder: Path) -> Iterator[int]:
    """Azurite over HTTP on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--loose"]
    command += ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # node is there, if nowhere else
    environment = {**os.environ, "PATH": path}
    # a group of its own: node may be a script that starts the real one, which would outlive it
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=environment, start_new_session=True)
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        else:
            raise SystemExit("Azurite did not come up")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


if __name__ == "__main__":
    main()
