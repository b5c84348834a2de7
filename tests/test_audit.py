"""A person's marks: a draw that stays, questions that fit the row, every mark kept at once, shares that are right."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from yearling.audit import FILE, Drawn, audit, audit_view, draw, read_marks, report, write_mark
from yearling.errors import UserError
from yearling.measure.accepted import accepted
from yearling.recipe import Recipe
from yearling.record import Message, Origin, Record, Verdict, write_records, write_verdicts
from yearling.run_folder import Run

RECIPE = Recipe.model_validate({"name": "bot", "curate": {}})
BARE = Recipe.model_validate({"name": "bot"})
# as a command line drives it: a process of its own, reading a pipe
DRIVE = """
import json, sys
from pathlib import Path
from yearling.audit import audit
from yearling.recipe import Recipe
from yearling.run_folder import Run
recipe = Recipe.model_validate({"name": "bot", "curate": {}})
print(json.dumps(audit(Run(Path(sys.argv[1]), "bot"), recipe)))
"""


def row(prompt: str, completion: str, sequence: int) -> Record:
    turns = Message("user", prompt), Message("assistant", completion)
    return Record(turns, Origin("import", f"k{sequence}", sequence))


ROWS = [
    *(row(f"Name the number {at}", f"It is {at}.", at) for at in range(4)),
    row("Add these numbers\n\n2 and 2", "4", 4),
    row("Write to jane.doe@tidewell-offices.com", "Done.", 5),
    row("Say nothing", "", 6),
]
IDS = [r.id for r in ROWS]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Seven rows, of which a judge dropped the last."""
    run = Run(tmp_path, "bot")
    run.create()
    write_records(ROWS, run.records / "a.parquet")
    verdicts = [Verdict(id, "fail" if id == IDS[6] else "pass", "empty" if id == IDS[6] else "") for id in IDS]
    write_verdicts(verdicts, run.verdicts / "shape" / "verdicts.parquet")
    return run


def type_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def lines(run: Run) -> list[dict[str, Any]]:
    text = (run.path / "audit" / FILE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def printed(data: dict[str, Any], width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(audit_view(data))
    return console.export_text()


def by_question(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {line["question"]: line for line in data["questions"]}


# -- the draw


def test_the_draw_is_seeded_and_grows_without_change(run: Run) -> None:
    few, all_ = draw(run, RECIPE, "accepted", 3, 42), draw(run, RECIPE, "accepted", 200, 42)
    assert few == all_[:3] and {r.id for r in all_} == {r.id for r in accepted(run, RECIPE)} == set(IDS[:6])
    orders = {tuple(r.id for r in draw(run, RECIPE, "accepted", 200, seed)) for seed in range(8)}
    assert len(orders) > 4
    late = row("Late", "Born.", 7)
    write_records([late], run.records / "b.parquet")
    write_verdicts([Verdict(late.id, "pass")], run.verdicts / "shape" / "more.parquet")
    after = [r.id for r in draw(run, RECIPE, "accepted", 200, 42)]
    assert late.id in after and [id for id in after if id != late.id] == [r.id for r in all_]


def test_dropped_rows_can_be_drawn(run: Run) -> None:
    assert [r.id for r in draw(run, RECIPE, "dropped", 200, 42)] == [IDS[6]]


def test_a_row_is_shown_as_it_is_trained_on(run: Run) -> None:
    texts = {r.id: r.turns[0].content for r in draw(run, RECIPE, "accepted", 200, 42)}
    assert texts[IDS[5]] == "Write to jane.doe@tidewell-offices.com"
    masking = Recipe.model_validate({"name": "bot", "curate": {"personal": "mask"}})
    drawn = {r.id: r.turns for r in draw(run, masking, "accepted", 200, 42)}
    trained = {r.origin.parents[0] if r.origin.parents else r.id: r.messages for r in accepted(run, masking)}
    assert drawn == trained and "jane.doe" not in drawn[IDS[5]][0].content


def test_without_judgement_all_answered_rows_are_drawn(run: Run) -> None:
    assert {r.id for r in draw(run, BARE, "accepted", 200, 42)} == set(IDS[:6])
    with pytest.raises(UserError, match="not curated"):
        draw(run, BARE, "dropped", 200, 42)


def test_nothing_to_audit_is_said(run: Run) -> None:
    write_verdicts([Verdict(id, "fail", "no") for id in IDS], run.verdicts / "shape" / "verdicts.parquet")
    with pytest.raises(UserError, match="no accepted rows"):
        audit(run, RECIPE)


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("Add these.\n\n2 and 2", True),
        ("Add these.\n \t\n2 and 2", True),
        ("\n\nAdd 2 and 2.\n\n", False),
        ("Add\n2\nand 2", False),
        ("", False),
    ],
)
def test_the_input_is_asked_about_where_there_is_one(prompt: str, asked: bool) -> None:
    turns = Message("user", "Before\n\nthat"), Message("assistant", "Yes"), Message("user", prompt)
    assert ("input" in Drawn("r1:0", (*turns, Message("assistant", "4"))).questions) is asked


# -- asking, through a pipe


def order(run: Run) -> list[Drawn]:
    return draw(run, RECIPE, "accepted", 200, 42)


def test_every_row_is_asked_about_and_every_mark_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = order(run)
    answers = ["".join("n" if q == "input" else "y" for q in r.questions) for r in drawn]
    type_in(monkeypatch, *answers)
    data = audit(run, RECIPE)
    told = by_question(data)
    assert (data["rows"], data["marked"]) == (6, 6)
    assert [(told[q]["yes"], told[q]["no"]) for q in ("instruction", "input", "answer", "all")] == [
        (6, 0),
        (0, 1),
        (6, 0),
        (5, 1),
    ]
    assert [(m["record"], m["question"]) for m in lines(run)] == [(r.id, q) for r in drawn for q in r.questions]
    streams = capsys.readouterr()
    assert streams.out == "" and "1 of 6  r1:" in streams.err and "6 of 6  r1:" in streams.err
    assert "empty" not in streams.err and "shape" not in streams.err  # what judges said would sway a person
    type_in(monkeypatch)
    assert audit(run, RECIPE)["marked"] == 6
    assert "all rows are marked" in capsys.readouterr().err


def test_words_and_single_letters_are_understood_and_others_asked_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = order(run)[0]
    type_in(monkeypatch, "", "what?", "yx", "YES", "skip", *["s"] * (len(first.questions) - 2), "quit", "y")
    audit(run, RECIPE)
    assert [m["mark"] for m in lines(run)][:2] == ["y", "s"] and len(lines(run)) == len(first.questions)
    said = capsys.readouterr().err
    assert said.count("y yes, n no") == 4 and "stopped" in said


def test_letters_left_over_never_mark_a_row_that_was_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = len(order(run)[0].questions)
    type_in(monkeypatch, "y" * (size + 1))
    audit(run, RECIPE)
    assert len(lines(run)) == size and "left over and not used: y" in capsys.readouterr().err


def test_back_marks_again_and_the_last_mark_counts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = order(run)
    first, second = drawn[0], drawn[1]
    type_in(monkeypatch, "y" * len(first.questions), "b", "n", "y", "b", "b", "s", "q")
    audit(run, RECIPE)
    marks = read_marks(run.path / "audit" / FILE)
    assert marks[first.id, first.questions[-1]] == "s"
    assert marks[second.id, second.questions[0]] == "y"
    assert len(marks) == len(first.questions) + 1 and len(lines(run)) == len(marks) + 2
    type_in(monkeypatch, "b" * 50, "q")
    assert audit(run, RECIPE)["marked"] == 1  # back at the first question stays there


def test_the_end_of_the_input_is_a_stop_and_the_same_command_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = order(run)
    type_in(monkeypatch, "y" * len(drawn[0].questions), "n")
    assert audit(run, RECIPE)["marked"] == 1
    type_in(monkeypatch, "y" * (len(drawn[1].questions) - 1), *("y" * len(r.questions) for r in drawn[2:]))
    data = audit(run, RECIPE)
    assert data["marked"] == 6 and (
        by_question(data)["instruction"]["yes"],
        by_question(data)["instruction"]["no"],
    ) == (5, 1)
    assert len(lines(run)) == sum(len(r.questions) for r in drawn)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of another process is for POSIX")
def test_a_pipe_of_its_own_process_and_ctrl_c(run: Run) -> None:
    command = [sys.executable, "-c", DRIVE, str(run.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as asked:
        assert asked.stdin and asked.stderr
        asked.stdin.write("y\n")
        asked.stdin.flush()
        until = time.monotonic() + 30
        while not (run.path / "audit" / FILE).exists() or not lines(run):  # the mark is there while it waits
            assert time.monotonic() < until and asked.poll() is None
            time.sleep(0.05)
        asked.send_signal(signal.SIGINT)
        assert asked.wait(30) != 0 and "KeyboardInterrupt" in asked.stderr.read()
    assert len(lines(run)) == 1
    rest = "s\n" * (sum(len(r.questions) for r in order(run)) - 1)
    done = subprocess.run(command, input=rest, capture_output=True, text=True, timeout=60, check=True)
    data = json.loads(done.stdout)
    assert data["marked"] == 6 and by_question(data)["instruction"]["yes"] == 1


def test_a_row_gives_the_terminal_no_orders(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records([row("\x1b]0;pwned\x07[bold]Hi[/bold]\x9b31m", "a\tb\nc", 0)], run.records / "a.parquet")
    type_in(monkeypatch)
    audit(run, BARE)
    said = capsys.readouterr().err
    assert "␛]0;pwned␇[bold]Hi[/bold]�31m" in said and not set(said) & {"\x1b", "\x07", "\x9b"}


# -- marks on disk


def test_a_mark_cut_off_in_writing_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit" / FILE
    write_mark(path, "r1:a", "answer", "y")
    with path.open("ab") as file:
        file.write(b'{"time": 1, "record": "r1:b", "ques')
    write_mark(path, "r1:c", "answer", "n")
    with path.open("ab") as file:
        file.write(b'[]\n{"record": "r1:d", "question": "answer", "mark": "maybe"}\n\xff\n')
    write_mark(path, "r1:a", "answer", "s")
    assert read_marks(path) == {("r1:a", "answer"): "s", ("r1:c", "answer"): "n"}
    assert read_marks(tmp_path / "none.jsonl") == {}


# -- the report


def drawn_rows(count: int) -> list[Drawn]:
    turns = Message("user", "Add.\n\n2 and 2"), Message("assistant", "4")
    return [Drawn(f"r1:{at}", turns) for at in range(count)]


@pytest.mark.parametrize(
    ("yes", "no", "low", "high"),
    # Wilson's interval as published: Newcombe 1998, table I (81 of 263, 15 of 148, 0 of 20, 1 of 29)
    [(81, 182, 0.2553, 0.3662), (15, 133, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 28, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(yes: int, no: int, low: float, high: float) -> None:
    rows = drawn_rows(yes + no + 3)
    marks = {(row.id, "answer"): "y" if at < yes else "n" if at < yes + no else "s" for at, row in enumerate(rows)}
    line = by_question(report(rows, marks))["answer"]
    assert (line["yes"], line["no"], line["skipped"]) == (yes, no, 3)
    assert line["share"]["value"] == pytest.approx(yes / (yes + no))
    assert line["share"]["low"] == pytest.approx(low, abs=5e-5) and line["share"]["high"] == pytest.approx(
        high, abs=5e-5
    )


def test_all_valid_counts_rows_that_were_marked_whole() -> None:
    rows = drawn_rows(5)
    said = ["yyy", "yny", "ysy", "yn", "sss"]
    marks = {
        (row.id, q): m for row, ms in zip(rows, said, strict=True) for q, m in zip(row.questions, ms, strict=False)
    }
    data = report(rows, marks)
    told = by_question(data)
    assert (told["all"]["yes"], told["all"]["no"]) == (1, 1)
    assert (told["input"]["yes"], told["input"]["no"], told["input"]["skipped"]) == (1, 2, 2)
    assert (data["rows"], data["marked"]) == (5, 4)


def test_marks_of_rows_that_are_not_drawn_do_not_count() -> None:
    rows = drawn_rows(2)
    data = report(rows[:1], {(row.id, q): "n" for row in rows for q in row.questions})
    assert by_question(data)["answer"]["no"] == 1


def test_the_report_alone_asks_nothing_and_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    data = audit(run, RECIPE, ask=False)
    assert data["marked"] == 0 and all(line["share"] is None for line in data["questions"])
    assert "not marked yet" in printed(data) and not (run.path / "audit").exists()
    for drawn in order(run)[:4]:
        for question in drawn.questions:
            write_mark(run.path / "audit" / FILE, drawn.id, question, "y")
    data = audit(run, RECIPE, ask=False)
    shown = printed(data)
    assert json.loads(json.dumps(data)) == data
    assert "100% (51% to 100%)" in shown and "4 of 6 accepted rows are marked" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
