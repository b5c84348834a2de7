"""Near duplicates by datatrove: the four steps of its MinHash example, with its defaults, two tasks at a time.

In: a folder of Parquet files with `id` and `text`, an empty folder, rows. Out there: `kept.npy`, for each row the first
row of its cluster; one line of JSON. Its words are spaCy's, as it has it for English. The clock stops when its own
output is written; the pairs are read from its files after that.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ["DATATROVE_COLORIZE_LOGS"] = "0"

import numpy as np
import pyarrow.parquet as pq
from asked import clock, tell
from clusters import clusters
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

TASKS = 2


def deduplicate(texts: Path, work: Path) -> None:
    """Run the steps one after another."""
    config, read = MinhashConfig(), ParquetReader(str(texts))
    steps = [
        (TASKS, [read, MinhashDedupSignature(str(work / "signatures"), config)]),
        (config.num_buckets, [MinhashDedupBuckets(str(work / "signatures"), str(work / "pairs"), config=config)]),
        (1, [MinhashDedupCluster(str(work / "pairs"), str(work / "remove"), config=config)]),
        (TASKS, [read, MinhashDedupFilter(str(work / "remove")), ParquetWriter(str(work / "output"))]),
    ]
    for number, (tasks, pipeline) in enumerate(steps):
        logs = str(work / f"logs-{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(tasks, TASKS), logging_dir=logs).run()


def pairs(texts: Path, work: Path) -> np.ndarray:
    """The rows that it found alike, two by two; it names them by task and by their order there."""
    files = sorted(map(str, texts.glob("*.parquet")))
    rows = [pq.read_table(files[task::TASKS], columns=["id"])["id"].to_numpy() for task in range(TASKS)]
    found = np.concatenate([np.fromfile(path, "<u4").reshape(-1, 4) for path in (work / "pairs").glob("*.dups")])
    sides = []
    for side in (found[:, :2], found[:, 2:]):
        told = np.empty(len(side), np.int64)
        for task in range(TASKS):
            here = side[:, 0] == task
            told[here] = rows[task][side[here, 1]].astype(np.int64)
        sides.append(told)
    return np.stack(sides, axis=1)


def main() -> None:
    """Find the duplicates and say how long it took."""
    texts, work, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    began = clock()
    deduplicate(texts, work)
    ended = clock()
    np.save(work / "kept.npy", clusters(rows, pairs(texts, work)))
    tell(began, rows, version("datatrove"), ended)


if __name__ == "__main__":  # its tasks are processes that import this file
    main()
