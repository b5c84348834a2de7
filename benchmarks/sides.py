"""One contestant of a benchmark: its environment, and a run of it as a process that is watched.

In: pinned packages; a command. Out: the Python of an environment that holds them; what the command said in its last
line, and what it took of processor and memory with all its children. Linux only: it reads /proc.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORES = 2
EVERY_S = 0.5  # between two looks at the memory
GIB = 2**30
INSTALL_LIMIT_S = 900
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class FailedError(Exception):
    """A side did not install or did not run; the message is the reason."""


@dataclass(frozen=True)
class Took:
    """One run: what it said, seconds by its own clock, and of the whole tree seconds of processor and peak memory."""

    told: dict[str, Any]
    seconds: float
    cpu: float
    peak_gib: float


@dataclass
class _Tree:
    """A process and those it started: the memory they have now, the most they had, and their seconds of processor."""

    root: int
    peak: int = 0
    cpu: dict[int, float] = field(default_factory=dict)

    def look(self) -> int:
        """Bytes now: each process's share of what several hold."""
        held = 0
        for pid in self._pids():
            try:
                parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                self.cpu[pid] = (int(parts[11]) + int(parts[12])) / TICK
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:  # it ended while it was read
                continue
            held += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
        self.peak = max(self.peak, held)
        return held

    def _pids(self) -> list[int]:
        """The root, all of its session, and all that descend from them."""
        parents: dict[int, int] = {}
        found = {self.root}
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                parts = place.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(place.parent.name)
            parents[pid] = int(parts[1])
            if int(parts[3]) == self.root:
                found.add(pid)
        while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
            found |= more
        return sorted(found)


def environment(folder: Path, pins: Sequence[str]) -> Path:
    """The Python of a peer's own environment, made where it is not there yet as pinned."""
    python = folder / "bin" / "python"
    made = folder / "pins.json"
    if made.exists() and json.loads(made.read_text(encoding="utf-8")) == list(pins):
        return python
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise FailedError("uv is not found")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *pins],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise FailedError(f"ran past {INSTALL_LIMIT_S} s") from None
        if done.returncode:
            raise FailedError(_last_words(done.stderr or done.stdout, done.returncode))
    made.write_text(json.dumps(list(pins)), encoding="utf-8")
    return python


def run(command: Sequence[str], home: Path | None, limit_s: float) -> Took:
    """Run a side on `CORES` cores; a peer's `home` keeps it from the user's, and from every network.

    Raises FailedError where it fails, takes too long or nearly all memory.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if home is not None:
        variables |= {"HOME": str(home), "TMPDIR": str(home), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
        variables |= {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}  # one of them installs what it misses, in the middle
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
            preexec_fn=_on_some_cores,
        )
        try:
            tree, usage = _watched(process, limit_s)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise FailedError(_last_words(text, process.returncode))
    told = json.loads(lines[-1])
    cpu = max(sum(tree.cpu.values()), usage.ru_utime + usage.ru_stime)
    return Took(told, told["seconds"], cpu, max(tree.peak, usage.ru_maxrss * 1024) / GIB)


def _watched(process: subprocess.Popen[bytes], limit_s: float) -> tuple[_Tree, Any]:
    """What is known of a process when it has ended by itself."""
    tree, began, high = _Tree(process.pid), time.monotonic(), _memory() * 9 // 10
    while True:
        held, usage = tree.look(), _ended(process)
        if usage is not None:
            return tree, usage
        if time.monotonic() - began > limit_s:
            raise FailedError(f"ran past {limit_s / 60:.0f} minutes")
        if held > high:
            raise FailedError(f"took more than {high / GIB:.0f} GiB of memory")
        time.sleep(EVERY_S)


def _ended(process: subprocess.Popen[bytes]) -> Any:
    """What the process used, once it ended."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _on_some_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _last_words(text: str, code: int) -> str:
    last = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-1:]
    return f"exit {code}: {''.join(last)[:300]}"
