"""The curate stage by yearling on a run whose records are there: the near judge alone, or all default judges.

In: a project folder with `runs/bench/records`, "near" or "judges". Out: one line of JSON with the stage's counts; for
"near", `kept.npy` in the project folder, for each row the first row of its cluster.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import daft  # noqa: F401  opened lazily; imported before the clock starts, as the peers' imports are
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from asked import clock

from yearling.curate.stage import run_curate
from yearling.recipe import JudgeName, Recipe
from yearling.run_folder import Run

NEAR = {"off": list(get_args(JudgeName)), "novelty": None, "near": {"above": 0.7, "on": "both"}}


def kept_rows(run: Run) -> np.ndarray:
    """For each row the row that its verdict says is kept in its place."""
    ids = pq.read_table(run.records, columns=["id", "sequence"]).sort_by("sequence")["id"].combine_chunks()
    said = pq.read_table(run.verdicts / "near", columns=["record", "state", "reason"])
    failed = said.filter(pc.equal(said["state"], "fail"))
    named = pc.extract_regex(failed["reason"], r"nearly the same as (?P<id>r1:[0-9a-f]+)")
    kept = np.arange(len(ids))
    rows, of = (pc.index_in(column, value_set=ids) for column in (failed["record"], pc.struct_field(named, "id")))
    kept[rows.to_numpy()] = of.to_numpy()
    return kept


def main() -> None:
    """Run the stage and say how long it took."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    run = Run(folder, "bench")
    run.create()
    recipe = Recipe.model_validate({"name": "bench", "curate": NEAR if what == "near" else {}})
    pc.index_in(pa.array(["a"]), value_set=pa.array(["a"]))
    began = clock()
    counts = run_curate(recipe, run)
    seconds, cpu = (after - before for before, after in zip(began, clock(), strict=True))
    if what == "near":
        np.save(folder / "kept.npy", kept_rows(run))
    told = {"seconds": seconds, "cpu": cpu, "rows": counts["in"], "version": version("yearling"), "counts": counts}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":  # its workers are processes that may import this file
    main()
