"""`yearling curate --explain` and `--keep`: which judge took what and why, and what a person keeps against them.

In: a run whose records were judged. Out: an `Explanation` (its views are in `explained.py`); `kept.json`, where a
person keeps a record.
Judges nothing. A million records stay in Arrow and numpy columns: only rows that are shown become Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yearling.curate.corpus import FAILED, PASSED, STATES
from yearling.curate.explained import EXAMPLES, LONGEST, Explanation, Heard, Histogram, Reason, Shown, opening
from yearling.curate.explained import render_html as render_html
from yearling.curate.explained import tables as tables
from yearling.errors import UserError
from yearling.measure.accepted import KEPT, kept
from yearling.record import Message, read_columns
from yearling.run_folder import Run, read_json, write_json

if TYPE_CHECKING:
    import pyarrow as pa

PAGE = "explain.html"
EMBEDDED = 2000  # dropped rows on the page
ROOM = 6_000_000  # characters of theirs
CLOSE, BEATEN = 4, 100  # rows shown with a judge: accepted ones next to a limit, failed ones kept by hand
REASONS = 8  # kinds of reason of a judge
BINS = 19
LIMITS = ("above", "outlier", "min_completion", "max_completion")  # what a passing record's score is held to
NAMED = re.compile(r"r1:[0-9a-f]{24}")

Numbers = npt.NDArray[Any]
Turns = tuple[Message, ...]


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a run in columns; every array has one place a record, in birth order."""

    run: Run
    ids: pa.Array
    states: Mapping[str, Numbers]  # codes by judge, in the order in which they speak
    scores: Mapping[str, Numbers]  # of judges that give any; NaN where there is none
    fails: Numbers  # place of the first judge that fails the record, -1 where none does
    by_hand: npt.NDArray[np.bool_]

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which records stand."""
        return np.asarray((self.fails < 0) | self.by_hand)


def judgement(run: Run, order: Sequence[str]) -> Judgement:
    """Read the verdicts of a run; raises UserError where there are no records, or some were not judged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = record_ids(run)
    found = [path.name for path in run.verdicts.glob("*") if path.is_dir() and any(path.glob("*.parquet"))]
    if not found:
        raise UserError(f"the records of {run.name} have not been judged. Run `yearling curate` first.")
    names = [name for name in order if name in found] + sorted(set(found) - set(order))
    fails = np.full(len(ids), -1, np.int16)
    states, scores = {}, {}
    for place, name in enumerate(names):
        table = _verdicts(run, name, ids)
        states[name] = pc.index_in(table["state"], value_set=pa.array(STATES)).to_numpy().astype(np.int8)
        if table["score"].null_count < len(table):
            scores[name] = table["score"].to_numpy()
        fails[(fails < 0) & (states[name] == FAILED)] = place
    by_hand = _is_in(ids, kept(run))
    return Judgement(run, ids, states, scores, fails, by_hand)


def record_ids(run: Run) -> pa.Array:
    """Ids of all records of a run, each once, in birth order; raises UserError where there are none."""
    import pyarrow as pa

    parts = sorted(run.records.glob("*.parquet"))
    read = [read_columns(part, ("id", "sequence")) for part in parts]
    if not any(map(len, read)):
        raise UserError(f"no records in {run.records}. Run `yearling generate` or `yearling import` first.")
    return pa.concat_tables(read).sort_by([("sequence", "ascending"), ("id", "ascending")])["id"].unique()


def turns_of(run: Run, ids: Iterable[str]) -> dict[str, Turns]:
    """The conversations of some records, by id; what is not there is left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, Turns] = {}
    for part in sorted(run.records.glob("*.parquet")) if len(wanted) else ():
        table = read_columns(part, ("id", "messages"))
        for row in table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist():
            found[row["id"]] = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
    return found


def _verdicts(run: Run, judge: str, ids: pa.Array) -> pa.Table:
    """One judge's states and scores in the order of `ids`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folder = run.verdicts / judge
    parts = [read_columns(part, ("record", "state", "score")) for part in sorted(folder.glob("*.parquet"))]
    table = pa.concat_tables(parts)
    judged = table["record"].combine_chunks()
    if not judged.equals(ids):
        places = pc.index_in(ids, value_set=judged)
        if places.null_count:
            raise UserError(
                f"{folder} has no verdict on {places.null_count} of {len(ids)} records. Run `yearling curate` first."
            )
        table = table.take(places)
    return table.select(["state", "score"])


def _is_in(ids: pa.Array, wanted: Iterable[str]) -> npt.NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = pc.is_in(ids, value_set=pa.array(sorted(wanted), pa.string()))
    return np.asarray(chosen.to_numpy(zero_copy_only=False))


# -- the explanation


def explain(run: Run, order: Sequence[str]) -> Explanation:
    """What the judges did with a run's records; `order` is that in which they speak.

    Raises UserError where there are no records, or they have not been judged.
    """
    said = judgement(run, order)
    notes = {name: _note(run, name) for name in said.states}
    limits = {name: _limits(said, name, notes[name].get("settings")) for name in said.states}
    took = {name: np.flatnonzero((said.fails == at) & ~said.by_hand) for at, name in enumerate(said.states)}
    rooms = shares([len(places) for places in took.values()], EMBEDDED)
    drawn = {name: _draw(said.ids, places, room) for (name, places), room in zip(took.items(), rooms, strict=True)}
    close = {name: _close(said, name, limits[name]) for name in said.states}
    beaten = {name: np.flatnonzero((said.fails == at) & said.by_hand)[:BEATEN] for at, name in enumerate(said.states)}
    dropped, near, overruled = _shown(said, (drawn, close, beaten))
    users = sum(len(places) > 0 for places in took.values())
    heard, left = [], len(said.ids)
    for name, places in took.items():
        left -= len(places)
        rows = _fitting(dropped[name], ROOM // users) if users else ()
        judge = _heard(said, name, notes[name])
        heard.append(replace(judge, limits=limits[name], first=len(places), left=left, dropped=rows, close=near[name]))
    return Explanation(
        run=run.name,
        records=len(said.ids),
        accepted=int(said.accepted.sum()),
        kept_by_hand=int(said.by_hand.sum()),
        overruled=int(((said.fails >= 0) & said.by_hand).sum()),
        judges=tuple(heard),
        kept=tuple(row for rows in overruled.values() for row in rows),
    )


def _note(run: Run, judge: str) -> Mapping[str, Any]:
    """The judge's settings and counts; raises UserError where it was stopped before it wrote them."""
    path = run.verdicts / f"{judge}.json"
    if not path.exists():
        raise UserError(f"{path} is missing: judgement was stopped. Run `yearling curate` again.")
    note: Mapping[str, Any] = read_json(path)
    return note


def _heard(said: Judgement, name: str, note: Mapping[str, Any]) -> Heard:
    """What one judge said in numbers."""
    passed, failed, skipped = (int(np.count_nonzero(said.states[name] == code)) for code in range(len(STATES)))
    reasons, unheard = [], 0
    for told, count in note["reasons"].items():
        state, _, text = told.partition(": ")
        if state == "skipped" and text.removeprefix("failed ") in said.states:
            unheard += count
        else:
            reasons.append(Reason(state, text, count))
    return Heard(
        name=name,
        off=note["settings"] is None,
        settings=note["settings"],
        passed=passed,
        failed=failed,
        skipped=skipped,
        unheard=unheard,
        # what fails first; the sort is stable and the note has the most frequent first
        reasons=tuple(sorted(reasons, key=lambda reason: reason.state != "fail")[:REASONS]),
        scores=_histogram(said, name),
    )


def _limits(said: Judgement, name: str, settings: Any) -> tuple[tuple[str, float], ...]:
    """The settings that scores are held to; where there are none, the border that the verdicts show."""
    if isinstance(settings, dict):
        return tuple((key, float(settings[key])) for key in LIMITS if isinstance(settings.get(key), int | float))
    if name == "novelty" and isinstance(settings, float):
        return (("novelty", settings),)
    if name in ("score", "harm") and isinstance(settings, list):
        return (("min_score", float(settings[0])),)
    if name not in said.scores:
        return ()
    passed, failed = (_scores(said, name, code) for code in (PASSED, FAILED))
    parted = len(passed) and len(failed) and passed.max() < failed.min()
    return (("fails from", float(failed.min())),) if parted else ()


def _scores(said: Judgement, name: str, code: int) -> Numbers:
    """The scores that a judge gave under one state."""
    values = said.scores[name][said.states[name] == code]
    return np.asarray(values[np.isfinite(values)])


def _histogram(said: Judgement, name: str) -> Histogram | None:
    if name not in said.scores:
        return None
    passed, failed = (_scores(said, name, code) for code in (PASSED, FAILED))
    both = np.concatenate([passed, failed])
    if not len(both):
        return None
    edges = edges_of(both)
    # what lies further out counts in the outermost bars
    high, low = (np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] for values in (passed, failed))
    counts = tuple(high.tolist()), tuple(low.tolist())
    return Histogram(tuple(edges.tolist()), *counts, float(both.min()), float(both.max()))


def edges_of(values: Numbers) -> Numbers:
    """Round edges of at most 20 bars for all values but the outermost half per cent on either side."""
    low, high = np.quantile(values, [0.005, 0.995], method="nearest")
    whole = bool((values == np.round(values)).all())
    wide = (high - low) / BINS if high > low else abs(high) / 100
    step = _round_up(max(wide, 1.0 if whole else 0.0, 1e-9 * max(1.0, abs(low), abs(high))))
    first = np.floor(low / step + 1e-9)
    return np.asarray(np.round((first + np.arange(np.floor(high / step + 1e-9) - first + 2)) * step, 12))


def _round_up(value: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(factor for factor in (1, 2, 5, 10) if value <= factor * power * (1 + 1e-9)))


# -- rows to look at


def shares(wants: Sequence[int], room: int) -> list[int]:
    """How much of the room each gets: all alike, and what one does not want is left to the others."""
    given = [0] * len(wants)
    order = sorted(range(len(wants)), key=lambda at: wants[at])
    for nth, at in enumerate(order):
        given[at] = min(wants[at], room // (len(wants) - nth))
        room -= given[at]
    return given


def _draw(ids: pa.Array, places: Numbers, count: int) -> Numbers:
    """So many of the places, by the smallest ids: those are hashes, so this is a draw, and always the same."""
    import pyarrow.compute as pc

    return np.asarray(places[pc.bottom_k_unstable(ids.take(places), count).to_numpy()] if count else places[:0])


def _close(said: Judgement, name: str, limits: Sequence[tuple[str, float]]) -> Numbers:
    """Places of the accepted records whose scores lie next to a limit of a judge that passed them."""
    if not limits or name not in said.scores:
        return np.empty(0, np.int64)
    scores = said.scores[name]
    places = np.flatnonzero(said.accepted & (said.fails < 0) & np.isfinite(scores))
    distance = np.min([np.abs(scores[places] - limit) for _, limit in limits], axis=0)
    return np.asarray(places[np.argsort(distance, kind="stable")[:CLOSE]])


def _shown(said: Judgement, picks: Sequence[Mapping[str, Numbers]]) -> list[dict[str, tuple[Shown, ...]]]:
    """The rows at places, by judge, with what that judge said; each table is read once."""
    reasons: dict[tuple[str, str], str] = {}
    for name in said.states:
        ids = said.ids.take(np.concatenate([pick[name] for pick in picks])).to_pylist()
        reasons |= {(name, record): reason for record, reason in _reasons(said.run, name, ids)}
    named = {key: (NAMED.findall(reason) or [""])[0] for key, reason in reasons.items()}
    turns = turns_of(said.run, {*(record for _, record in reasons), *named.values()} - {""})

    def row(name: str, place: int) -> Shown:
        key = name, said.ids[place].as_py()
        score = float(said.scores[name][place]) if name in said.scores else np.nan
        value = score if np.isfinite(score) else None
        return Shown(key[1], name, reasons[key], value, turns[key[1]], named[key], turns.get(named[key], ()))

    return [{name: tuple(row(name, place) for place in places) for name, places in pick.items()} for pick in picks]


def _reasons(run: Run, judge: str, ids: Sequence[str]) -> list[tuple[str, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = list[tuple[str, str]]()
    for part in sorted((run.verdicts / judge).glob("*.parquet")) if ids else ():
        table = read_columns(part, ("record", "reason"))
        table = table.filter(pc.is_in(table["record"], value_set=pa.array(ids, pa.string())))
        found += zip(table["record"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return found


def _fitting(rows: Sequence[Shown], room: int) -> tuple[Shown, ...]:
    """As many of the rows, from the first, as have room with all their text; the examples always have."""
    sizes = [sum(min(len(turn.content), LONGEST) for turn in (*row.turns, *row.other_turns)) for row in rows]
    ends = np.cumsum(sizes)
    return tuple(row for at, row in enumerate(rows) if at < EXAMPLES or ends[at] <= room)


# -- what a person keeps


def keep(run: Run, ids: Sequence[str], drop: bool = False) -> str:
    """Keep records whatever the judges say, or with `drop` take that back; the sentence to show.

    An id may be shortened. Raises UserError, and changes nothing, where one is unknown or more than one begins so.
    """
    import pyarrow as pa

    with run.lock():
        before = kept(run)
        if drop and not before:
            raise UserError(f"no record of run {run.name} is kept by hand, so there is nothing to take back.")
        known = pa.array(sorted(before), pa.string()) if drop else record_ids(run)
        chosen = {_meant(run, known, wanted, "kept record" if drop else "record") for wanted in ids}
        after = before - chosen if drop else before | chosen
        if after != before:
            write_json(run.path / "curate" / KEPT, sorted(after))
    which = ", ".join(sorted(chosen)) if len(chosen) <= 3 else f"{len(chosen)} records"
    one = len(chosen) == 1
    then = "Those that compare see it when `yearling curate` runs next."
    if drop:
        return f"{which} {'is' if one else 'are'} no longer kept: the judges decide. {then}"
    if after == before:
        return f"{which} {'was' if one else 'were'} kept before: nothing changed."
    return f"{which} {'is' if one else 'are'} kept, whatever the judges say. {then}"


def _meant(run: Run, known: pa.Array, wanted: str, what: str) -> str:
    """The one id that begins as wanted."""
    import pyarrow.compute as pc

    start = wanted.strip().lower()
    start = start if start.startswith("r1:") else f"r1:{start}"
    found: list[str] = known.filter(pc.starts_with(known, start)).to_pylist()
    if len(found) == 1:
        return found[0]
    if not found:
        from rapidfuzz import process

        near = ", ".join(name for name, *_ in process.extract(start, known.to_pylist(), limit=3))
        raise UserError(f"no {what} {start} in run {run.name}. The nearest ids: {near}.")
    turns = turns_of(run, found[:8])
    some = "".join(f"\n  {name}  {opening(turns.get(name, ()), 'user', 48)}" for name in found[:8])
    more = f"\n  and {len(found) - 8} more" if len(found) > 8 else ""
    raise UserError(f"{len(found)} {what}s begin with {start}. Give more of the id:{some}{more}")
