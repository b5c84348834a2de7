"""Where each record's family stands between train and test, for all records of a corpus at once.

In: a corpus whose texts were read. Out: one number a record, as `measure/accepted.py` has it for a single one.
The numbers follow from the records alone, so they are kept in the run and read again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from yearling.curate.corpus import Corpus
from yearling.measure.accepted import Kin, place_of, roots


def _path(corpus: Corpus) -> Path:
    return corpus.run.path / "curate" / f"places-{corpus.digest[:16]}.npy"


def places_known(corpus: Corpus) -> bool:
    """Whether `places` needs no texts."""
    return _path(corpus).exists()


def places(corpus: Corpus) -> npt.NDArray[np.float64]:
    """For each record a number in [0, 1): what lies below the recipe's test share is held out."""
    path = _path(corpus)
    if not path.exists():
        folded = corpus.in_order(corpus.texts, "folded")["folded"].to_pylist()
        ids = corpus.ids.to_pylist()
        found = roots([Kin(*kin) for kin in zip(ids, folded, corpus.parents, strict=True)])
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob("places-*.npy"):
            old.unlink()
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, np.array([place_of(found[name]) for name in ids]), allow_pickle=False)
        temporary.replace(path)
    known: npt.NDArray[np.float64] = np.load(path, allow_pickle=False)
    return known
