"""The teacher answers: drafts without an answer get one, and conversations get further turns.

In: drafts. Out: finished conversations with the calls that made them; what is unfinished is turned away.
Also the way of GPT4All (Anand et al. 2023): prompts are borrowed from `import`, only answers are the teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yearling.generate import magpie
from yearling.generate.birth import Birth
from yearling.generate.draft import Draft
from yearling.ledger import Reply
from yearling.record import Message, Record
from yearling.teachers.ask import answer_request

FOLLOW_TOKENS = 96  # of a further user turn; a longer one is unfinished, and the conversation ends before it


@dataclass(frozen=True)
class Row:
    """A conversation that ends with an answer, the draft it began with, and the calls and money it took."""

    draft: Draft
    messages: tuple[Message, ...]
    calls: tuple[str, ...]
    cost_usd: float | None


def borrowed(birth: Birth, numbers: range) -> list[Draft]:
    """The prompts of `import` numbered so; the last turn is the instruction, what stands before it stays before it."""
    chosen = birth.prompts[numbers.start : numbers.stop]
    birth.exhausted = numbers.stop >= len(birth.prompts)
    return [_borrow(record) for record in chosen]


def _borrow(record: Record) -> Draft:
    *before, last = record.messages
    origin = record.origin
    return Draft(
        last.content,
        "",
        origin.key,
        origin.calls,
        parents=origin.parents,
        shown=origin.source,
        before=tuple(before),
        licence=origin.licence,
    )


def answer(birth: Birth, drafts: Sequence[Draft]) -> list[Row]:
    """Rows of the drafts whose answers are finished, in the order of the drafts."""
    rows = _first_answers(birth, drafts)
    for turn in range(1, birth.settings.answer.turns):
        rows = _another_turn(birth, rows, turn)
    birth.finished = 0
    return rows


def _first_answers(birth: Birth, drafts: Sequence[Draft]) -> list[Row]:
    bare = [draft for draft in drafts if draft.output is None]
    replies = iter(_answers(birth, [(*d.before, Message("user", d.prompt)) for d in bare]))
    rows = []
    for draft in drafts:
        turns = (*draft.before, Message("user", draft.prompt))
        if draft.output is not None:
            rows.append(Row(draft, (*turns, Message("assistant", draft.output)), draft.calls, draft.cost_usd))
            continue
        call, reply = next(replies)
        if _finished(birth, call, reply, draft.prompt):
            answer = Message("assistant", reply.text.strip())
            rows.append(Row(draft, (*turns, answer), (*draft.calls, call), _sum(draft.cost_usd, reply.cost_usd)))
    return rows


def _answers(birth: Birth, conversations: Sequence[Sequence[Message]]) -> list[tuple[str, Reply]]:
    limit = birth.settings.answer.max_tokens
    requests = [
        (answer_request(birth.settings, [{"role": m.role, "content": m.content} for m in turns], limit), 0)
        for turns in conversations
    ]

    def seen(reply: Reply) -> None:
        birth.finished += reply.finish == "stop"

    return [(call.key, reply) for call, reply in birth.ask(requests, seen)]


def _finished(birth: Birth, call: str, reply: Reply, prompt: str) -> bool:
    text = reply.text.strip()
    if reply.finish == "content_filter":
        birth.reject(call, "blocked by the provider", prompt)
    elif reply.finish != "stop":
        birth.reject(call, f"unfinished answer ({reply.finish or 'no reason given'})", text)
    elif not text:
        birth.reject(call, "empty answer", prompt)
    else:
        return True
    return False


def _another_turn(birth: Birth, rows: Sequence[Row], turn: int) -> list[Row]:
    """One more user turn and its answer, where both are finished; a conversation that gets none stays as it is."""
    going = [i for i, row in enumerate(rows) if sum(m.role == "user" for m in row.messages) == turn]
    written = zip(going, _next_turns(birth, [rows[i] for i in going]), strict=True)
    talks = [(i, call, text) for i, (call, text) in written if text and not birth.prompt_fault(text)]
    replies = _answers(birth, [(*rows[i].messages, Message("user", text)) for i, _, text in talks])
    grown = list(rows)
    for (i, call, text), (answered, reply) in zip(talks, replies, strict=True):
        if reply.finish == "stop" and reply.text.strip():
            row = rows[i]
            messages = (*row.messages, Message("user", text), Message("assistant", reply.text.strip()))
            calls = (*row.calls, call, answered)
            grown[i] = replace(row, messages=messages, calls=calls, cost_usd=_sum(row.cost_usd, reply.cost_usd))
    return grown


def _next_turns(birth: Birth, rows: Sequence[Row]) -> list[tuple[str, str | None]]:
    if birth.settings.method == "magpie":
        return magpie.next_turns(birth, [row.messages for row in rows])
    requests = []
    for row in rows:
        talk = "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in row.messages if m.role != "system")
        text = birth.words.say("follow", conversation=talk, language=birth.language)
        body = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": FOLLOW_TOKENS,
            "temperature": birth.settings.temperature,
            "seed": birth.sampler_seed(len(row.messages)),
        }
        requests.append((body, 0))
    return [
        (call.key, " ".join(reply.text.split()) if reply.finish == "stop" else None)
        for call, reply in birth.ask(requests)
    ]


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right
