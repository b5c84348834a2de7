"""Vectors of a corpus's rows: made batch by batch by the engine, read back in birth order.

In: a corpus whose texts were read, the name of a model. Out: one row of float16 a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from yearling.curate import engine
from yearling.curate.corpus import Corpus
from yearling.curate.semantic import row_text
from yearling.measure.embeddings import embed
from yearling.record import text_digest

if TYPE_CHECKING:
    import pyarrow as pa


def vectors_of(corpus: Corpus, model: str, prompts_alone: bool = False) -> npt.NDArray[np.float16]:
    """One vector of length one a record, 2 bytes a number; of prompt and answer read as one text, or of the prompt."""
    columns = ("prompt",) if prompts_alone else ("prompt", "completion")
    out = corpus.work / f"vectors-{'-'.join(columns)}-{corpus.digest[:16]}-{text_digest(model)[:8]}"
    files = engine.map_files(corpus.texts, ("id", *columns), (worker, model), _schema(), out, corpus.told)
    column = corpus.in_order(files, "vector")["vector"]
    rows = np.empty((len(corpus), len(column[0].as_py()) // 2), np.float16)
    at = 0
    for chunk in column.chunks:
        rows[at : at + len(chunk)] = np.frombuffer(b"".join(chunk.to_pylist()), np.float16).reshape(len(chunk), -1)
        at += len(chunk)
    return rows


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("vector", pa.binary())])


def worker(model: str) -> engine.Work:
    """What embeds a batch."""

    def work(ids: pa.Array, *columns: pa.Array) -> pa.StructArray:
        import pyarrow as pa

        texts = [row_text(*parts) for parts in zip(*(column.to_pylist() for column in columns), strict=True)]
        rows = [row.tobytes() for row in embed(texts, model).astype(np.float16)]
        return pa.StructArray.from_arrays([ids.cast(pa.string()), pa.array(rows, pa.binary())], ["id", "vector"])

    return work
