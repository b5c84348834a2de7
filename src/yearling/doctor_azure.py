"""Whether Azure can be worked with from here: each link of the chain, and for the first that fails cause and mend.

In: a place on Azure or none, and the `azure` settings. Out: checks, from the environment to a probe that is written,
read and deleted. What stands behind a failed link is not tried. Prints no token, key or signature.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from yearling.cloud.identity import (
    CLIENT_IDS,
    ENDPOINTS,
    KEYS,
    SERVICE,
    STORAGE,
    WORKLOAD,
    Access,
    claims,
    find_access,
    token_of,
)
from yearling.cloud.mends import explain, trouble_of
from yearling.cloud.opening import CLOUDS, place_of_datastore, workspace_of
from yearling.cloud.store import Store, certificates
from yearling.doctor import Check
from yearling.errors import UserError
from yearling.places import Datastore, Place, place_of
from yearling.progress import say
from yearling.recipe_azure import Cloud

LOOK_S = 5.0
SKEW_S = 300.0  # seconds that the service lets a clock be wrong
EVERY_S = 15.0  # between two looks, where a role is waited for
VARIABLES = dict.fromkeys(
    ("AZURE_STORAGE_CONNECTION_STRING", *KEYS, "AZURE_STORAGE_SAS_TOKEN", *SERVICE, *WORKLOAD, *CLIENT_IDS, *ENDPOINTS)
)


class _Broken(Exception):
    """A link that fails: its check."""

    def __init__(self, name: str, found: str, mend: str) -> None:
        super().__init__(found)
        self.check = Check(name, "fail", found, mend)


def examine_azure(text: str | None, azure: Cloud, wait_s: float = 0.0) -> list[Check]:
    """All links up to the first that fails; a role that is missing is looked for again for so many seconds."""
    ends = time.monotonic() + wait_s
    while True:
        checks = list(_links(text, azure))
        last = checks[-1]
        if "role assignment create" not in last.mend or time.monotonic() > ends:
            return checks
        say(f"azure: {last.found}; looking again in {EVERY_S:.0f} s")
        time.sleep(EVERY_S)


def _links(text: str | None, azure: Cloud) -> Iterator[Check]:
    try:
        yield _environment()
        place = _place(text, azure) if text else None
        access = _identity(place, azure)
        yield Check("identity", "ok", access.says)
        oid = ""
        if access.credential:
            check, oid = _token(access)
            yield check
        if place is None:
            yield Check("place", "ok", "none given: `yearling doctor --azure az://account/container` goes on from here")
            return
        yield _resolves(place)
        yield _answers(place)
        yield from _container(Store(place, access), oid or "$OID")
    except _Broken as broken:
        yield broken.check


def _environment() -> Check:
    found = [name for name in VARIABLES if os.environ.get(name)]
    return Check("environment", "ok", f"set: {', '.join(found)}" if found else "no variable of Azure is set")


def _place(text: str, azure: Cloud) -> Place:
    try:
        found = place_of(text, workspace_of(azure), CLOUDS[azure.cloud].suffix)
        return place_of_datastore(found, azure) if isinstance(found, Datastore) else found
    except UserError as error:
        raise _Broken("place", *_cause_and_mend(str(error))) from None


def _identity(place: Place | None, azure: Cloud) -> Access:
    try:
        account = place.account if place else ""
        return find_access(azure.identity, account, azure.client_id, CLOUDS[azure.cloud].authority)
    except UserError as error:
        raise _Broken("identity", *_cause_and_mend(str(error))) from None


def _token(access: Access) -> tuple[Check, str]:
    try:
        got = token_of(access, STORAGE)
    except UserError as error:
        raise _Broken("token", *_cause_and_mend(str(error))) from None
    said = claims(got.token)
    left = got.expires_on - time.time()
    if left <= 0:
        raise _Broken("token", f"it ended {-left:.0f} s ago", "Set this machine's clock, or run `az login` again.")
    user = said.get("idtyp") == "user" or "upn" in said
    who = f"{'user' if user else 'application'} {said.get('appid', '?')}, object id {said.get('oid', '?')}"
    found = f"{who}, tenant {said.get('tid', '?')}, for {said.get('aud', '?')}, {left / 60:.0f} minutes left"
    if user and access.kind == "managed":
        mend = "it is yours and not the machine's: name the client id of its own identity, and grant that one the role"
        return Check("token", "warn", found, mend), str(said.get("oid", ""))
    return Check("token", "ok", found), str(said.get("oid", ""))


def _resolves(place: Place) -> Check:
    parts = urlsplit(place.endpoint)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        raise _Broken(
            "dns",
            f"{host} does not resolve",
            f"Is the account's name right? Look: nslookup {host}. With a private endpoint its DNS zone "
            "privatelink.blob.core.windows.net has to be linked to this network.",
        ) from None
    return Check("dns", "ok", f"{host} is {found[0][4][0]}")


def _answers(place: Place) -> Check:
    """A connection, its certificate, and the service's clock beside ours."""
    import httpx

    verify: Any = ssl.create_default_context(cafile=certificates())
    try:
        with httpx.Client(verify=verify, timeout=LOOK_S) as client:
            answer = client.get(f"{place.endpoint}/{place.container}", params={"restype": "container"})
    except httpx.ConnectError as error:
        if "certificate" in str(error).lower():
            mend = "Behind a proxy that opens TLS: export SSL_CERT_FILE=<the file of its authority>"
            raise _Broken("tls", "the certificate is not trusted here", mend) from None
        raise _Broken(
            "tls", f"{place.endpoint} refuses the connection", "Is the address right? Is there a proxy?"
        ) from None
    except httpx.HTTPError as error:
        mend = "A firewall or a private endpoint may drop it: look at the account's networking, and at HTTPS_PROXY"
        raise _Broken("tls", f"no answer within {LOOK_S:.0f} s ({type(error).__name__})", mend) from None
    off = _skew(answer.headers.get("date", ""))
    if abs(off) > SKEW_S:
        mend = "Set it: timedatectl set-ntp true, or w32tm /resync on Windows"
        raise _Broken("clock", f"this machine's clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}", mend)
    return Check("tls", "ok", f"{urlsplit(place.endpoint).hostname} answers, the clocks agree")


def _skew(date: str) -> float:
    with suppress(ValueError, TypeError):
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    return 0.0


def _container(store: Store, oid: str) -> Iterator[Check]:
    """Container, list, write, read, delete."""
    probe = store.client((store.place / f".probe-{uuid.uuid4()}").path)
    steps: tuple[tuple[str, bool, Callable[[], Any]], ...] = (
        ("container", False, lambda: store.container.get_container_properties()),
        ("list", False, lambda: next(iter(store.container.list_blobs(results_per_page=1)), None)),
        ("write", True, lambda: probe.upload_blob(b"probe")),
        ("read", False, lambda: probe.download_blob().readall()),
        ("delete", True, lambda: probe.delete_blob()),
    )
    from azure.core.exceptions import AzureError

    for name, writing, step in steps:
        try:
            step()
        except AzureError as error:
            told = explain(trouble_of(error), store.access, store.place, oid, writing)
            raise _Broken(name, *_cause_and_mend(told)) from None
        yield Check(name, "ok", {"container": f"{store.place.container} is there"}.get(name, "allowed"))


def _cause_and_mend(message: str) -> tuple[str, str]:
    """A message in its two halves."""
    cause, _, mend = message.partition(". ")
    return cause, mend or message
