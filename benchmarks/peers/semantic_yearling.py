"""Semantic duplicates by yearling: the pairs of vectors above a cosine.

In: a folder with `vectors.npy`, an empty folder, how many of them, a cosine. Out there: `earlier.npy`, the rows for
which it found an earlier neighbour.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from asked import clock, tell

from yearling.measure.neighbours import pairs_above


def main() -> None:
    """Find the duplicates and say how long it took."""
    given, work, count, threshold = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    vectors = np.load(given / "vectors.npy")[:count]
    began = clock()
    near = np.unique(pairs_above(vectors, threshold).later)
    ended = clock()
    np.save(work / "earlier.npy", near)
    tell(began, len(vectors), version("yearling"), ended)


if __name__ == "__main__":
    main()
