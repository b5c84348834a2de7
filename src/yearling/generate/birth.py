"""What the generate stage knows between rounds, and how its methods ask.

In: the recipe, a teacher ready to be asked, the words to say. Out: replies to numbered requests, and everything that
was turned away, with the reason. Decides nothing about a method and writes no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from yearling.generate.draft import Draft, fault
from yearling.generate.pool import Pool
from yearling.generate.seeds import Seed
from yearling.generate.variety import Lists
from yearling.ledger import Call, Reply, Spent
from yearling.measure.novelty import NoveltyIndex
from yearling.recipe import Generate, Recipe
from yearling.record import Record
from yearling.teachers.ask import Asker
from yearling.teachers.structured import parse
from yearling.teachers.words import Words, language_name

Told = Callable[["Birth"], None]
SPREAD = 1_000_003  # a prime: seeds of the sampler of neighbouring recipes do not meet


@dataclass
class Tally:
    """What was asked so far: calls, those sent now with their tokens and bill, and tokens and bill of all."""

    calls: int = 0
    sent: int = 0
    tokens: int = 0
    sent_usd: float | None = 0.0
    all_tokens: int = 0
    cost_usd: float | None = 0.0

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.calls += 1
        self.sent += not reply.cached
        self.tokens += 0 if reply.cached else reply.completion_tokens
        self.sent_usd = _sum(self.sent_usd, 0.0 if reply.cached else reply.cost_usd)
        self.all_tokens += reply.completion_tokens
        self.cost_usd = _sum(self.cost_usd, reply.cost_usd)


@dataclass
class Birth:
    """The state of the stage; methods read it, ask through it, and hand back drafts."""

    recipe: Recipe
    settings: Generate
    asker: Asker
    words: Words
    lists: Lists
    seeds: list[Seed]
    index: NoveltyIndex
    told: Told
    prompts: Sequence[Record] = ()  # borrowed ones, in birth order
    before: Spent = field(default_factory=Spent)  # what the run had spent when it began
    records: list[Record] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    calls: int = 0  # numbered requests for drafts so far
    pool: Pool = field(default_factory=Pool)  # what machines wrote and passed, to be shown in later calls
    waiting: list[Draft] = field(default_factory=list)  # worth an answer, not asked yet, in the order of their birth
    asked: int = 0  # drafts whose answers were asked for
    finished: int = 0  # answers of the round under way, not yet records
    exhausted: bool = False  # the method has nothing more to ask about

    @property
    def english(self) -> bool:
        """Whether the rules for English texts hold."""
        return self.recipe.language.lower().split("-")[0] == "en"

    @property
    def language(self) -> str:
        """The language to write in, as a teacher knows it."""
        return language_name(self.recipe.language)

    @property
    def structured(self) -> bool:
        """Whether lists are asked for as JSON."""
        return self.recipe.teacher is not None and self.recipe.teacher.structured

    def prompt_fault(self, text: str) -> str | None:
        """What is wrong with a user's turn, or None."""
        return fault(Draft(text, "", "", ()), self.english)

    def sampler_seed(self, call: int) -> int:
        """The sampler's seed for request k."""
        return self.settings.seed * SPREAD + call

    def ask(
        self, requests: Sequence[tuple[Mapping[str, Any], int]], seen: Callable[[Reply], None] | None = None
    ) -> list[tuple[Call, Reply]]:
        """Answer requests, each with its sample index; in their order, whatever arrives first."""
        calls = [self.asker.teacher.call(request, sample) for request, sample in requests]

        def note(reply: Reply) -> None:
            self.tally.add(reply)
            if seen:
                seen(reply)
            self.told(self)

        return list(zip(calls, self.asker.ask(calls, note), strict=True))

    def ask_json(
        self,
        requests: Sequence[tuple[Mapping[str, Any], int]],
        schema: Mapping[str, Any],
        cut: Mapping[str, Any] | None = None,
    ) -> list[tuple[tuple[Call, ...], Reply, Any]]:
        """Answer requests with JSON of a schema: the calls of each, its last reply at the cost of all, a value or None.

        What cannot be read, even repaired, is asked once more without the schema; then it is turned away. A reply
        that its limit cut off is held to the schema `cut` where there is one: its end may lack something.
        """

        def read(reply: Reply) -> Any:
            return parse(reply.text, cut if cut and reply.finish == "length" else schema)

        answers = self.ask([({**request, "schema": schema}, sample) for request, sample in requests])
        found: list[tuple[tuple[Call, ...], Reply, Any]] = [((call,), reply, read(reply)) for call, reply in answers]
        again = [i for i, (_, reply, value) in enumerate(found) if value is None and reply.finish != "content_filter"]
        for i, (call, reply) in zip(again, self.ask([requests[i] for i in again]), strict=True):
            calls, first, _ = found[i]
            known = first.cost_usd is not None and reply.cost_usd is not None
            both = first.cost_usd + reply.cost_usd if known else None  # type: ignore[operator]
            found[i] = ((*calls, call), replace(reply, cost_usd=both), read(reply))
        for calls, reply, value in found:
            if value is None:
                blocked = reply.finish == "content_filter"
                self.reject(
                    calls[-1].key, "blocked by the provider" if blocked else "not the JSON asked for", reply.text
                )
        return found

    def reject(self, call: str, reason: str, text: str) -> None:
        """Keep what was turned away, with the reason."""
        self.rejected.append({"call": call, "reason": reason, "text": text})
        self.reasons[reason.split(" (")[0]] += 1

    def worth_an_answer(self, draft: Draft) -> bool:
        """Whether a draft has no fault and is novel; from then on it counts against later ones."""
        reason = fault(draft, self.english)
        if reason is None and (match := self.index.add_if_novel(draft.instruction, draft.key)):
            reason = f"not novel (ROUGE-L {match.score:.2f})"
        if reason:
            self.reject(draft.calls[-1], reason, draft.instruction)
        return reason is None


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right
