"""A ledger of an older format is brought to today's as it is opened: answers, money and losses stay what they were."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from yearling import ledger_tables
from yearling.errors import UserError
from yearling.ledger import Call, Ledger, Quote, Reply, Spent
from yearling.look import delete
from yearling.record import Message, Origin, Record, write_records
from yearling.run_folder import Run
from yearling.trace import trace

# The tables of format 1, as they were.
FORMAT_1 = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL, sample INTEGER NOT NULL,
    state TEXT NOT NULL, run TEXT NOT NULL, stage TEXT NOT NULL, planned REAL NOT NULL, settled REAL,
    reserved_usd REAL, reserved_tokens INTEGER NOT NULL DEFAULT 0,
    lost_usd REAL NOT NULL DEFAULT 0, lost_tokens INTEGER NOT NULL DEFAULT 0, sends INTEGER NOT NULL DEFAULT 0,
    text TEXT, finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cost_usd REAL, seconds REAL,
    raw TEXT, error TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run, state);
PRAGMA user_version=1;
"""


def call(text: str) -> Call:
    return Call("https://e/v1", "m", {"messages": [{"role": "user", "content": text}], "max_tokens": 20, "é": 1}, 3)


def put(db: sqlite3.Connection, asked: Call, **facts: Any) -> None:
    request = json.dumps(dict(asked.request), ensure_ascii=False)
    row = {"key": asked.key, "endpoint": asked.endpoint, "model": asked.model, "request": request, "sample": 3}
    row |= {"state": "planned", "run": "one", "stage": "generate", "planned": 1.5, **facts}
    db.execute(f"INSERT INTO calls ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))


ANSWER = {"text": "Red. ", "finish": "stop", "prompt_tokens": 7, "completion_tokens": 3, "seconds": 0.5, "raw": "{}"}
RESERVED = {"reserved_usd": 0.5, "reserved_tokens": 100}


@pytest.fixture
def path(project: Path) -> Path:
    """Every state that a call of format 1 could be in, in two runs."""
    path = project / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(FORMAT_1)
        settled = {"state": "settled", "settled": 2.5, **RESERVED, **ANSWER}
        put(db, call("planned"))
        put(db, call("settled"), **settled, cost_usd=0.25, sends=1)
        put(db, call("settled after a loss"), **settled, cost_usd=0.25, lost_usd=0.5, lost_tokens=100, sends=2)
        put(db, call("free"), state="failed", error="HTTP 500", **RESERVED, sends=1)
        put(db, call("lost"), state="failed", error="drop", **RESERVED, lost_usd=1.0, lost_tokens=200, sends=2)
        put(db, call("in flight"), state="reserved", **RESERVED, sends=1)
        put(db, call("other run's"), **settled, cost_usd=0.125, run="two", stage="eval", sends=1)
        put(db, call("unpriced"), **{**settled, "reserved_usd": None}, run="three", sends=1)
        put(db, call("unpriced loss"), state="failed", run="four", lost_tokens=100, reserved_tokens=100, sends=1)
        db.commit()
    return path


def test_a_call_has_the_key_that_it_always_had() -> None:
    """A ledger is of use as long as the same question is found under the same key."""
    canonical = '["https://e/v1","m",{"max_tokens":20,"messages":[{"content":"Hé?","role":"user"}],"é":1},3]'
    assert call("Hé?").key == "c1:" + hashlib.sha256(canonical.encode()).hexdigest()[:32]


def test_answers_are_served_as_before(path: Path) -> None:
    with Ledger(path, "one") as ledger:
        assert ledger.find(call("settled")) == Reply("Red. ", "stop", 7, 3, 0.25, 0.5, 0, "", cached=True)
        assert ledger.find(call("other run's")) is not None and ledger.find(call("unpriced")) is not None
        for text in ("planned", "free", "lost", "in flight"):
            assert ledger.find(call(text)) is None, text
        states = dict(ledger.read("SELECT state, count(*) FROM calls GROUP BY state"))
        assert states == {"planned": 1, "settled": 4, "failed": 4}
        raws = ledger.read("SELECT raw, request FROM calls WHERE key = ?", call("settled").key)
        assert raws == [("{}", json.dumps(call("settled").request, ensure_ascii=False))]


def test_what_was_spent_and_lost_stays_so(path: Path) -> None:
    with Ledger(path, "one") as ledger:
        # two answers at 0.25, losses of 0.5 and 1.0, and 0.5 that was in flight when the process died
        assert ledger.spent() == Spent(2.5, 420, False, lost_usd=2.0, lost_tokens=400)
        assert ledger.spent("generate") == ledger.spent()
        ledger.settle(ledger.reserve(call("lost"), Quote(0.5, 100), "generate"), Reply("R", "stop", 7, 3, 0.25, 0.5))
    with Ledger(path, "one") as again:
        assert again.spent() == Spent(2.75, 430, False, 2.0, 400)
    with Ledger(path, "two") as other:
        assert other.spent() == other.spent("eval") == Spent(0.125, 10)
    with Ledger(path, "three") as unpriced:
        assert unpriced.spent() == Spent(0.0, 10, unknown=True)


def test_a_file_is_migrated_once_and_keeps_nothing_old(path: Path) -> None:
    Ledger(path, "one").close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (ledger_tables.SCHEMA,) == (2,)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {"calls", "sends", "facts", "batches", "clock"}
        before = db.execute("SELECT * FROM sends").fetchall()
        shape = db.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name").fetchall()
    with Ledger(path.with_name("new.sqlite"), "one") as new:
        fresh = new.read("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name")
    assert shape == fresh, "a migrated file is like a new one"
    with Ledger(path, "one") as again:
        assert again.read("SELECT * FROM sends") == before


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(ledger_tables, "_FROM_1", ledger_tables._FROM_1.replace("DROP TABLE calls_1;", "no statement;"))
        with pytest.raises(UserError, match=r"ledger\.sqlite cannot be opened"):
            Ledger(path, "one")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (9,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Ledger(path, "one") as ledger:
        assert ledger.count("settled") == 4


def test_an_old_ledger_is_looked_at_without_being_changed(path: Path, project: Path) -> None:
    run = Run(project, "one")
    run.create()
    origin = Origin("alpaca", "k", 0, calls=(call("settled after a loss").key, call("settled").key))
    record = Record((Message("user", "Hi?"), Message("assistant", "Red.")), origin)
    write_records([record], run.records / "a.parquet")
    before = path.read_bytes()
    data = trace(run, None)
    facts = ("state", "completion_tokens", "cost_usd", "sends")
    told = [tuple(c[name] for name in facts) for c in data["born"]["calls"]]
    assert told == [("settled", 3, 0.25, 2), ("settled", 3, 0.25, 1)]
    assert path.read_bytes() == before
    Ledger(path, "two").close()
    assert trace(run, None) == data, "and says the same of it afterwards"
    assert "2 teacher answers stay" in delete(run)
