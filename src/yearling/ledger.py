"""Every teacher call of a project, content-addressed: an answer once paid for is never paid for again.

A call goes planned → settled or failed, and each time it is sent leaves a row of its own: flying, then settled,
lost or free. The plan of a round is written before its first call is sent; money and tokens are reserved before a
send and settled after it; a send whose outcome is unknown (the process died in between, the connection broke) keeps
its whole reservation as lost. Failures are kept to be read, and never served.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from yearling.errors import BudgetError, UserError
from yearling.ledger_tables import FLYING, IN_BATCHES, SCHEMA, TABLES, migrate
from yearling.progress import say
from yearling.recipe import Budget
from yearling.record import canonical, text_digest

SYNC_S = 1.0  # seconds between two waits for the disk
ANOTHER_S = 2.0  # seconds of waiting for another run before that is said
_ANSWER = "text, finish, prompt_tokens, completion_tokens, cost_usd, seconds, reasoning_tokens"


@dataclass(frozen=True)
class Call:
    """One question to a teacher; equal calls have equal keys, wherever and whenever they are asked."""

    endpoint: str
    model: str
    request: Mapping[str, Any]
    sample: int = 0

    @cached_property
    def text(self) -> str:
        """The request as canonical JSON; half of a character is no text, and no file takes it."""
        return canonical(dict(self.request)).encode("utf-8", "replace").decode()

    @cached_property
    def key(self) -> str:
        """`c1:` and the digest of endpoint, model, rendered request with its parameters, sample index."""
        whole = f"[{canonical(self.endpoint)},{canonical(self.model)},{self.text},{self.sample}]"
        return "c1:" + text_digest(whole)[:32]


@dataclass(frozen=True)
class Reply:
    """A settled answer; `cost_usd` is None where the price is unknown.

    `completion_tokens` are all that were written, `reasoning_tokens` those of them that are hidden.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds: float
    reasoning_tokens: int = 0
    raw: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Quote:
    """The most that one call can cost."""

    usd: float | None
    tokens: int


@dataclass(frozen=True)
class Spent:
    """What was used up, reservations in flight and lost ones included; `lost` is that part of it."""

    usd: float = 0.0
    tokens: int = 0
    unknown: bool = False
    lost_usd: float = 0.0
    lost_tokens: int = 0


@dataclass(frozen=True)
class _Flying:
    call: Call
    run: str
    stage: str
    quote: Quote


class Ledger:
    """The ledger of one project, an SQLite file in write-ahead mode.

    One process at a time asks for a project (another waits), so totals are kept in memory. What is written
    gathers in a queue until `flush`. `listener` hears all that is written, before it is: who keeps a copy elsewhere.
    """

    listener: ClassVar[Callable[[Sequence[tuple[str, tuple[Any, ...]]]], None] | None] = None

    def __init__(self, path: Path, run: str, budget: Budget | None = None) -> None:
        self.run, self.budget = run, budget or Budget()
        self._queue: list[tuple[str, tuple[Any, ...]]] = []
        self._synced = time.monotonic()
        self._flying: dict[int, _Flying] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _alone(path, run)
            try:
                self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
                try:
                    self._prepare(path)
                except BaseException:
                    self._db.close()
                    raise
            except BaseException:
                self._lock.release()
                raise
        except (sqlite3.Error, OSError) as error:
            if "full" in str(error) or "No space left" in str(error):
                raise  # the disk's refusal, not the file's
            raise UserError(
                f"the ledger {path} cannot be opened: {error}. Restore it from a copy, or choose another --project."
            ) from None

    def _prepare(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise UserError(f"{path} was written by a newer yearling (format {version}). Upgrade yearling.")
        if version and version < SCHEMA:
            migrate(self._db, version)
        self._db.executescript(f"{TABLES}\nPRAGMA user_version={SCHEMA};")
        # nobody else asks now: what flew when its process died may have been billed, and counts as lost
        self._db.execute(f"UPDATE sends SET state = 'lost' WHERE state = 'flying' AND key NOT IN ({IN_BATCHES})")
        self._db.execute(
            "UPDATE calls SET state = 'failed', error = 'outcome unknown: the process ended during the call' "
            f"WHERE state = 'sent' AND key NOT IN ({IN_BATCHES})"
        )
        for ticket, run, stage, usd, tokens, *call in self._db.execute(FLYING).fetchall():
            self._flying[ticket] = _Flying(_call(*call), run, stage, Quote(usd, tokens))
        self._last: int = self._db.execute("SELECT coalesce(max(id), 0) FROM sends").fetchone()[0]
        self._spent = {stage: spent for stage, spent in self._totals()}
        self._seconds: dict[str, float] = dict(
            self._db.execute("SELECT stage, seconds FROM clock WHERE run = ?", (self.run,)).fetchall()
        )

    def close(self) -> None:
        """Write what is queued, close the file, and let another run ask."""
        try:
            self.flush()
            self._sync()
        finally:
            self._db.close()
            self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, call: Call) -> Reply | None:
        """The settled answer to a call, or None; failures are never served."""
        row: tuple[Any, ...] | None = self._db.execute(
            f"SELECT {_ANSWER} FROM calls WHERE key = ? AND state = 'settled'", (call.key,)
        ).fetchone()
        return replace(Reply(*row), cached=True) if row else None

    def plan(self, calls: Sequence[Call], stage: str) -> None:
        """Write the calls of a round down before any of them is sent."""
        now = time.time()
        for c in calls:
            self.write(
                "INSERT INTO calls (key, endpoint, model, request, sample, state, run, stage, planned) "
                "VALUES (?, ?, ?, ?, ?, 'planned', ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                *(c.key, c.endpoint, c.model, c.text, c.sample, self.run, stage, now),
            )
        self.flush()

    def reserve(self, call: Call, quote: Quote, stage: str, batch: str | None = None) -> int:
        """Set the most a call can cost aside, and the ticket by which it is settled; the call may fly after `flush`.

        Raises BudgetError where a cap would be passed, UserError where there is a cap in dollars and no price.
        """
        self._check(quote, stage)
        self._last += 1
        self._flying[self._last] = _Flying(call, self.run, stage, quote)
        self.write(
            "INSERT INTO sends (id, key, run, stage, began, state, usd, tokens) VALUES (?, ?, ?, ?, ?, 'flying', ?, ?)",
            *(self._last, call.key, self.run, stage, time.time(), quote.usd, quote.tokens),
        )
        self.write(
            "UPDATE calls SET state = 'sent', run = ?, stage = ?, batch = ? WHERE key = ?",
            *(self.run, stage, batch, call.key),
        )
        self._add(stage, quote.usd, quote.tokens)
        return self._last

    def settle(self, ticket: int, reply: Reply) -> None:
        """Store an answer and replace its reservation by what it cost."""
        flight = self._flying.pop(ticket)
        tokens = reply.prompt_tokens + reply.completion_tokens
        self.write(
            f"UPDATE calls SET state = 'settled', settled = ?, ({_ANSWER}) = (?, ?, ?, ?, ?, ?, ?), raw = ?, "
            "error = NULL WHERE key = ?",
            *(time.time(), reply.text, reply.finish, reply.prompt_tokens, reply.completion_tokens, reply.cost_usd),
            *(reply.seconds, reply.reasoning_tokens, reply.raw, flight.call.key),
        )
        self.write(
            "UPDATE sends SET state = 'settled', usd = ?, tokens = ? WHERE id = ?", reply.cost_usd, tokens, ticket
        )
        if flight.run == self.run:  # a batch may be another run's
            self._add(flight.stage, _minus(reply.cost_usd, flight.quote.usd), tokens - flight.quote.tokens)

    def fail(self, ticket: int, error: str, billed: bool) -> None:
        """Store a failure; `billed` says that the endpoint may bill it, so the reservation is kept as lost."""
        flight = self._flying.pop(ticket)
        state = "lost" if billed else "free"
        usd, tokens = flight.quote.usd, flight.quote.tokens
        self.write("UPDATE calls SET state = 'failed', error = ? WHERE key = ?", error, flight.call.key)
        self.write("UPDATE sends SET state = ? WHERE id = ?", state, ticket)
        if flight.run != self.run:
            return
        if billed:
            self._lose(flight.stage, usd or 0.0, tokens)
        else:
            self._add(flight.stage, -usd if usd is not None else None, -tokens)

    def call(self, ticket: int) -> Call:
        """The call of a send that is in flight."""
        return self._flying[ticket].call

    def clock(self, stage: str, seconds: float) -> None:
        """Add to the time that a stage of this run has spent asking."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        self.write(
            "INSERT INTO clock (run, stage, seconds) VALUES (?, ?, ?) "
            "ON CONFLICT (run, stage) DO UPDATE SET seconds = excluded.seconds",
            *(self.run, stage, self._seconds[stage]),
        )

    def write(self, statement: str, *values: Any) -> None:
        """Queue a statement; it is on the disk after `flush`."""
        self._queue.append((statement, values))

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of what was flushed."""
        return self._db.execute(query, values).fetchall()

    def flush(self) -> None:
        """Write the queue as one transaction; what the disk refuses stays queued.

        When this returns no death of the process can take it back; a power cut can, for the last SYNC_S seconds.
        """
        queue, self._queue = self._queue, []
        if not queue:
            return
        try:
            if Ledger.listener:
                Ledger.listener(queue)
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in queue:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._queue = queue + self._queue
            raise
        if time.monotonic() - self._synced > SYNC_S:
            self._sync()

    def _sync(self) -> None:
        """Have what is written on the disk itself; a checkpoint waits for it."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._synced = time.monotonic()

    def spent(self, stage: str | None = None) -> Spent:
        """What this run has used up, in one stage or in all."""
        parts = [spent for name, spent in self._spent.items() if stage in (None, name)]
        return Spent(
            max(0.0, sum(p.usd for p in parts)),  # floats that cancel may end below nothing
            sum(p.tokens for p in parts),
            any(p.unknown for p in parts),
            sum(p.lost_usd for p in parts),
            sum(p.lost_tokens for p in parts),
        )

    def count(self, state: str, run: str | None = None) -> int:
        """Calls in a state, of one run or of the project."""
        where, values = ("AND run = ?", (state, run)) if run else ("", (state,))
        number: int = self._db.execute(f"SELECT count(*) FROM calls WHERE state = ? {where}", values).fetchone()[0]
        return number

    def remember(self, endpoint: str, model: str, name: str, value: str) -> None:
        """Keep something that was learnt of an endpoint, for later runs too."""
        self.write("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", endpoint, model, name, value)

    def remembered(self, endpoint: str, model: str) -> dict[str, str]:
        """What was learnt of an endpoint, by name."""
        query = "SELECT name, value FROM facts WHERE endpoint = ? AND model = ?"
        return dict(self._db.execute(query, (endpoint, model)).fetchall())

    def _check(self, quote: Quote, stage: str) -> None:
        cap = self.budget
        share = cap.share.get(stage, 1.0)  # type: ignore[call-overload]
        for name, part, spent in (("", 1.0, self.spent()), (f"{stage}'s share of ", share, self.spent(stage))):
            if name and part == 1.0:
                continue
            if cap.max_cost_usd is not None:
                _check_price(quote, spent)
                if spent.usd + (quote.usd or 0.0) > cap.max_cost_usd * part:
                    raise BudgetError(
                        f"the next call may cost ${quote.usd:.4f} and ${spent.usd:.4f} of {name}budget.max_cost_usd "
                        f"${cap.max_cost_usd * part:.4f} is used. Raise the cap and run the same command again."
                    )
            if cap.max_tokens is not None and spent.tokens + quote.tokens > cap.max_tokens * part:
                raise BudgetError(
                    f"the next call may take {quote.tokens} tokens and {spent.tokens} of {name}budget.max_tokens "
                    f"{cap.max_tokens * part:.0f} are used. Raise the cap and run the same command again."
                )
            used = sum(s for n, s in self._seconds.items() if not name or n == stage)
            if cap.max_minutes is not None and used > cap.max_minutes * 60 * part:
                raise BudgetError(
                    f"{used / 60:.1f} minutes of asking, {name}budget.max_minutes {cap.max_minutes * part:g} is used. "
                    "Raise the cap and run the same command again."
                )

    def _add(self, stage: str, usd: float | None, tokens: int) -> None:
        spent = self._spent.get(stage, Spent())
        unknown = spent.unknown or usd is None
        self._spent[stage] = replace(spent, usd=spent.usd + (usd or 0.0), tokens=spent.tokens + tokens, unknown=unknown)

    def _lose(self, stage: str, usd: float, tokens: int) -> None:
        spent = self._spent[stage]
        self._spent[stage] = replace(spent, lost_usd=spent.lost_usd + usd, lost_tokens=spent.lost_tokens + tokens)

    def _totals(self) -> list[tuple[str, Spent]]:
        rows = self._db.execute(
            "SELECT stage, coalesce(sum(usd), 0), sum(tokens), coalesce(max(usd IS NULL), 0), "
            "coalesce(sum(CASE WHEN state = 'lost' THEN usd END), 0), "
            "coalesce(sum(CASE WHEN state = 'lost' THEN tokens END), 0) "
            "FROM sends WHERE run = ? AND state != 'free' GROUP BY stage",
            (self.run,),
        ).fetchall()
        return [(stage, Spent(usd, tokens, bool(none), lost, gone)) for stage, usd, tokens, none, lost, gone in rows]


def _alone(path: Path, run: str) -> Any:
    """The lock of those who ask: two runs that want the same answer pay for it once."""
    import filelock

    lock = filelock.FileLock(str(path.with_name(path.name + ".lock")))
    try:
        lock.acquire(timeout=ANOTHER_S)
    except filelock.Timeout:
        say(f"{run}: another run of this project is asking its teacher; waiting for it, so that nothing is paid twice")
        lock.acquire()
    return lock


def _check_price(quote: Quote, spent: Spent) -> None:
    if quote.usd is None:
        raise UserError(
            "budget.max_cost_usd is set but the teacher's price is unknown. "
            "Add `price: {input: …, output: …}` to the teacher, in US dollars per million tokens."
        )
    if spent.unknown:
        raise UserError(
            "budget.max_cost_usd is set but this run already holds calls whose price was unknown, so the cap cannot "
            "be kept. Take max_cost_usd out, cap budget.max_tokens instead, or give the run a new name."
        )


def _call(endpoint: str, model: str, request: str, sample: int) -> Call:
    return Call(endpoint, model, json.loads(request), sample)


def _minus(cost: float | None, reserved: float | None) -> float | None:
    return None if cost is None or reserved is None else cost - reserved
