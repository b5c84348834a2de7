"""From a text to a container that answers: the place it names, who asks there, and a proof of it before any work.

In: the text and the `azure` settings. Out: a Store and the path in it. Says once who asks.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import ValidationError

from yearling.cloud.identity import STORAGE, Access, find_access, token_of
from yearling.cloud.store import Store, certificates
from yearling.errors import UserError
from yearling.places import SUFFIX, Datastore, Place, Workspace, place_of
from yearling.progress import say
from yearling.recipe_azure import Cloud


class Addresses(NamedTuple):
    """Where the services of one of Azure's clouds are."""

    suffix: str
    authority: str
    management: str


CLOUDS = {
    "public": Addresses(SUFFIX, "https://login.microsoftonline.com", "https://management.azure.com"),
    "usgov": Addresses(
        "core.usgovcloudapi.net", "https://login.microsoftonline.us", "https://management.usgovcloudapi.net"
    ),
    "china": Addresses(
        "core.chinacloudapi.cn", "https://login.partner.microsoftonline.cn", "https://management.chinacloudapi.cn"
    ),
}
# what azure-ai-ml calls them
SDK_CLOUDS: dict[str, dict[str, Any]] = {
    "public": {"cloud": "AzureCloud"},
    "usgov": {"cloud": "AzureUSGovernment"},
    "china": {"cloud": "AzureChinaCloud"},
}
DATASTORES = "2024-10-01"  # of the API


def open_place(text: str, azure: Cloud | None = None) -> tuple[Store, str]:
    """The container that a text names, and the path in it; raises UserError where nobody may ask there."""
    azure = azure or asking()
    cloud = CLOUDS[azure.cloud]
    found = place_of(text, workspace_of(azure), cloud.suffix)
    if isinstance(found, Datastore):
        found = place_of_datastore(found, azure)
    access = find_access(azure.identity, found.account, azure.client_id, cloud.authority)
    if access.credential:
        token_of(access, STORAGE)  # proved before anything is begun
    say(f"azure: {found} as {access.says}")
    return Store(found, access), found.path


def asking(identity: str | None = None, client_id: str | None = None, cloud: str | None = None) -> Cloud:
    """The settings that are given, or else the environment's; raises UserError where one is wrong."""
    given = {"identity": identity, "cloud": cloud}
    told = {name: value or os.environ.get(f"YEARLING_AZURE_{name.upper()}") for name, value in given.items()}
    try:
        return Cloud.model_validate({name: value for name, value in told.items() if value} | {"client_id": client_id})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"azure {first['loc'][0]}: {first['msg']}; got {first['input']!r}.") from None


def workspace_of(azure: Cloud) -> Workspace | None:
    """The workspace that the settings name."""
    return Workspace(*azure.workspace.split("/")) if azure.workspace else None


def place_of_datastore(store: Datastore, azure: Cloud) -> Place:
    """Where a datastore lies, by its workspace; raises UserError where that cannot be told."""
    cloud, space = CLOUDS[azure.cloud], store.workspace
    access = find_access(azure.identity if azure.identity in ENTRA else "auto", "", azure.client_id, cloud.authority)
    url = (
        f"{cloud.management}/subscriptions/{quote(space.subscription)}/resourceGroups/{quote(space.group)}/providers/"
        f"Microsoft.MachineLearningServices/workspaces/{quote(space.name)}/datastores/{quote(store.name)}"
    )
    told = ask_management(url, DATASTORES, access, cloud)["properties"]
    try:
        container = told.get("containerName") or told["filesystem"]
        endpoint = f"{told.get('protocol', 'https')}://{told['accountName']}.blob.{told.get('endpoint', cloud.suffix)}"
    except KeyError:
        kind = told.get("datastoreType", "unknown")
        raise UserError(f"the datastore {store.name} is of the kind {kind}, and no container of Blob.") from None
    return Place(endpoint, container, store.path)


ENTRA = ("service-principal", "workload", "managed", "cli")


def ask_management(url: str, version: str, access: Access, cloud: Addresses) -> Any:
    """What Azure's management says of a resource; raises UserError with the role that is missing."""
    import httpx

    token = token_of(access, f"{cloud.management}/.default").token
    verify: Any = certificates() or True
    try:
        with httpx.Client(verify=verify, timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
            answer = client.get(url, params={"api-version": version})
    except httpx.HTTPError as error:
        raise UserError(f"{cloud.management} does not answer: {type(error).__name__}. Is there a proxy?") from None
    if answer.status_code == 403:
        raise UserError(
            f"azure: {access.says} may not read {url.partition('/providers/')[2]}. Run: az role assignment create "
            f"--assignee-object-id $OID --assignee-principal-type ServicePrincipal --role Reader --scope <workspace id>"
        )
    if answer.status_code == 404:
        raise UserError(f"azure: there is no {url.partition('/providers/')[2]}. Look at the names in the path.")
    if answer.is_error:
        raise UserError(f"azure: the management API answered {answer.status_code} for {url}.")
    return answer.json()
