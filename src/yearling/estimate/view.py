"""An estimate for people: one table, whether the budget bears it, and what there is to say.

In: what `estimate` returns. Out: something that Rich prints, within 80 columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yearling.look import duration, money, plain_table, size_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

QUANTITIES = {
    "calls": "calls", "prompt_tokens": "prompt tokens", "completion_tokens": "completion tokens",
    "cost_usd": "cost", "seconds": "time",
}  # fmt: skip
FITS = {
    "yes": "is enough",
    "perhaps": "may not be enough",
    "no": "is not enough",
    "unknown": "cannot be compared: the price is unknown",
}


def view(data: Mapping[str, Any]) -> Group:
    """The estimate as tables with notes."""
    from rich.console import Group

    shown = [_asking(data)] if data["teacher"] else []
    return Group(*shown, *([_training(data["training"])] if data["training"] else []))


def _asking(data: Mapping[str, Any]) -> Group:
    from rich.console import Group
    from rich.text import Text

    parts = list(data["stages"])
    if len(parts) > 1:
        parts.append({"stage": "in all", **data["total"]})
    rows = [row for part in parts for row in _rows(part)]
    title = f"what {data['run']} will ask of {data['teacher']}"
    table = plain_table(("", "", "answered", "low", "expected", "high"), rows, title)
    for column in table.columns[2:]:
        column.justify = "right"
    asked = data["pilot"]["calls"]
    lines = [
        f"Asked for this estimate: {asked} calls, {money(data['pilot']['cost_usd'])}; the run will not repeat them."
    ]
    lines += [_fits(row) for row in data["budget"]] or ["The recipe has no budget: nothing stops the run."]
    return Group(table, Text("\n".join([*lines, *data["notes"]])))


def _training(told: Mapping[str, Any]) -> Table:
    """What training will take, a line for each thing that was derived."""
    tokens, memory = told["tokens"], told["memory"]
    whose = "accepted" if told["rows_from"] == "accepted" else "at most; their lengths are those of the seeds"
    cut = f"{told['left_out']} longer ones are left out" if told["left_out"] else "none is cut"
    cost = "" if told["cost_usd"] is None else f", {money(told['cost_usd'])}"
    free = "" if memory["free"] is None else f" of {size_text(memory['free'])} free"
    lines = [
        ("base", f"{told['base']}, {told['parameters'] / 1e6:,.0f} M parameters"),
        ("device", told["machine"]),
        ("rows", f"{told['rows']} ({whose})"),
        ("tokens", f"half under {tokens['median']}, 99 % under {tokens['p99']}, longest {tokens['longest']}: {cut}"),
        ("learning rate", f"{told['learning_rate']:.2g}"),
        ("memory", f"about {size_text(memory['bytes'])}{free}; {told['room']['says']}"),
        ("time", f"about {duration(told['seconds'])} for {told['updates']} updates{cost}"),
    ]
    return plain_table(("", ""), lines, "what training will take of this machine")


def _rows(part: Mapping[str, Any]) -> Sequence[list[str]]:
    edges = [part["to_come"][edge] for edge in ("low", "expected", "high")]
    rows = []
    for n, (name, label) in enumerate(QUANTITIES.items()):
        answered = "" if name == "seconds" else _shown(name, part["answered"][name])
        rows.append(["" if n else part["stage"], label, answered, *(_shown(name, edge[name]) for edge in edges)])
    return rows


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name in ("cost_usd", "max_cost_usd"):
        return money(value)
    return duration(value) if name == "seconds" else f"{value:,.0f}".replace(",", " ")


def _fits(row: Mapping[str, Any]) -> str:
    cap = f"budget.{row['cap']}" if row["of"] == "all" else f"{row['of']}'s share of budget.{row['cap']}"
    limit, likely, most = (_shown(row["cap"], row[edge]) for edge in ("limit", "expected", "high"))
    said = f"{cap} {limit} {FITS[row['fits']]}"
    if row["expected"] is None:
        return f"{said}."
    first = ". This cap binds first" if row["binds_first"] else ""
    return f"{said}: {likely} expected, {most} at the high end{first}."
