"""The batch API of OpenAI and Azure OpenAI: a file of requests goes up, a file of answers comes down.

In: bodies of the OpenAI format, each with its tag. Out: the provider's id, how far it is, what each tag was answered.
Decides nothing, and knows no ledger. Source: the API reference of OpenAI, and its SDK's types.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import aiohttp

from yearling.teachers.batch_row import Batch
from yearling.teachers.teacher import RefusedError
from yearling.teachers.wire import Heard, Look, WireTeacher

MOST, LARGEST = 50_000, 200_000_000  # requests and bytes of one batch
UPLOAD_S = 3600.0
FILE_PAUSE_S = 5.0  # Azure takes a file in before it can be used
_OVER = ("completed", "failed", "expired", "cancelled")


def line(tag: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One request as the batch wants it; `route` is what `endpoint` made of it."""
    return {"custom_id": tag, "method": "POST", "url": route, "body": body}


def endpoint(teacher: WireTeacher, route: str) -> str:
    """How a batch calls a route: Azure leaves the version out."""
    return f"/{route}" if teacher.name.startswith("azure:") else f"/v1/{route}"


async def submit(teacher: WireTeacher, name: str, route: str, lines: Sequence[Any]) -> str:
    """Hand a batch over; the provider's id of it."""
    content = "\n".join(json.dumps(each, ensure_ascii=False) for each in lines).encode()
    form = aiohttp.FormData()
    form.add_field("purpose", "batch")
    form.add_field("file", content, filename=f"{name}.jsonl", content_type="application/jsonl")
    file = await teacher.fetch("POST", "files", form, UPLOAD_S)
    waiting = ("pending", "running", "uploaded") if teacher.name.startswith("azure:") else ("pending",)
    while file.get("status") in waiting:
        await asyncio.sleep(FILE_PAUSE_S)
        file = await teacher.fetch("GET", f"files/{file['id']}")
    if file.get("status") == "error":
        raise RefusedError(f"the file of the batch was refused: {file.get('status_details')}")
    order = {"input_file_id": file["id"], "endpoint": route, "completion_window": "24h", "metadata": {"yearling": name}}
    return str((await teacher.fetch("POST", "batches", order))["id"])


async def find(teacher: WireTeacher, batch: Batch, taken: Set[str]) -> str:
    """The id of a batch that may or may not have reached the provider, "" where it has not."""
    after = ""
    while True:
        page = await teacher.fetch("GET", f"batches?limit=100{after}")
        for each in page["data"]:
            if (each.get("metadata") or {}).get("yearling") == batch.name:
                return str(each["id"])
        if not page.get("has_more") or not page["data"]:
            return ""
        after = f"&after={page['data'][-1]['id']}"


async def look(teacher: WireTeacher, id: str) -> Look:
    """How far a batch is."""
    said = await teacher.fetch("GET", f"batches/{id}")
    counts, status = said.get("request_counts") or {}, str(said["status"])
    errors = [str(e.get("message")) for e in (said.get("errors") or {}).get("data") or ()]
    done = int(counts.get("completed") or 0) + int(counts.get("failed") or 0)
    return Look(done, status in _OVER, ": ".join([status, *errors[:1]]), said)


async def results(teacher: WireTeacher, at: Look) -> list[tuple[str, Heard]]:
    """What each tag was answered, in the batch's files of answers and of errors."""
    found = []
    for file in filter(None, (at.said.get("output_file_id"), at.said.get("error_file_id"))):
        text = await teacher.text("GET", f"files/{file}/content", None, UPLOAD_S)
        found += [_result(json.loads(each)) for each in io.StringIO(text) if each.strip()]
    return found


def _result(row: Any) -> tuple[str, Heard]:
    response = row.get("response")
    if row.get("error") or not response:  # expired or cancelled before its turn
        return str(row["custom_id"]), Heard(503, json.dumps(row.get("error"), ensure_ascii=False))
    status = int(response["status_code"])
    return str(row["custom_id"]), Heard(status, json.dumps(response["body"], ensure_ascii=False))
