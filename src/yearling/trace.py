"""One record's whole life: born, judged, on which side of the split, trained on or why not, released where.

In: a run folder, its tables and manifests, and the ledger, opened read-only. Out: plain values, and a tree of them.
Nothing is computed that no stage has written down, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.look import ABSENT, SHOWN, ask_ledger, duration, money, shortened
from yearling.record import Record, digest, read_verdicts
from yearling.run_folder import Manifest, Run

if TYPE_CHECKING:
    from rich.tree import Tree


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
    """A record with a whole life: the first that was trained on, else the first that stands, else the first."""
    failed = {v.record for folder in _judges(run) for v in read_verdicts(folder) if v.state == "fail"}
    manifest = run.manifest("train")
    trained = (_trained_rows(run, manifest) if manifest else None) or set()
    standing = [record for record in records if record.id not in failed]
    return next((record for record in standing if record.id in trained), (standing or list(records))[0])


def _find(records: Sequence[Record], wanted: str) -> Record:
    wanted = wanted.strip().lower()
    start = wanted if wanted.startswith("r1:") else f"r1:{wanted}"
    found = [record for record in records if record.id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        some = "".join(f"\n  {r.id}  {shortened(r.prompt, 60)}" for r in found[:8])
        more = f"\n  and {len(found) - 8} more" if len(found) > 8 else ""
        raise UserError(f"{len(found)} records begin with {start}. Give more of the id:{some}{more}")
    from rapidfuzz import process

    near = process.extract(start, [record.id for record in records], limit=3)
    raise UserError(f"no record {start} in this run. The nearest ids: {', '.join(name for name, *_ in near)}.")


def _birth(run: Run, records: Sequence[Record], record: Record) -> dict[str, Any]:
    origin = record.origin
    prompts = {other.id: other.prompt for other in records if other.id in origin.parents}
    told = ("method", "key", "sequence", "teacher", "licence", "source", "traits", "passage", "prompt_digest")
    facts = (*told, "cost_usd")
    return {
        **{name: getattr(origin, name) for name in facts},
        "parents": [{"id": parent, "prompt": prompts.get(parent)} for parent in origin.parents],
        "calls": [_call(run, key, record) for key in origin.calls],
    }


CALL = ("stage", "state", "model", "prompt_tokens", "completion_tokens", "cost_usd", "seconds")


def _call(run: Run, key: str, record: Record) -> dict[str, Any]:
    # a ledger that was written before sends had a table of their own stays so until a teacher is asked again
    old = ask_ledger(run, "PRAGMA user_version") == [(1,)]
    sends = "sends" if old else "(SELECT count(*) FROM sends WHERE sends.key = calls.key)"
    rows = ask_ledger(run, f"SELECT text, {', '.join(CALL)}, {sends} FROM calls WHERE key = ?", key)
    if not rows:
        return {"call": key, "state": "not in the ledger"}
    text, *facts = rows[0]
    wrote = "the answer" if text and text.strip() == record.completion else "the prompt"
    return {"call": key, "wrote": wrote, **dict(zip((*CALL, "sends"), facts, strict=True))}


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
    from yearling.measure.accepted import kin_of, roots, split_of
    from yearling.recipe import Curate

    manifest = run.manifest("curate")
    if manifest is None:
        return split_of(record, Curate(), roots(kin_of(records))) if run.manifest("train") else None
    share = (manifest.settings.get("curate") or manifest.settings).get("test")
    return split_of(record, Curate(test=share), roots(kin_of(records))) if share is not None else None


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


def trace_view(data: Mapping[str, Any]) -> Tree:
    """One record's life as a tree, in the order in which it was lived."""
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(f"{data['id']} in run {data['run']}", "bold"))
    for message in data["messages"]:
        tree.add(Text(f"{message['role']}: {shortened(message['content'], SHOWN)}"))
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
    lines = [f"{born['method']}, number {born['sequence']}, licence {born['licence']}, {money(born['cost_usd'])}"]
    lines += [f"{name}: {born[name]}" for name in ("teacher", "source", "traits") if born[name]]
    lines += [f"passage: {shortened(born['passage'], SHOWN)}"] if born["passage"] else []
    lines += [f"parent {p['id']}: {shortened(p['prompt'] or ABSENT, 80)}" for p in born["parents"]]
    return lines + [_call_line(call) for call in born["calls"]]


def _call_line(call: Mapping[str, Any]) -> str:
    if call["state"] != "settled":
        return f"call {call['call']}: {call['state']}"
    used = f"{call['prompt_tokens']} + {call['completion_tokens']} tokens, {duration(call['seconds'])}"
    return f"call {call['call']} wrote {call['wrote']}: {used}, {money(call['cost_usd'])}"


def _verdict_line(verdict: Mapping[str, Any]) -> str:
    score = "" if verdict["score"] is None else f" (score {verdict['score']:.4g})"
    return f"{verdict['judge']}: {verdict['state']}{score}" + (f", {verdict['reason']}" if verdict["reason"] else "")


def _file_line(file: Mapping[str, Any]) -> str:
    return f"{file['file']}: {file['path']}" + ("" if file["exists"] else " (no longer there)")
