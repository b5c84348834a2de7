"""Rows by distilabel: one TextGeneration step on its OpenAI-compatible LLM class.

In: base URL, rows, an empty folder. Out: one line of JSON. Its cache is off; its log is quiet.
The batch is its only setting of concurrency: all calls of a batch are in flight together, and the next batch waits
for the last of them. 250 was seen to be faster than 64 and 500, and two replicas slower than one.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

os.environ["DISTILABEL_LOG_LEVEL"] = "CRITICAL"

from asked import MAX_TOKENS, TEMPERATURE, clock, prompts, tell
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

BATCH = 250


def main() -> None:
    """Generate the rows and say how long it took."""
    url, rows, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    data = [{"instruction": prompt} for prompt in prompts(rows)]
    began = clock()
    with Pipeline(name="rows", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=data, batch_size=BATCH)
        llm = OpenAILLM(
            model="test",
            base_url=url,
            api_key="none",
            generation_kwargs={"max_new_tokens": MAX_TOKENS, "temperature": TEMPERATURE},
        )
        load >> TextGeneration(llm=llm, input_batch_size=BATCH, add_raw_input=False, add_raw_output=False)
    table = pipeline.run(use_cache=False)["default"]["train"]
    tell(began, sum(1 for text in table["generation"] if text), version("distilabel"))


if __name__ == "__main__":  # its steps are processes that import this file
    main()
