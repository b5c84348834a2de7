"""Self-Instruct with a real teacher of 135 million parameters: rows of it stand, and each names its whole origin."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from golden_line import yearling

from yearling.measure.accepted import accepted
from yearling.recipe_file import load_recipe
from yearling.record import read_records
from yearling.run_folder import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
# Short seeds, few of them shown, few new tasks a call: what so small a teacher can follow.
SEEDS = [
    ("Name the capital city of the country.", "Peru", "Lima", False),
    ("Say whether the animal is a bird or a fish.", "trout", "fish", True),
    ("Explain in one sentence why ice floats on water.", "", "Ice is less dense than water.", False),
    ("Is the number even or odd?", "17", "odd", True),
    ("Give one tip for sleeping better.", "", "Go to bed at the same time every night.", False),
    ("Translate the word into French.", "bread", "pain", False),
]
RECIPE = """
name: small
teacher: {{model: local:shipped:smollm2-135m-instruct, concurrency: 2}}
generate:
  method: self-instruct
  seeds: seeds.jsonl
  num: 2
  temperature: 0.7
  self_instruct: {{human: 3, machine: 1, per_call: 3, completion: {completion}}}
curate: {{}}
"""


@pytest.mark.parametrize("completion", ["true", "false"], ids=["raw prompts", "chat in JSON"])
def test_one_row_in_forty_calls_stands(tmp_path: Path, completion: str) -> None:
    keys = ("instruction", "input", "output", "classification")
    lines = [json.dumps(dict(zip(keys, seed, strict=True))) for seed in SEEDS]
    (tmp_path / "seeds.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(completion=completion), encoding="utf-8")
    done = yearling(tmp_path, "run", str(path), timeout=1100)
    assert done.code == 0, done.err
    run = Run(tmp_path, "small")
    manifest = run.manifest("generate")
    assert manifest is not None
    standing = accepted(run, load_recipe(path))
    assert len(standing) >= max(1, manifest.counts["calls"] / 40)
    assert len(list(read_records(run.records))) == 2
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        settled = {key: sample for key, sample in db.execute("SELECT key, sample FROM calls WHERE state = 'settled'")}
    for record in standing:
        origin = record.origin
        assert (origin.method, origin.teacher) == ("self-instruct", "local:shipped:smollm2-135m-instruct")
        assert origin.licence != "unknown" and origin.cost_usd == 0.0 and origin.prompt_digest
        assert len(origin.calls) >= 3 and set(origin.calls) <= set(settled)
        call, item, place = origin.key.rsplit("/", 2)
        assert call in origin.calls and item.isdigit() and place.isdigit()
        assert len(origin.source.split(", ")) == 4
        assert record.kind in ("", "classification")
        assert record.prompt and record.completion
