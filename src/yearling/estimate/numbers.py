"""Plays as numbers that can be told: low, expected and high.

In: what is answered, plays of the rest, the teacher's price. Out: plain values. An unknown price stays unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from yearling.estimate.rounds import ALONE, CALLS, COMPLETION, PROMPT, REASONING, SHARED, Plays
from yearling.ledger import Reply
from yearling.recipe import Teacher
from yearling.teachers.batch import SHARE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TAIL = 0.05  # of the plays lie below low, and as many above high
FEW = 5  # units; where fewer were seen, low and high are at least twice away from what is expected
# How much quicker or slower a teacher may be later than in the minute of the pilot; one on this machine shares it.
ELSEWHERE, HERE = (0.7, 1.8), (0.5, 2.2)
TOKENS = {"calls": CALLS, "prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "reasoning_tokens": REASONING}
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Ahead:
    """One stage: the answers that the ledger holds, plays of the rest, and on how many units they rest."""

    stage: str
    answered: Sequence[Reply]
    plays: Plays
    units: int


@dataclass(frozen=True)
class Terms:
    """What a teacher takes for its work: a price (None: unknown), seconds to start, and where and how it works."""

    input_usd: float | None
    output_usd: float | None
    start_s: float
    local: bool  # in a process of ours
    here: bool  # on this machine, whoever started it
    batch: bool

    def cost(self, prompt: Any, completion: Any) -> Any:
        """US dollars for so many tokens, or None."""
        if self.input_usd is None or self.output_usd is None:
            return None
        return (prompt * self.input_usd + completion * self.output_usd) / 1e6


def terms_of(settings: Teacher, start_s: float) -> Terms:
    """The terms of a recipe's teacher."""
    kind = settings.model.partition(":")[0]
    local, share = kind in ("local", "replay"), SHARE if settings.batch else 1.0
    usd: tuple[float | None, float | None] = (0.0, 0.0) if local else (None, None)
    if settings.price and not local:
        usd = settings.price.input * share, settings.price.output * share
    host = urlsplit(settings.base_url or "").hostname
    here = local or host in LOOPBACK or (kind in ("ollama", "vllm") and host is None)
    return Terms(*usd, start_s, local, here, settings.batch)


def stage_numbers(ahead: Ahead, terms: Terms) -> dict[str, Any]:
    """A stage: what is answered, and what is to come."""
    return {"stage": ahead.stage, "answered": _answered(ahead.answered), "to_come": _to_come([ahead], terms)}


def total_numbers(stages: Sequence[Ahead], terms: Terms) -> dict[str, Any]:
    """All stages together: what is answered, what is to come, and the sum of both."""
    answered, to_come = _answered([reply for s in stages for reply in s.answered]), _to_come(stages, terms)
    both = {edge: {name: _sum(answered[name], value) for name, value in of.items()} for edge, of in to_come.items()}
    return {"answered": answered, "to_come": to_come, "in_all": both}


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right


def _answered(replies: Sequence[Reply]) -> dict[str, Any]:
    costs = [reply.cost_usd for reply in replies]
    return {
        "calls": len(replies),
        "prompt_tokens": sum(r.prompt_tokens for r in replies),
        "completion_tokens": sum(r.completion_tokens for r in replies),
        "reasoning_tokens": sum(r.reasoning_tokens for r in replies),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "seconds": 0.0,  # they are there
    }


def _to_come(stages: Sequence[Ahead], terms: Terms) -> dict[str, dict[str, Any]]:
    """Low, expected and high of each quantity by itself."""
    import numpy as np

    likely = np.sum([ahead.plays.likely for ahead in stages], axis=0)
    uncertain = np.sum([ahead.plays.uncertain for ahead in stages], axis=0)
    few = any(ahead.units < FEW for ahead in stages)
    starts = sum(bool(ahead.plays.likely[:, CALLS].any()) for ahead in stages) * terms.start_s
    found: dict[str, tuple[Any, Any, Any]] = {}
    for name, column in TOKENS.items():
        found[name] = tuple(round(value) for value in _edges(likely[:, column], uncertain[:, column], few))  # type: ignore[assignment]
    money = [terms.cost(plays[:, PROMPT], plays[:, COMPLETION]) for plays in (likely, uncertain)]
    found["cost_usd"] = (None, None, None) if money[0] is None else _edges(money[0], money[1], few)
    found["seconds"] = _seconds(likely, uncertain, terms, few, starts)
    return {edge: {name: of[n] for name, of in found.items()} for n, edge in enumerate(("low", "expected", "high"))}


def _edges(likely: NDArray[np.float64], uncertain: NDArray[np.float64], few: bool) -> tuple[float, float, float]:
    import numpy as np

    expected = float(likely.mean())
    low, high = (float(edge) for edge in np.quantile(uncertain, (TAIL, 1 - TAIL)))
    if few:
        low, high = min(low, expected / 2), max(high, expected * 2)
    return min(low, expected), expected, max(high, expected)


def _seconds(
    likely: NDArray[np.float64], uncertain: NDArray[np.float64], terms: Terms, few: bool, starts: float
) -> tuple[Any, Any, Any]:
    """Between the two models of pace: a teacher elsewhere is not slowed by itself, one on this machine may be."""
    import numpy as np

    if terms.batch:
        return None, None, None  # the provider's to say; most promise a day
    slower, quicker = (HERE if terms.here else ELSEWHERE)[::-1]
    own = SHARED if terms.local else ALONE
    least = np.minimum(uncertain[:, ALONE], uncertain[:, SHARED])
    most = np.maximum(uncertain[:, ALONE], uncertain[:, SHARED]) if terms.here else uncertain[:, ALONE]
    expected = likely[:, own]
    low, _, _ = _edges(expected, least, few)
    _, mean, high = _edges(expected, most, few)
    return (low + starts) * quicker, mean + starts, (high + starts) * slower
