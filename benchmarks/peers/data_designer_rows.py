"""Rows by NeMo Data Designer: one LLM text column over a seed table of prompts.

In: base URL, rows, an empty folder. Out: one line of JSON. Its telemetry, metrics port, health check and profiling are
off where it has a setting for it; 64 requests in flight.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

os.environ["NEMO_TELEMETRY_ENABLED"] = "false"
os.environ["DATA_DESIGNER_HOME"] = sys.argv[3]

import data_designer.config as dd
import pandas as pd
from asked import CONCURRENCY, MAX_TOKENS, TEMPERATURE, clock, prompts, tell
from data_designer.interface import DataDesigner


def main() -> None:
    """Generate the rows and say how long it took."""
    url, rows, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    seeds = pd.DataFrame({"instruction": prompts(rows)})
    began = clock()
    provider = dd.ModelProvider(name="test", endpoint=url, provider_type="openai", api_key="none")
    model = dd.ModelConfig(
        alias="teacher",
        model="test",
        provider="test",
        skip_health_check=True,
        inference_parameters=dd.ChatCompletionInferenceParams(
            max_tokens=MAX_TOKENS, temperature=TEMPERATURE, max_parallel_requests=CONCURRENCY
        ),
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=seeds))
    builder.add_column(dd.LLMTextColumnConfig(name="answer", model_alias="teacher", prompt="{{ instruction }}"))
    designer = DataDesigner(artifact_path=folder, model_providers=[provider])
    designer.set_run_config(
        dd.RunConfig(otel_metrics_port=None, jinja_rendering_engine=dd.JinjaRenderingEngine.NATIVE, buffer_size=1000)
    )
    table = designer.create(builder, num_records=rows).load_dataset()
    tell(began, sum(1 for text in table["answer"] if text), version("data-designer"))


if __name__ == "__main__":
    main()
