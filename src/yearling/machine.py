"""What this machine has: free memory, a GPU, the last words of a command. Imports no torch, loads no model."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
from pathlib import Path


def last_line(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit code and last line of a command; None where it could not be run to its end."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {seconds:.0f} s"
    except OSError as error:
        return None, str(error.strerror)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else "it said nothing"


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
        (name, ctypes.c_uint64)
        for name in ("total", "free", "page", "page_free", "virtual", "virtual_free", "extended")
    ]


def free_memory() -> int | None:
    """Bytes; on macOS all there are, since what is free there says little. None where it cannot be told."""
    if platform.system() == "Darwin":
        code, said = last_line(["sysctl", "-n", "hw.memsize"], 5)
        return int(said) if code == 0 and said.isdigit() else None
    if platform.system() == "Windows":
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        known = getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # noqa: B009 - no such name elsewhere
        return int(status.free) if known else None
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def find_gpu() -> str:
    """The name of a GPU that training can use, or ""."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "Apple Silicon (MPS)"
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    code, said = last_line([tool, "--query-gpu=name,memory.total", "--format=csv,noheader"], 15)
    return said if code == 0 else ""
