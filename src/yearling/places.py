"""Places on Azure Blob, by any of the names that people and Azure give them.

In: a text. Out: the account's address, the container, the path in it; or, of a datastore, whose workspace to ask.
Asks nobody; `cloud.opening` looks a datastore up.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from urllib.parse import quote, unquote, urlsplit

from yearling.errors import UserError

SCHEMES = ("az", "abfs", "abfss", "azureml")
SUFFIX = "core.windows.net"  # of the public cloud; `azure.cloud` names another
HOST = re.compile(r"(?P<account>[a-z0-9]{3,24})\.(?:blob|dfs)\.(?P<suffix>core\.[a-z.]+|storage\.azure\.net)")
CONTAINER = re.compile(r"\$root|\$web|\$logs|(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
LONG = re.compile(
    r"subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)/(?:providers/Microsoft\."
    r"MachineLearningServices/)?workspaces/(?P<workspace>[^/]+)/datastores/(?P<name>[^/]+)(?:/paths/(?P<path>.*))?"
)
SHORT = re.compile(r"datastores/(?P<name>[^/]+)(?:/paths/(?P<path>.*))?")
# what Azure ML sets in a job
VARIABLES = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
EXAMPLE = "az://account/container/path"


@dataclass(frozen=True)
class Workspace:
    """A workspace of Azure ML."""

    subscription: str
    group: str
    name: str


@dataclass(frozen=True)
class Datastore:
    """A path in a datastore: where it lies is the workspace's to say."""

    workspace: Workspace
    name: str
    path: str


@dataclass(frozen=True)
class Place:
    """A container's address and a path in it: a blob, or what many blobs' names begin with; "" is all of it."""

    endpoint: str  # of the account: https://account.blob.core.windows.net
    container: str
    path: str = ""

    @property
    def account(self) -> str:
        """The account's name."""
        parts = urlsplit(self.endpoint)
        return parts.path.strip("/") or (parts.hostname or "").partition(".")[0]

    @property
    def address(self) -> str:
        """Its https address, as all of Azure knows it."""
        return "/".join(filter(None, (self.endpoint, self.container, quote(self.path))))

    def __truediv__(self, name: str) -> Place:
        return replace(self, path=f"{self.path.rstrip('/')}/{name}".lstrip("/"))

    def __str__(self) -> str:
        inside = "/".join(filter(None, (self.container, self.path)))
        host = urlsplit(self.endpoint).hostname or ""
        return f"az://{self.account}/{inside}" if host.endswith(f".blob.{SUFFIX}") else f"{self.endpoint}/{inside}"


def remote(given: str | PurePath) -> str:
    """What names a place on Azure, whole again where a Path took one of its slashes; "" for a file here."""
    text = given.as_posix() if isinstance(given, PurePath) else given
    scheme, _, rest = text.partition(":/")
    if not rest or not (isinstance(given, PurePath) or rest.startswith("/")):
        return ""
    rest = rest.removeprefix("/")
    known = scheme in SCHEMES or (scheme in ("http", "https") and _account_of(rest.partition("/")[0]) != "")
    return f"{scheme}://{rest}" if known else ""


def place_of(text: str, workspace: Workspace | None = None, suffix: str = SUFFIX) -> Place | Datastore:
    """What a text names; raises UserError that says what is wrong with it.

    Known are `az://account/container/path`, `abfss://container@account.dfs.core.windows.net/path`, a blob's https
    address, and `azureml://` in its long form or, where a workspace is known, its short one. An https address whose
    host is a number or localhost has the account as the first part of its path, as Azurite does.
    """
    scheme, _, rest = text.partition("://")
    if "?" in rest:
        raise UserError(
            f"{text.partition('?')[0]}: a path with a question mark. Where that is a SAS, it would stand in logs and "
            "in the run: export AZURE_STORAGE_SAS_TOKEN=… and leave it out of the path."
        )
    if scheme == "azureml":
        return _datastore(text, rest, workspace)
    if scheme in ("abfs", "abfss"):
        return _abfss(text, rest)
    if scheme in ("http", "https"):
        return _https(text)
    account, _, inside = rest.partition("/")
    if not ACCOUNT.fullmatch(account):
        raise UserError(
            f"{text}: {account!r} is no name of a storage account (3 to 24 small letters and digits). It looks like "
            f"{EXAMPLE}."
        )
    return _checked(text, f"https://{account}.blob.{suffix}", inside)


def _checked(text: str, endpoint: str, inside: str) -> Place:
    container, _, path = inside.partition("/")
    if not CONTAINER.fullmatch(container):
        said = f"{container!r} is no name of a container" if container else "it names no container"
        raise UserError(f"{text}: {said} (3 to 63 small letters, digits and single hyphens). It looks like {EXAMPLE}.")
    if "//" in f"/{path}" or any(part in (".", "..") for part in path.split("/")):
        raise UserError(f"{text}: the path has an empty part, a . or a ... Write the blob's name as it is.")
    return Place(endpoint, container, path)


def _abfss(text: str, rest: str) -> Place:
    container, _, behind = rest.partition("@")
    host, _, path = behind.partition("/")
    found = HOST.fullmatch(host)
    if not found:
        raise UserError(f"{text}: it looks like abfss://container@account.dfs.core.windows.net/path.")
    return _checked(text, f"https://{found['account']}.blob.{found['suffix']}", f"{container}/{path}".rstrip("/"))


def _https(text: str) -> Place:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UserError(f"{text}: this is no address. It looks like {EXAMPLE}.") from None
    path = unquote(parts.path).strip("/")
    if found := HOST.fullmatch(parts.hostname or ""):
        return _checked(text, f"https://{found['account']}.blob.{found['suffix']}", path)
    account, _, inside = path.partition("/")
    return _checked(text, f"{parts.scheme}://{parts.netloc}/{account}", inside)


def _account_of(host: str) -> str:
    """The account that a host stands for, or the host itself where it may hold any."""
    if found := HOST.fullmatch(host):
        return found["account"]
    name = host.rpartition(":")[0] if ":" in host else host
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name if name == "localhost" else ""
    return name


def _datastore(text: str, rest: str, workspace: Workspace | None) -> Datastore:
    if found := LONG.fullmatch(rest):
        return Datastore(
            Workspace(found["subscription"], found["group"], found["workspace"]), found["name"], found["path"] or ""
        )
    if not (found := SHORT.fullmatch(rest)):
        raise UserError(
            f"{text}: it looks like azureml://datastores/<name>/paths/<path>, or azureml://subscriptions/<id>/"
            "resourcegroups/<group>/workspaces/<name>/datastores/<name>/paths/<path>."
        )
    workspace = workspace or _of_the_job()
    if workspace is None:
        raise UserError(
            f"{text}: whose datastore? Name its workspace: azure.workspace in the recipe, or export "
            f"{'=… '.join(VARIABLES)}=…"
        )
    return Datastore(workspace, found["name"], found["path"] or "")


def _of_the_job() -> Workspace | None:
    found = [os.environ.get(name, "") for name in VARIABLES]
    return Workspace(*found) if all(found) else None
