"""The batch APIs of three providers on loopback, as far as a client sees them, with a count of what was handed in.

In: HTTP requests of the OpenAI, Anthropic and Gemini batch APIs. Out: batches that end after some looks, and answers
that depend on the request alone. `hold` stops the server at a step, so that a test can kill the client there.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripted_server import Asked, Said

Step = str  # "file", "create", "created", "list", "look", "results"
Outcome = tuple[int, Any] | str | None  # status and body, "expired", or no row at all


@dataclass
class Handed:
    """One batch as it was handed in."""

    id: str
    name: str  # "" where the provider keeps none
    order: Any
    rows: list[tuple[str, dict[str, Any]]]  # tag and body
    created: float
    looks: int = 0
    state: str = ""  # an end other than completion


def words(body: Mapping[str, Any]) -> str:
    """The last thing that was said, whatever the format."""
    if "contents" in body:
        return str(body["contents"][-1]["parts"][-1]["text"])
    return str(body["messages"][-1]["content"])


class BatchServer:
    """What answers; give it to a ScriptedServer."""

    def __init__(self) -> None:
        self.batches: list[Handed] = []
        self.files: dict[str, str] = {}
        self.asked: list[str] = []
        self.polls = 2  # looks before a batch has ended
        self.file_states = ["processed"]
        self.outcome: Callable[[dict[str, Any], int], Outcome] = lambda body, batch: (200, None)
        self.at: Callable[[Step], Said | None] = lambda step: None  # an answer instead of the step's own
        self.hold: Step = ""
        self.held, self.release = threading.Event(), threading.Event()

    def answer(self, asked: Asked) -> Said | None:
        route = re.sub(r"^/(v1beta|v1|openai/v1)/", "", asked.path)
        self.asked.append(f"{asked.verb} {route}")
        if route.startswith("files"):
            return self._file(asked, route)
        if asked.verb == "POST":
            return self._create(asked, route)
        bare, _, query = route.partition("?")
        if bare in ("batches", "messages/batches"):
            return self._step("list") or Said(200, self._list(bare, query, "/v1beta/" in asked.path))
        found = next((b for b in self.batches if b.id in route), None)
        if found is None:
            return Said(404, {"error": {"message": "no such batch"}})
        if bare.endswith("/results"):
            return self._step("results") or Said(200, _lines(self._anthropic(found)))
        found.looks += 1
        return self._step("look") or Said(200, self._look(found))

    def _step(self, step: Step) -> Said | None:
        """An answer instead of the step's own; waits where a test holds the step."""
        if step == self.hold:
            self.hold = ""
            self.held.set()
            self.release.wait(30)
            return Said(500)
        return self.at(step)

    def _file(self, asked: Asked, route: str) -> Said | None:
        if asked.verb == "POST":
            if said := self._step("file"):
                return said
            text = asked.content.decode()
            assert 'name="purpose"\r\n\r\nbatch' in text
            content = text.split("\r\n\r\n")[-1].rsplit("\r\n--", 1)[0]
            id = f"file-{len(self.files)}"
            self.files[id] = content
            return Said(200, {"id": id, "status": self.file_states[0]})
        id = route.split("/")[1]
        if not route.endswith("/content"):
            if len(self.file_states) > 1:
                self.file_states.pop(0)
            return Said(200, {"id": id, "status": self.file_states[0]})
        number, kind = id.removeprefix("out-").split("-")
        return self._step("results") or Said(200, _lines(self._openai(int(number), kind)))

    def _create(self, asked: Asked, route: str) -> Said | None:
        if said := self._step("create"):
            return said
        order, number = asked.body, len(self.batches)
        if route == "batches":
            lines = [json.loads(line) for line in self.files[order["input_file_id"]].splitlines()]
            made = Handed(f"batch_{number}", order["metadata"]["yearling"], order, [], 0.0)
            made.rows = [(line["custom_id"], line["body"]) for line in lines]
        elif route == "messages/batches":
            rows = [(each["custom_id"], each["params"]) for each in order["requests"]]
            made = Handed(f"msgbatch_{number}", "", order, rows, 0.0)
        else:
            requests = order["batch"]["inputConfig"]["requests"]["requests"]
            rows = [(each["metadata"]["key"], each["request"]) for each in requests]
            made = Handed(f"batches/{number}", order["batch"]["displayName"], order, rows, 0.0)
        made.created = datetime.now(UTC).timestamp()
        self.batches.append(made)
        return self._step("created") or Said(200, self._look(made))

    def _list(self, route: str, query: str, gemini: bool) -> Any:
        """Pages of one, so that a client must turn them."""
        cursor = re.search(r"(?:after|after_id|pageToken)=([^&]+)", query)
        order = list(reversed(self.batches))
        if cursor:
            order = order[[each.id for each in order].index(cursor[1]) + 1 :]
        page, more = [self._look(each) for each in order[:1]], len(order) > 1
        if gemini:
            return {"operations": page, **({"nextPageToken": order[0].id} if more else {})} if page else {}
        return {"data": page, "has_more": more, "last_id": order[0].id if order else None}

    def _look(self, batch: Handed) -> Any:
        done = batch.looks > self.polls
        number, size = self.batches.index(batch), len(batch.rows)
        count = size if done else size * batch.looks // (self.polls + 1)
        if batch.id.startswith("batch_"):
            files = {"output_file_id": f"out-{number}-answers", "error_file_id": f"out-{number}-errors"} if done else {}
            state = (batch.state or "completed") if done else "in_progress"
            counts = {"completed": count, "failed": 0, "total": size}
            return {
                "id": batch.id,
                "status": state,
                "request_counts": counts,
                "metadata": {"yearling": batch.name},
            } | files
        if batch.id.startswith("msgbatch_"):
            counts = {"processing": size - count, "succeeded": count, "errored": 0, "canceled": 0, "expired": 0}
            at = datetime.fromtimestamp(batch.created, UTC).isoformat().replace("+00:00", "Z")
            state = "ended" if done else "in_progress"
            return {"id": batch.id, "processing_status": state, "request_counts": counts, "created_at": at}
        state = f"BATCH_STATE_{(batch.state or 'succeeded').upper()}" if done else "BATCH_STATE_RUNNING"
        about = {"displayName": batch.name, "state": state, "batchStats": {"successfulRequestCount": str(count)}}
        answers = {"response": {"inlinedResponses": {"inlinedResponses": self._gemini(batch)}}} if done else {}
        return {"name": batch.id, "metadata": about, "done": done, **answers}

    def _openai(self, number: int, kind: str) -> list[Any]:
        rows = []
        for tag, body in reversed(self.batches[number].rows):
            outcome = self.outcome(body, number)
            if outcome == "expired" and kind == "errors":
                rows.append({"custom_id": tag, "response": None, "error": {"code": "batch_expired", "message": "late"}})
            elif isinstance(outcome, tuple) and (outcome[0] == 200) == (kind == "answers"):
                choice = {"message": {"content": f"{words(body)} Yes."}, "finish_reason": "stop"}
                whole = {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 4}}
                response = {"status_code": outcome[0], "body": outcome[1] or whole}
                rows.append({"custom_id": tag, "response": response, "error": None})
        return rows

    def _anthropic(self, batch: Handed) -> list[Any]:
        rows = []
        for tag, body in reversed(batch.rows):
            outcome = self.outcome(body, self.batches.index(batch))
            content = [{"type": "text", "text": f"{words(body)} Yes."}]
            usage = {"input_tokens": 10, "output_tokens": 4}
            result: Any = {"type": "expired"}
            if isinstance(outcome, tuple):
                message = outcome[1] or {"content": content, "stop_reason": "end_turn", "usage": usage}
                result = {"type": "succeeded", "message": message}
                if outcome[0] >= 400:
                    error = {
                        "type": "invalid_request_error" if outcome[0] == 400 else "api_error",
                        "message": outcome[1],
                    }
                    result = {"type": "errored", "error": {"type": "error", "error": error}}
            if outcome is not None:
                rows.append({"custom_id": tag, "result": result})
        return rows

    def _gemini(self, batch: Handed) -> list[Any]:
        rows = []
        for tag, body in reversed(batch.rows):
            outcome = self.outcome(body, self.batches.index(batch))
            candidate = {"content": {"parts": [{"text": f"{words(body)} Yes."}]}, "finishReason": "STOP"}
            usage = {"promptTokenCount": 10, "candidatesTokenCount": 4}
            row: Any = {"error": {"code": 4, "message": "expired"}}
            if isinstance(outcome, tuple):
                row = {"response": outcome[1] or {"candidates": [candidate], "usageMetadata": usage}}
                if outcome[0] >= 400:
                    row = {"error": {"code": 3 if outcome[0] == 400 else 13, "message": str(outcome[1])}}
            if outcome is not None:
                rows.append({**row, "metadata": {"key": tag}})
        return rows


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
