"""Every teacher call of a project, content-addressed: an answer once paid for is never paid for again.

A call goes planned → reserved → settled or failed. The plan of a round is written before its first call is
sent; money and tokens are reserved before a call and settled after it; a call whose outcome is unknown (the
process died in between) keeps its whole reservation. Failures are kept to be read, and never served.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from yearling.errors import BudgetError, UserError
from yearling.recipe import Budget
from yearling.record import digest

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL, sample INTEGER NOT NULL,
    state TEXT NOT NULL, run TEXT NOT NULL, stage TEXT NOT NULL, planned REAL NOT NULL, settled REAL,
    reserved_usd REAL, reserved_tokens INTEGER NOT NULL DEFAULT 0,
    lost_usd REAL NOT NULL DEFAULT 0, lost_tokens INTEGER NOT NULL DEFAULT 0, sends INTEGER NOT NULL DEFAULT 0,
    text TEXT, finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cost_usd REAL, seconds REAL,
    raw TEXT, error TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run, state);
"""


@dataclass(frozen=True)
class Call:
    """One question to a teacher; equal calls have equal keys, wherever and whenever they are asked."""

    endpoint: str
    model: str
    request: Mapping[str, Any]
    sample: int = 0

    @cached_property
    def key(self) -> str:
        """`c1:` and the digest of endpoint, model, rendered request with its parameters, sample index."""
        return "c1:" + digest([self.endpoint, self.model, dict(self.request), self.sample])[:32]


@dataclass(frozen=True)
class Reply:
    """A settled answer; `cost_usd` is None where the price is unknown."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds: float
    raw: str
    cached: bool = False


@dataclass(frozen=True)
class Quote:
    """The most that one call can cost."""

    usd: float | None
    tokens: int


@dataclass(frozen=True)
class Spent:
    """What a run has used up, reservations in flight and lost ones included."""

    usd: float
    tokens: int
    unknown: bool


class Ledger:
    """The ledger of one project, an SQLite file in write-ahead mode.

    One process writes for a run (the run's lock sees to that), so its totals are kept in memory.
    """

    def __init__(self, path: Path, run: str, budget: Budget | None = None) -> None:
        self.run, self.budget = run, budget or Budget()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            try:
                self._prepare(path)
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error) or "No space left" in str(error):
                raise  # the disk's refusal, not the file's
            raise UserError(
                f"the ledger {path} cannot be opened: {error}. Restore it from a copy, or choose another --project."
            ) from None
        self._lose_unknown()
        self._spent = self._total()

    def _prepare(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise UserError(f"{path} was written by a newer yearling (format {version}). Upgrade yearling.")
        self._db.executescript(f"{_TABLES}\nPRAGMA user_version={SCHEMA};")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def find(self, call: Call) -> Reply | None:
        """The settled answer to a call, or None; failures are never served."""
        row: tuple[Any, ...] | None = self._db.execute(
            "SELECT text, finish, prompt_tokens, completion_tokens, cost_usd, seconds, raw FROM calls "
            "WHERE key = ? AND state = 'settled'",
            (call.key,),
        ).fetchone()
        return replace(Reply(*row), cached=True) if row else None

    def plan(self, calls: Sequence[Call], stage: str) -> None:
        """Write the calls of a round down before any of them is sent."""
        now = time.time()
        rows = [
            (
                c.key,
                c.endpoint,
                c.model,
                json.dumps(dict(c.request), ensure_ascii=False),
                c.sample,
                self.run,
                stage,
                now,
            )
            for c in calls
        ]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO calls (key, endpoint, model, request, sample, state, run, stage, planned) "
                "VALUES (?, ?, ?, ?, ?, 'planned', ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                rows,
            )

    def reserve(self, call: Call, quote: Quote) -> None:
        """Set the most a call can cost aside; raises BudgetError where a cap would be passed.

        Raises UserError where there is a cap in dollars and no price.
        """
        budget, spent = self.budget, self._spent
        if budget.max_cost_usd is not None:
            if quote.usd is None or spent.unknown:
                raise UserError(
                    "budget.max_cost_usd is set but the teacher's price is unknown. "
                    "Add `price: {input: …, output: …}` to the teacher, in US dollars per million tokens."
                )
            if spent.usd + quote.usd > budget.max_cost_usd:
                raise BudgetError(
                    f"the next call may cost ${quote.usd:.4f} and ${spent.usd:.4f} of budget.max_cost_usd "
                    f"${budget.max_cost_usd:.4f} is used. Raise the cap and run the same command again."
                )
        if budget.max_tokens is not None and spent.tokens + quote.tokens > budget.max_tokens:
            raise BudgetError(
                f"the next call may take {quote.tokens} tokens and {spent.tokens} of budget.max_tokens "
                f"{budget.max_tokens} are used. Raise the cap and run the same command again."
            )
        self._db.execute(
            "UPDATE calls SET state = 'reserved', run = ?, reserved_usd = ?, reserved_tokens = ?, sends = sends + 1 "
            "WHERE key = ?",
            (self.run, quote.usd, quote.tokens, call.key),
        )
        self._add(quote.usd, quote.tokens)

    def settle(self, call: Call, reply: Reply, quote: Quote) -> None:
        """Store an answer and replace its reservation by what it cost."""
        self._db.execute(
            "UPDATE calls SET state = 'settled', settled = ?, text = ?, finish = ?, prompt_tokens = ?, "
            "completion_tokens = ?, cost_usd = ?, seconds = ?, raw = ?, error = NULL WHERE key = ?",
            (
                time.time(),
                reply.text,
                reply.finish,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.cost_usd,
                reply.seconds,
                reply.raw,
                call.key,
            ),
        )
        self._add(_minus(reply.cost_usd, quote.usd), reply.prompt_tokens + reply.completion_tokens - quote.tokens)

    def fail(self, call: Call, error: str, quote: Quote, charged: bool) -> None:
        """Store a failure; `charged` says that the endpoint may bill it, so the reservation is kept as lost."""
        lost = (quote.usd or 0.0, quote.tokens) if charged else (0.0, 0)
        self._db.execute(
            "UPDATE calls SET state = 'failed', error = ?, lost_usd = lost_usd + ?, lost_tokens = lost_tokens + ? "
            "WHERE key = ?",
            (error, *lost, call.key),
        )
        if not charged:
            self._add(-quote.usd if quote.usd is not None else None, -quote.tokens)

    def spent(self) -> Spent:
        """What this run has used up."""
        return self._spent

    def count(self, state: str, run: str | None = None) -> int:
        """Calls in a state, of one run or of the project."""
        where, values = ("AND run = ?", (state, run)) if run else ("", (state,))
        number: int = self._db.execute(f"SELECT count(*) FROM calls WHERE state = ? {where}", values).fetchone()[0]
        return number

    def _add(self, usd: float | None, tokens: int) -> None:
        spent = self._spent
        self._spent = Spent(spent.usd + (usd or 0.0), spent.tokens + tokens, spent.unknown or usd is None)

    def _lose_unknown(self) -> None:
        """Calls that were in flight when the process died may have been billed: their reservation is lost."""
        self._db.execute(
            "UPDATE calls SET state = 'failed', error = 'outcome unknown: the process ended during the call', "
            "lost_usd = lost_usd + coalesce(reserved_usd, 0), lost_tokens = lost_tokens + reserved_tokens "
            "WHERE state = 'reserved' AND run = ?",
            (self.run,),
        )

    def _total(self) -> Spent:
        usd, tokens, unknown = self._db.execute(
            "SELECT coalesce(sum(lost_usd + coalesce(cost_usd, 0)), 0), "
            "coalesce(sum(lost_tokens + coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0), "
            "coalesce(max(state = 'settled' AND cost_usd IS NULL), 0) FROM calls WHERE run = ?",
            (self.run,),
        ).fetchone()
        return Spent(usd, tokens, bool(unknown))


def _minus(cost: float | None, reserved: float | None) -> float | None:
    return None if cost is None or reserved is None else cost - reserved
