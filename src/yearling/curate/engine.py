"""The only door to Daft: one batch function over many Parquet files, on this machine or on a Ray cluster.

In: Parquet files, names of columns, a worker. Out: Parquet files in a folder of the step, and their paths.
Every step is a map: rows never meet each other here, so a machine that dies costs its rows' work and no more. What
compares rows reads the steps' files in one process. Paths are absolute, for workers have folders of their own.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from yearling.errors import UserError
from yearling.progress import say
from yearling.run_folder import read_json, write_json

if TYPE_CHECKING:
    import pyarrow as pa

DONE, COUNT = "done.json", "rows.txt"
LOOK_S = 1.0  # between two looks at how far a step is
BATCH = 16_384  # rows a worker holds at once
GROUP = 1_000_000  # rows of one query: what is lost where one fails; each starts its processes anew
SMALL = 20_000  # rows for which starting processes would cost more than they save
RETRIES = 2  # of a whole step, on a cluster

Work = Callable[..., "pa.StructArray"]
# What makes, in the process that works, the function that is given the columns of each batch; and what it is made of.
Worker = tuple[Callable[[Any], Work], Any]
Told = Callable[[int, int], None]


def _nobody(done: int, rows: int) -> None:
    """Where nobody wants to be told."""


def start(address: str | None) -> None:
    """Choose where steps run: on this machine, or on the Ray cluster at an address ("auto": the one of this machine).

    The first choice of a process holds.

    Raises UserError where a cluster is asked for and Ray is not installed, or none answers.
    """
    for name in ("DAFT_ANALYTICS_ENABLED", "RAY_USAGE_STATS_ENABLED", "DAFT_PROGRESS_BAR"):
        os.environ.setdefault(name, "0")
    if address is None:
        os.environ.setdefault("DAFT_RUNNER", "native")
        return
    try:
        import ray
    except ImportError:
        raise UserError("run_on: ray needs Ray. Install it: pip install 'yearling[ray]'.") from None
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {address}: {error}. Start one with `ray start --head`, "
            "or give its address as run_on: ray:host:port."
        ) from None
    import daft

    daft.set_runner_ray(noop_if_initialized=True)


def map_files(
    files: Sequence[Path], columns: Sequence[str], worker: Worker, schema: pa.Schema, out: Path, told: Told = _nobody
) -> list[Path]:
    """Give each batch of `columns` to the worker; the rows it returns land in `out`.

    `told` hears how many rows are done, and of how many. Work is cut into groups of files: a group that was finished
    under the same `out` is not done again, one that was not is done whole.
    """
    import pyarrow.parquet as pq

    sizes = [pq.read_metadata(path).num_rows for path in files]
    found, done, rows = list[Path](), 0, sum(sizes)
    # a cluster's machines work side by side anyway, and processes of a pool that die with one are not made anew
    spread = rows > SMALL and not _on_cluster()
    for number, group in enumerate(_groups(sizes)):
        some = [files[place] for place in group]
        inside, size = out / f"group-{number:04d}", sum(sizes[place] for place in group)
        with _watched(inside / COUNT, told, done, size, rows):
            found += _step(partial(_map, some, columns, worker, schema, spread), inside)
        done += size
        told(done, rows)
    return found


@contextmanager
def _watched(count: Path, told: Told, before: int, size: int, of: int) -> Iterator[None]:
    """Tell now and then how many rows are done: those before, and of `size` those that a step's processes noted."""
    over = Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if count.exists():
                noted = sum(map(int, count.read_text(encoding="ascii").split("\n")[:-1]))
                told(before + min(noted, size), of)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _groups(sizes: Sequence[int]) -> list[list[int]]:
    """Places of files, in order, gathered up to a group's rows."""
    groups, rows = list[list[int]](), GROUP
    for place, size in enumerate(sizes):
        if rows + size > GROUP:
            groups.append([])
            rows = 0
        groups[-1].append(place)
        rows += size
    return groups


def _on_cluster() -> bool:
    import daft

    return bool(daft.runners.get_or_infer_runner_type() == "ray")


def _step(work: Callable[[Path], list[str]], out: Path) -> list[Path]:
    """Do a step, whole, unless its mark says that it was done; the files that it says it wrote.

    What else lies there was left by a machine that died, and is not read.
    """
    if not (out / DONE).exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        write_json(out / DONE, {"files": sorted(Path(path).name for path in _again(work, out))})
    return [out / name for name in read_json(out / DONE)["files"]]


def _again(work: Callable[[Path], list[str]], out: Path) -> list[str]:
    """Do a step; where a cluster loses a machine in the middle of it, do it once more, whole."""
    if not _on_cluster():
        return work(out)
    from daft.exceptions import DaftCoreException
    from ray.exceptions import RayError

    for _ in range(RETRIES):
        try:
            return work(out)
        except (DaftCoreException, RayError) as error:
            say(f"curate: a step failed and is done again: {str(error).splitlines()[0][:200]}")
    return work(out)


def _map(
    files: Sequence[Path], columns: Sequence[str], worker: Worker, schema: pa.Schema, spread: bool, out: Path
) -> list[str]:
    import daft
    import pyarrow as pa

    struct = pa.struct(list(schema))
    maker, given = worker
    noted = (out / COUNT).resolve()

    class Working:
        def __init__(self) -> None:
            self.work = maker(given)

        @daft.method.batch(return_dtype=daft.DataType.from_arrow_type(struct), unnest=True, batch_size=BATCH)
        def __call__(self, *batch: Any) -> Any:
            arrays = [_whole(series.to_arrow()) for series in batch]
            said = self.work(*arrays).cast(struct)
            with noted.open("a", encoding="ascii") as count:  # so short a line is written at once or not
                count.write(f"{len(said)}\n")
            return daft.Series.from_arrow(said, name="rows")

    if spread:
        working: Any = daft.cls(Working, use_process=True, max_concurrency=os.cpu_count() or 1)()
    else:
        working = daft.cls(Working, use_process=False)()
    table = daft.read_parquet([str(path.resolve()) for path in files])
    table = table.select(working(*(daft.col(name) for name in columns)))
    return _written(table, out)


def _written(table: Any, out: Path) -> list[str]:
    """Write the rows of a query; the files that hold them."""
    paths: list[str] = table.write_parquet(str(out.resolve()), compression="zstd").to_pydict()["path"]
    return paths


def _whole(array: Any) -> Any:
    return array.combine_chunks() if hasattr(array, "combine_chunks") else array


def band_hashes(files: Sequence[Path], columns: Sequence[str], bands: int, rows: int, out: Path) -> list[Path]:
    """MinHash signatures of word pairs (Broder 1997), as one hash a band of `rows` minima.

    In: files of texts whose tokens have one space between two; `columns` are read as one text. Out: files of `id` and
    `b0`, `b1` …; two texts of Jaccard likeness s agree in at least one band with probability 1 - (1 - s^rows)^bands.
    """

    def work(out: Path) -> list[str]:
        import daft
        import daft.functions as f

        table = daft.read_parquet([str(path.resolve()) for path in files])
        text = daft.col(columns[0])
        for name in columns[1:]:
            text = text + " " + daft.col(name)
        minima = f.minhash(text, num_hashes=bands * rows, ngram_size=2, hash_function="xxhash3_64")
        table = table.select("id", minima.cast(daft.DataType.list(daft.DataType.uint32())).alias("minima"))
        hashes = [
            f.hash(f.slice(daft.col("minima"), band * rows, (band + 1) * rows), seed=band).alias(f"b{band}")
            for band in range(bands)
        ]
        return _written(table.select("id", *hashes), out)

    return _step(work, out)
