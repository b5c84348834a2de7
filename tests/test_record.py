"""A record's id is its content's, tables read back as they were written, and half a file is never seen."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yearling.errors import BudgetError, Interrupted, ProofError, TeacherError, UserError
from yearling.record import (
    Message,
    Origin,
    Record,
    Verdict,
    digest,
    file_digest,
    read_records,
    read_table,
    read_verdicts,
    record_schema,
    verdict_schema,
    write_records,
    write_table,
    write_verdicts,
)

FULL = Record(
    (Message("system", "Be kind."), Message("user", "Hé?\n\x00 \u2028"), Message("assistant", "🙂" * 3)),
    Origin(
        method="alpaca",
        key="c1:ab/0",
        sequence=7,
        teacher="openai:x",
        parents=("r1:1", "r1:2"),
        licence="MIT",
        cost_usd=0.125,
        calls=("c1:ab", "c1:cd"),
        prompt_digest="d",
        source="s1, s2",
        traits="asked by: a nurse; tone: dry",
        passage="Nurses\nwork at night.",
    ),
    kind="rewrite",
)
PLAIN = Record((Message("user", "Name a colour."), Message("assistant", "Red.")), Origin("import", "k", 0))


# -- ids


def test_an_id_is_the_hash_of_content_and_birth() -> None:
    assert re.fullmatch(r"r1:[0-9a-f]{24}", PLAIN.id)
    assert PLAIN.id == "r1:" + digest([[["user", "Name a colour."], ["assistant", "Red."]], "k"])[:24]
    assert replace(PLAIN, id="", kind="question").id == PLAIN.id, "what is said of a record is not its content"
    assert (
        replace(PLAIN, id="", origin=replace(PLAIN.origin, sequence=9, licence="MIT", traits="t", passage="p")).id
        == PLAIN.id
    )
    others = [
        replace(PLAIN, id="", origin=replace(PLAIN.origin, key="other")),
        replace(PLAIN, id="", messages=(Message("user", "Name a colour."), Message("assistant", "Red"))),
        replace(PLAIN, id="", messages=(Message("system", "Name a colour."), Message("assistant", "Red."))),
        replace(PLAIN, id="", messages=PLAIN.messages[:1]),
    ]
    assert len({PLAIN.id, *(other.id for other in others)}) == 5


def test_an_altered_record_is_refused() -> None:
    with pytest.raises(UserError, match=rf"record {PLAIN.id} was altered"):
        Record((PLAIN.messages[0], Message("assistant", "Blue.")), PLAIN.origin, id=PLAIN.id)
    with pytest.raises(FrozenInstanceError):
        PLAIN.id = "r1:0"  # type: ignore[misc]


def test_prompt_and_completion() -> None:
    assert (FULL.prompt, FULL.completion) == ("Hé?\n\x00 \u2028", "🙂🙂🙂")
    waiting = Record((Message("user", "a"), Message("assistant", "b"), Message("user", "c")), PLAIN.origin)
    assert (waiting.prompt, waiting.completion) == ("c", "")
    assert Record((Message("system", "a"),), PLAIN.origin).prompt == ""


@pytest.mark.parametrize("value", ["\ud800", 'a"\\\n', {"b": 1, "a": [None, True, 1.5]}, "é", []])
def test_a_digest_depends_on_the_value_alone(value: Any) -> None:
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert digest(value) == digest(turned) != digest([value])
    assert re.fullmatch(r"[0-9a-f]{64}", digest(value))


# -- tables


def test_records_read_back_as_they_were(tmp_path: Path) -> None:
    write_records([FULL, PLAIN], tmp_path / "new" / "a-00000.parquet")
    write_records([replace(PLAIN, id="", origin=replace(PLAIN.origin, key="z"))], tmp_path / "new" / "a-00001.parquet")
    back = list(read_records(tmp_path / "new"))
    assert back[:2] == [FULL, PLAIN]
    assert [record.origin.key for record in back] == ["c1:ab/0", "k", "z"]
    table = pq.read_table(tmp_path / "new" / "a-00000.parquet")
    assert table.schema.equals(record_schema())
    assert table.schema.metadata[b"yearling.records"] == b"2"


def test_records_of_format_1_are_read(tmp_path: Path) -> None:
    """Parts written before traits and passages were kept lack those columns, and nothing else."""
    write_records([FULL, PLAIN], tmp_path / "a.parquet")
    old = pq.read_table(tmp_path / "a.parquet").drop_columns(["traits", "passage"])
    pq.write_table(old.replace_schema_metadata({"yearling.records": "1"}), tmp_path / "a.parquet")
    bare = replace(FULL, origin=replace(FULL.origin, traits="", passage=""))
    assert list(read_records(tmp_path)) == [bare, PLAIN]
    write_records([FULL], tmp_path / "b.parquet")
    assert list(read_records(tmp_path)) == [bare, PLAIN, FULL], "old and new parts lie in one folder"
    pq.write_table(old.drop_columns(["licence"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet lacks licence"):
        list(read_records(tmp_path))


def test_an_empty_part_and_an_empty_folder_hold_nothing(tmp_path: Path) -> None:
    write_records([], tmp_path / "a.parquet")
    assert list(read_records(tmp_path)) == []
    assert list(read_records(tmp_path / "none")) == []


def test_verdicts_read_back_as_they_were(tmp_path: Path) -> None:
    verdicts = [Verdict("r1:a", "pass"), Verdict("r1:b", "fail", "too short", 0.25), Verdict("r1:c", "skipped", "é")]
    write_verdicts(iter(verdicts), tmp_path / "v.parquet")
    assert list(read_verdicts(tmp_path)) == verdicts
    assert pq.read_table(tmp_path / "v.parquet").schema.equals(verdict_schema())


def test_a_table_altered_on_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_records([PLAIN], path)
    rows = list(read_table(tmp_path, record_schema()))
    rows[0]["messages"][1]["content"] = "Blue."
    write_table(rows, record_schema(), path)
    with pytest.raises(UserError, match="was altered"):
        list(read_records(tmp_path))


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_records([PLAIN] * 50, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} cannot be read"):
        list(read_records(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        list(read_records(tmp_path))


def test_a_part_without_the_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["r1:0"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet"):
        list(read_records(tmp_path))


# -- half a file


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    write_records([PLAIN], path)
    before = path.read_bytes()
    wrong: Any = [{"record": 3.5, "state": "pass"}]
    with pytest.raises(pa.ArrowException):
        write_table(wrong, verdict_schema(), path)
    assert path.read_bytes() == before

    def half(table: Any, where: Path, **options: Any) -> None:
        where.write_bytes(b"PAR1 half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises((OSError, UserError), match="No space left"):
        write_records([FULL], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    write_records([FULL], tmp_path / "a.parquet")
    write_records([PLAIN], tmp_path / "a.parquet")
    assert list(read_records(tmp_path)) == [PLAIN]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.parquet"]


def test_what_is_in_the_way_of_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises((OSError, UserError)):  # the command line has words for a system's refusal
        write_records([PLAIN], tmp_path / "records" / "a.parquet")
    assert (tmp_path / "records").read_text() == "in the way"


def test_a_files_digest_is_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# -- errors


def test_each_error_has_its_exit_code() -> None:
    kinds = (UserError, BudgetError, ProofError, TeacherError)
    assert [kind.exit_code for kind in kinds] == [2, 3, 4, 5]
    assert all(issubclass(kind, UserError) for kind in kinds)
    assert Interrupted.exit_code == 130
    assert not issubclass(Interrupted, UserError), "an interrupt is no mistake"
