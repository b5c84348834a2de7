"""Who asks Azure: keys, signatures and identities, tried in one order; which was taken is said, and proved first.

In: settings and the environment. Out: an Access, which holds a key, a SAS or a credential, and shows none of them.
Each way that the environment names is taken at its word: where it then fails nothing else is tried in its stead, for
what went wrong would be hidden.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from yearling.errors import UserError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

STORAGE = "https://storage.azure.com/.default"
EARLY_S = 300.0  # a token this close to its end is fetched anew
LOOK_S = 1.0  # what the metadata service may take to answer that it is there
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Azure ML publishes the client id by a name that azure-identity does not read, and "clientid" where there is none
CLIENT_IDS = ("AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID")
ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")
METADATA = "169.254.169.254"
KEYS = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
SERVICE = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
WORKLOAD = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID")
INSTALL = 'pip install "yearling[azure]"'


@dataclass(frozen=True)
class Access:
    """How an account is asked: by a key, a SAS, or tokens of a credential. `says` names no secret."""

    kind: str
    says: str
    account: str = ""
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    credential: TokenCredential | None = field(default=None, repr=False)


class Identity:
    """A credential's tokens for one scope: `held` is one while that is fresh, `fetch` waits for a new one."""

    def __init__(self, access: Access, scope: str) -> None:
        self.access, self._scope = access, scope
        self._token, self._due = "", 0.0
        self._one = threading.Lock()  # many calls find it due at once; one fetches

    def held(self) -> str:
        """The token, or "" where it is due."""
        return self._token if time.time() < self._due else ""

    def fetch(self) -> str:
        """A fresh token; blocks while it is fetched. Raises UserError that says who asked, and what mends it."""
        with self._one:
            if token := self.held():
                return token
            got = token_of(self.access, self._scope)
            self._token, self._due = got.token, max(got.expires_on - EARLY_S, time.time() + 10)
            return self._token


def token_of(access: Access, scope: str) -> AccessToken:
    """A token of a credential; raises UserError where it gives none. The endpoint's own words are left out."""
    from azure.core.exceptions import AzureError

    assert access.credential is not None
    try:
        return access.credential.get_token(scope)
    except (AzureError, ValueError) as error:  # an Azure ML endpoint's 404 comes as a broken JSON
        codes = "".join(f" ({code})" for code in re.findall(r"AADSTS\d+", str(error))[:1])
        raise UserError(f"azure: no token{codes} as {access.says}. {mend(access.kind, access.says)}") from None


def mend(kind: str, says: str = "") -> str:
    """What to do where a kind of identity gives no token; `says` is the access's own."""
    if kind == "service-principal":
        return "Look at AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; a secret ends after some months."
    if kind == "workload":
        return "Look at AZURE_FEDERATED_TOKEN_FILE, and at the federated credential of that client id."
    if kind == "cli":
        return "Run `az login`, with --tenant where the account is in another one."
    if "client id" in says:
        return (
            "If that is an object id: `az identity show -n <identity> -g <group> --query clientId` shows the client "
            "id. If it is right, assign the identity to this machine: `az vm identity assign --identities <its "
            "resource id>`, or `az ml compute update --identity-type user_assigned`."
        )
    return (
        "Where only user-assigned identities are, name one: export AZURE_CLIENT_ID=$(az identity show -n <identity> "
        "-g <group> --query clientId -o tsv). Where there is none: `az vm identity assign`; on a laptop: `az login`."
    )


def find_access(choice: str, account: str, client_id: str | None = None, authority: str | None = None) -> Access:
    """The access to an account by the one way that is chosen, or the first that is here; raises UserError.

    `account` may be "" where no storage is asked: keys and signatures are passed over then.
    """
    ways = _ways(account, client_id, authority)
    if choice != "auto":
        found = ways[choice]()
        if isinstance(found, str):
            raise UserError(f"azure: identity {choice} was chosen, and {found}.")
        return found
    missing = []
    for name, way in ways.items():
        found = way()
        if isinstance(found, Access):
            return found
        missing.append(f"{name} ({found})")
    raise UserError(f"azure: nobody to ask as; tried in this order: {'; '.join(missing)}. {mend('managed')}")


def _ways(account: str, client_id: str | None, authority: str | None) -> dict[str, Callable[[], Access | str]]:
    """By name and in order: the access, or why it is not to be had."""
    stored: dict[str, Callable[[], Access | str]] = {
        "connection-string": lambda: _connection_string(account),
        "key": lambda: _key(account),
        "sas": lambda: _sas(account),
    }
    return (stored if account else {}) | {
        "service-principal": lambda: _service_principal(authority),
        "workload": lambda: _workload(authority),
        "managed": lambda: _managed(client_id),
        "cli": _cli,
    }


def _connection_string(account: str) -> Access | str:
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    if not text:
        return "AZURE_STORAGE_CONNECTION_STRING is not set"
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if (named := parts.get("AccountName")) and named != account:
        return f"AZURE_STORAGE_CONNECTION_STRING is of the account {named}"
    says = "the connection string in AZURE_STORAGE_CONNECTION_STRING"
    if key := parts.get("AccountKey"):
        return Access("connection-string", says, account, key=_proved(key, says))
    if sas := parts.get("SharedAccessSignature"):
        return Access("connection-string", says, account, sas=sas.lstrip("?"))
    return "AZURE_STORAGE_CONNECTION_STRING holds no AccountKey and no SharedAccessSignature"


def _key(account: str) -> Access | str:
    name = next((name for name in KEYS if os.environ.get(name)), "")
    if not name:
        return f"{' and '.join(KEYS)} are not set"
    if (named := os.environ.get("AZURE_STORAGE_ACCOUNT")) and named != account:
        return f"{name} is of the account {named}, by AZURE_STORAGE_ACCOUNT"
    return Access("key", f"the account key in {name}", account, key=_proved(os.environ[name], name))


def _proved(key: str, where: str) -> str:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise UserError(f"azure: {where} holds no account key: it is not base64. Copy the key again.") from None
    return key


def _sas(account: str) -> Access | str:
    text = os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?")
    if not text:
        return "AZURE_STORAGE_SAS_TOKEN is not set"
    if "sig=" not in text:
        raise UserError("azure: AZURE_STORAGE_SAS_TOKEN holds no signature (sig=…). Copy the whole token again.")
    return Access("sas", "the SAS in AZURE_STORAGE_SAS_TOKEN", account, sas=text)


def _service_principal(authority: str | None) -> Access | str:
    missing = [name for name in SERVICE if not os.environ.get(name)]
    if missing:
        return f"{', '.join(missing)} not set"
    made = _library().ClientSecretCredential(*(os.environ[name] for name in SERVICE), authority=authority)
    return Access("service-principal", f"the service principal {os.environ['AZURE_CLIENT_ID']}", credential=made)


def _workload(authority: str | None) -> Access | str:
    missing = [name for name in WORKLOAD if not os.environ.get(name)]
    if missing:
        return f"{', '.join(missing)} not set"
    made = _library().WorkloadIdentityCredential(**({"authority": authority} if authority else {}))
    return Access("workload", f"the workload identity {os.environ['AZURE_CLIENT_ID']}", credential=made)


def _managed(given: str | None) -> Access | str:
    client_id, source = _client_id(given)
    endpoint = next((name for name in ENDPOINTS if os.environ.get(name)), "")
    if not endpoint and not _metadata_is_there():
        return "no identity endpoint here"
    at = f"at {endpoint}" if endpoint else "of this machine"
    who = f"the user-assigned identity with client id {client_id} from {source}" if client_id else "the identity"
    made = _library().ManagedIdentityCredential(client_id=client_id)
    return Access("managed", f"{who} {at}", credential=made)


def _metadata_is_there() -> bool:
    """Whether the metadata service of a virtual machine listens."""
    place = urlsplit(os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or f"http://{METADATA}")
    try:
        with socket.create_connection((place.hostname or "", place.port or 80), LOOK_S):
            return True
    except OSError:
        return False


def _cli() -> Access | str:
    if shutil.which("az") is None:
        return "no `az` on this machine"
    return Access("cli", "who is logged in to the Azure CLI", credential=_library().AzureCliCredential())


def _client_id(given: str | None) -> tuple[str | None, str]:
    if given and not GUID.fullmatch(given):
        raise UserError(f"azure: client id {given!r} is no client id. `az identity show --query clientId` shows it.")
    if given:
        return given, "the settings"
    for name in CLIENT_IDS:
        if GUID.fullmatch(os.environ.get(name, "")):
            return os.environ[name], name
    return None, ""


def _library() -> Any:
    try:
        import azure.identity as library
    except ImportError:
        raise UserError(f"azure: an Entra identity needs azure-identity: {INSTALL}.") from None
    return library


def claims(token: str) -> Mapping[str, Any]:
    """What a token says of itself: `oid`, `appid`, `tid`, `aud`, `idtyp`; its signature is not looked at."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}
