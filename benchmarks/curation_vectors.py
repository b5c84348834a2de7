"""Vectors of the curation benchmark's prompts, as yearling's static model has them.

In: the folder of `curation_data.py`, rows, an empty folder. Out there: `prompts.json`, the different prompts of these
rows in order, and `vectors.npy`, 256 dimensions of length one for each; one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from curation_data import parts_of

from yearling.measure.embeddings import embed


def prompts_of(folder: Path, rows: int) -> list[str]:
    """The different prompts of the first rows."""
    texts = (text for path in parts_of(folder, "texts", rows) for text in pq.read_table(path)["text"].to_pylist())
    return list(dict.fromkeys(text.partition("\n\n")[0] for text in texts))


def main() -> None:
    """Write both files."""
    folder, rows, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    began = time.perf_counter()
    prompts = prompts_of(folder, rows)
    (out / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    np.save(out / "vectors.npy", embed(prompts))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
