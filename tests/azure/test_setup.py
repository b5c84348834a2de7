"""The commands that set Azure up: a script that bash reads, and that runs only where somebody said yes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from golden_line import command_line as cli

from yearling.azureml.setup import Wanted, run_script, script
from yearling.errors import UserError
from yearling.recipe_azure import AzureMl

CLIENT = "22222222-0000-0000-0000-000000000004"
AZ = '#!/bin/sh\necho "$@" >> "$AZ_LOG"\ncase "$*" in *principal*) echo oid-1;; *"--query id"*) echo "/an/id";; esac\n'


def settings(**there: object) -> AzureMl:
    given = {"subscription": "s-1", "resource_group": "g", "workspace": "w", "compute": "cpu", **there}
    return AzureMl.model_validate(given)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            {},
            ["--identity-type system_assigned", "--min-instances 0", "--idle-time-before-scale-down 600", "dedicated"],
        ),
        ({"spot": True, "instances": 3}, ["--tier low_priority", "--max-instances 3"]),
        ({"identity": CLIENT}, ["--identity-type user_assigned", f"[?clientId=='{CLIENT}']"]),
        ({"cloud": "china"}, ["az cloud set -n AzureChinaCloud"]),
    ],
)
def test_the_script_does_what_the_recipe_says(tmp_path: Path, there: dict[str, object], said: list[str]) -> None:
    text = script(settings(**there), Wanted("acct", "data"))
    assert all(part in text for part in said), text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert text.count("role assignment create") == 3 and "account-key" not in text


def test_a_job_that_takes_its_own_machine_needs_no_compute(tmp_path: Path) -> None:
    text = script(settings(compute="serverless:Standard_D4s_v3", identity="user"), Wanted("acct", "data"))
    assert "compute create" not in text and text.count("role assignment create") == 2


def test_each_command_is_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    az = tmp_path / "az"
    az.write_text(AZ)
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("AZ_LOG", str(tmp_path / "log"))
    (tmp_path / "setup.sh").write_text(script(settings(), Wanted("acct", "data")))
    run_script(tmp_path / "setup.sh")
    asked = [line.split(" -")[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert asked[0] == "cloud set" and asked[-1] == "ml datastore create"
    assert (
        asked.index("storage container create") < asked.index("ml workspace create") < asked.index("ml compute create")
    )
    last = [line for line in (tmp_path / "log").read_text().splitlines() if "role assignment" in line][-1]
    assert "--assignee-object-id oid-1" in last and "containers/data" in last
    az.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(UserError, match="ended with 3"):
        run_script(tmp_path / "setup.sh")


def test_nothing_runs_where_nobody_can_say_yes(tmp_path: Path) -> None:
    where = "{azureml: {subscription: s, resource_group: g, workspace: w, compute: c}}"
    (tmp_path / "recipe.yaml").write_text(f"name: x\ncurate: {{}}\nrun_on: {where}\n")
    words = ("azure", "setup", str(tmp_path / "recipe.yaml"), "--account", "acct", "--container", "data")
    done = cli(*words, "-o", str(tmp_path / "s.sh"), "--run")
    assert done.code == 2 and "asks before it runs anything" in done.err
    assert (tmp_path / "s.sh").read_text().startswith("#!")
    (tmp_path / "recipe.yaml").write_text("name: x\ncurate: {}\n")
    assert "has no `run_on" in cli(*words).err
