"""Rows by bespokelabs-curator: its LLM class on the OpenAI backend.

In: base URL, rows, an empty folder. Out: one line of JSON. Its cache, viewer and telemetry are off, its rate limits out
of reach, 64 requests in flight.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

os.environ |= {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_CACHE": "true",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it is fetched from the network
    "OPENAI_API_KEY": "none",
}

# its dependency carries the token table that it would otherwise fetch
import litellm.litellm_core_utils.default_encoding  # noqa: F401
from asked import CONCURRENCY, MAX_TOKENS, TEMPERATURE, clock, prompts, tell
from bespokelabs import curator

NO_LIMIT = 10**9


def main() -> None:
    """Generate the rows and say how long it took."""
    url, rows, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    began = clock()
    llm = curator.LLM(
        model_name="test",
        backend="openai",
        generation_params={"max_tokens": MAX_TOKENS, "temperature": TEMPERATURE},
        backend_params={
            "base_url": url,
            "max_concurrent_requests": CONCURRENCY,
            "max_requests_per_minute": NO_LIMIT,
            "max_tokens_per_minute": NO_LIMIT,
        },
    )
    table = llm(prompts(rows), working_dir=folder).dataset
    tell(began, sum(1 for text in table["response"] if text), version("bespokelabs-curator"))


if __name__ == "__main__":
    main()
