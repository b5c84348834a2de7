"""Who asks an Azure endpoint: a key, or an Entra identity of this machine or user.

In: the teacher's settings. Out: a key, or an Identity that holds a token and knows when it is due.
The first token is fetched before anything is reserved, so that a missing identity is told at once.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

from yearling.errors import UserError
from yearling.recipe import Teacher as Settings
from yearling.teachers.teacher import KINDS, key_of

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

EARLY_S = 300.0  # a token this close to its end is fetched anew
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Azure ML publishes the client id by a name that azure-identity does not read, and "clientid" where there is none
_CLIENT_IDS = ("AZURE_CLIENT_ID", "DEFAULT_IDENTITY_CLIENT_ID")
_ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")


class Identity:
    """An Entra identity; `held` is its token while that is fresh, `fetch` waits for a new one."""

    def __init__(self, settings: Settings) -> None:
        self._scope = settings.azure.scope
        self._client_id, self._source = _client_id(settings)
        self._credential = _credential(self._client_id)
        self._token, self._due = "", 0.0
        self._one = threading.Lock()  # many calls find it due at once; one fetches

    def held(self) -> str:
        """The token, or "" where it is due."""
        return self._token if time.time() < self._due else ""

    def fetch(self) -> str:
        """A fresh token; blocks while it is fetched. Raises UserError that says what was tried."""
        from azure.core.exceptions import AzureError

        with self._one:
            if token := self.held():
                return token
            try:
                got = self._credential.get_token(self._scope)
            except (AzureError, ValueError) as error:  # an Azure ML endpoint's 404 comes as a broken JSON
                raise UserError(self._failed(str(error))) from None
            self._token, self._due = got.token, max(got.expires_on - EARLY_S, time.time() + 10)
            return self._token

    def _failed(self, said: str) -> str:
        """What was tried, and the likeliest cause; the endpoint's own words are left out but for its codes."""
        tried = [name for name in dict.fromkeys(re.findall(r"\b(\w+Credential)\b", said)) if "Default" not in name]
        endpoint = next((name for name in _ENDPOINTS if os.environ.get(name)), "")
        if endpoint:
            tried = [f"the managed identity at {endpoint}"]
        codes = "".join(f" ({code})" for code in re.findall(r"AADSTS\d+", said)[:1])
        who = f" as client id {self._client_id} from {self._source}" if self._client_id else " without a client id"
        mend = (
            "If that is the identity's object id: `az identity show --query clientId` shows the right one"
            if self._client_id
            else "Where only user-assigned identities are, name one in teacher.azure.client_id or AZURE_CLIENT_ID"
        )
        return (
            f"azure: no Entra token for {self._scope}{codes}: tried {', '.join(tried) or 'azure-identity'}{who}. "
            f"{mend}; on a laptop run `az login`; or export {KINDS['azure'].keys[0]}=…"
        )


def credentials(settings: Settings, base: str) -> tuple[str, Identity | None]:
    """The key to send, or the identity whose tokens are sent; raises UserError where neither is at hand."""
    azure = settings.model.startswith("azure:")
    key = "" if azure and settings.azure.identity == "entra" else key_of(settings, base)
    if not azure or key:
        return key, None
    if settings.azure.identity == "key":
        raise UserError(f"the key is not set: export {settings.api_key_env or KINDS['azure'].keys[0]}=…")
    identity = Identity(settings)
    identity.fetch()
    return "", identity


def _client_id(settings: Settings) -> tuple[str | None, str]:
    given = settings.azure.client_id
    if given and not _GUID.fullmatch(given):
        raise UserError(
            f"teacher.azure.client_id {given!r} is no client id. `az identity show --query clientId` shows it."
        )
    if given:
        return given, "teacher.azure.client_id"
    for name in _CLIENT_IDS:
        if _GUID.fullmatch(os.environ.get(name, "")):
            return os.environ[name], name
    return None, ""


def _credential(client_id: str | None) -> TokenCredential:
    try:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
    except ImportError:
        raise UserError('azure: without a key needs Entra identity: pip install "yearling[azure]".') from None
    if any(os.environ.get(name) for name in _ENDPOINTS):  # there, a chain hides what went wrong
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)
