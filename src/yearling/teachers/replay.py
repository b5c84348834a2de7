"""A recorded ledger as a teacher: the same questions get the same answers, and nothing is asked of anybody.

In: `replay:<ledger.sqlite>`, with `#<model>` where it holds several models. Out: settled replies, at no cost.
A question that was not recorded is refused: nothing is made up.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from yearling.errors import UserError
from yearling.ledger import Call, Quote, Reply
from yearling.recipe import Teacher as Settings
from yearling.students.template import Template, read_template
from yearling.teachers.teacher import RefusedError

_LOCAL = "local:"


class ReplayTeacher:
    """The teacher that a ledger recorded, under its own endpoint and model, so that every key is the recorded one."""

    def __init__(self, settings: Settings, spec: str) -> None:
        path, _, model = spec.partition("#")
        self.name, self.licence, self.refused = settings.model, "unknown", set[str]()
        self.concurrency = settings.concurrency
        self._settings, self._path = settings, Path(path).expanduser()
        recorded = [pair for pair in self._rows("SELECT DISTINCT endpoint, model FROM calls WHERE state = 'settled'")]
        fitting = [pair for pair in recorded if model in ("", pair[1])]
        if len(fitting) != 1:
            there = ", ".join(sorted(pair[1] for pair in recorded)) or "none"
            raise UserError(
                f"teacher.model {settings.model!r} must name one recorded model as {path}#<model>: {there}."
            )
        self.endpoint, self.model = fitting[0]

    def call(self, request: Mapping[str, Any], sample: int) -> Call:
        """The ledger's entry, made as the recorded teacher made it."""
        body = dict(request)
        if self.endpoint.startswith(_LOCAL):
            body["min_p"] = self._settings.local.min_p
        return Call(self.endpoint, self.model, body, sample)

    def quote(self, call: Call) -> Quote:
        """Nothing: it was paid for when it was recorded."""
        return Quote(0.0, 0)

    async def ask(self, call: Call) -> Reply:
        """The recorded reply; raises RefusedError where there is none."""
        rows = self._rows(
            "SELECT text, finish, prompt_tokens, completion_tokens, reasoning_tokens, raw FROM calls "
            "WHERE key = ? AND state = 'settled'",
            call.key,
        )
        if not rows:
            raise RefusedError(f"{self._path} does not hold this question. Replay the recipe that was recorded.")
        text, finish, prompt, completion, reasoning, raw = rows[0]
        return Reply(text, finish, prompt, completion, 0.0, 0.0, reasoning or 0, raw)

    async def close(self) -> None:
        """Nothing is open."""

    def template(self) -> Template:
        """The template that the local teacher had when it was recorded, or the file that the recipe names."""
        return self._template

    @cached_property
    def _template(self) -> Template:
        query = "SELECT value FROM facts WHERE endpoint = ? AND model = ? AND name = 'template'"
        if rows := self._rows(query, self.endpoint, self.model):
            return Template(*json.loads(rows[0][0]))
        path = self._settings.template
        if path is None:
            raise UserError(f"{self._path} holds no chat template. Name the file in teacher.template.")
        return Template(read_template(path, "teacher.template"), "", "", str(path))

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise UserError(f"teacher.model: the ledger {self._path} cannot be read: {error}.") from None
