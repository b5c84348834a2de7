"""Whether a recipe's budget bears what is to come, and which of its caps binds first.

In: the caps, what the run has used of them, what each stage will take. Out: one row a cap and share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yearling.ledger import Ledger, Quote
from yearling.recipe import Budget

Numbers = Mapping[str, Any]
MINUTE = 60.0


def check_budget(
    budget: Budget, ledger: Ledger, stages: Sequence[Numbers], total: Numbers, largest: Quote
) -> list[dict[str, Any]]:
    """Each cap, whole and by share; `largest` is the reservation that the last call must still find room for."""
    rows = []
    for cap, limit in (
        ("max_cost_usd", budget.max_cost_usd), ("max_tokens", budget.max_tokens), ("max_minutes", budget.max_minutes)
    ):  # fmt: skip
        if limit is None:
            continue
        rows.append(_row(cap, "all", limit, total["to_come"], _used(ledger, cap, None), largest))
        for stage in stages:
            share = budget.share.get(stage["stage"])
            if share is not None and share < 1.0:
                used = _used(ledger, cap, stage["stage"])
                rows.append(_row(cap, stage["stage"], limit * share, stage["to_come"], used, largest))
    known = [row for row in rows if row["expected"] is not None]
    for row in known:
        row["binds_first"] = row is max(known, key=lambda r: r["expected"] / max(r["limit"], 1e-12))
    return rows


def _used(ledger: Ledger, cap: str, stage: str | None) -> float:
    if cap == "max_minutes":
        rows = ledger.read("SELECT stage, seconds FROM clock WHERE run = ?", ledger.run)
        return float(sum(seconds for name, seconds in rows if stage in (None, name))) / MINUTE
    spent = ledger.spent(stage)
    return spent.usd if cap == "max_cost_usd" else float(spent.tokens)


def _row(cap: str, of: str, limit: float, to_come: Numbers, used: float, largest: Quote) -> dict[str, Any]:
    """What will be used by the end, the last reservation included, against the limit."""
    spare = {"max_cost_usd": largest.usd or 0.0, "max_tokens": largest.tokens}.get(cap, 0.0)
    ends = {edge: _of(cap, to_come[edge]) for edge in ("expected", "high")}
    if to_come["expected"]["calls"] == 0:
        spare = 0.0
    expected, high = (None if end is None else used + end + spare for end in ends.values())
    if expected is None or high is None:
        fits = "unknown"
    else:
        fits = "yes" if high <= limit else "perhaps" if expected <= limit else "no"
    return {
        "cap": cap, "of": of, "limit": limit, "used": used, "expected": expected, "high": high, "fits": fits,
        "binds_first": False,
    }  # fmt: skip


def _of(cap: str, edge: Numbers) -> float | None:
    if cap == "max_cost_usd":
        return edge["cost_usd"]  # type: ignore[no-any-return]
    if cap == "max_minutes":
        return None if edge["seconds"] is None else edge["seconds"] / MINUTE
    return float(edge["prompt_tokens"] + edge["completion_tokens"])
