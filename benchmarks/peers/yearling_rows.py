"""Rows by yearling: calls planned, reserved, sent and settled through a fresh ledger under a dollar cap, then records.

In: base URL, rows, an empty folder. Out: one line of JSON. The clock runs from before the ledger is opened to after the
records are in a Parquet file; the cap never binds.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from asked import CONCURRENCY, MAX_TOKENS, TEMPERATURE, clock, prompts, tell

import yearling.teachers.openai
import yearling.teachers.wire  # noqa: F401  opened lazily; imported before the clock starts, as the peers' imports are
from yearling.ledger import Ledger
from yearling.recipe import Budget, Price, Teacher
from yearling.record import Message, Origin, Record, write_records
from yearling.teachers.ask import Asker
from yearling.teachers.teacher import open_teacher


def ask(url: str, asked: list[str], folder: Path) -> list[Record]:
    """One record a prompt."""
    settings = Teacher(
        model="openai:test",
        base_url=url,
        concurrency=CONCURRENCY,
        price=Price.model_validate({"input": 0.1, "output": 0.4}),
    )
    with (
        open_teacher(settings) as teacher,
        Ledger(folder / "ledger.sqlite", "bench", Budget(max_cost_usd=1000)) as ledger,
        Asker(teacher, ledger, "generate") as asker,
    ):
        requests = [
            {
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": MAX_TOKENS,
                "temperature": TEMPERATURE,
            }
            for prompt in asked
        ]
        calls = [teacher.call(request, 0) for request in requests]
        replies = asker.ask(calls, lambda reply: None)
    return [
        Record(
            (Message("user", prompt), Message("assistant", reply.text)),
            Origin("answer", call.key, n, teacher.name, cost_usd=reply.cost_usd, calls=(call.key,)),
        )
        for n, (prompt, call, reply) in enumerate(zip(asked, calls, replies, strict=True))
        if reply.text
    ]


def main() -> None:
    """Generate the rows and say how long it took."""
    url, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    write_records([], folder / "empty.parquet")  # lazy imports before the clock starts, as the peers' imports are
    asked = prompts(rows)
    began = clock()
    records = ask(url, asked, folder)
    write_records(records, folder / "records.parquet")
    tell(began, len(records), version("yearling"))


if __name__ == "__main__":
    main()
