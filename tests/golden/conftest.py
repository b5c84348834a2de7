"""One golden run on the real small models, shared by all tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden_line import GOLDEN, Done, yearling

from yearling.run_folder import Run


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Done]:
    """The golden recipe, run whole; CI names a folder, so that its second round of tests finds the run done."""
    project = Path(os.environ.get("GOLDEN_PROJECT") or tmp_path_factory.mktemp("golden"))
    done = yearling(project, "run", str(GOLDEN))
    assert done.code == 0, done.err
    return Run(project, "golden"), done
