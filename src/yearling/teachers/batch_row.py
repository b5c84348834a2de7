"""The ledger's rows of batches: what was handed to a provider's batch API, and which of its calls are not landed yet.

In: calls with their quotes. Out: a Batch that is on the disk before it is sent anywhere. Asks nobody.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from yearling.errors import BudgetError
from yearling.ledger import Call, Ledger, Quote
from yearling.record import digest


@dataclass(frozen=True)
class Batch:
    """Calls handed over together; `id` is the provider's name for it, "" while that is unknown.

    `tickets` are those of its calls that are not landed yet, by key.
    """

    name: str
    id: str
    began: float
    size: int
    tickets: Mapping[str, int]

    @property
    def tags(self) -> dict[str, int]:
        """Tickets by the names that the provider's results carry; no two sends of any ledger share one."""
        return {f"{self.name}-{ticket}": ticket for ticket in self.tickets.values()}


def start(ledger: Ledger, offers: Sequence[tuple[Call, Quote]], stage: str) -> Batch:
    """Reserve as many of the calls as the caps allow, as one batch, on the disk when this returns.

    Raises BudgetError where not one of them fits.
    """
    began, first = time.time(), offers[0][0]
    name = f"b_{digest([began, *(call.key for call, _ in offers)])[:24]}"
    tickets: dict[str, int] = {}
    for call, quote in offers:
        try:
            tickets[call.key] = ledger.reserve(call, quote, stage, name)
        except BudgetError:
            if not tickets:
                raise
            break
    ledger.write(
        "INSERT INTO batches (name, endpoint, model, run, stage, state, began, size) "
        "VALUES (?, ?, ?, ?, ?, 'open', ?, ?)",
        *(name, first.endpoint, first.model, ledger.run, stage, began, len(tickets)),
    )
    ledger.flush()
    return Batch(name, "", began, len(tickets), tickets)


def unfinished(ledger: Ledger, endpoint: str, model: str) -> list[Batch]:
    """The batches that are open at an endpoint, whichever run began them."""
    found = []
    for name, id, began, size in ledger.read(
        "SELECT name, coalesce(id, ''), began, size FROM batches WHERE state = 'open' AND endpoint = ? AND model = ?",
        *(endpoint, model),
    ):
        flying = ledger.read(
            "SELECT key, sends.id FROM sends JOIN calls USING (key) WHERE sends.state = 'flying' AND batch = ?", name
        )
        if flying:
            found.append(Batch(name, id, began, size, {key: ticket for key, ticket in flying}))
        else:
            end(ledger, name)
    return found


def known_as(ledger: Ledger, batch: Batch, id: str) -> Batch:
    """Write down what the provider calls a batch, on the disk when this returns."""
    ledger.write("UPDATE batches SET id = ? WHERE name = ?", id, batch.name)
    ledger.flush()
    return replace(batch, id=id)


def ids(ledger: Ledger) -> set[str]:
    """What providers call the batches that are known already."""
    return {id for (id,) in ledger.read("SELECT id FROM batches WHERE id IS NOT NULL")}


def end(ledger: Ledger, name: str) -> None:
    """All of a batch is landed."""
    ledger.write("UPDATE batches SET state = 'ended' WHERE name = ?", name)
    ledger.flush()
