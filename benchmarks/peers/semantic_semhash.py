"""Semantic duplicates by SemHash: its index over vectors that are there, its default backend, its self_deduplicate.

In: a folder with `vectors.npy` and `prompts.json`, an empty folder, how many of them, a cosine. Out there:
`earlier.npy`, the rows for which it found an earlier neighbour, read from its result after the clock has stopped.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from asked import clock, tell
from semhash import SemHash


def main() -> None:
    """Find the duplicates and say how long it took."""
    given, work, count, threshold = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    vectors = np.load(given / "vectors.npy")[:count]
    prompts = json.loads((given / "prompts.json").read_text(encoding="utf-8"))[:count]
    began = clock()
    hashed = SemHash.from_embeddings(vectors, prompts, model=None)  # the model is for other texts than these
    found = hashed.self_deduplicate(threshold)
    ended = clock()
    neighbours = found._selection_inputs[1]
    near = [row for row, (others, scores) in enumerate(neighbours) if ((others < row) & (scores >= threshold)).any()]
    np.save(work / "earlier.npy", np.array(near, np.int64))
    tell(began, len(vectors), version("semhash"), ended)


if __name__ == "__main__":
    main()
