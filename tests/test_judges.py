"""Judges of length, of twins and of novelty; others have test files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from yearling.curate.judges import judge_length, judge_personal
from yearling.curate.rows import row_of
from yearling.curate.stage import run_curate
from yearling.measure.text import word_count
from yearling.recipe import Curate, JudgeName, Recipe
from yearling.record import Message, Origin, Record, Verdict, read_verdicts, write_records
from yearling.run_folder import Run

OFF = [name for name in get_args(JudgeName)]


def row(prompt: str, completion: str, sequence: int = 0, **origin: Any) -> Record:
    born_as = Origin(origin.pop("method", "alpaca"), f"call-{sequence}", sequence, **origin)
    return Record((Message("user", prompt), Message("assistant", completion)), born_as)


def verdicts_of(judge: str, rows: list[Record], tmp_path: Path, **curate: Any) -> list[Verdict]:
    """What one judge says when it is asked alone."""
    others = [name for name in OFF if name != judge]
    settings = {"off": others, "near": {"above": None}, "novelty": None, "test": 0.0, **curate}
    run = Run(tmp_path, f"run-{len(list(tmp_path.glob('runs/*')))}")
    run.create()
    write_records(rows, run.records / "part-0.parquet")
    run_curate(Recipe.model_validate({"name": run.name, "curate": settings}), run)
    by_id = {verdict.record: verdict for verdict in read_verdicts(run.verdicts / judge)}
    return [by_id[record.id] for record in rows]


# -- length, exact, novelty


def test_length_counts_words_of_any_script() -> None:
    assert [word_count(t) for t in ("one two, three", "", "2 + 2", "写一首诗", "写一首诗。", "用 Python 写")] == [
        3,
        0,
        3,
        2,
        3,
        2,
    ]
    limits = Curate.model_validate(
        {"length": {"min_prompt": 2, "max_prompt": 4, "min_completion": 1, "max_completion": 3}}
    )
    rows = [
        row("one two", "a b c"),
        row("one", "a"),
        row("a b c d e", "a"),
        row("a b", "a b c d"),
        row("写一首诗", "好"),
    ]
    verdicts = [judge_length(row_of(one.messages), limits) for one in rows]
    assert [v.state for v in verdicts] == ["pass", "fail", "fail", "fail", "pass"]
    assert [v.score for v in verdicts] == [3, 1, 5, 4, 1]
    assert "min_prompt is 2" in verdicts[1].reason
    assert "max_completion is 3" in verdicts[3].reason


def test_exact_keeps_the_first_and_names_it(tmp_path: Path) -> None:
    rows = [
        row("Name a colour.", "Red.", 0),
        row("  name a COLOUR", "red", 1),
        row("Name a colour.", "Blue.", 2),
        row("Ｎame a colour!", "“Red”", 3),
        row("Name a number.", "5", 4),
        row("Name a number.", "-5", 5),
    ]
    verdicts = verdicts_of("exact", rows, tmp_path)
    assert [v.state for v in verdicts] == ["pass", "fail", "pass", "fail", "pass", "pass"]
    assert verdicts[1].reason == verdicts[3].reason == f"the same text as {rows[0].id}"


def test_exact_looks_at_all_turns(tmp_path: Path) -> None:
    def talk(first: str, sequence: int) -> Record:
        turns = (Message("user", first), Message("assistant", "Sure."))
        last = (Message("user", "Thanks"), Message("assistant", "Welcome."))
        return Record((*turns, *last), Origin("import", str(sequence), sequence))

    verdicts = verdicts_of("exact", [talk("Sing", 0), talk("Dance", 1), talk("sing!", 2)], tmp_path)
    assert [v.state for v in verdicts] == ["pass", "pass", "fail"]


def test_novelty_compares_with_earlier_rows_and_spares_imported_ones(tmp_path: Path) -> None:
    rows = [
        row("List five uses of a brick", "a", 0, method="import"),
        row("List five uses of a brick", "b", 1, method="import"),
        row("List five uses of a red brick", "c", 2),
        row("Explain the tides", "d", 3),
        row("Explain the tides please", "e", 4),
    ]
    verdicts = verdicts_of("novelty", rows, tmp_path, novelty=0.7)
    assert [v.state for v in verdicts] == ["skipped", "skipped", "fail", "pass", "fail"]
    assert verdicts[0].reason == "imported rows are not held to the novelty rule"
    assert verdicts[2].reason == f"ROUGE-L 0.92 to {rows[0].id}"
    assert verdicts[4].score == pytest.approx(6 / 7)
    late = row("List five uses of a brick", "a", 9, method="import")
    # An imported row born later does not count against an earlier one.
    assert verdicts_of("novelty", [rows[2], late], tmp_path, novelty=0.7)[0].state == "pass"
    assert all(v.state != "fail" for v in verdicts_of("novelty", rows, tmp_path, novelty=1.0))


def test_a_family_is_not_held_against_itself(tmp_path: Path) -> None:
    """Instances of one instruction, a prompt and what it evolved to: alike by design."""
    start = row("List five uses of a brick", "a", 0)
    child = row("List five uses of a red brick", "b", 1, parents=(start.id,))
    stranger = row("List five uses of a blue brick", "c", 2)
    states = [v.state for v in verdicts_of("novelty", [start, child, stranger], tmp_path, novelty=0.7)]
    assert states == ["pass", "pass", "fail"]


def test_a_judge_switched_off_says_so(tmp_path: Path) -> None:
    for name in ("shape", "exact", "contamination", "contradiction", "near", "novelty", "score", "select"):
        (verdict,) = verdicts_of(name, [row("Name a tree", "An oak.")], tmp_path, off=[*OFF])
        assert (verdict.state, verdict.reason) == ("skipped", "switched off"), name


def test_personal_data_fails_or_is_masked() -> None:
    told = row_of([Message("user", "Whom do I ask?"), Message("assistant", "Write to jane.roe@brightmail.org today.")])
    assert judge_personal(told, Curate()).state == "fail"
    masked = judge_personal(told, Curate(personal="mask"))
    assert (masked.state, masked.reason) == ("pass", "is masked")


def test_why_a_row_passes_is_kept_too(tmp_path: Path) -> None:
    rows = [row("Whom do I ask?", "Write to jane.roe@brightmail.org today."), row("Name a tree", "An oak.", 1)]
    said = verdicts_of("personal", rows, tmp_path, personal="mask")
    assert [(verdict.state, verdict.reason) for verdict in said] == [("pass", "is masked"), ("pass", "")]
