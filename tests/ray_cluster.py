"""Curation on a two-node Ray cluster on loopback, in a process of its own: `python ray_cluster.py PROJECT [kill]`.

In: a project folder whose run `x` has records. Out: one line of JSON: who was accepted, and whether a worker was killed
while a step was under way.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

for name in ("RAY_USAGE_STATS_ENABLED", "DAFT_ANALYTICS_ENABLED"):
    os.environ[name] = "0"

from ray.cluster_utils import Cluster  # noqa: E402

from yearling.curate import engine  # noqa: E402
from yearling.curate.stage import run_curate  # noqa: E402
from yearling.measure.accepted import accepted  # noqa: E402
from yearling.recipe import Recipe  # noqa: E402
from yearling.run_folder import Run  # noqa: E402


def main() -> None:
    """Start the cluster, judge, tell."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    room: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 150 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=room)
    worker = cluster.add_node(**room)
    cluster.wait_for_nodes()
    run = Run(Path(sys.argv[1]), "x")
    recipe = Recipe.model_validate({"name": "x", "curate": {}, "run_on": f"ray:{cluster.address}"})
    killed: list[bool] = []
    if "kill" in sys.argv:
        threading.Thread(target=kill, args=(cluster, worker, run, killed), daemon=True).start()
    run_curate(recipe, run)
    print(json.dumps({"accepted": [record.id for record in accepted(run, recipe)], "killed": killed}), flush=True)
    os._exit(0)  # the cluster's own shutdown refuses while this process is its client


def kill(cluster: Cluster, worker: Any, run: Run, killed: list[bool]) -> None:
    """Kill the worker a moment after the first step began to work, and say whether it still did."""
    while not (found := list(run.path.glob("curate/work/reading-*/group-*"))):
        time.sleep(0.05)
    time.sleep(4)
    cluster.remove_node(worker, allow_graceful=False)
    killed.append(not (found[0] / engine.DONE).exists())


if __name__ == "__main__":
    main()
