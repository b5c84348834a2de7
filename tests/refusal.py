"""What a refusal of the command line must look like, and what it may leave behind.

In: a finished command and its project folder. Out: nothing, or an assertion that says what is amiss.
"""

from __future__ import annotations

from pathlib import Path

from golden_line import Done


def refused(done: Done, *words: str, code: int = 2, lines: int = 1) -> None:
    """One error of that many lines, with all the words in it, and nothing on stdout."""
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err and "bug in yearling" not in done.err
    assert done.err.count("error: ") == 1, done.err
    said = done.err.partition("error: ")[2]
    assert len(said.splitlines()) == lines, said
    for word in words:
        assert word in said, f"{word!r} is not in {said!r}"


def left_behind(project: Path) -> list[str]:
    """Manifests, tables and anything half-written in a project folder; what a run may always make is not told."""
    kinds = ("*.tmp", "*.manifest.json", "*.parquet", ".import", "checkpoints", "*-journal", "*.gguf.*", "adapter")
    return sorted({str(path.relative_to(project)) for kind in kinds for path in project.rglob(kind)})
