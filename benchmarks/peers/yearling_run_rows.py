"""Rows by the whole product: `yearling run` on a recipe that borrows the prompts and has the teacher answer them.

In: base URL, rows, an empty folder. Out: one line of JSON. Import, ledger, cap, filters, records and manifests are all
in the time; the cap never binds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from asked import CONCURRENCY, MAX_TOKENS, TEMPERATURE, clock, prompts, tell

from yearling.record import read_records

RECIPE = """name: bench
teacher: {{model: "openai:test", base_url: "{url}", concurrency: {concurrency}, price: {{input: 0.1, output: 0.4}}}}
budget: {{max_cost_usd: 1000}}
import: [{{path: prompts.jsonl, answer: true}}]
generate: {{method: answer, num: {rows}, answer: {{max_tokens: {max_tokens}, temperature: {temperature}}}}}
"""


def main() -> None:
    """Run the recipe in the folder and say how long it took."""
    url, rows, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts(rows)]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = RECIPE.format(url=url, concurrency=CONCURRENCY, rows=rows, max_tokens=MAX_TOKENS, temperature=TEMPERATURE)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    command = [sys.executable, "-c", "from yearling.cli import main; main()", "run", "recipe.yaml"]
    began = clock()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL)
    ended = clock()
    if done.returncode:
        sys.exit(done.returncode)
    records = sum(1 for record in read_records(folder / "runs" / "bench" / "records") if record.completion)
    tell(began, records, version("yearling"), ended)


if __name__ == "__main__":
    main()
