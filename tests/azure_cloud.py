"""A cloud of our own for tests: Azurite, in front of it what it lacks (roles, a firewall, faults), and identities.

Azurite keeps the blobs and checks each token's audience, issuer and time. The proxy before it knows which identity may
do what, as the service does, and can be told to be busy, to refuse, or to break a connection in the middle.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import io
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import azure_management
import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HERE = Path(__file__).parent / "azurite"
AZURITE = HERE / "node_modules" / ".bin" / "azurite-blob"
LOAD = ssl.SSLContext.load_verify_locations  # other tests do without
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
TENANT = "00000000-0000-0000-0000-00000000000f"
STORAGE = "https://storage.azure.com"
SYSTEM, READER, NOBODY = ("11111111-0000-0000-0000-00000000000" + x for x in "123")
CLIENT_IDS = {READER: "22222222-0000-0000-0000-000000000002", NOBODY: "22222222-0000-0000-0000-000000000003"}
USER = "22222222-0000-0000-0000-000000000004"  # a user-assigned identity that may write
USER_OID = "11111111-0000-0000-0000-000000000004"
REFUSED = '<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{said}</Message></Error>'
MISMATCH = (
    "AuthorizationPermissionMismatch",
    "This request is not authorized to perform this operation using this permission.",
)
FIREWALL = ("AuthorizationFailure", "This request is not authorized to perform this operation.")


@dataclass
class Cloud:
    """Addresses, who may what, and what is to go wrong."""

    url: str  # of the account, through the proxy
    straight: str  # of the account, without it
    identity: str  # of the identity endpoints
    authority: Path  # the file of the certificate authority
    roles: dict[str, str] = field(default_factory=lambda: {SYSTEM: "write", USER_OID: "write", READER: "read"})
    clients: dict[str, str] = field(
        default_factory=lambda: {USER: USER_OID, **{client: oid for oid, client in CLIENT_IDS.items()}}
    )
    system: str | None = SYSTEM
    faults: list[tuple[str, int, str, str]] = field(default_factory=list)  # method or "", status, code, words
    manager: str = ""  # of the management API
    management: azure_management.Management = field(default_factory=azure_management.Management)
    breaks: int = 0  # answers to be cut in the middle
    lives: int = 3600  # seconds that a token is said to be good
    skew: float = 0.0  # seconds that the service's clock is ahead of ours
    token: dict[str, Any] = field(default_factory=dict)  # claims that are to be otherwise
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    tokens: list[Mapping[str, str]] = field(default_factory=list)  # requests for tokens

    def place(self, path: str) -> str:
        """A container or blob, as a user would name it."""
        return f"{self.url}/{path}"


def token(oid: str, client: str, audience: str = STORAGE, **claims: Any) -> str:
    """A token as Entra makes them, but for its signature."""
    now = int(time.time())
    said = {"aud": audience, "iss": f"https://sts.windows.net/{TENANT}/", "iat": now - 60, "nbf": now - 60}
    said |= {"exp": now + 3600, "oid": oid, "appid": client, "tid": TENANT, "idtyp": "app", **claims}
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "x"}, said]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"signature").decode().rstrip("=")])


@contextlib.contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    """Start all of it on loopback, and end it."""
    if not AZURITE.exists():
        pytest.skip("no Azurite: make emulator installs it")
    authority, leaf, key = certificates(folder)
    port, front = free_port(), free_port()
    command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    command += ["--oauth", "basic", "--cert", str(leaf), "--key", str(key), "--skipApiVersionCheck", "--loose"]
    command += ["--disableTelemetry", "--silent"]
    with (folder / "azurite.log").open("w") as log:
        # node is in this environment where the machine has none
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # a group of its own: node may be a script that starts the real one, which would outlive it
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "PATH": path}, start_new_session=True
        )
    try:
        wait_for(port, process, folder / "azurite.log")
        made = Cloud(f"https://127.0.0.1:{front}/{ACCOUNT}", f"https://127.0.0.1:{port}/{ACCOUNT}", "", authority)
        with _serving(made, front, leaf, key):
            yield made
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail("Azurite did not come up")


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority and a certificate of 127.0.0.1 by it, as PEM files, and the latter's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def made(subject: str, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> x509.Certificate:
        usage = x509.KeyUsage(True, False, False, False, False, is_authority, is_authority, False, False)
        builder = x509.CertificateBuilder(name("yearling tests"), name(subject), key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        builder = builder.not_valid_after(now + datetime.timedelta(2)).add_extension(usage, True)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), True)
        if not is_authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False)
        return builder.sign(root, hashes.SHA256())

    pem = serialization.Encoding.PEM
    files = folder / "authority.pem", folder / "leaf.pem", folder / "leaf.key"
    files[0].write_bytes(made("yearling tests", root, True).public_bytes(pem))
    files[1].write_bytes(made("127.0.0.1", own, False).public_bytes(pem))
    files[2].write_bytes(own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


@contextlib.contextmanager
def _serving(made: Cloud, front: int, leaf: Path, key: Path) -> Iterator[None]:
    """The proxy and the identity endpoints, in a thread of their own."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(leaf, key)
        trusted = ssl.create_default_context(cafile=str(made.authority))
        limits = ClientTimeout(total=120)
        async with ClientSession(
            connector=TCPConnector(ssl=trusted, limit=64), timeout=limits, auto_decompress=False
        ) as session:
            proxy = web.AppRunner(_proxy(made, session), access_log=None, shutdown_timeout=0.1)
            management = web.AppRunner(azure_management.application(made), access_log=None, shutdown_timeout=0.1)
            tokens = web.AppRunner(_tokens(made), access_log=None, shutdown_timeout=0.1)
            await proxy.setup()
            await tokens.setup()
            await management.setup()
            await web.TCPSite(proxy, "127.0.0.1", front, ssl_context=context).start()
            place = free_port()
            await web.TCPSite(tokens, "127.0.0.1", place).start()
            made.identity = f"http://127.0.0.1:{place}"
            place = free_port()
            await web.TCPSite(management, "127.0.0.1", place, ssl_context=context).start()
            made.manager = f"https://127.0.0.1:{place}"
            ready.set()
            await stop.wait()
            await proxy.cleanup()
            await tokens.cleanup()
            await management.cleanup()
        # a client that keeps its TLS connection would be waited for
        for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        await asyncio.sleep(0.1)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def _refusal(status: int, code: str, said: str) -> web.Response:
    headers = {"x-ms-error-code": code, "Content-Type": "application/xml"}
    return web.Response(status=status, headers=headers, text=REFUSED.format(code=code, said=said))


def _proxy(made: Cloud, session: ClientSession) -> web.Application:
    async def one(request: web.Request) -> web.StreamResponse:
        answer = await pass_on(request)
        if made.skew:
            answer.headers["Date"] = format_datetime(
                datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=made.skew), True
            )
        made.asked.append((request.method, request.path_qs, answer.status))
        return answer

    async def pass_on(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        for fault in made.faults:
            if fault[0] in ("", request.method):
                made.faults.remove(fault)
                return _refusal(*fault[1:])
        if (refusal := _role(made, request)) is not None:
            return refusal
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length")}
        url = made.straight.removesuffix(f"/{ACCOUNT}") + request.raw_path
        sent = io.BytesIO(body) if body else None
        added = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # some are signed: add none
        async with session.request(
            request.method, _raw(url), headers=headers, data=sent, skip_auto_headers=added
        ) as answer:
            skipped = (
                ("transfer-encoding", "connection", "content-length") if request.method != "HEAD" else ("connection",)
            )
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in skipped}
            data = await answer.read()
            if made.breaks and len(data) > 1000:
                made.breaks -= 1
                return await _cut(request, answer.status, kept, data)
            return web.Response(status=answer.status, headers=kept, body=data if request.method != "HEAD" else None)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{anything:.*}", one)
    return app


def _raw(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


async def _cut(request: web.Request, status: int, headers: Mapping[str, str], data: bytes) -> web.StreamResponse:
    """Half of an answer, and then the connection is gone."""
    answer = web.StreamResponse(status=status, headers=headers)
    answer.content_length = len(data)
    await answer.prepare(request)
    await answer.write(data[: len(data) // 2])
    assert request.transport is not None
    request.transport.abort()
    return answer


def _role(made: Cloud, request: web.Request) -> web.Response | None:
    """What the service says to an identity that may not do this; keys and signatures are Azurite's to judge."""
    given = request.headers.get("Authorization", "")
    if not given.startswith("Bearer "):
        return None
    part = given.split(".")[1]
    oid = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("oid")
    role = made.roles.get(oid, "")
    writes = request.method in ("PUT", "DELETE", "POST")
    if role == "write" or (role == "read" and not writes):
        return None
    return _refusal(403, *MISMATCH)


def _tokens(made: Cloud) -> web.Application:
    async def give(request: web.Request) -> web.Response:
        asked = {key: values[0] for key, values in parse_qs(request.query_string).items()}
        made.tokens.append({"path": request.path, **asked})
        client = asked.get("client_id") or asked.get("clientid") or ""
        oid = made.clients.get(client) if client else made.system
        if oid is None:
            said = {"error": "invalid_request", "error_description": "Identity not found"}
            return web.json_response(said, status=400)
        claims = dict(made.token)
        audience = claims.pop("aud", asked["resource"].rstrip("/"))
        text = token(oid, client or "99999999-0000-0000-0000-000000000000", audience, **claims)
        ends = str(int(time.time()) + made.lives)
        told = {"access_token": text, "expires_on": ends, "expires_in": str(made.lives), "resource": asked["resource"]}
        return web.json_response(told | {"token_type": "Bearer", "client_id": client})

    async def imds(request: web.Request) -> web.Response:
        if request.headers.get("Metadata") != "true":
            return web.json_response({"error": "bad_request"}, status=400)
        return await give(request)

    async def machine_learning(request: web.Request) -> web.Response:
        if request.headers.get("secret") != "s3cret" or request.query.get("api-version") != "2017-09-01":
            return web.Response(status=401, text="no secret")
        return await give(request)

    async def app_service(request: web.Request) -> web.Response:
        if request.headers.get("X-IDENTITY-HEADER") != "s3cret":
            return web.Response(status=401, text="no header")
        return await give(request)

    app = web.Application()
    app.router.add_get("/metadata/identity/oauth2/token", imds)
    app.router.add_get("/msi/token", machine_learning)
    app.router.add_get("/app/token", app_service)
    return app


UNSET = re.compile(r"AZURE_.*|IDENTITY_.*|MSI_.*|DEFAULT_IDENTITY_CLIENT_ID|IMDS_ENDPOINT|AZUREML_.*")


def as_on(made: Cloud, flow: str) -> dict[str, str]:
    """The variables of a machine where identities are had this way."""
    always = {"SSL_CERT_FILE": str(made.authority), "REQUESTS_CA_BUNDLE": str(made.authority)}
    always["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://127.0.0.1:1"
    flows = {
        "imds": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": made.identity},
        "azureml": {"MSI_ENDPOINT": f"{made.identity}/msi/token", "MSI_SECRET": "s3cret"},
        "app": {"IDENTITY_ENDPOINT": f"{made.identity}/app/token", "IDENTITY_HEADER": "s3cret"},
        "key": {"AZURE_STORAGE_KEY": KEY},
        "none": {},
    }
    return always | flows[flow]
