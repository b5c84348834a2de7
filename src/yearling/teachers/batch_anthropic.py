"""The batch API of Anthropic: one call hands all requests over, a file of answers comes down.

In: bodies of the Messages format, each with its tag. Out: the provider's id, how far it is, what each tag was
answered. Decides nothing, and knows no ledger. Source: the API reference of Anthropic, and its SDK's types.
A batch carries no name: one whose id was never heard is known by the tags in its answers, once it has ended.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from yearling.teachers.batch_row import Batch
from yearling.teachers.wire import Heard, Look, WireTeacher

MOST, LARGEST = 100_000, 256_000_000  # requests and bytes of one batch
UPLOAD_S = 3600.0
SKEW_S = 3600.0  # how far the provider's clock may be from ours
FIND_PAUSE_S = 60.0
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def line(tag: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One request as the batch wants it."""
    return {"custom_id": tag, "params": body}


def endpoint(teacher: WireTeacher, route: str) -> str:
    """How a batch calls a route: it knows one only."""
    return route


async def submit(teacher: WireTeacher, name: str, route: str, lines: Sequence[Any]) -> str:
    """Hand a batch over; the provider's id of it."""
    return str((await teacher.fetch("POST", "messages/batches", {"requests": lines}, UPLOAD_S))["id"])


async def find(teacher: WireTeacher, batch: Batch, taken: Set[str]) -> str:
    """The id of a batch that may or may not have reached the provider, "" where it has not.

    Waits for the end of every batch of the same size that was made since: only then do they show their tags.
    """
    for id in await _candidates(teacher, batch, taken):
        while not (at := await look(teacher, id)).ended:
            await asyncio.sleep(FIND_PAUSE_S)
        if any(tag in batch.tags for tag, _ in await results(teacher, at)):
            return id
    return ""


async def _candidates(teacher: WireTeacher, batch: Batch, taken: Set[str]) -> list[str]:
    found, after = [], ""
    while True:
        page = await teacher.fetch("GET", f"messages/batches?limit=1000{after}")
        recent = [b for b in page["data"] if _time(b["created_at"]) > batch.began - SKEW_S]
        same = [b for b in recent if sum(map(int, b["request_counts"].values())) == batch.size]
        found += [str(b["id"]) for b in same if b["id"] not in taken]
        if not page.get("has_more") or len(recent) < len(page["data"]):  # newest first
            return found
        after = f"&after_id={page['last_id']}"


def _time(said: str) -> float:
    return datetime.fromisoformat(said).timestamp()


async def look(teacher: WireTeacher, id: str) -> Look:
    """How far a batch is."""
    said = await teacher.fetch("GET", f"messages/batches/{id}")
    counts = {name: int(number) for name, number in said["request_counts"].items()}
    status = str(said["processing_status"])
    return Look(sum(counts.values()) - counts.get("processing", 0), status == "ended", status, said)


async def results(teacher: WireTeacher, at: Look) -> list[tuple[str, Heard]]:
    """What each tag was answered."""
    text = await teacher.text("GET", f"messages/batches/{at.said['id']}/results", None, UPLOAD_S)
    return [_result(json.loads(each)) for each in io.StringIO(text) if each.strip()]


def _result(row: Any) -> tuple[str, Heard]:
    result = row["result"]
    if result["type"] == "succeeded":
        return str(row["custom_id"]), Heard(200, json.dumps(result["message"], ensure_ascii=False))
    error = (result.get("error") or {}).get("error") or {"type": result["type"]}  # canceled, expired: not billed
    status = _STATUS.get(str(error.get("type")), 503)
    return str(row["custom_id"]), Heard(status, json.dumps(error, ensure_ascii=False))
