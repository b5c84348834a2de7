"""What Azure refuses, why, and the command that mends it.

In: an error of a client, who asked and where. Out: one line with cause and mend. It knows the service's codes, and asks
nobody; `doctor_azure` walks the whole chain and tells more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yearling.cloud.identity import Access
from yearling.places import Place

READER, WRITER = "Storage Blob Data Reader", "Storage Blob Data Contributor"
WAIT = "A role given within the last 10 minutes may not be seen yet: `yearling doctor --azure {place} --wait 10` waits."


@dataclass(frozen=True)
class Trouble:
    """What a client said: the HTTP status (0: none came), the service's code, and its words."""

    status: int
    code: str
    said: str


def trouble_of(error: BaseException) -> Trouble:
    """The trouble in an error of the SDK or of obstore."""
    said = str(error)
    code: Any = getattr(error, "error_code", None)
    if code is None and (found := re.search(r"<Code>(\w+)</Code>|\"code\": ?\"(\w+)\"", said)):
        code = found[1] or found[2]
    status: Any = getattr(error, "status_code", None)
    if status is None and (found := re.search(r"\bstatus(?: code)?:? (\d{3})\b", said)):
        status = int(found[1])
    return Trouble(status or 0, str(getattr(code, "value", code) or ""), said)


def explain(trouble: Trouble, access: Access, place: Place, oid: str = "$OID", writing: bool = False) -> str:
    """One line: what is refused, why, and what mends it. `oid` is the identity's object id, where it is known."""
    cause, mend = _known(trouble, access, place, oid, writing)
    code = f" ({trouble.status} {trouble.code})".replace(" )", ")") if trouble.status else ""
    return f"{place}: {cause}{code}, asked as {access.says}. {mend}"


def grant(place: Place, role: str, oid: str = "$OID") -> str:
    """The command that gives an identity a role on a container."""
    return (
        f"az role assignment create --assignee-object-id {oid} --assignee-principal-type ServicePrincipal "
        f'--role "{role}" --scope "$(az storage account show -n {place.account} --query id -o tsv)'
        f'/blobServices/default/containers/{place.container}"'
    )


def _known(trouble: Trouble, access: Access, place: Place, oid: str, writing: bool) -> tuple[str, str]:
    code, said, account = trouble.code, trouble.said, place.account
    if code == "AuthorizationPermissionMismatch":
        role = WRITER if writing else READER
        what = "may read and not write" if writing else "has no data role (Owner and Contributor are none)"
        return f"who asks {what}", f"Run: {grant(place, role, oid)}. {WAIT.format(place=place)}"
    if code == "AuthorizationFailure":
        return "the account's firewall lets this machine not through", (
            f'Look: az storage account show -n {account} --query "{{pna:publicNetworkAccess,acl:networkRuleSet}}", '
            "then "
            f"az storage account network-rule add --account-name {account} --ip-address <this machine's>"
        )
    if code == "KeyBasedAuthenticationNotPermitted":
        return "the account takes no keys and no SAS made of them", (
            "Unset the key and ask as an identity: az login, or a managed identity with the role "
            f'"{WRITER}": {grant(place, WRITER, oid)}'
        )
    if "audience" in said.lower() or (code == "InvalidAuthenticationInfo" and access.credential):
        return "the token is for another audience", (
            "Storage wants https://storage.azure.com: check with `az account get-access-token --resource "
            "https://storage.azure.com`, and set no other scope."
        )
    if "issuer" in said.lower():
        return "who asks is of another tenant than the account", "Run: az login --tenant <tenant of the account>"
    if code == "ContainerNotFound":
        return f"the container {place.container} is not there", (
            f"Run: az storage container create --auth-mode login --account-name {account} -n {place.container}"
        )
    if code in ("BlobNotFound", "ResourceNotFound") or trouble.status == 404:
        return "there is no such blob", f"Look: yearling blob ls az://{account}/{place.container}"
    if re.search(r"lifetime|expired", said, re.IGNORECASE):
        return "what was sent has ended", _anew(access)
    if re.search(r"skew|date header too old", said, re.IGNORECASE):
        return "this machine's clock is wrong", "Set it (timedatectl set-ntp true), and run the same command again."
    if code in ("AuthenticationFailed", "InvalidAuthenticationInfo") or trouble.status == 401:
        return "what was sent proves nobody", _anew(access)
    if trouble.status in (429, 503) or code in ("ServerBusy", "OperationTimedOut"):
        return "the service is busy, and stayed so through all tries", (
            "Run the same command again; it goes on from here. Where it stays so: fewer clients, or another account."
        )
    if code == "ConditionNotMet" or trouble.status == 412:
        return "it was changed while it was read", "Run the same command again."
    if code == "LeaseAlreadyPresent":
        return "another process holds it", "Wait for it, or stop it."
    if trouble.status:
        return f"refused: {_short(said)}", f"Run `yearling doctor --azure {place}`."
    if re.search(r"resolve|getaddrinfo|dns|Name or service", said, re.IGNORECASE):
        return f"the name of {account} does not resolve", (
            f"Look: nslookup {place.endpoint.partition('//')[2].partition('/')[0]}; with a private endpoint its DNS "
            "zone has to be linked to this network."
        )
    if re.search(r"certificate|UnknownIssuer", said, re.IGNORECASE):
        return (
            "the certificate is not trusted here",
            "Behind a proxy that opens TLS: export SSL_CERT_FILE=<its authority>",
        )
    return (
        "no answer",
        f"Run the same command again; it goes on from here. `yearling doctor --azure {place}` looks closer.",
    )


def _anew(access: Access) -> str:
    if access.kind in ("key", "connection-string"):
        return "The key is not this account's, or was renewed: az storage account keys list -n <account>"
    if access.kind == "sas":
        return "The SAS has ended, or is of another place: make a new one with az storage container generate-sas"
    if access.kind == "cli":
        return "Run: az login"
    return "Run it again for a new token, and look at this machine's clock: date -u"


def _short(said: str) -> str:
    """The first line of what was said, without addresses, which may hold a signature."""
    line = next((line for line in said.splitlines() if line.strip()), "no words")
    return re.sub(r"https?://\S+", "…", line)[:160]
