"""The training benchmark: yearling's loop against TRL, LLaMA-Factory and an alpaca-lora-style script, on a CPU.

In: flags. Out: tables on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how many
times better yearling is than a peer. Same base, rows and LoRA shape on all sides; three parts:

defaults  The same updates, each side as its defaults have it.
matched   The same updates in float32, without activation checkpointing, and of the peers every way of batching that
          they offer here; the best counts.
rates     yearling with the settings that it derives; then each peer, with four learning rates, for the same time.

The rows are the project's seeds, or with --run the accepted rows of a run's train split; some of them are held out,
and all adapters' losses on those are measured by one and the same code afterwards. Each run is a process of its own on
two cores; the clock starts after imports and loading. Completion tokens are the labelled ones of all updates. Memory
is the proportional set size of the process tree, looked at twice a second, or the process's own peak where that is
more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sides import FailedError, environment, run

from yearling.generate.seeds import as_records, load_seeds
from yearling.measure.accepted import accepted_split
from yearling.recipe import Student as Settings
from yearling.recipe import Train
from yearling.recipe_file import load_recipe
from yearling.record import Record
from yearling.run_folder import open_run
from yearling.students.load import Student, open_student
from yearling.students.proof import prove_rows
from yearling.students.rows import IGNORE, Row
from yearling.train.fitting import epochs_of
from yearling.train.proof import Weights, in_fresh_process

HERE = Path(__file__).resolve().parent
MODELS = {
    "gemma-3-270m": Settings(base="shipped:gemma-3-270m", template="plain"),
    "SmolLM2-135M": Settings(base="shipped:smollm2-135m-instruct"),
}
PYTHONS: dict[str, Path | str] = {}  # of a side that has one of its own: its Python, or why there is none
HELD_OUT, HELD = 4, 32  # every so many rows, the first of them
LIMIT_S = 3600
PLAIN = {"gradient_checkpointing": False, "bf16": False}
# of each table, the sides: a name, a script, and what it is told beside the common settings
DEFAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (("yearling", "yearling", {}), ("TRL", "trl", {}))
MATCHED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("yearling", "yearling", {"dtype": "float32"}),
    ("TRL", "trl", PLAIN),
    ("TRL, by length", "trl", {**PLAIN, "train_sampling_strategy": "group_by_length"}),
    ("alpaca-lora-style", "alpaca", {**PLAIN, "train_sampling_strategy": "group_by_length"}),
    ("LLaMA-Factory", "llamafactory", PLAIN),
    ("LLaMA-Factory, by length", "llamafactory", {**PLAIN, "train_sampling_strategy": "group_by_length"}),
)
FACTORY = ("llamafactory==0.9.5",)  # in an environment of its own


TABLES = {"defaults": DEFAULTS, "matched": MATCHED}
PEERS = (MATCHED[2], MATCHED[3])  # those that try learning rates: the faster ways
RATES = (1e-4, 2e-4, 5e-4, 1e-3)
COMMON = {"lora": {"r": 16, "alpha": 32}, "epochs": 1.0, "learning_rate": 2e-4, "batch_size": 4}
COMMON |= {"warmup": 0.05, "schedule": "cosine", "seed": 42}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/training.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--rows", type=int, default=128, help="rows to learn at most (128)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="some models (all)")
    parser.add_argument("--only", nargs="+", choices=(*TABLES, "rates"), default=[*TABLES, "rates"], help="parts (all)")
    parser.add_argument("--run", type=Path, help="a run's folder whose accepted rows are learnt (the seeds)")
    envs = Path(tempfile.gettempdir()) / "yearling-peers"
    parser.add_argument("--peers-env", type=Path, default=envs, help=f"folder of the peers' environments ({envs})")
    given = parser.parse_args()
    if "matched" in given.only:
        try:
            PYTHONS["llamafactory"] = environment(given.peers_env / "llamafactory", FACTORY)
        except FailedError as error:
            PYTHONS["llamafactory"] = f"does not install: {error}"
    console, result = Console(soft_wrap=True, width=140), dict[str, Any]()
    records = _records(given.run)
    for name in given.models:
        student = open_student(MODELS[name])
        learnt, held = _rows(student, records, given.rows)
        console.print(f"{name}: {len(learnt)} rows to learn, {len(held)} held out")
        for title in given.only:
            if title == "rates":
                found = list(_rates(student, learnt, held))
                result |= {k: v for k, v in _ratios(f"{name}_rates", found).items() if k.endswith("loss")}
            else:
                found = [_side(student, learnt, held, COMMON, *side) for side in TABLES[title]]
                result |= _ratios(f"{name}_{title}", found)
            _print(console, f"{name}: {title}", found)
    for key, value in result.items():
        console.print(f"{key}: {value:.2f}")
    if given.json:
        print(json.dumps(result))


def _records(folder: Path | None) -> list[Record]:
    """The accepted rows of a run's train split, or the seeds."""
    if folder:
        run = open_run(folder.resolve().parents[1], folder.name)
        return accepted_split(run, load_recipe(run.path / "recipe.yaml"), "train")
    return as_records(load_seeds(None))


def _rows(student: Student, records: list[Record], count: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn, and rows that are held out."""
    proved = prove_rows(student, records)
    proved.hold()
    learnt = [row for place, row in enumerate(proved.rows) if place % HELD_OUT]
    return learnt[:count], proved.rows[::HELD_OUT][:HELD]


def _rates(student: Student, rows: list[Row], held: list[Row]) -> Iterator[dict[str, Any]]:
    """yearling, then the peers at each rate for as long as it took."""
    settings = Train().model_dump(mode="json") | {"epochs": epochs_of(Train(), len(rows))}
    own = _side(student, rows, held, settings, "yearling", "yearling", {})
    yield own
    for name, script, more in PEERS:
        short = settings | {"epochs": 0.5, "learning_rate": RATES[0]}
        pace = _side(student, rows, held, short, f"{name}, its pace", script, more)
        if "failed" in pace:
            yield pace
            continue
        for rate in RATES:
            long = short | {"epochs": 0.5 * own["seconds"] / pace["seconds"], "learning_rate": rate}
            yield _side(student, rows, held, long, f"{name}, {rate:g}", script, more)


def _side(
    student: Student,
    rows: list[Row],
    held: list[Row],
    settings: dict[str, Any],
    name: str,
    script: str,
    more: dict[str, Any],
) -> dict[str, Any]:
    """One run: tokens a second, memory, held-out loss; or why there is none."""
    print(f"{name} …", file=sys.stderr)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        given = {"base": student.folder, "settings": settings, "more": more}
        given["rows"] = [[row.tokens, row.labels] for row in rows]
        (work / "given.json").write_text(json.dumps(given), encoding="utf-8")
        python = PYTHONS.get(script, Path(sys.executable))
        if isinstance(python, str):
            return {"side": name, "failed": python}
        command = [str(python), str(HERE / "peers" / f"train_{script}.py"), str(work / "given.json"), folder]
        try:
            took = run(command, work if script != "yearling" else None, LIMIT_S)
        except FailedError as error:
            if script == "yearling":
                raise
            return {"side": name, "failed": str(error)}
        loss, base = in_fresh_process(student, held, work / "adapter", Weights("float32"))
    labels = settings["epochs"] * sum(label != IGNORE for row in rows for label in row.labels[1:])
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
