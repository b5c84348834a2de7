"""A student from a folder as the hub has it (safetensors, tokenizer.json): the same line, no GGUF file to copy from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from golden_line import GOLDEN, Done, yearling

from yearling.recipe import Student as Settings
from yearling.run_folder import Run
from yearling.students.load import open_student


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_base_in_a_folder_trains_exports_and_is_examined(golden: tuple[Run, Done], tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(golden[0].root, project, ignore=shutil.ignore_patterns("export", "train", "adapter", "eval"))
    folder = tmp_path / "base"
    shutil.copytree(open_student(Settings(base="shipped:smollm2-135m-instruct")).folder, folder)
    done = yearling(
        project,
        "run",
        str(GOLDEN),
        "--student.base",
        str(folder),
        "--export.quant",
        "[f16, q8_0]",
        "--eval.on",
        "[merged, q8_0]",
    )
    assert done.code == 0, done.err
    run = Run(project, "golden")
    manifest = run.manifest("export")
    assert manifest is not None
    assert manifest.proofs["parity"]["f16"]["ratio"] <= 1.002
    assert (run.export / "base-F16.gguf").is_file(), "the base is examined as a file too"
    assert "generate: done before" in done.err
