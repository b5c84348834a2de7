"""The generate stage: rounds of calls until enough rows are born.

In: the recipe and the ledger. Out: `records/generate-*.parquet`, and `rejected/generate.parquet` with reasons.
A round's calls depend on the seed, their numbers and finished rounds only, so a killed run asks the same again
and finds it answered: the stage simply starts over, and everything it has paid for comes from the ledger.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from yearling.errors import UserError
from yearling.generate import alpaca, magpie
from yearling.generate.draft import Draft, fault
from yearling.ledger import Call, Ledger, Reply
from yearling.measure.novelty import NoveltyIndex
from yearling.progress import Advance, progress, say
from yearling.recipe import Generate, Recipe
from yearling.record import Message, Origin, Record, digest, write_records, write_table
from yearling.run_folder import Run
from yearling.teachers.ask import answer_request, ask_all
from yearling.teachers.teacher import Teacher, open_teacher

SMALLEST_ROUND, LARGEST_ROUND = 8, 64
LEAST_YIELD = 0.25  # the least share of good ones that is believed, of instructions and of answers
FIRST_YIELD = 0.5  # the share assumed before anything is known


@dataclass
class _Birth:
    """The state of the stage between rounds."""

    recipe: Recipe
    settings: Generate
    teacher: Teacher
    ledger: Ledger
    advance: Advance
    index: NoveltyIndex
    seeds: list[alpaca.Seed]
    records: list[Record] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    calls: int = 0
    waiting: list[Draft] = field(default_factory=list)  # worth an answer, not asked yet, in the order of their birth
    asked: int = 0  # drafts whose answers were asked for
    answered: int = 0  # finished answers of the round under way, not yet records

    def seen(self, reply: Reply) -> None:
        """Count one reply and show where the stage stands."""
        self.replies.append(reply)
        fresh = [r for r in self.replies if not r.cached]
        tokens = sum(r.completion_tokens for r in fresh)
        spent = self.ledger.spent()
        facts: dict[str, Any] = {
            "rejected": len(self.rejected),
            "cached": len(self.replies) - len(fresh),
            "tokens": tokens,
        }
        facts["cost"] = "unknown" if spent.unknown else f"${spent.usd:.2f}"
        self.advance(min(len(self.records) + self.answered, self.settings.num), **facts)

    def reject(self, call: str, reason: str, text: str) -> None:
        """Keep what was turned away, with the reason."""
        self.rejected.append({"call": call, "reason": reason, "text": text})


def run_generate(recipe: Recipe, run: Run) -> tuple[dict[str, int], dict[str, Any]]:
    """Ask until `generate.num` rows are born; counts and results for the manifest.

    Raises UserError when the teacher yields too few rows within the allowed attempts.
    """
    settings = recipe.generate
    assert settings is not None and recipe.teacher is not None
    seeds = alpaca.load_seeds(settings.seeds) if settings.method == "alpaca" else []
    ledger = Ledger(run.ledger, run.name, recipe.budget)
    try:
        with open_teacher(recipe.teacher) as teacher, progress(run, "generate", settings.num, "rows") as advance:
            index = NoveltyIndex(0.7 if recipe.curate is None else (recipe.curate.novelty or 1.0))
            birth = _Birth(recipe, settings, teacher, ledger, advance, index, seeds)
            while len(birth.records) < settings.num:
                _check_attempts(birth)
                _round(birth)
                advance(min(len(birth.records), settings.num), rejected=len(birth.rejected))
    finally:
        ledger.close()
    return _write(birth, run)


def _round(birth: _Birth) -> None:
    """New instructions where none wait, then as many answers as are likely to be needed.

    Rows are born in the order of their drafts, so what is asked for a smaller `num` is the beginning of a larger one.
    """
    if not birth.waiting:
        _ask_for_drafts(birth)
    believed = max(LEAST_YIELD, len(birth.records) / birth.asked) if birth.asked else FIRST_YIELD
    count = max(birth.teacher.concurrency, math.ceil((birth.settings.num - len(birth.records)) / believed))
    chosen, birth.waiting = birth.waiting[:count], birth.waiting[count:]
    birth.asked += len(chosen)
    _answer(birth, chosen)


def _ask_for_drafts(birth: _Birth) -> None:
    first, size = birth.calls, _round_size(birth)
    numbers = range(first, first + size)
    calls, read = _questions(birth, numbers)
    replies = ask_all(birth.teacher, birth.ledger, calls, "generate", birth.seen)
    for number, call, reply in zip(numbers, calls, replies, strict=True):
        drafts, reason = read(number, call, reply)
        if reason:
            birth.reject(call.key, reason, reply.text)
        birth.waiting += [draft for draft in drafts if _worth_an_answer(birth, draft)]
    birth.calls += size


def _round_size(birth: _Birth) -> int:
    """Calls of the next round: what the rounds so far say is needed, within bounds."""
    tasks = birth.settings.per_call if birth.settings.method == "alpaca" else 1
    per_call = max(LEAST_YIELD, len(birth.records) / birth.calls) if birth.calls else FIRST_YIELD * tasks
    wanted = math.ceil((birth.settings.num - len(birth.records)) / per_call)
    return max(1 if tasks > 1 else SMALLEST_ROUND, min(LARGEST_ROUND, wanted))


Reader = Callable[[int, Call, Reply], tuple[list[Draft], str | None]]


def _questions(birth: _Birth, numbers: range) -> tuple[list[Call], Reader]:
    """The calls of a round, and how their replies are read."""
    recipe, settings, teacher = birth.recipe, birth.settings, birth.teacher
    if settings.method == "magpie":
        calls = [teacher.call(magpie.request(teacher, recipe, settings, k), k) for k in numbers]
        return calls, lambda number, call, reply: magpie.drafts(call, reply)
    asked = {k: alpaca.request(birth.seeds, recipe, settings, k) for k in numbers}
    calls = [teacher.call(body, k) for k, (body, _) in asked.items()]
    return calls, lambda number, call, reply: alpaca.drafts(call, reply, asked[number][1])


def _worth_an_answer(birth: _Birth, draft: Draft) -> bool:
    reason = fault(draft)
    if reason is None and (match := birth.index.add_if_novel(draft.prompt, draft.key)):
        reason = f"not novel (ROUGE-L {match.score:.2f})"
    if reason:
        birth.reject(draft.call, reason, draft.instruction)
    return reason is None


def _answer(birth: _Birth, drafts: list[Draft]) -> None:
    settings, teacher = birth.settings, birth.teacher
    calls = [teacher.call(answer_request(settings, draft.prompt, settings.max_tokens), 0) for draft in drafts]

    def seen(reply: Reply) -> None:
        birth.answered += reply.finish == "stop"
        birth.seen(reply)

    replies = ask_all(teacher, birth.ledger, calls, "generate", seen)
    birth.answered = 0
    for draft, call, reply in zip(drafts, calls, replies, strict=True):
        text = reply.text.strip()
        if reply.finish != "stop":
            birth.reject(call.key, f"unfinished answer ({reply.finish or 'no reason given'})", text)
        elif not text:
            birth.reject(call.key, "empty answer", draft.prompt)
        else:
            birth.records.append(_record(birth, draft, call, reply))


def _record(birth: _Birth, draft: Draft, call: Call, reply: Reply) -> Record:
    teacher = birth.teacher
    origin = Origin(
        method=birth.settings.method,
        key=draft.key,
        sequence=len(birth.records),
        teacher=teacher.name,
        licence=teacher.licence,
        cost_usd=reply.cost_usd,
        calls=(draft.call, call.key),
        prompt_digest=digest(alpaca.prompt_text()) if birth.settings.method == "alpaca" else "",
        source=", ".join(draft.parents),
    )
    return Record((Message("user", draft.prompt), Message("assistant", reply.text.strip())), origin)


def _check_attempts(birth: _Birth) -> None:
    settings = birth.settings
    if birth.calls <= settings.num * settings.attempts or birth.calls < 2 * LARGEST_ROUND:
        return
    reasons = Counter(row["reason"].split(" (")[0] for row in birth.rejected).most_common(3)
    why = ", ".join(f"{reason} {count}" for reason, count in reasons)
    raise UserError(
        f"{len(birth.records)} of {settings.num} rows after {birth.calls} calls; rejected: {why}. "
        "Raise generate.max_tokens, ask for shorter answers in generate.system, or raise generate.attempts."
    )


def _write(birth: _Birth, run: Run) -> tuple[dict[str, int], dict[str, Any]]:
    import pyarrow as pa

    records = birth.records[: birth.settings.num]
    write_records(records, run.records / "generate-00000.parquet")
    text = pa.schema([("call", pa.string()), ("reason", pa.string()), ("text", pa.string())])
    write_table(birth.rejected, text, run.path / "rejected" / "generate.parquet")
    reasons = Counter(row["reason"].split(" (")[0] for row in birth.rejected)
    fresh = [reply for reply in birth.replies if not reply.cached]
    counts = {"rows": len(records), "calls": len(birth.replies), "sent": len(fresh), "rejected": len(birth.rejected)}
    say(f"generate: {len(records)} rows from {len(birth.replies)} calls, {len(fresh)} of them new")
    results = {
        "teacher": birth.teacher.name,
        "licence": birth.teacher.licence,
        "rejected": dict(reasons.most_common()),
        "completion_tokens": sum(reply.completion_tokens for reply in birth.replies),
        "cost_usd": _sum([reply.cost_usd for reply in birth.replies]),
    }
    return counts, results


def _sum(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
