"""The management API of Azure, as far as a workspace of Azure ML needs it: it keeps what is put, and runs no job.

A job's status is what the test says it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from azure_cloud import Cloud

SUBSCRIPTION = "00000000-0000-0000-0000-0000000000aa"
WORKSPACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
REGION = "westeurope"


@dataclass
class Management:
    """What was put, by its address, and what was asked."""

    kept: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=lambda: ["Queued", "Running", "Completed"])  # of a job, look by look
    refuse: int = 0

    @property
    def jobs(self) -> dict[str, Any]:
        """What was submitted, by name."""
        return {path.rpartition("/")[2]: kept for path, kept in self.kept.items() if "/jobs/" in path}


def application(made: Cloud) -> web.Application:
    """The API, over the blobs of a cloud."""

    async def one(request: web.Request) -> web.StreamResponse:
        there = made.management
        there.asked.append((request.method, request.path))
        if request.headers.get("Authorization", "")[:7] != "Bearer " or there.refuse:
            told = {"error": {"code": "AuthorizationFailed", "message": "no authorization to perform action"}}
            return web.json_response(told, status=there.refuse or 401)
        path = request.path
        if path.endswith("/startPendingUpload"):
            return web.json_response(await asyncio.to_thread(_upload, made))
        if request.method == "PUT":
            body = json.loads(await request.read())
            there.kept[path] = body | {"id": path, "name": path.rpartition("/")[2], "type": "x", "systemData": {}}
            return web.json_response(there.kept[path], status=201)
        if path == WORKSPACE:
            return web.json_response({"id": WORKSPACE, "name": "w", "location": REGION, "properties": {}})
        if found := re.fullmatch(f"{re.escape(WORKSPACE)}/datastores/(.*)", path):
            return _datastore(made, found[1])
        if path.endswith("/computes/cpu"):
            size = {"computeType": "AmlCompute", "computeLocation": REGION, "properties": {"vmSize": "STANDARD_D2_V3"}}
            return web.json_response({"id": path, "name": "cpu", "location": REGION, "properties": size})
        kept = there.kept.get(path)
        if kept is None:
            if request.query.get("hash") or path.endswith("/versions"):
                return web.json_response({"value": []})
            return web.json_response({"error": {"code": "NotFound", "message": "not there"}}, status=404)
        if "/jobs/" in path:
            now = there.statuses.pop(0) if len(there.statuses) > 1 else there.statuses[0]
            kept["properties"]["status"] = now
        return web.json_response(kept)

    app = web.Application(client_max_size=1 << 28)
    app.router.add_route("*", "/{anything:.*}", one)
    return app


def _datastore(made: Cloud, name: str) -> web.Response:
    if name not in ("workspaceblobstore", "data"):
        return web.json_response({"error": {"code": "NotFound", "message": "no such datastore"}}, status=404)
    told = {"datastoreType": "AzureBlob", "accountName": "devstoreaccount1", "containerName": name, "protocol": "https"}
    more = {"endpoint": "core.windows.net", "credentials": {"credentialsType": "None"}}
    return web.json_response({"id": "x", "name": name, "properties": told | more})


def _upload(made: Cloud) -> dict[str, Any]:
    """Where code is to be uploaded: a container of its own, by a signature."""
    from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
    from azure_cloud import ACCOUNT, KEY

    name = f"code-{len(made.management.asked)}"
    ContainerClient(made.url, name, KEY, connection_verify=str(made.authority)).create_container()
    allowed = ContainerSasPermissions(read=True, write=True, list=True, create=True, add=True)
    ends = datetime.now(UTC) + timedelta(hours=1)
    signature = generate_container_sas(ACCOUNT, name, account_key=KEY, permission=allowed, expiry=ends)
    reference = {
        "blobUri": f"{made.url}/{name}",
        "credential": {"credentialType": "SAS", "sasUri": f"{made.url}/{name}?{signature}"},
        "storageAccountArmId": "x",
    }
    told = {"pendingUploadId": "1", "pendingUploadType": "TemporaryBlobReference"}
    return told | {"blobReferenceForConsumption": reference}
