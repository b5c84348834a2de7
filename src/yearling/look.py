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
from yearling.record import Record, digest, read_verdicts
from yearling.run import Manifest, Run, list_runs, read_json

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

STAGES = ("generate", "import", "curate", "train", "export", "eval")
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
        "cost_usd": _sum([stage["cost_usd"] for stage in done]),
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
        "cost_usd": _sum([manifest.cost_usd for manifest in done]),
        "bytes": _size(run.path),
    }


def _size(folder: Path) -> int:
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
    size, paid = _size(run.path), 0
    for (count,) in _ledger(run, "SELECT count(*) FROM calls WHERE state = 'settled' AND run = ?", run.name):
        paid = count
    try:
        run.delete()
    except OSError as error:
        raise UserError(f"{error.filename or run.path} cannot be removed: {error.strerror}.") from None
    stay = f"Its {paid} teacher answers stay in {run.ledger}: asked again, they cost nothing." if paid else ""
    return f"run {run.name} deleted, {_size_text(size)} freed. {stay or 'The ledger holds no answer of it.'}"


def _ledger(run: Run, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of the project's ledger, opened so that nothing in it changes; none where there is no ledger."""
    if not run.ledger.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{run.ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise UserError(f"the ledger {run.ledger} cannot be read: {error}.") from None


def trace(run: Run, record_id: str | None) -> dict[str, Any]:
    """One record's whole life; an id may be shortened, and without one the first accepted record is taken.

    Raises UserError where no record has the id, with the nearest, or where more than one begins so.
    """
    from yearling.measure.accepted import born

    records = born(run)
    if not records:
        raise UserError(f"run {run.name} has no records. Run `yearling generate` or `yearling import` first.")
    record = _example(run, records) if record_id is None else _find(records, record_id)
    judged = _judged(run, record)
    side = _split(run, records, record)
    trained = _trained(run, record, judged, side)
    return {
        "run": run.name,
        "id": record.id,
        "messages": [{"role": m.role, "content": m.content} for m in record.messages],
        "born": _birth(run, records, record),
        "judged": judged,
        "split": side,
        "trained": trained,
        "released": _released(run, trained),
    }


def _example(run: Run, records: Sequence[Record]) -> Record:
    failed = {v.record for folder in _judges(run) for v in read_verdicts(folder) if v.state == "fail"}
    return next((record for record in records if record.id not in failed), records[0])


def _find(records: Sequence[Record], wanted: str) -> Record:
    wanted = wanted.strip().lower()
    start = wanted if wanted.startswith("r1:") else f"r1:{wanted}"
    found = [record for record in records if record.id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        some = "".join(f"\n  {r.id}  {_short(r.prompt, 60)}" for r in found[:8])
        more = f"\n  and {len(found) - 8} more" if len(found) > 8 else ""
        raise UserError(f"{len(found)} records begin with {start}. Give more of the id:{some}{more}")
    from rapidfuzz import process

    near = process.extract(start, [record.id for record in records], limit=3)
    raise UserError(f"no record {start} in this run. The nearest ids: {', '.join(name for name, *_ in near)}.")


def _birth(run: Run, records: Sequence[Record], record: Record) -> dict[str, Any]:
    origin = record.origin
    prompts = {other.id: other.prompt for other in records if other.id in origin.parents}
    facts = ("method", "key", "sequence", "teacher", "licence", "source", "prompt_digest", "cost_usd")
    return {
        **{name: getattr(origin, name) for name in facts},
        "parents": [{"id": parent, "prompt": prompts.get(parent)} for parent in origin.parents],
        "calls": [_call(run, key, record) for key in origin.calls],
    }


CALL = ("stage", "state", "model", "prompt_tokens", "completion_tokens", "cost_usd", "seconds", "sends")


def _call(run: Run, key: str, record: Record) -> dict[str, Any]:
    rows = _ledger(run, f"SELECT text, {', '.join(CALL)} FROM calls WHERE key = ?", key)
    if not rows:
        return {"call": key, "state": "not in the ledger"}
    text, *facts = rows[0]
    wrote = "the answer" if text and text.strip() == record.completion else "the prompt"
    return {"call": key, "wrote": wrote, **dict(zip(CALL, facts, strict=True))}


def _judges(run: Run) -> list[Path]:
    """Verdict folders in the order in which the judges speak, then those of other stages."""
    from yearling.curate.judges import JUDGES

    order = [judge.name for judge in JUDGES]
    folders = [path for path in run.verdicts.glob("*") if path.is_dir()]
    return sorted(folders, key=lambda p: (order.index(p.name) if p.name in order else len(order), p.name))


def _judged(run: Run, record: Record) -> list[dict[str, Any]]:
    said = []
    for folder in _judges(run):
        verdict = next((v for v in read_verdicts(folder) if v.record == record.id), None)
        state = verdict.state if verdict else "not judged"
        reason, score = (verdict.reason, verdict.score) if verdict else ("born after this judge spoke", None)
        said.append({"judge": folder.name, "state": state, "reason": reason, "score": score})
    return said


def _split(run: Run, records: Sequence[Record], record: Record) -> str | None:
    """The record's side, by the share that curate or, without it, train went by; None before either."""
    from yearling.measure.accepted import roots, split_of
    from yearling.recipe import Curate

    manifest = run.manifest("curate")
    if manifest is None:
        return split_of(record, Curate(), roots(records)) if run.manifest("train") else None
    share = (manifest.settings.get("curate") or manifest.settings).get("test")
    return split_of(record, Curate(test=share), roots(records)) if share is not None else None


def _trained(run: Run, record: Record, judged: Sequence[Mapping[str, Any]], side: str | None) -> dict[str, str]:
    """Whether the student learned this record, or why not."""
    manifest = run.manifest("train")
    failed = next((v for v in judged if v["state"] == "fail"), None)
    held = {"state": "no", "reason": "held out: it stands on the test side"} if side == "test" else None
    reason = {"state": "no", "reason": f"failed {failed['judge']}: {failed['reason']}"} if failed else held
    if manifest is None:
        return reason or {"state": "not yet", "reason": "train has not finished"}
    rows = _trained_rows(run, manifest)
    if rows is None:
        return {"state": "unknown", "reason": f"the rows listed in {run.school} are not those of the manifest"}
    if record.id in rows:
        return {"state": "yes", "reason": f"one of {len(rows)} rows that the adapter learned"}
    return reason or {"state": "no", "reason": "not among the rows of the last training: born or accepted after it"}


def _trained_rows(run: Run, manifest: Manifest) -> set[str] | None:
    """Ids of the rows trained on, or None where their list is missing or its digest is not the manifest's."""
    path, named = run.school / "rows.parquet", manifest.results.get("records")
    if isinstance(named, list):
        return set(named)
    if not path.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        ids = pq.read_table(path, columns=["record"]).column("record").to_pylist()
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read ({error}). Run `yearling train recipe.yaml` again.") from None
    return set(ids) if named is None or named == digest(ids) else None


def _released(run: Run, trained: Mapping[str, str]) -> list[dict[str, Any]]:
    """Files of the model that learned the record, and whether they are still there."""
    manifest = run.manifest("export")
    if trained["state"] != "yes" or manifest is None:
        return []
    # a relative path counts from the run folder, so that a moved project keeps its files
    places = {name: run.path / str(path) for name, path in manifest.results.get("files", {}).items()}
    return [{"file": name, "path": str(path), "exists": path.exists()} for name, path in places.items()]


# -- views


def status_view(data: Mapping[str, Any]) -> Table:
    """The stages of one run as a table; the caption holds the sums and the next command."""
    rows = []
    for stage in data["stages"]:
        done, at = stage["state"] == "done", stage["progress"]
        counts = ", ".join(f"{name} {value}" for name, value in stage["counts"].items())
        if at and not done:
            counts = ("" if stage["state"] == "running" else "stopped at ") + _at(at)
        cells = [_time(stage["seconds"]), _money(stage["cost_usd"]), stage["proofs"]] if done else ["", "", ""]
        rows.append([stage["stage"], stage["state"], counts, *cells])
    caption = f"in all {_time(data['seconds'])}, {_money(data['cost_usd'])}. Next: {data['next']}"
    return _table(("stage", "state", "counts", "time", "cost", "proofs"), rows, f"run {data['run']}", caption)


def _at(progress: Mapping[str, Any]) -> str:
    of = f" of {progress['total']:g}" if progress.get("total") is not None else ""
    eta = f", {_time(progress['eta_s'])} to go" if progress["eta_s"] else ""
    return f"{progress['done']:g}{of} {progress.get('unit', '')}{eta}"


def runs_view(rows: Sequence[Mapping[str, Any]]) -> Table:
    """All runs as a table."""
    cells = [
        [
            row["run"],
            (row["created"] or "")[:16].replace("T", " "),
            " ".join(row["stages"]) or "nothing",
            "" if row["rows"] is None else str(row["rows"]),
            _interval(row["ratio"], ".2f"),
            _interval(row["student_stopped"], ".0%"),
            _money(row["cost_usd"]),
            _size_text(row["bytes"]),
        ]
        for row in rows
    ]
    return _table(("run", "created", "done", "rows", "perplexity ratio", "stopped", "cost", "size"), cells)


def compare_view(rows: Sequence[Mapping[str, Any]], name_a: str, name_b: str) -> Table:
    """The rows of `compare` as a table."""
    cells = [[row["part"], row["key"], _value(row["a"]), _value(row["b"])] for row in rows]
    return _table(("", "key", name_a, name_b), cells)


def trace_view(data: Mapping[str, Any]) -> Tree:
    """One record's life as a tree, in the order in which it was lived."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(f"{data['id']} in run {data['run']}", "bold"))
    for message in data["messages"]:
        tree.add(Text(f"{message['role']}: {_short(message['content'], SHOWN)}"))
    for title, lines in (
        ("born", _birth_lines(data["born"])),
        ("judged", [_verdict_line(verdict) for verdict in data["judged"]] or ["not yet"]),
        ("split", [data["split"] or "not yet: curate decides the share"]),
        ("trained on", [f"{data['trained']['state']}: {data['trained']['reason']}"]),
        ("released in", [_file_line(file) for file in data["released"]] or ["nothing yet"]),
    ):
        branch = tree.add(Text(title, "bold"))
        for line in lines:
            branch.add(Text(line))
    return tree


def _birth_lines(born: Mapping[str, Any]) -> list[str]:
    lines = [f"{born['method']}, number {born['sequence']}, licence {born['licence']}, {_money(born['cost_usd'])}"]
    lines += [f"{name}: {born[name]}" for name in ("teacher", "source") if born[name]]
    lines += [f"parent {p['id']}: {_short(p['prompt'] or ABSENT, 80)}" for p in born["parents"]]
    return lines + [_call_line(call) for call in born["calls"]]


def _call_line(call: Mapping[str, Any]) -> str:
    if call["state"] != "settled":
        return f"call {call['call']}: {call['state']}"
    used = f"{call['prompt_tokens']} + {call['completion_tokens']} tokens, {_time(call['seconds'])}"
    return f"call {call['call']} wrote {call['wrote']}: {used}, {_money(call['cost_usd'])}"


def _verdict_line(verdict: Mapping[str, Any]) -> str:
    score = "" if verdict["score"] is None else f" (score {verdict['score']:.4g})"
    return f"{verdict['judge']}: {verdict['state']}{score}" + (f", {verdict['reason']}" if verdict["reason"] else "")


def _file_line(file: Mapping[str, Any]) -> str:
    return f"{file['file']}: {file['path']}" + ("" if file["exists"] else " (no longer there)")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = "") -> Table:
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


def _sum(costs: Sequence[float | None]) -> float | None:
    """The sum, or None (unknown) where one of them is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _money(usd: float | None) -> str:
    return "cost unknown" if usd is None else f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def _time(seconds: float) -> str:
    minutes = f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
    return f"{seconds:.1f} s" if seconds < 90 else minutes


def _size_text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _interval(value: Mapping[str, float] | None, form: str) -> str:
    return f"{value['value']:{form}} ({value['low']:{form}} to {value['high']:{form}})" if value else ""


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _short(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
