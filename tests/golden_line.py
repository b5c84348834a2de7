"""The real command line, run as a user runs it, for the tests that need whole commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "recipes" / "golden.yaml"


@dataclass(frozen=True)
class Done:
    """One command of the real command line: exit code, both streams, seconds."""

    code: int
    out: str
    err: str
    seconds: float


def yearling(project: Path, *arguments: str, timeout: float = 600) -> Done:
    """Run the command line as a user does, in a project folder."""
    began = time.monotonic()
    command = [sys.executable, "-m", "yearling.cli", "--project", str(project), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def command_line(*arguments: str, timeout: float = 120) -> Done:
    """The command line as it is, in no project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "yearling.cli", *arguments],
        capture_output=True, text=True, timeout=timeout, env=environment(), check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr, 0.0)


def environment() -> dict[str, str]:
    """The environment of a machine without a network: the hub is not asked."""
    return {**os.environ, "HF_HUB_OFFLINE": "1"}
