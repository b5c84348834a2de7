"""What has to be there before the first job: the `az` commands for a compute with an identity, its roles, a datastore.

In: where a recipe runs, and where its data shall lie. Out: a shell script, each step of which may be done again. Runs
nothing by itself: `run_script` does, once a person has said yes.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from yearling.azureml.jobs import SERVERLESS
from yearling.cloud.mends import WRITER
from yearling.errors import UserError
from yearling.recipe_azure import AzureMl

IDLE_S = 600  # after which a machine without work is given back
AZ_CLOUDS = {"public": "AzureCloud", "usgov": "AzureUSGovernment", "china": "AzureChinaCloud"}
SUBMITTER = "AzureML Data Scientist"


@dataclass(frozen=True)
class Wanted:
    """What is to be set up beside the workspace."""

    account: str
    container: str
    location: str = "westeurope"
    size: str = "Standard_D4s_v3"
    datastore: str = "yearling"


def script(settings: AzureMl, wanted: Wanted) -> str:
    """The commands, in order; those that make what is there already change nothing."""
    group, space = f"-g {quote(settings.resource_group)}", f"-w {quote(settings.workspace)}"
    user = f"az identity list {group} --query \"[?clientId=='{settings.identity}'].{{}} | [0]\" -o tsv"
    named = "-" in settings.identity
    lines = [
        "#!/usr/bin/env bash",
        "# Needs the Azure CLI with its ml extension: az extension add -n ml. Done again it changes nothing.",
        "set -euo pipefail",
        f"az cloud set -n {AZ_CLOUDS[settings.cloud]}",
        f"az account set -s {quote(settings.subscription)}",
        "",
        "# the storage account and its container; no keys: who works there is an identity with a role",
        f"az group create -n {quote(settings.resource_group)} -l {wanted.location} -o none",
        f"az storage account create -n {wanted.account} {group} -l {wanted.location} --sku Standard_LRS "
        "--allow-shared-key-access false --allow-blob-public-access false -o none",
        f"SA=$(az storage account show -n {wanted.account} {group} --query id -o tsv)",
        "ME=$(az ad signed-in-user show --query id -o tsv)",
        f'az role assignment create --assignee-object-id "$ME" --assignee-principal-type User --role "{WRITER}" '
        '--scope "$SA" -o none',
        f"until az storage container create --auth-mode login --account-name {wanted.account} -n {wanted.container} "
        "-o none; do echo 'the role takes some minutes to be seen'; sleep 20; done",
        "",
        "# the workspace, and who may send it jobs",
        f"az ml workspace create -n {quote(settings.workspace)} {group} -l {wanted.location} -o none",
        f"WS=$(az ml workspace show -n {quote(settings.workspace)} {group} --query id -o tsv)",
        f'az role assignment create --assignee-object-id "$ME" --assignee-principal-type User --role "{SUBMITTER}" '
        '--scope "$WS" -o none',
    ]
    if not settings.compute.startswith(SERVERLESS):
        kind = "--identity-type system_assigned"
        if named:
            kind = f'--identity-type user_assigned --user-assigned-identities "$({user.format("id")})"'
        tier = "low_priority" if settings.spot else "dedicated"
        lines += [
            "",
            f"# machines that start with a job and are given back after {IDLE_S // 60} minutes without one",
            f"az ml compute create -n {quote(settings.compute)} {group} {space} --type amlcompute --size {wanted.size} "
            f"--min-instances 0 --max-instances {settings.instances} --tier {tier} "
            f"--idle-time-before-scale-down {IDLE_S} {kind} -o none",
        ]
        show = f"az ml compute show -n {quote(settings.compute)} {group} {space} --query identity.principal_id -o tsv"
        lines += [f"OID=$({user.format('principalId') if named else show})"]
    elif named:
        lines += ["", f"OID=$({user.format('principalId')})"]
    if settings.identity != "user":
        lines += [
            "",
            "# what the machines may do with the data",
            f'az role assignment create --assignee-object-id "$OID" --assignee-principal-type ServicePrincipal '
            f'--role "{WRITER}" --scope "$SA/blobServices/default/containers/{wanted.container}" -o none',
        ]
    lines += [
        "",
        "# the container under a short name: azureml://datastores/" + wanted.datastore + "/paths/…",
        f"az ml datastore create {group} {space} --file /dev/stdin -o none <<'YAML'",
        f"name: {wanted.datastore}",
        "type: azure_blob",
        f"account_name: {wanted.account}",
        f"container_name: {wanted.container}",
        "YAML",
        "",
        f"echo 'done; look: yearling doctor --azure az://{wanted.account}/{wanted.container}'",
    ]
    return "\n".join(lines) + "\n"


def run_script(path: Path) -> None:
    """Run what was written; raises UserError where it fails, with the line of `az` on the terminal above it."""
    if shutil.which("az") is None:
        raise UserError(f"there is no `az` on this machine. Run {path} where there is one.")
    done = subprocess.run(["bash", str(path)], check=False)
    if done.returncode:
        raise UserError(f"{path} ended with {done.returncode}. Mend what az said and run it again.")
