"""The training benchmark: yearling's loop against TRL and an alpaca-lora-style script, on two small models and a CPU.

In: flags. Out: two tables on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how
many times better yearling is than a peer. Same base, rows, LoRA settings and number of updates on all sides:

defaults  each side as its defaults have it.
matched   float32, no activation checkpointing, and of the peers every way of batching that they offer here; the best
          counts.

The rows are the project's seeds, as tokens and labels of one template; 32 of them are held out, and all adapters'
losses on those are measured by one and the same code afterwards. Each run is a process of its own on two cores; the
clock starts after imports and loading. Completion tokens are the labelled ones of all updates. Memory is the
proportional set size of the process tree, looked at twice a second, or the process's own peak where that is more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sides import FailedError, run

from yearling.generate.seeds import load_seeds
from yearling.recipe import Student as Settings
from yearling.record import Message, Origin, Record
from yearling.students.load import Student, open_student
from yearling.students.proof import prove_rows
from yearling.students.rows import IGNORE, Row
from yearling.train.proof import Weights, in_fresh_process

HERE = Path(__file__).resolve().parent
MODELS = {
    "gemma-3-270m": Settings(base="shipped:gemma-3-270m", template="chatml"),
    "SmolLM2-135M": Settings(base="shipped:smollm2-135m-instruct"),
}
HELD_OUT, HELD = 4, 32  # every so many rows, the first of them
LIMIT_S = 3600
PLAIN = {"gradient_checkpointing": False, "bf16": False}
# of each table, the sides: a name, a script, and what it is told beside the common settings
DEFAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (("yearling", "yearling", {}), ("TRL", "trl", {}))
MATCHED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("yearling", "yearling", {}),
    ("TRL", "trl", PLAIN),
    ("TRL, by length", "trl", {**PLAIN, "train_sampling_strategy": "group_by_length"}),
    ("alpaca-lora-style", "alpaca", {**PLAIN, "train_sampling_strategy": "group_by_length"}),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/training.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--rows", type=int, default=128, help="rows to learn (128)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="some models (all)")
    given = parser.parse_args()
    console, result = Console(soft_wrap=True, width=140), dict[str, Any]()
    for name in given.models:
        student = open_student(MODELS[name])
        learnt, held = _rows(student, given.rows)
        for title, sides in (("defaults", DEFAULTS), ("matched", MATCHED)):
            found = [_side(student, learnt, held, *side) for side in sides]
            result |= _ratios(f"{name}_{title}", found)
            _print(console, f"{name}: {title}", found)
    for name, value in result.items():
        console.print(f"{name}: {value:.2f}")
    if given.json:
        print(json.dumps(result))


def _rows(student: Student, count: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn, and rows that are held out."""
    records = [
        Record(
            (Message("user", f"{seed.instruction}\n\n{seed.input}".strip()), Message("assistant", seed.output)),
            Origin("seed", seed.id, place),
        )
        for place, seed in enumerate(load_seeds(None))
    ]
    proved = prove_rows(student, records)
    proved.hold()
    learnt = [row for place, row in enumerate(proved.rows) if place % HELD_OUT]
    return learnt[:count], proved.rows[::HELD_OUT][:HELD]


def _side(
    student: Student, rows: list[Row], held: list[Row], name: str, script: str, more: dict[str, Any]
) -> dict[str, Any]:
    """One run: tokens a second, memory, held-out loss; or why there is none."""
    settings = {"lora": {"r": 16, "alpha": 32}, "epochs": 1.0, "learning_rate": 2e-4, "batch_size": 4}
    settings |= {"warmup": 0.05, "schedule": "cosine", "seed": 42}
    print(f"{name} …", file=sys.stderr)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        given = {"base": student.folder, "settings": settings, "more": more}
        given["rows"] = [[row.tokens, row.labels] for row in rows]
        (work / "given.json").write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, str(HERE / "peers" / f"train_{script}.py"), str(work / "given.json"), folder]
        try:
            took = run(command, work if script != "yearling" else None, LIMIT_S)
        except FailedError as error:
            if script == "yearling":
                raise
            return {"side": name, "failed": str(error)}
        loss, base = in_fresh_process(student, held, work / "adapter", Weights("float32"))
    labels = sum(label != IGNORE for row in rows for label in row.labels[1:])
    told = {
        "side": f"{name} {took.told['version']}",
        "updates": took.told["rows"],
        "tokens_per_second": labels / took.seconds,
    }
    return told | {"seconds": took.seconds, "peak_gib": took.peak_gib, "loss": loss, "base_loss": base}


def _ratios(title: str, found: list[dict[str, Any]]) -> dict[str, float]:
    own, *peers = (side for side in found if "failed" not in side)
    if not peers:
        return {}
    best = max(peers, key=lambda side: side["tokens_per_second"])
    return {
        f"ratio_{title}_tokens": own["tokens_per_second"] / best["tokens_per_second"],
        f"ratio_{title}_memory": best["peak_gib"] / own["peak_gib"],
        f"ratio_{title}_loss": min(side["loss"] for side in peers) / own["loss"],
    }


def _print(console: Console, title: str, found: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("side", no_wrap=True)
    for heading in ("updates", "seconds", "completion\ntokens/s", "peak\nGiB", "held-out\nloss", "of the\nbase"):
        table.add_column(heading, justify="right")
    for side in found:
        if "failed" in side:
            table.add_row(side["side"], *["-"] * 6)
            continue
        numbers = (side["seconds"], side["tokens_per_second"], side["peak_gib"], side["loss"], side["base_loss"])
        table.add_row(
            side["side"], str(side["updates"]), *(f"{x:.{d}f}" for x, d in zip(numbers, (1, 1, 2, 4, 4), strict=True))
        )
    console.print(table)
    for side in found:
        if "failed" in side:
            console.print(f"{side['side']}: not measured, {side['failed']}", markup=False)


if __name__ == "__main__":
    main()
