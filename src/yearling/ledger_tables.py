"""The ledger's tables on disk, and how older ones become them.

In: an open database. Out: the same, in the format of today. Knows no call and no budget.
"""

from __future__ import annotations

import sqlite3

SCHEMA = 2
# calls: a question and its answer, once. sends: each time it went out, and what that cost. facts: what endpoints
# were found to refuse. batches: what was handed to a provider's batch API. clock: seconds spent asking.
TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL, sample INTEGER NOT NULL,
    state TEXT NOT NULL, run TEXT NOT NULL, stage TEXT NOT NULL, planned REAL NOT NULL, settled REAL,
    text TEXT, finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, reasoning_tokens INTEGER,
    cost_usd REAL, seconds REAL, raw TEXT, error TEXT, batch TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run, state);
CREATE TABLE IF NOT EXISTS sends (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, run TEXT NOT NULL, stage TEXT NOT NULL, began REAL NOT NULL,
    state TEXT NOT NULL, usd REAL, tokens INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS sends_by_run ON sends (run, stage);
CREATE TABLE IF NOT EXISTS facts (
    endpoint TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (endpoint, model, name)
) STRICT;
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, id TEXT, endpoint TEXT NOT NULL, model TEXT NOT NULL, run TEXT NOT NULL,
    stage TEXT NOT NULL, state TEXT NOT NULL, began REAL NOT NULL, size INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS clock (
    run TEXT NOT NULL, stage TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (run, stage)
) STRICT;
"""
# Calls that a provider works on whether or not we live: the keys, and their sends with what they reserve.
IN_BATCHES = (
    "SELECT calls.key FROM calls JOIN batches ON batches.name = calls.batch "
    "WHERE calls.state = 'sent' AND batches.state = 'open'"
)
FLYING = (
    "SELECT sends.id, sends.run, sends.stage, usd, tokens, endpoint, model, request, sample "
    "FROM sends JOIN calls USING (key) WHERE sends.state = 'flying'"
)
# Format 1 kept a call and its money in one row, with what was lost beside what was settled.
_FROM_1 = """
BEGIN IMMEDIATE;
DROP INDEX calls_by_run;
ALTER TABLE calls RENAME TO calls_1;
{tables}
INSERT INTO calls (key, endpoint, model, request, sample, state, run, stage, planned, settled, text, finish,
    prompt_tokens, completion_tokens, reasoning_tokens, cost_usd, seconds, raw, error)
SELECT key, endpoint, model, request, sample, CASE state WHEN 'reserved' THEN 'sent' ELSE state END, run, stage,
    planned, settled, text, finish, prompt_tokens, completion_tokens, 0, cost_usd, seconds, raw, error FROM calls_1;
INSERT INTO sends (key, run, stage, began, state, usd, tokens)
SELECT key, run, stage, planned, 'settled', cost_usd, prompt_tokens + completion_tokens
FROM calls_1 WHERE state = 'settled';
INSERT INTO sends (key, run, stage, began, state, usd, tokens)
SELECT key, run, stage, planned, 'lost', lost_usd, lost_tokens FROM calls_1 WHERE lost_tokens > 0;
INSERT INTO sends (key, run, stage, began, state, usd, tokens)
SELECT key, run, stage, planned, 'flying', reserved_usd, reserved_tokens FROM calls_1 WHERE state = 'reserved';
DROP TABLE calls_1;
PRAGMA user_version=2;
COMMIT;
"""


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a ledger of an older format to today's, in one transaction."""
    assert version == 1, version
    db.executescript(_FROM_1.format(tables=TABLES))
