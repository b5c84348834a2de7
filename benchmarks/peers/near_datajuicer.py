"""Near duplicates by Data-Juicer: its document_minhash_deduplicator, with its defaults, in two processes.

In: a folder of Parquet files with `id` and `text`, an empty folder, rows. Out there: `kept.npy`, for each row the first
row of its cluster; one line of JSON. The clock stops when its own output is written; the clusters are read from its
tables after that. Its two steps are called as its `run` calls them, but for the emptying of a GPU that follows there:
that would install torch.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from asked import clock, tell
from clusters import clusters
from data_juicer.core.data import NestedDataset
from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
from datasets import load_dataset


def main() -> None:
    """Find the duplicates and say how long it took."""
    texts, work, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    began = clock()
    files, cache = str(texts / "*.parquet"), str(work / "cache")
    table = NestedDataset(load_dataset("parquet", data_files=files, split="train", cache_dir=cache))
    judge = DocumentMinhashDeduplicator()
    kept, _ = judge.process(table.map(judge.compute_hash, num_proc=2))
    kept.to_parquet(str(work / "output.parquet"))
    ended = clock()
    groups = [sorted(rows) for table in judge.hash_tables for rows in table.values() if len(rows) > 1]
    pairs = [(group[0], other) for group in groups for other in group[1:]]
    np.save(work / "kept.npy", clusters(rows, np.array(pairs, np.int64).reshape(-1, 2)))
    tell(began, rows, version("py-data-juicer"), ended)


if __name__ == "__main__":
    main()
