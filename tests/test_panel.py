"""What a user sees while the teacher is asked: the panel of a real terminal, and its numbers against the ledger."""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from golden_line import environment
from openai_server import asked, digest

from yearling.look import status
from yearling.panel import Pace, Panel, Standing, clock, line
from yearling.run_folder import Run, read_json

if TYPE_CHECKING:
    from openai_server import OpenAIServer

PRICE = {"input": 1000.0, "output": 2000.0}
COLUMNS, LINES = 80, 24
NUM, CONCURRENCY = 24, 4
COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|9[0-7]|4[0-9])[;0-9]*m")


def sentence(dice: random.Random) -> str:
    return f"Say {' '.join(''.join(dice.choices('bcdfghjklmnprstv', k=6)) for _ in range(7))}."


def teach(body: Mapping[str, Any]) -> str:
    """Two tasks for a question, one line for a task."""
    dice = random.Random(digest(body))
    if not asked(body).startswith("Write "):
        return sentence(dice)
    return f"Instruction: {sentence(dice)}\nInput: none\n\nInstruction: {sentence(dice)}\nInput: none"


def write_recipe(server: OpenAIServer, project: Path, **budget: float) -> Path:
    teacher = {"model": "openai:tutor", "base_url": server.url, "price": PRICE, "concurrency": CONCURRENCY}
    recipe = {
        "name": "one",
        "teacher": {**teacher, "structured": False},
        "budget": budget,
        "generate": {"method": "alpaca", "num": NUM, "alpaca": {"per_call": 2}, "answer": {"max_tokens": 64}},
    }
    path = project / "recipe.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    return path


class Terminal:
    """A command under a real pseudo-terminal of 80 columns, and what its screen shows."""

    def __init__(self, command: list[str], **settings: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        import pyte

        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        shell = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**shell, "TERM": "xterm-256color", **settings}
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def read(self) -> str:
        """The screen with all that has come until now."""
        while True:
            try:
                data = os.read(self._master, 1 << 16)
            except (BlockingIOError, OSError):  # nothing more yet, or the other side has gone
                break
            if not data:
                break
            self.raw += data
            self._stream.feed(data)
        return "\n".join(text.rstrip() for text in self.screen.display)

    def until(self, seen: Callable[[str], bool], seconds: float = 60) -> str:
        """The first screen on which something is seen."""
        end = time.monotonic() + seconds
        while not seen(shown := self.read()):
            assert time.monotonic() < end and self.process.poll() is None, shown
            time.sleep(0.02)
        return shown

    def ended(self) -> str:
        """The last screen."""
        self.process.wait(timeout=60)
        return self.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def generating(project: Path, recipe: Path, **settings: str) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "yearling.cli", "--project", str(project), "generate", str(recipe)]
    terminal = Terminal(command, **settings)
    try:
        yield terminal
    finally:
        terminal.close()


def in_ledger(project: Path, query: str) -> Any:
    with closing(sqlite3.connect(project / "ledger.sqlite")) as db:
        return db.execute(query).fetchone()[0]


def events(project: Path) -> list[dict[str, Any]]:
    lines = (Run(project, "one").path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "progress"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for POSIX")
class TestOnATerminal:
    def test_the_panel_shows_what_the_ledger_holds(self, server: OpenAIServer, project: Path) -> None:
        server.answer = teach
        server.plan = lambda key, attempt: "length" if int(key, 16) % 4 == 0 else None
        server.hold_after(40)
        with generating(project, write_recipe(server, project, max_cost_usd=50.0)) as terminal:
            server.wait_for(40 + CONCURRENCY)
            paid = "SELECT coalesce(sum(usd), 0) FROM sends WHERE state = 'settled'"
            settled = "SELECT count(*) FROM sends WHERE state = 'settled'"
            while in_ledger(project, settled) < 40:
                time.sleep(0.01)
            usd = f"${in_ledger(project, paid):.2f} of $50.00 spent"
            shown = terminal.until(lambda screen: usd in screen)
            assert f"in flight {CONCURRENCY} of {CONCURRENCY}" in shown
            assert re.search(r"generate .*━.* \d+/24 rows +0:\d\d", shown)
            assert len(re.findall("generate ", shown)) == 1, "drawn over itself"
            assert max(map(len, shown.splitlines())) < COLUMNS
            server.open.set()
            last = terminal.ended()
        assert terminal.process.returncode == 0, last
        made = read_json(Run(project, "one").path / "generate.manifest.json")
        why, count = next(iter(made["results"]["rejected"].items()))
        assert f"{NUM}/{NUM} rows" in last
        assert f"${in_ledger(project, paid):.2f} of $50.00 spent" in last
        assert f"rejected {made['counts']['rejected']}: {why} {count}" in last
        assert made["counts"]["rejected"] > 0 and made["cost_usd"] == pytest.approx(server.cost(*PRICE.values()))

    @pytest.mark.slow
    def test_what_is_said_meanwhile_stands_above_the_panel(self, server: OpenAIServer, project: Path) -> None:
        from filelock import FileLock

        server.answer = teach
        lock = FileLock(str(project / "ledger.sqlite.lock"))
        with lock, generating(project, write_recipe(server, project)) as terminal:
            terminal.until(lambda screen: f"0/{NUM} rows" in screen)
            shown = terminal.until(lambda screen: "another run of this project" in screen)
            lock.release()
            last = terminal.ended()
        assert terminal.process.returncode == 0, last
        assert shown.index("another run") < shown.index("generate "), "the panel is below"
        assert last.count("another run of this project") == 1
        assert len(re.findall(r"^generate .*rows", last, re.M)) == 1
        assert last.index("another run of this project") < last.index(f"{NUM}/{NUM} rows")

    @pytest.mark.slow
    def test_answers_from_the_ledger_are_told_apart(self, server: OpenAIServer, project: Path) -> None:
        server.answer = teach
        recipe = write_recipe(server, project)
        with generating(project, recipe) as terminal:
            terminal.ended()
        (Run(project, "one").path / "generate.manifest.json").unlink()
        with generating(project, recipe) as terminal:
            last = terminal.ended()
        assert f"cached {len(server.bill)}" in last and "eta" not in last
        assert set(server.keys.values()) == {1}

    @pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
    def test_colours_vanish_with_no_color(
        self, server: OpenAIServer, project: Path, settings: dict[str, str], coloured: bool
    ) -> None:
        server.answer = teach
        with generating(project, write_recipe(server, project), **settings) as terminal:
            last = terminal.ended()
        assert f"{NUM}/{NUM} rows" in last
        assert bool(COLOUR.search(terminal.raw)) == coloured


def test_without_a_terminal_lines_are_plain_and_events_hold_numbers(server: OpenAIServer, project: Path) -> None:
    server.answer = teach
    recipe = write_recipe(server, project, max_cost_usd=50.0)
    command = [sys.executable, "-m", "yearling.cli", "--project", str(project), "generate", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert "\x1b" not in done.stderr
    lines = [text for text in done.stderr.splitlines() if text.startswith("generate: 24/24 rows  ")]
    assert len(lines) == 1, done.stderr
    for fact in ("in flight", "tokens/s", "of $50.00 spent", "projected", "rejected 0"):
        assert fact in lines[0]
    last = events(project)[-1]
    assert (last["done"], last["total"], last["unit"], last["limit"]) == (NUM, NUM, "rows", CONCURRENCY)
    for name in ("rejected", "cached", "in_flight", "tokens", "cost_usd", "budget_usd", "seconds", "eta_s"):
        assert isinstance(last[name], (int, float)), name
    assert last["projected_usd"] == pytest.approx(last["cost_usd"])
    run = status(Run(project, "one"))
    assert run["stages"][1]["progress"]["done"] == NUM


FACTS = {"rejected": 2, "reasons": {"not novel": 2}, "cached": 0, "in_flight": 0, "limit": 8, "tokens": 0,
         "cost_usd": 1.0, "budget_usd": None}  # fmt: skip


def test_pace_counts_from_the_first_call_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("yearling.panel.time.monotonic", lambda: now)
    pace = Pace()
    now = 110.0
    assert "eta_s" not in pace.reckon(50, 100, {**FACTS, "cached": 60})
    now = 120.0
    found = pace.reckon(60, 100, {**FACTS, "in_flight": 4, "tokens": 500, "cost_usd": 1.5})
    assert found["eta_s"] == 40.0 and found["tokens_per_s"] == 50.0 and found["seconds"] == 20.0
    assert found["projected_usd"] == pytest.approx(1.5 + 40 * 0.05)


def test_an_unknown_cost_stays_unknown() -> None:
    found = Pace().reckon(1, 2, {**FACTS, "in_flight": 1, "cost_usd": None})
    assert "projected_usd" not in found
    assert "cost unknown" in line(Standing("generate", "rows", 1, 2, found))


def test_other_stages_tell_their_facts_by_name() -> None:
    found = Pace().reckon(5, 10, {"loss": "1.234"})
    assert line(Standing("train", "updates", 5, 10, found)).startswith("train: 5/10 updates  loss 1.234")


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3900, "1:05:00")])
def test_a_clock_reads(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_of_the_panel_is_wider_than_the_screen(width: int) -> None:
    import io

    from rich.console import Console

    long = {f"a reason that goes on and on, number {n}": 10**6 + n for n in range(3)}
    facts = {**FACTS, "reasons": long, "eta_s": 9e4, "tokens_per_s": 1e6}
    panel = Panel(Standing("generate", "rows", 99_999, 100_000, facts))
    out = io.StringIO()
    Console(file=out, width=width).print(panel)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= min(width, COLUMNS)
    assert len(lines) == 4
