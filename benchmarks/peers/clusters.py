"""Which rows hang together, for peers that tell pairs.

In: a number of rows, pairs of them. Out: for each row the first row of its cluster. Runs in the peers' own
environments: numpy only.
"""

from __future__ import annotations

import numpy as np


def clusters(rows: int, pairs: np.ndarray) -> np.ndarray:
    """The first row of each row's cluster."""
    kept = np.arange(rows)
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    while True:
        before = kept.copy()
        least = np.minimum(kept[low], kept[high])
        for side in (kept[low], kept[high], low, high):
            np.minimum.at(kept, side, least)
        kept = kept[kept]
        if (kept == before).all():
            return kept
