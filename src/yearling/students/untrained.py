"""Whether a base can say its stop token: the token's row of the output matrix, measured against all other rows.

In: a model folder and a token id. Out: plain numbers, and the reason why the token cannot be learnt where there is one.
LoRA leaves the output matrix as it is. Reads that one matrix in slices, nothing else; looks for nothing on a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROWS = 16_384  # of the matrix at a time: 256 MB at a width of 4096
SMALL = 0.1  # of the median norm: what never got a gradient stays near its first, small value
SAME = 0.01  # of the norm: two rows nearer than rounding tells apart
NEAR, CROWD = 0.2, 100  # of the norm, and rows: unused tokens lie in one crowd that training has pushed aside together
HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
TIED = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")


@dataclass(frozen=True)
class OutputRow:
    """A token's row: its norm, the median norm of all rows, how far (of the norm) the nearest other row is,
    and how many others lie within rounding (`same`) and near by (`near`)."""

    matrix: str
    norm: float
    median_norm: float
    nearest_id: int
    nearest: float
    same: int
    near: int

    def fault(self) -> str | None:
        """Why the student could not learn to say the token, or None."""
        if not self.norm >= SMALL * self.median_norm:  # a row of no numbers is caught as well
            return (
                f"its row of {self.matrix} has norm {self.norm:.3g}, the median row {self.median_norm:.3g}: the base "
                "never learnt it, and LoRA does not train that matrix"
            )
        if self.same:
            return (
                f"its row of {self.matrix} equals that of {self.same} other tokens (the nearest has id "
                f"{self.nearest_id}) within {SAME:.0%}: the base never learnt it, and as LoRA does not train that "
                f"matrix, its probability stays below 1/{self.same + 1}"
            )
        return None

    def note(self) -> str | None:
        """What makes it doubtful, but not impossible, that the token can be learnt."""
        if self.near < CROWD:
            return None
        return (
            f"{self.near} other tokens have nearly the stop token's row of {self.matrix}, as unused tokens do: the "
            "student may be slow to learn to stop"
        )

    def facts(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)


def measure_output_row(folder: Path, token: int) -> OutputRow | None:
    """Measure a token's output row; None where no safetensors file here holds the matrix."""
    with _matrix(folder) as (name, parts):
        if parts is None:
            return None
        import torch

        norms, row = [], None
        for start, part in parts():
            norms.append(part.norm(dim=1))
            if start <= token < start + len(part):
                row = part[token - start].clone()
        if row is None:
            return None
        norm, apart = float(row.norm()), []
        for _, part in parts():
            apart.append((part - row).norm(dim=1))
        distances = torch.cat(apart)
        distances[token] = float("inf")
        nearest = int(distances.argmin())
        far = float(distances[nearest]) / norm if norm else 0.0
        same, near = (int((distances <= share * norm).sum()) for share in (SAME, NEAR))
        return OutputRow(name, norm, float(torch.cat(norms).median()), nearest, far, same, near)


@contextmanager
def _matrix(folder: Path) -> Iterator[tuple[str, Any]]:
    """The output matrix's name and a function that goes through its slices; ("", None) where there is none."""
    from safetensors import safe_open

    names = _names(folder)
    found = next((n for end in (*HEADS, *TIED) for n in sorted(names) if n == end or n.endswith(f".{end}")), None)
    if found is None:
        yield "", None
        return
    with safe_open(str(names[found]), framework="pt") as weights:
        matrix = weights.get_slice(found)
        rows = matrix.get_shape()[0]

        def parts() -> Iterator[tuple[int, Any]]:
            for start in range(0, rows, ROWS):
                yield start, matrix[start : start + ROWS].float()

        yield found, parts


def _names(folder: Path) -> dict[str, Path]:
    """Names of tensors in a model folder, each with its file."""
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / shard for name, shard in shards.items() if (folder / shard).is_file()}
    path = folder / "model.safetensors"
    if not path.is_file():
        return {}
    with safe_open(str(path), framework="pt") as weights:
        return dict.fromkeys(weights.keys(), path)
