"""What a run folder tells: its state, all runs of a project, two runs compared, one record's whole life.

In: run folders, their manifests, tables and event logs, and the ledger, opened read-only. Out: plain values that go
into JSON as they are, and for each a `*_view` that renders them for a terminal. Nothing is computed that no stage has
written down, and nothing is changed, except by `delete`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.run_folder import Manifest, Run, list_runs, read_json

if TYPE_CHECKING:
    from rich.table import Table

STAGES = ("import", "generate", "curate", "train", "export", "eval")
SECTIONS = {*STAGES, "teacher", "student", "budget", "name", "language", "run_on"}
ABSENT = "not there"
TAIL = 1 << 20  # bytes of the event log that are read: hours of progress, and quick on a log of weeks
CLOCK_S = 0.001  # event times are rounded to this, file times are not
SHOWN = 400  # characters of a turn that a view shows; the data holds all


def status(run: Run) -> dict[str, Any]:
    """Every stage in order with its state, the stage at work with its eta, what was paid, and what to type next."""
    events = _progress_events(run)
    stages = [_stage(run, name, events) for name in STAGES]
    last = stages[STAGES.index(events[-1]["stage"])] if events else None
    if last and _since_done(run, events[-1]) and _held(run):
        last["state"] = "running"
    done = [stage for stage in stages if stage["state"] == "done"]
    return {
        "run": run.name,
        "path": str(run.path),
        "stages": stages,
        "progress": last["progress"] if last else None,
        "cost_usd": total([stage["cost_usd"] for stage in done]),
        "seconds": sum(stage["seconds"] for stage in done),
        "next": _next(run, stages),
    }


def _stage(run: Run, name: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    manifest = run.manifest(name)
    stage = {"stage": name, "state": "done" if manifest else "not yet", "progress": _progress(events, name)}
    if manifest is None:
        return {**stage, "counts": {}, "seconds": None, "cost_usd": None, "proofs": "none"}
    facts = {"counts": manifest.counts, "seconds": manifest.seconds, "cost_usd": manifest.cost_usd}
    return {**stage, **facts, "proofs": f"{', '.join(manifest.proofs)} passed" if manifest.proofs else "none"}


def _progress_events(run: Run) -> list[dict[str, Any]]:
    """Progress of stages from the end of the log; a line that is still being written waits for the next look."""
    path = run.path / "events.jsonl"
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL))
        lines = log.read().splitlines()
    found = []
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") == "progress" and event.get("stage") in STAGES:
                found.append(event)
    return found


def _progress(events: Sequence[Mapping[str, Any]], stage: str) -> dict[str, Any] | None:
    """The stage's last progress, with seconds to go from the pace since it last started over."""
    mine = [event for event in events if event["stage"] == stage]
    if not mine:
        return None
    last = first = mine[-1]
    for event in reversed(mine):
        if event["done"] > first["done"]:
            break
        first = event
    rows, total = last["done"] - first["done"], last.get("total")
    eta = (last["time"] - first["time"]) * (total - last["done"]) / rows if rows and total is not None else None
    return {**last, "eta_s": eta, "age_s": max(0.0, time.time() - last["time"])}


def _since_done(run: Run, event: Mapping[str, Any]) -> bool:
    """Whether the event is newer than its stage's manifest, or there is none."""
    path = run.path / f"{event['stage']}.manifest.json"
    return not path.exists() or bool(event["time"] > path.stat().st_mtime + CLOCK_S)


def _held(run: Run) -> bool:
    """Whether a process works on the run; a run that was never locked gets no lock file from being looked at."""
    if not (run.path / ".lock").exists():
        return False
    try:
        with run.lock():
            return False
    except UserError:
        return True


def _next(run: Run, stages: Sequence[Mapping[str, Any]]) -> str:
    state = {stage["stage"]: stage["state"] for stage in stages}
    if "running" in state.values():
        return f"yearling watch {run.name}"
    if "done" not in (state["generate"], state["import"]):
        # an import that was stopped shows that the run begins with one
        begun = next((s["stage"] for s in stages[:2] if s["progress"]), "generate")
        return f"yearling {begun} recipe.yaml"
    missing = next((name for name in STAGES[2:] if state[name] != "done"), None)
    return f"yearling {missing} recipe.yaml" if missing else f"yearling chat {run.name}"


def runs(root: Path) -> list[dict[str, Any]]:
    """One line a run of the project, the newest last."""
    return [_line(run) for run in list_runs(root)]


def _line(run: Run) -> dict[str, Any]:
    created = read_json(run.path / "run.json").get("created")
    done = [manifest for manifest in map(run.manifest, STAGES) if manifest]
    exam = run.manifest("eval")
    births = [m.counts["rows"] for m in done if m.stage in ("generate", "import") and "rows" in m.counts]
    return {
        "run": run.name,
        "created": datetime.fromtimestamp(created).astimezone().isoformat(timespec="seconds") if created else None,
        "stages": [manifest.stage for manifest in done],
        "rows": sum(births) if births else None,
        "ratio": exam.results.get("ratio") if exam else None,
        "student_stopped": exam.results.get("student_stopped") if exam else None,
        "cost_usd": total([manifest.cost_usd for manifest in done]),
        "bytes": folder_size(run.path),
    }


def folder_size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # a stage at work moves files away under the eyes
            total += path.stat().st_size if path.is_file() else 0
    return total


def compare(run_a: Run, run_b: Run) -> list[dict[str, Any]]:
    """Settings that differ, then all counts and results, as rows of `part`, dotted `key`, `a` and `b`."""
    sides = [[m for m in map(run.manifest, STAGES) if m] for run in (run_a, run_b)]
    if not all(sides):
        idle = (run_a if not sides[0] else run_b).name
        raise UserError(f"run {idle} has no finished stage to compare. See `yearling status {idle}`.")
    rows: list[dict[str, Any]] = []
    for part in ("settings", "counts", "results"):
        a, b = ({k: v for manifest in side for k, v in _leaves(manifest, part)} for side in sides)
        for key in dict.fromkeys([*a, *b]):
            left, right = a.get(key, ABSENT), b.get(key, ABSENT)
            if part != "settings" or left != right:
                rows.append({"part": part, "key": key, "a": left, "b": right})
    return rows


def _leaves(manifest: Manifest, part: str) -> Iterator[tuple[str, Any]]:
    values: dict[str, Any] = getattr(manifest, part)
    # a manifest may hold whole sections of the recipe, which bring their own names
    named = part == "settings" and bool(values) and values.keys() <= SECTIONS
    yield from _flat(values, "" if named else f"{manifest.stage}.")


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def delete(run: Run) -> str:
    """Remove the run folder and say what stays: the ledger, with every answer that was paid for."""
    size, paid = folder_size(run.path), 0
    for (count,) in ask_ledger(run, "SELECT count(*) FROM calls WHERE state = 'settled' AND run = ?", run.name):
        paid = count
    try:
        run.delete()
    except OSError as error:
        raise UserError(f"{error.filename or run.path} cannot be removed: {error.strerror}.") from None
    stay = f"Its {paid} teacher answers stay in {run.ledger}: asked again, they cost nothing." if paid else ""
    return f"run {run.name} deleted, {size_text(size)} freed. {stay or 'The ledger holds no answer of it.'}"


def ask_ledger(run: Run, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of the project's ledger, opened so that nothing in it changes; none where there is no ledger."""
    if not run.ledger.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{run.ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise UserError(f"the ledger {run.ledger} cannot be read: {error}.") from None


def status_view(data: Mapping[str, Any]) -> Table:
    """The stages of one run as a table; the caption holds the sums and the next command."""
    rows = []
    for stage in data["stages"]:
        done, at = stage["state"] == "done", stage["progress"]
        counts = ", ".join(f"{name} {value:,}".replace("_", " ") for name, value in stage["counts"].items() if value)
        if at and not done:
            counts = ("" if stage["state"] == "running" else "stopped at ") + _at(at)
        cells = [duration(stage["seconds"]), money(stage["cost_usd"]), stage["proofs"]] if done else ["", "", ""]
        rows.append([stage["stage"], stage["state"], counts, *cells])
    caption = f"in all {duration(data['seconds'])}, {money(data['cost_usd'])}. Next: {data['next']}"
    return plain_table(("stage", "state", "counts", "time", "cost", "proofs"), rows, f"run {data['run']}", caption)


def _at(progress: Mapping[str, Any]) -> str:
    of = f" of {progress['total']:g}" if progress.get("total") is not None else ""
    eta = f", {duration(progress['eta_s'])} to go" if progress["eta_s"] else ""
    return f"{progress['done']:g}{of} {progress.get('unit', '')}{eta}"


def runs_view(rows: Sequence[Mapping[str, Any]]) -> Table:
    """All runs as a table."""
    cells = [
        [
            row["run"],
            (row["created"] or "")[:16].replace("T", " "),
            " ".join(row["stages"]) or "nothing",
            "" if row["rows"] is None else str(row["rows"]),
            with_interval(row["ratio"], ".2f"),
            with_interval(row["student_stopped"], ".0%"),
            money(row["cost_usd"]),
            size_text(row["bytes"]),
        ]
        for row in rows
    ]
    return plain_table(("run", "created", "done", "rows", "perplexity ratio", "stopped", "cost", "size"), cells)


def compare_view(rows: Sequence[Mapping[str, Any]], name_a: str, name_b: str) -> Table:
    """The rows of `compare` as a table."""
    cells = [[row["part"], row["key"], shown(row["a"]), shown(row["b"])] for row in rows]
    return plain_table(("", "key", name_a, name_b), cells)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = "") -> Table:
    """A table whose cells are shown as they are: square brackets in data are no colours."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, caption=Text(caption) if caption else None, box=box.SIMPLE)
    table.title_justify = table.caption_justify = "left"
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def total(costs: Sequence[float | None]) -> float | None:
    """The sum, or None (unknown) where one of them is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def money(usd: float | None) -> str:
    return "cost unknown" if usd is None else f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def duration(seconds: float) -> str:
    minutes = f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    return f"{seconds:.1f} s" if seconds < 90 else minutes


def size_text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def with_interval(value: Mapping[str, float] | None, form: str) -> str:
    return f"{value['value']:{form}} ({value['low']:{form}} to {value['high']:{form}})" if value else ""


def shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def shortened(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
