"""Teachers without a wire, for tests of what stands before it: they answer by a function, and count what they hear.

In: calls. Out: replies, or the errors that a real one raises. What happens on a wire is openai_server's to show.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from yearling.generate.birth import Birth
from yearling.generate.seeds import Seed
from yearling.generate.variety import Lists
from yearling.ledger import Call, Ledger, Quote, Reply
from yearling.measure.novelty import NoveltyIndex
from yearling.recipe import Generate, Recipe
from yearling.students.template import Template
from yearling.teachers.ask import Asker, Seen
from yearling.teachers.teacher import Teacher
from yearling.teachers.words import Words

CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
Say = Callable[[Call], Awaitable[Reply]]


def replied(text: str, finish: str = "stop", cost: float | None = 0.25) -> Reply:
    """A reply of 10 tokens."""
    return Reply(text, finish, 7, 3, cost, 0.0)


class FakeTeacher:
    """One that answers by `say`; each call may cost a dollar and 100 tokens."""

    def __init__(self, say: Say, concurrency: int = 8) -> None:
        self.name, self.licence, self.endpoint, self.model = "fake:x", "unknown", "e", "m"
        self.concurrency, self.refused = concurrency, set[str]()
        self.heard: list[Call] = []
        self.flying = self.most = 0
        self._say = say

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        return Call(self.endpoint, self.model, dict(request), sample)

    def quote(self, call: Call) -> Quote:
        return Quote(1.0, 100)

    async def ask(self, call: Call) -> Reply:
        self.heard.append(call)
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            return await self._say(call)
        finally:
            self.flying -= 1

    async def close(self) -> None:
        """Nothing is open."""

    def template(self) -> Template:
        return Template(CHAT, "", "", "a test's")


def questions(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Requests that differ."""
    asked = [f"Question {number}?" for number in range(start, start + count)]
    return [{"messages": [{"role": "user", "content": text}], "max_tokens": 40} for text in asked]


def ask_through(path: Path, teacher: Teacher, count: int, **more: Any) -> list[Reply]:
    """Ask that many questions for the stage generate of the run `one`."""
    with Ledger(path, "one", more.get("budget")) as ledger, Asker(teacher, ledger, "generate") as asker:
        calls = [teacher.call(request, 0) for request in questions(count)]
        return asker.ask(calls, more.get("seen", lambda reply: None))


def write_seeds(path: Path, rows: Sequence[Any]) -> Path:
    """Seed tasks as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class _Scripted:
    """Stands for an Asker: each request is answered at once, and nothing is kept."""

    def __init__(self, say: Callable[[Mapping[str, Any]], Reply]) -> None:
        self.teacher, self.ledger = FakeTeacher(cast(Say, None)), _NoLedger()
        self._say = say

    def ask(self, calls: Sequence[Call], seen: Seen) -> list[Reply]:
        replies = [self._say(call.request) for call in calls]
        for reply in replies:
            seen(reply)
        return replies


class _NoLedger:
    def remember(self, *fact: str) -> None:
        """Nothing is kept."""


def birth_of(
    say: Callable[[Mapping[str, Any]], Reply],
    generate: Generate | None = None,
    structured: bool = True,
    seeds: Sequence[Seed] = (),
    language: str = "en",
) -> Birth:
    """The state of generate before its first round, with a teacher that answers by a function."""
    teacher = {"model": "fake:x", "structured": structured}
    recipe = Recipe.model_validate({"name": "x", "language": language, "teacher": teacher})
    settings = generate or Generate()
    lists = Lists((), settings.variety.attributes, ())
    asker = cast(Asker, _Scripted(say))
    words = Words(settings.variety.prompts)
    return Birth(recipe, settings, asker, words, lists, list(seeds), NoveltyIndex(0.7), lambda birth: None)
