"""The report in a real browser: it renders without a network, and shows what the exam found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from golden_line import Done

from yearling.run_folder import Run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; .ci/run installs one where it can")
def test_the_report_renders(golden: tuple[Run, Done], tmp_path: Path) -> None:
    page = (golden[0].exam / "report.html").resolve()
    picture = tmp_path / "page.png"
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    seen = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    for word in ("student q4_k_m", "teacher", "What is the capital of France?", "95 %"):
        assert word in seen.stdout, word
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120, check=True)
    assert picture.stat().st_size > 10_000
