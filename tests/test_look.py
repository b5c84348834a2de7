"""What is told of a run is what its manifests, tables, events and ledger hold, and looking changes nothing."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from yearling.errors import UserError
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.look import (
    compare,
    compare_view,
    delete,
    runs,
    runs_view,
    status,
    status_view,
)
from yearling.measure.accepted import kin_of, roots, split_of
from yearling.recipe import Curate
from yearling.record import (
    Message,
    Origin,
    Record,
    Verdict,
    digest,
    read_table,
    write_records,
    write_table,
    write_verdicts,
)
from yearling.run_folder import Manifest, Run
from yearling.trace import trace, trace_view

ASKED = Call("https://teacher.example/v1", "writer", {"messages": [{"role": "user", "content": "New tasks?"}]})
ANSWERED = Call("https://teacher.example/v1", "writer", {"messages": [{"role": "user", "content": "Name a colour."}]})


def printed(renderable: Any) -> str:
    console = Console(record=True, width=220, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def manifest(stage: str, **fields: Any) -> Manifest:
    values: dict[str, Any] = {"settings": {}, "inputs": {}, "counts": {}} | fields
    return Manifest(stage=stage, key="k", version=1, **values)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path, "bot")
    made.create()
    return made


def settle(run: Run) -> None:
    """Two answered calls of the run: the one that wrote the prompt, the one that wrote the answer."""
    with Ledger(run.ledger, run.name) as ledger:
        ledger.plan([ASKED, ANSWERED], "generate")
        for call, text, cost in ((ASKED, "1. Name a colour.", 0.002), (ANSWERED, "Red. [/INST]\n", 0.001)):
            if call is ANSWERED:
                ledger.fail(ledger.reserve(call, Quote(0.01, 100), "generate"), "HTTP 500", billed=False)
            ticket = ledger.reserve(call, Quote(0.01, 100), "generate")
            ledger.settle(ticket, Reply(text, "stop", 31, 17, cost, 2.5, raw="{}"))


def born(run: Run) -> list[Record]:
    """A generated record, its child, a refusal, and an imported one."""
    first = Record(
        (Message("user", "Name a colour."), Message("assistant", "Red. [/INST]")),
        Origin(
            "alpaca",
            "k0",
            0,
            teacher="openai:writer",
            licence="MIT",
            cost_usd=0.001,
            calls=(ASKED.key, ANSWERED.key),
            source="seed_7",
        ),
    )
    child = Record(
        (Message("user", "Name a warm colour and say why."), Message("assistant", "Orange, as fire.")),
        Origin("evolve", "k1", 1, parents=(first.id, "r1:gone")),
    )
    refusal = Record((Message("user", "Sing."), Message("assistant", "I cannot.")), Origin("alpaca", "k2", 2))
    imported = Record(
        (Message("user", "Say hi."), Message("assistant", "Hi!")), Origin("import", "k3", 3, source="f:1")
    )
    records = [first, child, refusal, imported]
    write_records(records, run.records / "generate-00000.parquet")
    return records


def judge(run: Run, records: list[Record], test: float = 0.0) -> None:
    """Verdicts of two judges that fail the third record, and curate's manifest."""
    shape = [Verdict(r.id, "pass") for r in records]
    refusal = [Verdict(r.id, "fail" if r.origin.sequence == 2 else "pass", "says: cannot", 0.5) for r in records]
    write_verdicts(refusal, run.verdicts / "refusal" / "verdicts.parquet")
    write_verdicts(shape, run.verdicts / "shape" / "verdicts.parquet")
    settings = Curate(test=test).model_dump()
    run.finish(manifest("curate", settings=settings, counts={"in": 4, "accepted": 3}, seconds=0.4))


def train(run: Run, records: list[Record], named: str | None = None) -> None:
    ids = [record.id for record in records]
    schema = pa.schema([("record", pa.string()), ("tokens", pa.int32()), ("label_tokens", pa.int32())])
    rows = [{"record": name, "tokens": 9, "label_tokens": 3} for name in ids]
    write_table(rows, schema, run.school / "rows.parquet")
    proofs = {"mask": {"rows": len(ids)}, "adapter": {"loss": 1.0}}
    results = {"records": named or digest(ids), "last_loss": 1.25}
    run.finish(manifest("train", results=results, proofs=proofs, counts={"rows": len(ids)}, seconds=125.0))


# -- status


def test_a_new_run_is_told_what_to_type_first(run: Run) -> None:
    data = status(run)
    assert [stage["stage"] for stage in data["stages"]] == ["import", "generate", "curate", "train", "export", "eval"]
    assert {stage["state"] for stage in data["stages"]} == {"not yet"}
    assert data["next"] == "yearling generate recipe.yaml" and data["progress"] is None
    assert not (run.path / ".lock").exists()
    assert "not yet" in printed(status_view(data))


def test_status_tells_counts_cost_time_and_proofs(run: Run) -> None:
    run.finish(manifest("generate", counts={"rows": 30, "calls": 44}, cost_usd=0.25, seconds=40.0))
    records = born(run)
    judge(run, records)
    train(run, records[:2])
    data = status(run)
    state = {stage["stage"]: stage for stage in data["stages"]}
    assert [name for name in state if state[name]["state"] == "done"] == ["generate", "curate", "train"]
    assert state["train"]["proofs"] == "mask, adapter passed" and state["curate"]["proofs"] == "none"
    assert data["cost_usd"] == 0.25 and data["seconds"] == pytest.approx(165.4)
    assert data["next"] == "yearling export recipe.yaml"
    text = printed(status_view(data))
    for fact in ("rows 30, calls 44", "$0.25", "mask, adapter passed", "2 min", "Next: yearling export recipe.yaml"):
        assert fact in text
    assert json.loads(json.dumps(data)) == data


def test_an_unknown_cost_is_never_zero(run: Run) -> None:
    run.finish(manifest("generate", cost_usd=None))
    run.finish(manifest("curate"))
    data = status(run)
    assert data["cost_usd"] is None and "cost unknown" in printed(status_view(data))


def test_a_finished_run_is_for_chatting(run: Run) -> None:
    for stage in ("import", "curate", "train", "export", "eval"):
        run.finish(manifest(stage))
    assert status(run)["next"] == "yearling chat bot"


def test_running_is_said_while_the_lock_is_held_only(run: Run) -> None:
    now = time.time()
    lines = [
        {"time": now - 900, "event": "progress", "stage": "train", "done": 90, "total": 100, "unit": "updates"},
        # the stage started over: the pace counts from here
        {"time": now - 30, "event": "progress", "stage": "train", "done": 10, "total": 100, "unit": "updates"},
        {"time": now - 20, "event": "judge", "judge": "shape"},
        {"time": now - 10, "event": "progress", "stage": "train", "done": 20, "total": 100, "unit": "updates"},
    ]
    for name in ("generate", "curate"):
        run.finish(manifest(name))
    log = "".join(json.dumps(line) + "\n" for line in lines) + '{"time": 17'
    (run.path / "events.jsonl").write_text(log, encoding="utf-8")
    stopped = status(run)
    assert stopped["stages"][3]["state"] == "not yet" and stopped["next"] == "yearling train recipe.yaml"
    assert "stopped at 20 of 100 updates" in printed(status_view(stopped))
    with run.lock():
        data = status(run)
        assert data["stages"][3]["state"] == "running" and data["next"] == "yearling watch bot"
        assert data["progress"]["eta_s"] == pytest.approx(160.0) and data["progress"]["age_s"] >= 10
        assert "20 of 100 updates, 3 min to go" in printed(status_view(data))
        run.finish(manifest("train"))
        assert status(run)["stages"][3]["state"] == "done"
    os.utime(run.path / "train.manifest.json", (now - 100, now - 100))
    with run.lock():
        assert status(run)["stages"][3]["state"] == "running"
    assert status(run)["stages"][3]["state"] == "done"
    with run.lock():
        pass  # looking has not kept the lock


# -- runs


def test_runs_are_listed_with_their_exam(run: Run) -> None:
    second = Run(run.root, "second")
    second.create()
    run.finish(manifest("generate", counts={"rows": 30}, cost_usd=0.5))
    run.finish(manifest("import", counts={"rows": 12}))
    ratio = {"value": 0.61, "low": 0.55, "high": 0.68}
    stopped = {"value": 0.9, "low": 0.7, "high": 0.97}
    run.finish(manifest("eval", results={"ratio": ratio, "student_stopped": stopped}))
    rows = runs(run.root)
    assert [row["run"] for row in rows] == ["bot", "second"]
    assert rows[0]["rows"] == 42 and rows[0]["cost_usd"] == 0.5 and rows[0]["stages"] == ["import", "generate", "eval"]
    assert rows[0]["bytes"] == sum(p.stat().st_size for p in run.path.rglob("*"))
    assert rows[1]["ratio"] is None and rows[1]["rows"] is None
    text = printed(runs_view(rows))
    for fact in ("0.61 (0.55 to 0.68)", "90% (70% to 97%)", "42", "$0.50", "import generate eval", "nothing"):
        assert fact in text
    json.dumps(rows)


# -- compare


def test_compare_shows_settings_that_differ_and_all_numbers(run: Run) -> None:
    other = Run(run.root, "other")
    other.create()
    lora = {"r": 16, "alpha": 32}
    settings = {"epochs": 2.0, "lora": lora}
    run.finish(manifest("train", settings=settings, counts={"rows": 8}, results={"last_loss": 1.5}))
    changed = {"epochs": 2.0, "lora": {**lora, "r": 8}}
    other.finish(manifest("train", settings=changed, counts={"rows": 8}, results={"last_loss": 1.25}))
    other.finish(manifest("curate", settings={"curate": {"novelty": None}}))
    rows = compare(run, other)
    assert rows == [
        {"part": "settings", "key": "train.lora.r", "a": 16, "b": 8},
        {"part": "settings", "key": "curate.novelty", "a": "not there", "b": None},
        {"part": "counts", "key": "train.rows", "a": 8, "b": 8},
        {"part": "results", "key": "train.last_loss", "a": 1.5, "b": 1.25},
    ]
    text = printed(compare_view(rows, run.name, other.name))
    for fact in ("bot", "other", "train.lora.r", "not there", "null", "1.25"):
        assert fact in text
    empty = Run(run.root, "empty")
    empty.create()
    with pytest.raises(UserError, match="empty has no finished stage"):
        compare(run, empty)


# -- delete


def test_delete_leaves_the_paid_answers(run: Run) -> None:
    settle(run)
    ledger = run.ledger.read_bytes()
    said = delete(run)
    assert not run.path.exists() and run.ledger.read_bytes() == ledger
    assert "run bot deleted" in said and "2 teacher answers stay" in said and str(run.ledger) in said


def test_delete_without_a_ledger_and_while_in_use(run: Run) -> None:
    with run.lock(), pytest.raises(UserError, match="in use"):
        delete(run)
    assert "holds no answer" in delete(run)
    assert not run.ledger.exists()


# -- trace


def test_the_whole_life_of_a_record(run: Run) -> None:
    settle(run)
    records = born(run)
    judge(run, records)
    train(run, records[:2])
    run.export.mkdir()
    (run.export / "bot.gguf").touch()
    files = {"q4_k_m": str(run.export / "bot.gguf"), "f16": "export/gone.gguf"}
    run.finish(manifest("export", results={"files": files}))
    data = trace(run, records[0].id)
    assert data["born"]["source"] == "seed_7" and data["born"]["cost_usd"] == 0.001
    facts = ("wrote", "cost_usd", "completion_tokens", "sends")
    wrote = [tuple(call[name] for name in facts) for call in data["born"]["calls"]]
    assert wrote == [("the prompt", 0.002, 17, 1), ("the answer", 0.001, 17, 2)], "the second one was sent twice"
    assert [(v["judge"], v["state"]) for v in data["judged"]] == [("shape", "pass"), ("refusal", "pass")]
    assert data["split"] == "train" and data["trained"]["state"] == "yes"
    assert [(f["file"], f["exists"]) for f in data["released"]] == [("q4_k_m", True), ("f16", False)]
    text = printed(trace_view(data))
    for fact in ("alpaca, number 0, licence MIT, $0.001", "seed_7", ASKED.key, "31 + 17 tokens, 2.5 s, $0.002"):
        assert fact in text
    for fact in ("Red. [/INST]", "refusal: pass (score 0.5)", "yes: one of 2 rows", "bot.gguf", "(no longer there)"):
        assert fact in text
    assert json.loads(json.dumps(data)) == data


def test_parents_are_shown_and_lost_calls_told(run: Run) -> None:
    records = born(run)
    data = trace(run, records[1].id)
    assert data["born"]["parents"][0] == {"id": records[0].id, "prompt": "Name a colour."}
    text = printed(trace_view(data))
    assert f"parent {records[0].id}: Name a colour." in text and "parent r1:gone: not there" in text
    assert "cost unknown" in text
    assert trace(run, records[0].id)["born"]["calls"][0]["state"] == "not in the ledger"


def test_why_a_record_was_not_trained_on(run: Run) -> None:
    records = born(run)
    data = trace(run, records[0].id)
    assert data["trained"]["state"] == "not yet" and data["split"] is None and data["judged"] == []
    assert "curate decides" in printed(trace_view(data))
    judge(run, records)
    assert trace(run, records[2].id)["trained"] == {"state": "no", "reason": "failed refusal: says: cannot"}
    train(run, records[:2])
    assert "born or accepted after it" in trace(run, records[3].id)["trained"]["reason"]
    judge(run, records, test=1.0)
    held = trace(run, records[3].id)
    assert held["split"] == "test" and "held out" in held["trained"]["reason"] and held["released"] == []


def test_the_split_is_the_stages_own(run: Run) -> None:
    records = born(run)
    judge(run, records, test=0.5)
    known = roots(kin_of(records))
    for record in records:
        assert trace(run, record.id)["split"] == split_of(record, Curate(test=0.5), known)


def test_rows_of_another_training_are_not_believed(run: Run) -> None:
    records = born(run)
    train(run, records[:2], named="0" * 64)
    assert trace(run, records[0].id)["trained"]["state"] == "unknown"
    (run.school / "rows.parquet").write_bytes(b"half")
    with pytest.raises(UserError, match=r"rows\.parquet cannot be read"):
        trace(run, records[0].id)


def test_a_record_born_after_the_judges(run: Run) -> None:
    records = born(run)
    judge(run, records)
    late = Record((Message("user", "Say bye."), Message("assistant", "Bye!")), Origin("import", "k9", 9))
    write_records([late], run.records / "import-000-00000.parquet")
    assert trace(run, late.id)["judged"][0] == {
        "judge": "shape",
        "state": "not judged",
        "reason": "born after this judge spoke",
        "score": None,
    }


def test_without_an_id_the_first_accepted_record_is_taken(run: Run) -> None:
    records = born(run)
    write_verdicts([Verdict(records[0].id, "fail", "short")], run.verdicts / "length" / "verdicts.parquet")
    assert trace(run, None)["id"] == records[1].id


def test_ids_may_be_shortened_and_wrong_ones_are_helped(run: Run) -> None:
    with pytest.raises(UserError, match="has no records"):
        trace(run, None)
    records = born(run)
    wanted = records[1].id
    assert trace(run, wanted[3:12])["id"] == wanted and trace(run, f" {wanted.upper()[:14]} ")["id"] == wanted
    with pytest.raises(UserError) as several:
        trace(run, "r1:")
    assert all(record.id in str(several.value) for record in records) and "4 records" in str(several.value)
    wrong = wanted[:-1] + ("0" if wanted[-1] != "0" else "1")
    with pytest.raises(UserError) as unknown:
        trace(run, wrong)
    assert f"The nearest ids: {wanted}" in str(unknown.value)


def test_looking_leaves_tables_and_ledger_as_they_are(run: Run) -> None:
    settle(run)
    records = born(run)
    judge(run, records)
    extra = Call("e", "m", {"max_tokens": 1})
    with Ledger(run.ledger, run.name) as ledger:
        ledger.plan([extra], "generate")
        ledger.reserve(extra, Quote(0.5, 10), "generate")
        ledger.flush()
        trace(run, None)
        status(run)
        # opening a ledger for writing would have waited for the lock, and called the call in flight lost
        assert (ledger.count("sent"), ledger.count("failed")) == (1, 0)
        assert ledger.read("SELECT state FROM sends ORDER BY id") == [
            (s,) for s in ("settled", "free", "settled", "flying")
        ]
    schema = pa.schema([("id", pa.string())])
    assert [row["id"] for row in read_table(run.records, schema)] == [record.id for record in records]
