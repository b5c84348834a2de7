"""A stage is done when its manifest is there, one process writes a run, and what was derived once stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yearling.errors import UserError
from yearling.run_folder import (
    FORMAT,
    Manifest,
    Run,
    folder_digest,
    list_runs,
    open_run,
    read_json,
    stage_key,
    write_json,
    write_text,
)


@pytest.fixture
def run(project: Path) -> Run:
    made = Run(project, "one")
    made.create()
    return made


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {"stage": "generate", "key": "k", "version": 1, "settings": {"num": 3}, "inputs": {}}
    return Manifest(**{**values, "counts": {"rows": 3}, **changes})


# -- manifests


def test_a_stage_is_done_when_its_manifest_is_there(run: Run) -> None:
    assert run.manifest("generate") is None
    written = manifest(proofs={"mask": {"rows": 3}}, cost_usd=None, seconds=1.5, versions={"yearling": "0.1.0"})
    run.finish(written)
    assert run.manifest("generate") == written
    assert run.manifest("train") is None
    run.forget("generate")
    run.forget("generate")
    assert run.manifest("generate") is None


@pytest.mark.parametrize("text", ["", "{", '{"stage": "generate"}', '{"shoe": 1}', "[]", "3", "\x00"])
def test_a_damaged_manifest_is_told(run: Run, text: str) -> None:
    (run.path / "generate.manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"generate\.manifest\.json"):
        run.manifest("generate")


def test_a_key_changes_with_settings_inputs_and_version() -> None:
    key = stage_key({"a": 1, "b": 2}, {"records": "d"}, 1)
    assert key == stage_key({"b": 2, "a": 1}, {"records": "d"}, 1)
    others = [stage_key({"a": 1, "b": 3}, {"records": "d"}, 1), stage_key({"a": 1, "b": 2}, {"records": "e"}, 1)]
    assert len({key, *others, stage_key({"a": 1, "b": 2}, {"records": "d"}, 2)}) == 4


# -- the folder


def test_a_run_is_made_once_and_of_one_format(run: Run) -> None:
    mark = run.path / "run.json"
    before = mark.read_bytes()
    run.create()
    assert mark.read_bytes() == before
    assert read_json(mark)["format"] == FORMAT
    write_json(mark, {"format": FORMAT + 1})
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}"):
        run.create()


def test_a_run_that_cannot_be_made_is_the_users_to_mend(project: Path) -> None:
    (project / "runs").write_text("in the way")
    with pytest.raises(UserError, match="cannot be made"):
        Run(project, "one").create()


@pytest.mark.parametrize("act", ["create", "list"])
def test_a_damaged_mark_is_told(run: Run, project: Path, act: str) -> None:
    (run.path / "run.json").write_text("[]")
    with pytest.raises(UserError, match=r"run\.json"):
        run.create() if act == "create" else list_runs(project)


def test_every_room_is_inside_the_run_and_the_ledger_outside(run: Run, project: Path) -> None:
    rooms = [run.records, run.verdicts, run.adapter, run.school, run.export, run.exam]
    assert len(set(rooms)) == 6
    assert all(room.parent == run.path == project / "runs" / "one" for room in rooms)
    assert run.ledger == project / "ledger.sqlite"


def test_runs_are_listed_the_newest_last_and_opened_by_name(project: Path) -> None:
    with pytest.raises(UserError, match="no runs in"):
        open_run(project, None)
    for age, name in enumerate(["b", "c", "a"]):
        Run(project, name).create()
        write_json(project / "runs" / name / "run.json", {"format": 1, "name": name, "created": 100.0 + age})
    (project / "runs" / "not-a-run").mkdir()
    assert [run.name for run in list_runs(project)] == ["b", "c", "a"]
    assert open_run(project, None).name == "a"
    assert open_run(project, "b") == Run(project, "b")
    with pytest.raises(UserError, match=r"no run 'd' here. There are: b, c, a\."):
        open_run(project, "d")


def test_deleting_a_run_leaves_the_ledger_and_the_others(run: Run, project: Path) -> None:
    Run(project, "two").create()
    run.ledger.write_text("paid")
    run.delete()
    assert not run.path.exists()
    assert [left.name for left in list_runs(project)] == ["two"]
    assert run.ledger.read_text() == "paid"


# -- events, frozen values


def test_events_are_lines_of_json(run: Run) -> None:
    run.event("start", stage="generate", path=run.path, text="é\n")
    run.event("end")
    lines = (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = map(json.loads, lines)
    assert (first["event"], first["text"], first["path"]) == ("start", "é\n", str(run.path))
    assert first["time"] <= second["time"]


def test_a_frozen_value_is_the_first_one(run: Run) -> None:
    asked: list[int] = []

    def derive() -> int:
        asked.append(1)
        return len(asked)

    assert run.freeze("threads", derive) == 1
    assert run.freeze("threads", derive) == 1
    assert Run(run.root, "one").freeze("threads", lambda: 99) == 1
    assert run.freeze("other", lambda: None) is None
    assert run.freeze("other", lambda: 5) is None, "None is a value too"
    assert len(asked) == 1


def test_a_frozen_value_is_of_one_type(run: Run) -> None:
    first = run.freeze("pair", lambda: (1, 2))
    assert run.freeze("pair", lambda: (3, 4)) == first


# -- the lock

HOLD = """
import sys
from pathlib import Path
from yearling.run_folder import Run
with Run(Path(sys.argv[1]), "one").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(run: Run, project: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(project)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="run one is in use by another yearling"), run.lock():
            pass
        with pytest.raises(UserError, match="in use"):
            run.delete()
        assert run.path.is_dir()
        holder.kill()
        holder.wait()
    with run.lock():
        pass


def test_the_lock_is_given_back_after_an_error(run: Run) -> None:
    with pytest.raises(RuntimeError), run.lock():
        raise RuntimeError
    with run.lock():
        pass


# -- files


def test_text_is_written_whole_or_not_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "new" / "a.json"
    write_json(path, {"a": "é", "path": project})
    assert read_json(path) == {"a": "é", "path": str(project)}
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")

    def full(self: Path, text: str, **options: Any) -> int:
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises((OSError, UserError), match="No space left"):
        write_json(path, {"a": 2})
    assert read_json(path)["a"] == "é"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_in_the_way_of_a_folder_stays(project: Path) -> None:
    (project / "a").write_text("in the way")
    with pytest.raises((OSError, UserError)):  # the command line has words for a system's refusal
        write_text(project / "a" / "b.json", "x")
    assert (project / "a").read_text() == "in the way"


def test_json_that_cannot_be_read_is_named(project: Path) -> None:
    for content in (b"{", b"\xff", b""):
        (project / "a.json").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.json cannot be read"):
            read_json(project / "a.json")
    with pytest.raises(UserError, match=r"b\.json cannot be read"):
        read_json(project / "b.json")


def test_a_folders_digest_is_of_names_and_bytes(project: Path) -> None:
    (project / "a").write_text("1")
    (project / "b").write_text("2")
    first = folder_digest(project)
    assert folder_digest(project, "a") != first
    (project / "b").rename(project / "c")
    renamed = folder_digest(project)
    (project / "c").write_text("3")
    assert len({first, renamed, folder_digest(project), folder_digest(project / "none")}) == 4
    (project / "c").rename(project / "b")
    (project / "b").write_text("2")
    assert folder_digest(project) == first
