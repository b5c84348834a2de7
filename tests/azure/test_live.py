"""Once against a real subscription: `make live-azure`, with its variables. Skipped without them."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from golden_line import command_line as cli

PLACE, WORKSPACE = os.environ.get("AZ_LIVE_PLACE", ""), os.environ.get("AZ_LIVE_WORKSPACE", "")
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not PLACE, reason="AZ_LIVE_PLACE=az://account/container is not set"),
]


def test_the_doctor_finds_nothing() -> None:
    done = cli("doctor", "--azure", PLACE, "--wait", "10")
    assert done.code == 0, done.out + done.err


def test_a_megabyte_goes_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    place = f"{PLACE}/live-{uuid4().hex[:8]}/file"
    assert (done := cli("blob", "cp", str(tmp_path / "file"), place)).code == 0, done.err
    assert (done := cli("blob", "cp", place, str(tmp_path / "back"))).code == 0, done.err
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.skipif(not WORKSPACE, reason="AZ_LIVE_WORKSPACE=subscription/group/workspace is not set")
def test_a_small_job_runs(tmp_path: Path) -> None:
    subscription, group, workspace = WORKSPACE.split("/")
    where = {"subscription": subscription, "resource_group": group, "workspace": workspace}
    where["compute"] = os.environ.get("AZ_LIVE_COMPUTE", "serverless:Standard_D2s_v3")
    rows = [f'{{"instruction": "Name {n} birds.", "input": "", "output": "A robin and {n} more."}}' for n in range(20)]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    recipe = {"name": "live", "import": [{"path": "data.jsonl"}], "curate": {}, "run_on": {"azureml": where}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    project = f"{PLACE}/live-{uuid4().hex[:8]}"
    done = cli("--project", project, "run", str(tmp_path / "recipe.yaml"), timeout=3000)
    assert done.code == 0, done.err
    status = cli("--project", project, "status", "live", "--json")
    assert status.code == 0 and '"done"' in status.out
