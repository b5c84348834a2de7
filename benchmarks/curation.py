"""The curation benchmark: yearling's judges against other tools, on one million planted rows and two cores.

In: flags. Out: tables on standard output and, with --json, one last line of JSON whose `ratio_...` keys say how many
times better yearling is than a peer or than what it promises. Three parts:

near      Near duplicates: rows a second, and recall and precision on the planted rows (`curation_data.py`). yearling
          runs its whole curate stage with the near judge alone, records in and verdicts out; each peer runs its own
          MinHash command from Parquet to its written output. A peer first does 20,000 rows; one that would take more
          than `--minutes` for all does as many as fit, which flatters it, as it has fewer rows to join.
semantic  Pairs of vectors above a cosine: the same vectors to yearling and to SemHash; recall is of the rows, in a
          sample, that have an earlier neighbour by every dot product.
judges    All default judges together: rows a second and peak memory; with --two-million at two million rows as well.

Each run is a process of its own on two cores, one run a side; the clock starts after its imports. Memory is the
proportional set size of the whole process tree, looked at twice a second, or its greatest process's own peak where
that is more. A peer that does not install or run is named with the reason. It is no judgement of quality beyond the
planted rows: those say nothing, and likeness there is in words alone. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import curation_data
import numpy as np
from curation_data import PART, parts_of, truth_of
from rich.console import Console
from rich.table import Table
from sides import CORES, GIB, FailedError, Took, environment, run

HERE = Path(__file__).resolve().parent
# Pinned where the peer's own ranges let in what it was not written for, or leave out what it imports.
PEERS = {
    "textdedup": ("text-dedup==0.4.0", "datasets==5.2.0", "numpy==2.4.6"),
    "datatrove": ("datatrove[processing,io]==0.10.1", "spacy==3.8.18", "numpy==2.4.6"),
    "datajuicer": ("py-data-juicer==1.6.1", "aiohttp==3.14.5", "ray==2.60.0", "scipy==1.17.1", "numpy==2.4.6"),
    "semhash": ("semhash==0.5.0", "usearch==2.26.6", "numpy==2.4.6"),
}
NEAR_PEERS = ("textdedup", "datatrove", "datajuicer")
PROBE = 20_000  # rows from which a peer's time for all is told
FEW_VECTORS = 100_000
COSINE = 0.9
CHECKED, MARGIN = 10_000, 0.001  # rows whose neighbours are counted out; how far above the cosine a neighbour must be
# What yearling promises of a million rows: rows a second of all default judges, recall, precision; and GiB by rows.
RATE, RECALL, PRECISION = 5000, 0.95, 0.99
MEMORY = {1_000_000: 4.0, 2_000_000: 6.0}
OWN_LIMIT_S = 3600
BUSY = 0.4  # load a core, before anything is measured


@dataclass(frozen=True)
class Bench:
    """What all parts share: where the rows are and how many, the sides' Pythons, limits, where news goes."""

    data: Path
    rows: int
    pythons: dict[str, Path]
    missing: dict[str, str]
    minutes: float
    news: Console

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder on the file system of the rows."""
        with tempfile.TemporaryDirectory(dir=self.data, ignore_cleanup_errors=True) as name:
            yield Path(name)


def main() -> None:
    """Measure and print."""
    given = _flags()
    if not sys.platform.startswith("linux"):
        sys.exit("this benchmark reads /proc: it runs on Linux only")
    width = max(120, shutil.get_terminal_size().columns)  # the tables are wide
    console, news = Console(soft_wrap=True, width=width), Console(stderr=True, soft_wrap=True)
    bench = Bench(given.data, given.rows, {"yearling": Path(sys.executable)}, {}, given.minutes, news)
    peers = [name for name in PEERS if ("semantic" if name == "semhash" else "near") in given.only]
    for name in peers if given.peers else ():
        news.print(f"environment of {name} …")
        try:
            bench.pythons[name] = environment(given.peers_env / name, PEERS[name])
        except FailedError as error:
            bench.missing[name] = f"does not install: {error}"
    news.print("rows …")
    curation_data.make(given.data, 2_000_000 if given.two_million else given.rows)
    result, loads = dict[str, Any](rows=given.rows), [os.getloadavg()[0]]
    try:
        if "near" in given.only:
            result["near"] = _near(bench)
        if "semantic" in given.only:
            result["semantic"] = _semantic(bench)
        if "judges" in given.only:
            result["judges"] = [
                _curate(bench, "judges", rows) for rows in (given.rows, *[2_000_000] * given.two_million)
            ]
    except FailedError as error:
        sys.exit(f"yearling's own side failed: {error}")
    loads.append(os.getloadavg()[0])
    result |= {"missing": bench.missing, "machine": _machine(loads)}
    result = _ratios(result) | result
    _print(console, result)
    if given.json:
        print(json.dumps(result))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/curation.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    place = Path(tempfile.gettempdir())
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--rows", type=int, default=1_000_000, help=f"rows, in parts of {PART} (1000000)")
    parser.add_argument("--quick", action="store_true", help="a smoke run of 20,000 rows: the numbers mean little")
    parser.add_argument("--two-million", action="store_true", help="the judges at two million rows as well")
    parser.add_argument("--only", nargs="+", choices=("near", "semantic", "judges"), help="some parts (all)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="only yearling")
    parser.add_argument("--minutes", type=float, default=15, help="what a peer may take for all rows (15)")
    envs, data = place / "yearling-peers", place / "yearling-curation"
    parser.add_argument("--peers-env", type=Path, default=envs, help=f"folder of the peers' environments ({envs})")
    parser.add_argument("--data", type=Path, default=data, help=f"folder of the rows, kept ({data})")
    given = parser.parse_args()
    given.only = given.only or ["near", "semantic", "judges"]
    given.rows = PROBE if given.quick else given.rows
    if given.rows % PART or given.rows < 2 * PART:
        parser.error(f"--rows must be a multiple of {PART}, and {2 * PART} at least")
    return given


# -- near duplicates


def _near(bench: Bench) -> dict[str, dict[str, Any]]:
    """Of each side: rows, seconds, processor, memory, and how right it was."""
    found = {"yearling": _curate(bench, "near", bench.rows)}
    for name in NEAR_PEERS:
        if name in bench.pythons:
            try:
                found[name] = _near_peer(bench, name)
            except FailedError as error:
                bench.missing[name] = f"does not run: {error}"
    return found


def _near_peer(bench: Bench, name: str) -> dict[str, Any]:
    """As many rows as it can do in the minutes; half of them where that turns out to be too many."""
    best = _deduplicated(bench, name, min(PROBE, bench.rows))
    fitting = int(best["rows_per_second"] * bench.minutes * 60 * 0.9) // PART * PART
    rows = bench.rows if best["seconds"] * bench.rows / best["rows"] <= bench.minutes * 60 else fitting
    note: dict[str, str] = {}
    while rows > best["rows"]:
        try:
            return _deduplicated(bench, name, rows) | note
        except FailedError as error:
            note = {"note": f"with {rows:,} rows it failed: {error}"}
            bench.news.print(f"{name}: {note['note']}")
            rows = rows // 2 // PART * PART
    return best | note


def _deduplicated(bench: Bench, name: str, rows: int) -> dict[str, Any]:
    with bench.folder() as work:
        texts = work / "texts"
        _link(parts_of(bench.data, "texts", rows), texts)
        command = [str(bench.pythons[name]), str(HERE / "peers" / f"near_{name}.py"), str(texts), str(work), str(rows)]
        took = run(command, work, bench.minutes * 120)
        return _told(bench, name, rows, took) | curation_data.score(
            truth_of(bench.data, rows), np.load(work / "kept.npy")
        )


def _curate(bench: Bench, what: str, rows: int) -> dict[str, Any]:
    """The curate stage on so many rows."""
    with bench.folder() as work:
        _link(parts_of(bench.data, "records", rows), work / "runs" / "bench" / "records")
        script = str(HERE / "peers" / "curate_yearling.py")
        took = run([str(bench.pythons["yearling"]), script, str(work), what], None, OWN_LIMIT_S)
        told = _told(bench, f"yearling ({what})", rows, took) | {"counts": took.told["counts"]}
        if what == "near":
            told |= curation_data.score(truth_of(bench.data, rows), np.load(work / "kept.npy"))
        return told


def _told(bench: Bench, name: str, rows: int, took: Took) -> dict[str, Any]:
    rate = rows / took.seconds
    bench.news.print(f"{name}: {rows:,} rows, {took.seconds:.1f} s, {rate:,.0f} a second, {took.peak_gib:.2f} GiB")
    return {
        "rows": rows,
        "seconds": took.seconds,
        "rows_per_second": rate,
        "processor_s": took.cpu,
        "peak_gib": took.peak_gib,
        "version": took.told["version"],
    }


def _link(files: Sequence[Path], folder: Path) -> None:
    """The same files in another folder, without a copy."""
    folder.mkdir(parents=True)
    for path in files:
        try:
            os.link(path, folder / path.name)
        except OSError:  # a file system without such links
            shutil.copy(path, folder / path.name)


# -- semantic duplicates


def _semantic(bench: Bench) -> list[dict[str, Any]]:
    """Of each size and side: vectors, seconds, processor, memory, recall."""
    found: list[dict[str, Any]] = []
    with bench.folder() as given:
        command = [sys.executable, str(HERE / "curation_vectors.py"), str(bench.data), str(bench.rows), str(given)]
        try:
            run(command, None, OWN_LIMIT_S)
        except FailedError as error:
            raise FailedError(f"the vectors were not made: {error}") from None
        vectors = np.load(given / "vectors.npy", mmap_mode="r", allow_pickle=False)
        sizes = sorted({min(FEW_VECTORS, len(vectors)), len(vectors)})
        for size in sizes:
            checked, true = _true_neighbours(vectors[:size])
            for name in ("yearling", "semhash"):
                if name not in bench.pythons or _too_long(bench, name, size, found):
                    continue
                try:
                    found.append(_paired(bench, name, given, size) | {"true": len(true)})
                except FailedError as error:
                    if name == "yearling":
                        raise
                    bench.missing[f"{name}, {size:,} vectors"] = f"does not run: {error}"
                    continue
                near = np.intersect1d(found[-1].pop("earlier"), checked)
                found[-1]["recall"] = float(np.isin(true, near).mean()) if len(true) else 1.0
    return found


def _too_long(bench: Bench, name: str, size: int, found: Sequence[dict[str, Any]]) -> bool:
    """Whether a peer that did fewer vectors would take more than the minutes; it is told as missing then."""
    minutes = next((s["seconds"] / s["rows"] * size / 60 for s in found if s["side"] == name), 0.0)
    if name == "yearling" or minutes <= bench.minutes:
        return False
    bench.missing[f"{name}, {size:,} vectors"] = f"not run: it would take more than {minutes:.0f} minutes"
    return True


def _paired(bench: Bench, name: str, given: Path, size: int) -> dict[str, Any]:
    with bench.folder() as work:
        script = str(HERE / "peers" / f"semantic_{name}.py")
        command = [str(bench.pythons[name]), script, str(given), str(work), str(size), str(COSINE)]
        took = run(command, None if name == "yearling" else work, bench.minutes * 120)
        return _told(bench, f"{name} (vectors)", size, took) | {"side": name, "earlier": np.load(work / "earlier.npy")}


def _true_neighbours(vectors: Any) -> tuple[Any, Any]:
    """A sample of rows, and those of them that have an earlier neighbour, by every product."""
    checked = np.unique(np.random.default_rng(1).integers(0, len(vectors), CHECKED))
    asked, near = np.asarray(vectors[checked]), np.zeros(len(checked), bool)
    for start in range(0, len(vectors), PART):
        some = np.asarray(vectors[start : start + PART])
        earlier = start + np.arange(len(some))[None, :] < checked[:, None]
        near |= ((asked @ some.T >= COSINE + MARGIN) & earlier).any(axis=1)
    return checked, checked[near]


# -- what is told


def _ratios(result: dict[str, Any]) -> dict[str, float]:
    told: dict[str, float] = {}
    if "near" in result:
        own = result["near"]["yearling"]
        sides = {name: side for name, side in result["near"].items() if name != "yearling"}
        told |= {f"ratio_near_vs_{name}": own["rows_per_second"] / s["rows_per_second"] for name, s in sides.items()}
        if sides:
            told["ratio_near_vs_fastest"] = min(told.values())
        told |= {"ratio_near_recall": own["recall"] / RECALL, "ratio_near_precision": own["precision"] / PRECISION}
        told |= _memory("near", own)
    for theirs in result.get("semantic", ()):
        for own in result["semantic"]:
            if theirs["side"] == "semhash" and own["side"] == "yearling" and own["rows"] == theirs["rows"]:
                told[f"ratio_semantic_{own['rows']}_vs_semhash"] = theirs["seconds"] / own["seconds"]
    for own in result.get("judges", ()):
        told |= _memory("judges", own)
        if own["rows"] == result["rows"]:
            told["ratio_judges_rows_per_second"] = own["rows_per_second"] / RATE
    return told


def _memory(part: str, own: dict[str, Any]) -> dict[str, float]:
    """Memory promised over memory taken, where something was promised for so many rows."""
    rows = own["rows"]
    return {f"ratio_{part}_memory_{rows}": MEMORY[rows] / own["peak_gib"]} if rows in MEMORY else {}


def _machine(loads: Sequence[float]) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "cores": os.cpu_count(),
        "cores_used": min(CORES, os.cpu_count() or CORES),
        "processor": model or platform.machine(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in loads],
    }


def _print(console: Console, result: dict[str, Any]) -> None:
    if "near" in result:
        _print_near(console, result["near"])
    if "semantic" in result:
        _print_semantic(console, result["semantic"])
    for own in result.get("judges", ()):
        taken = ", ".join(f"{name} {count:,}" for name, count in own["counts"].items() if count)
        console.print(
            f"all default judges: {own['rows']:,} rows, {own['rows_per_second']:,.0f} rows/s, "
            f"processor {own['processor_s']:.0f} s, peak {own['peak_gib']:.2f} GiB ({taken})"
        )
    for name, value in result.items():
        if name.startswith("ratio_"):
            console.print(f"{name}: {value:.2f}")
    for name, reason in result["missing"].items():
        console.print(f"{name}: not measured, {reason}", markup=False)
    machine = result["machine"]
    if machine["load"][0] > BUSY * machine["cores"]:
        console.print("Other work ran on this machine: measure again when it is idle.")
    console.print(
        f"{machine['cores_used']} of {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, load {machine['load'][0]} before and "
        f"{machine['load'][1]} after",
        markup=False,
        highlight=False,
    )


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("side", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _cells(side: dict[str, Any]) -> tuple[str, ...]:
    """What all tables begin with after the side's name."""
    return (
        f"{side['rows']:,}",
        f"{side['rows_per_second']:,.0f}",
        f"{side['processor_s'] / side['rows'] * 1e6:,.0f}",
        f"{side['peak_gib']:.2f}",
    )


def _print_near(console: Console, near: dict[str, dict[str, Any]]) -> None:
    table = _table(
        "near duplicates: of the planted ones, and of what was taken out",
        ("rows", "rows/s", "processor\nµs a row", "peak\nGiB", "recall\nnear", "recall\nexact", "precision",
         "templates\ntaken out", "yearling's rows/s\nover its"),
    )  # fmt: skip
    for name, side in near.items():
        table.add_row(
            f"{name} {side['version']}",
            *_cells(side),
            f"{side['recall']:.4f}",
            f"{side['recall_exact']:.4f}",
            f"{side['precision']:.4f}",
            f"{side['templates']:,}",
            "" if name == "yearling" else f"{near['yearling']['rows_per_second'] / side['rows_per_second']:.1f}",
        )
    console.print(table)
    for name, side in near.items():
        if "note" in side:
            console.print(f"{name}: {side['note']}", markup=False)


def _print_semantic(console: Console, sides: Sequence[dict[str, Any]]) -> None:
    table = _table(
        f"vectors with a neighbour above {COSINE}",
        ("vectors", "vectors/s", "processor\nµs each", "peak\nGiB", "recall", "of rows"),
    )
    for side in sides:
        table.add_row(f"{side['side']} {side['version']}", *_cells(side), f"{side['recall']:.4f}", f"{side['true']:,}")
    console.print(table)


if __name__ == "__main__":
    main()
