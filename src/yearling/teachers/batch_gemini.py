"""The batch API of Gemini, with the requests inside one call and the answers inside another.

In: bodies of generateContent, each with its tag. Out: the provider's id, how far it is, what each tag was answered.
Decides nothing, and knows no ledger. Source: the Gemini API reference, v1beta, and its SDK's types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from yearling.teachers.batch_row import Batch
from yearling.teachers.gemini import path
from yearling.teachers.wire import Heard, Look, WireTeacher

MOST, LARGEST = 50_000, 19_000_000  # 20 MB of requests inside the call, less what is around them
UPLOAD_S = 3600.0
_OVER = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_STATUS = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 16: 401}  # of google.rpc.Code


def line(tag: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One request as the batch wants it."""
    return {"request": body, "metadata": {"key": tag}}


def endpoint(teacher: WireTeacher, route: str) -> str:
    """How a batch calls a route: it knows one only."""
    return f"{path(teacher.model)}:batchGenerateContent"


async def submit(teacher: WireTeacher, name: str, route: str, lines: Sequence[Any]) -> str:
    """Hand a batch over; the provider's id of it."""
    order = {"batch": {"displayName": name, "inputConfig": {"requests": {"requests": lines}}}}
    return str((await teacher.fetch("POST", route, order, UPLOAD_S))["name"])


async def find(teacher: WireTeacher, batch: Batch, taken: Set[str]) -> str:
    """The id of a batch that may or may not have reached the provider, "" where it has not."""
    token = ""
    while True:
        page = await teacher.fetch("GET", f"batches?pageSize=100{token}")
        for each in page.get("operations") or ():
            if (each.get("metadata") or {}).get("displayName") == batch.name:
                return str(each["name"])
        if not page.get("nextPageToken"):
            return ""
        token = f"&pageToken={page['nextPageToken']}"


async def look(teacher: WireTeacher, id: str) -> Look:
    """How far a batch is; its answers come with that."""
    said = await teacher.fetch("GET", id, None, UPLOAD_S)
    about = said.get("metadata") or {}
    state = str(about.get("state") or "").removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    counts = about.get("batchStats") or {}
    done = sum(int(counts.get(f"{how}RequestCount") or 0) for how in ("successful", "failed"))
    error = (said.get("error") or {}).get("message")
    why = f"{state.lower()}: {error}" if error else state.lower()
    return Look(done, state in _OVER or bool(said.get("done")), why, said)


async def results(teacher: WireTeacher, at: Look) -> list[tuple[str, Heard]]:
    """What each tag was answered."""
    held = at.said.get("response") or (at.said.get("metadata") or {}).get("output") or {}
    rows = (held.get("inlinedResponses") or {}).get("inlinedResponses") or ()
    return [_result(row) for row in rows]


def _result(row: Any) -> tuple[str, Heard]:
    tag = str((row.get("metadata") or {}).get("key"))
    if row.get("response"):
        return tag, Heard(200, json.dumps(row["response"], ensure_ascii=False))
    error = row.get("error") or {}
    code = int(error.get("code") or 0)
    return tag, Heard(code if code >= 400 else _STATUS.get(code, 503), json.dumps(error, ensure_ascii=False))
