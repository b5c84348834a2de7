"""Near duplicates by text-dedup: its MinHash command, as it comes but for its hash.

In: a folder of Parquet files with `id` and `text`, an empty folder, rows. Out there: `kept.npy`, for each row the first
row of its cluster; one line of JSON. The hash is xxh3 in 32 bits, which it offers as faster than its default, sha1 in
64. The clock stops when its own output is written; the clusters are read from its memory after that.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from asked import clock, tell
from text_dedup import minhash


def main() -> None:
    """Find the duplicates and say how long it took."""
    texts, work, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    command = ["--path", "parquet", "--data_files", str(texts / "*.parquet"), "--split", "train", "--column", "text"]
    command += ["--cache_dir", str(work / "cache"), "--output", str(work / "output"), "--num_proc", "2"]
    command += ["--hash_func", "xxh3", "--hash_bits", "32", "--threshold", "0.7", "--ngram", "5"]
    began = clock()
    minhash.main(command, standalone_mode=False)
    ended = clock()
    np.save(work / "kept.npy", np.array([minhash.uf.find(row) for row in range(rows)]))
    tell(began, rows, version("text-dedup"), ended)


if __name__ == "__main__":
    main()
