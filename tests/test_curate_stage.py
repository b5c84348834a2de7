"""The curate stage asks again only whom it must, the accepted view follows it, and families stay whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yearling.curate.judges import JUDGES
from yearling.curate.stage import run_curate
from yearling.errors import UserError
from yearling.measure.accepted import Split, accepted, accepted_split, born, kin_of, roots, split_of
from yearling.measure.text import fold
from yearling.recipe import Curate, Recipe
from yearling.record import Message, Origin, Record, read_verdicts, write_records
from yearling.run_folder import Run, read_json

NAMES = tuple(judge.name for judge in JUDGES)
COMPARING = ["exact", "contradiction", "near", "novelty"]
OFF: dict[str, Any] = {"off": ["contamination"]}  # which depends on who stands on the test side


def row(prompt: str, completion: str, sequence: int = 0, **origin: Any) -> Record:
    method = origin.pop("method", "alpaca")
    born_as = Origin(method, origin.pop("key", f"call-{sequence}"), sequence, **origin)
    return Record((Message("user", prompt), Message("assistant", completion)), born_as)


def recipe(**curate: Any) -> Recipe:
    return Recipe.model_validate({"name": "x", "curate": curate})


# -- the stage


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path, "x")
    run.create()
    return run


ROWS = [
    row("Name a bright colour", "Red is a bright and lively colour.", 0),
    row("Name a bright colour", "", 1),  # shape
    row("Describe the sea at night", "I'm sorry, but I can't help with that.", 2),  # refusal
    row("Describe the sea at night", "Dark and wide it lies under the moon.", 3),
    row("describe the sea at night!", "dark and wide it lies under the moon", 4),  # exact
    row("Describe the sea at night please", "It lies black and still.", 5),  # novelty
    row("Explain how tides come about", "The moon pulls at the water of the seas.", 6),
]


def asked(run: Run) -> list[str]:
    """Judges asked by the last call of the stage."""
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event["judge"] for event in [e for e in events if e["event"] == "judge"][-len(JUDGES) :] if event["asked"]]


def states(run: Run, judge: str) -> list[str]:
    by_id = {v.record: v for v in read_verdicts(run.verdicts / judge)}
    return [by_id[r.id].state for r in ROWS]


def test_every_record_has_a_verdict_of_every_judge(run: Run) -> None:
    write_records(ROWS[::-1], run.records / "part-0.parquet")
    # with contamination a row that holds a prompt of the test side falls to that
    counts = run_curate(recipe(test=0.5, off=["contamination"]), run)
    assert states(run, "shape") == ["pass", "fail", *["pass"] * 5]
    assert states(run, "refusal") == ["pass", "pass", "fail", *["pass"] * 4]
    assert states(run, "exact") == ["pass", "skipped", "skipped", "pass", "fail", "pass", "pass"]
    assert states(run, "novelty") == ["pass", "skipped", "skipped", "pass", "skipped", "fail", "pass"]
    reasons = {v.record: v.reason for v in read_verdicts(run.verdicts / "novelty")}
    assert [reasons[ROWS[i].id] for i in (1, 2, 4)] == ["failed shape", "failed refusal", "failed exact"]
    assert ROWS[3].id in reasons[ROWS[5].id]
    assert counts["in"] == 7
    assert counts["accepted"] == counts["train"] + counts["test"] == 3
    # The empty row also fails length, but shape was first: the counts add up.
    took = {"shape": 1, "refusal": 1, "exact": 1, "novelty": 1}
    assert {name: counts[f"failed_{name}"] for name in NAMES} == {name: took.get(name, 0) for name in NAMES}
    assert [r.id for r in accepted(run, recipe())] == [ROWS[i].id for i in (0, 3, 6)]
    note = read_json(run.verdicts / "novelty.json")
    assert note["states"] == {"pass": 3, "fail": 1, "skipped": 3}
    assert note["reasons"]["fail: ROUGE-L … to …"] == 1
    assert note["settings"] == 0.7


def test_a_judge_is_asked_again_only_if_its_key_changed(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(**OFF), run)
    assert asked(run) == list(NAMES)
    times = {name: (run.verdicts / name / "verdicts.parquet").stat().st_mtime_ns for name in NAMES}
    run_curate(recipe(**OFF), run)
    assert asked(run) == []
    assert times == {name: (run.verdicts / name / "verdicts.parquet").stat().st_mtime_ns for name in NAMES}
    run_curate(recipe(**OFF, novelty=0.9), run)
    assert asked(run) == ["novelty"]
    run_curate(recipe(**OFF, novelty=0.9, length={"max_prompt": 300}), run)
    assert asked(run) == ["length"]
    run_curate(recipe(**OFF, novelty=0.9, length={"min_completion": 6}), run)  # the one of five words goes
    assert asked(run) == ["length", *COMPARING]
    run_curate(recipe(**OFF, novelty=0.9, length={"min_completion": 6}, test=0.3), run)
    assert asked(run) == []
    write_records([row("One more question", "One more answer.", 9)], run.records / "part-1.parquet")
    run_curate(recipe(**OFF, novelty=0.9, length={"min_completion": 6}), run)
    assert asked(run) == list(NAMES)


def test_reasons_follow_where_survivors_do_not_change(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    run_curate(recipe(off=["shape"]), run)  # the empty row now falls to length alone
    assert asked(run) == ["shape"]
    for name in ("exact", "novelty"):
        reasons = {v.record: v.reason for v in read_verdicts(run.verdicts / name)}
        assert reasons[ROWS[1].id] == "failed length"


def test_a_kill_between_table_and_note_is_mended(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    (run.verdicts / "exact.json").unlink()
    run_curate(recipe(), run)
    assert asked(run) == ["exact"]
    (run.verdicts / "novelty" / "verdicts.parquet").unlink()
    run_curate(recipe(), run)
    assert asked(run) == ["novelty"]


def test_a_judge_of_a_new_version_is_asked_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    run_curate(recipe(), run)
    newer = tuple(replace(j, version=99) if j.name == "refusal" else j for j in JUDGES)
    monkeypatch.setattr("yearling.curate.stage.JUDGES", newer)
    run_curate(recipe(), run)
    assert asked(run) == ["refusal"]


def test_order_is_birth_not_the_order_of_files(run: Run) -> None:
    first, second = row("Name a red fruit", "Apple is one.", 1), row("Name a red fruit!", "apple is one", 2)
    write_records([second], run.records / "part-0.parquet")
    write_records([first], run.records / "part-1.parquet")
    run_curate(recipe(), run)
    assert [r.id for r in accepted(run, recipe())] == [first.id]


def test_a_row_stored_twice_counts_once(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    write_records(ROWS[:1], run.records / "part-1.parquet")
    assert run_curate(recipe(), run)["in"] == len(born(run)) == len(ROWS)


def test_a_failed_row_hides_nothing_behind_it(run: Run) -> None:
    """A duplicate of a row that an earlier judge took is not a duplicate."""
    spoiled = row("Name a red fruit", "Apple is one.<|im_end|>", 1)
    good = row("Name a red fruit", "Apple is one.", 2)
    write_records([spoiled, good], run.records / "part-0.parquet")
    run_curate(recipe(), run)
    assert [r.id for r in accepted(run, recipe())] == [good.id]


def test_nothing_left_names_the_judge_and_the_knob(run: Run) -> None:
    rows = [row(f"Question number {n}", "I'm sorry, but I can't help with that.", n) for n in range(3)]
    write_records([*rows, row("Hi", "Hello.", 9)], run.records / "part-0.parquet")
    with pytest.raises(UserError, match=r"none of 4 records; failed by length 1, refusal 3\. curate\.off: \[refusal\]"):
        run_curate(recipe(), run)
    assert (run.verdicts / "novelty.json").exists()


def test_no_records_and_no_section_are_said_plainly(run: Run) -> None:
    with pytest.raises(UserError, match="no records"):
        run_curate(recipe(), run)
    with pytest.raises(UserError, match="no `curate:` section"):
        run_curate(Recipe(name="x"), run)


def test_accepted_needs_a_verdict_on_each_record(run: Run) -> None:
    write_records(ROWS, run.records / "part-0.parquet")
    with pytest.raises(UserError, match="have not been judged"):
        accepted(run, recipe())
    run_curate(recipe(), run)
    write_records([row("One more question", "One more answer.", 9)], run.records / "part-1.parquet")
    with pytest.raises(UserError, match="no verdict on 1 of 8 records"):
        accepted(run, recipe())
    assert len(accepted(run, Recipe(name="x"))) == 7  # without judges: all that have an answer


# -- splits


def test_split_is_about_its_share_and_does_not_move() -> None:
    rows = [row(f"Question number {n}?", "Yes.", n) for n in range(2000)]
    known = roots(kin_of(rows))
    sides = [split_of(r, Curate(test=0.1), known) for r in rows]
    assert 150 < sides.count("test") < 250
    assert [split_of(r, Curate(test=0.1), roots(kin_of(rows[:50]))) for r in rows[:50]] == sides[:50]
    # A value once released stays: these are part of what a run means.
    assert [n for n in range(40) if sides[n] == "test"] == [9, 29, 31]


def test_families_never_straddle() -> None:
    for n in range(60):
        root = row(f"Question number {n}?", "Yes.", 0)
        child = row(f"Harder question {n}", "No.", 1, parents=(root.id,))
        grandchild = row(f"Hardest question {n}", "Maybe.", 2, parents=("r1:absent", child.id))
        again = row(f"question NUMBER {n}", "Another answer.", 3)
        imported = row(f"harder question {n}!", "Perhaps.", 4, method="import")
        family = [root, child, grandchild, again, imported]
        known = roots(kin_of(family))
        assert set(known.values()) == {fold(root.prompt)}
        assert len({split_of(r, Curate(test=0.5), known) for r in family}) == 1


def test_a_family_whose_start_was_never_born_stays_together() -> None:
    """Parents are named nearest first: where none of them is there, the farthest one named is the family's."""
    for n in range(60):
        start = f"r1:start-{n}"
        first = row(f"Question number {n}?", "Yes.", 0, parents=(start,))
        second = row(f"Other question {n}", "No.", 1, parents=(f"r1:failed-{n}", start))
        child = row(f"Harder question {n}", "Maybe.", 2, parents=("r1:failed-too", second.id, start))
        again = row(f"harder question {n}!", "Perhaps.", 3, method="import")
        stranger = row(f"Strange question {n}", "So.", 4, parents=("r1:elsewhere",))
        family = [first, second, child, again]
        known = roots(kin_of([*family, stranger]))
        assert {known[member.id] for member in family} == {start}
        assert known[stranger.id] == "r1:elsewhere"
        assert len({split_of(r, Curate(test=0.5), known) for r in family}) == 1


def test_a_parent_that_is_there_comes_before_one_that_is_only_named() -> None:
    root = row("Question one?", "Yes.", 0)
    child = row("Harder question", "No.", 1, parents=("r1:failed", root.id, "r1:before-all"))
    assert roots(kin_of([root, child])) == dict.fromkeys([root.id, child.id], fold(root.prompt))


def test_a_rejected_parent_still_holds_its_children_together(run: Run) -> None:
    rows: list[Record] = []
    for n in range(12):
        parent = row(f"Parent question {n * 7919}", "I'm sorry, but I can't help with that.", 3 * n)
        rows.append(parent)
        rows += [
            row(f"{verb} {n * 31}", "Well, yes.", 3 * n + 1, parents=(parent.id,)) for verb in ("Rhyme it", "Count so")
        ]
    write_records(rows, run.records / "part-0.parquet")
    settings = recipe(test=0.5, novelty=None)
    counts = run_curate(settings, run)
    both: tuple[Split, ...] = ("train", "test")
    sides = {r.id: side for side in both for r in accepted_split(run, settings, side)}
    assert counts["accepted"] == 24 == len(sides)
    assert counts["test"] == list(sides.values()).count("test") > 0 < counts["train"]
    for n in range(12):
        assert sides[rows[3 * n + 1].id] == sides[rows[3 * n + 2].id]
