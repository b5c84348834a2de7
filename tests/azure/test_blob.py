"""`yearling blob` against Azurite: up, down, the same, broken, refused; as every identity that machines are given."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import azure_cloud
import pytest
from azure.storage.blob import BlobClient
from azure_cloud import Cloud
from golden_line import command_line as cli

from yearling.cloud import parts
from yearling.cloud.copying import FILES_AT_ONCE, Copied, Job, copy, move
from yearling.cloud.opening import open_place
from yearling.errors import UserError
from yearling.recipe_azure import Cloud as Settings

pytestmark = pytest.mark.timeout(120)


def put_files(folder: Path, sizes: dict[str, int]) -> Path:
    dice = random.Random(3)
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(dice.randbytes(size))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a MiB, so that small files have many."""
    monkeypatch.setattr(parts, "PART", 1 << 20)
    monkeypatch.setattr(parts, "LARGE", 1 << 20)


SIZES = {"a.json": 10, "empty": 0, "deep/er/ä ö#1%25.bin": 70_000, "large.bin": 17 << 20}


@pytest.mark.parametrize("flow", ["imds", "azureml", "app", "key"])
@pytest.mark.parametrize("client", [None, azure_cloud.USER])
def test_a_folder_goes_up_and_comes_back(
    container: str,
    azure: Cloud,
    tmp_path: Path,
    flow: str,
    client: str | None,
    on: Callable[[Cloud, str], None],
) -> None:
    on(azure, flow)
    here, there = put_files(tmp_path / "here", SIZES), Settings(client_id=client)
    total = sum(SIZES.values())
    assert copy(str(here), f"{container}/x", there) == Copied(4, total)
    assert copy(f"{container}/x", str(tmp_path / "back"), there) == Copied(4, total)
    assert digests(tmp_path / "back") == digests(here)
    if flow != "key":
        asked = {told.get("client_id") or told.get("clientid") for told in azure.tokens}
        assert asked == {client}


def test_a_token_is_renewed_while_work_goes_on(container: str, azure: Cloud, tmp_path: Path) -> None:
    azure.lives = 30
    store, path = open_place(f"{container}/x")
    for n in range(3):
        assert store.write(path, b"x%d" % n) and store.read(path) == b"x%d" % n
        assert store.find(path)
        time.sleep(0.2)  # one that was fetched a tenth of a second ago is not asked for again
    assert len(azure.tokens) > 3, "one that is soon over is not used again"


def test_only_what_differs_is_synced(container: str, tmp_path: Path) -> None:
    here = put_files(tmp_path / "here", {"a": 10, "b": 20, "c/d": 30})
    target = f"{container}/x"
    assert copy(str(here), target, Settings(), sync=True) == Copied(3, 60)
    assert copy(str(here), target, Settings(), sync=True) == Copied(0, 0, same=3)
    (here / "b").write_bytes(b"longer than it was before")
    (here / "a").unlink()
    assert copy(str(here), target, Settings(), sync=True, delete=True) == Copied(1, 25, same=1, deleted=1)
    assert copy(target, str(tmp_path / "back"), Settings(), sync=True) == Copied(2, 55)
    put_files(tmp_path / "back", {"more": 5})
    assert copy(target, str(tmp_path / "back"), Settings(), sync=True, delete=True) == Copied(0, 0, same=2, deleted=1)
    assert digests(tmp_path / "back") == digests(here)


def test_a_broken_upload_goes_on_with_what_is_there(
    container: str, azure: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    file = put_files(tmp_path, {"large": 9 << 20}) / "large"
    real, sent = BlobClient.stage_block, list[str]()

    def failing(client: BlobClient, block: str, *given: Any, **more: Any) -> Any:
        if len(sent) == 5:
            raise KeyboardInterrupt
        sent.append(block)
        return real(client, block, *given, **more)

    monkeypatch.setattr(BlobClient, "stage_block", failing)
    with pytest.raises(KeyboardInterrupt):
        copy(str(file), f"{container}/large", Settings())
    store, path = open_place(f"{container}/large")
    assert store.find(path) is None, "half of a blob is never seen"
    monkeypatch.setattr(BlobClient, "stage_block", real)
    azure.asked.clear()
    assert copy(str(file), f"{container}/large", Settings()) == Copied(1, 9 << 20)
    staged = [path for method, path, _ in azure.asked if method == "PUT" and "comp=block&" in path]
    assert len(staged) == 4
    assert store.read(path) == file.read_bytes()


def test_a_broken_download_goes_on_with_what_is_there(
    container: str, azure: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    file, back = put_files(tmp_path, {"large": 9 << 20}) / "large", tmp_path / "back"
    copy(str(file), f"{container}/large", Settings())
    store, path = open_place(f"{container}/large")
    blob = store.find(path)
    assert blob

    def stop(count: int) -> None:
        moved.append(count)
        if sum(moved) >= 8 << 20:  # of which as many parts as fly at once may not have landed
            raise KeyboardInterrupt

    moved = list[int]()
    with pytest.raises(KeyboardInterrupt):
        store.download(blob, back, stop)
    assert not back.exists() and back.with_name("back.part").exists()
    azure.asked.clear()
    store.download(blob, back)
    assert len([1 for method, *_ in azure.asked if method == "GET"]) <= 5
    assert back.read_bytes() == file.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "large"]


def test_a_blob_that_changed_meanwhile_is_not_sewn_together(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    store, path = open_place(f"{container}/large")
    file = put_files(tmp_path, {"large": 3 << 20}) / "large"
    store.upload(file, path)
    old = store.find(path)
    assert old
    file.write_bytes(random.Random(9).randbytes(3 << 20))
    store.upload(file, path)
    with pytest.raises(UserError, match="changed"):
        store.download(old, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_part_that_fails_ends_the_others_in_their_middle() -> None:
    ended = list[int]()

    def work(part: int, count: Callable[[int], None]) -> None:
        if part == 0:
            time.sleep(0.1)
            raise UserError("refused")
        try:
            while True:
                count(1)
                time.sleep(0.01)
        finally:
            ended.append(part)

    with pytest.raises(UserError, match="refused"):
        parts._in_parts(work, range(9), lambda count: None, lambda landed: None)
    assert set(ended) >= {1, 2, 3} and len(ended) <= 4


@pytest.mark.parametrize("size", [5, 9 << 20])
def test_a_blob_that_was_deleted_meanwhile_is_told(container: str, tmp_path: Path, size: int) -> None:
    store, path = open_place(f"{container}/x")
    store.upload(put_files(tmp_path, {"x": size}) / "x", path)
    blob = store.find(path)
    assert blob
    store.delete([path])
    with pytest.raises(UserError, match=r"is gone: somebody deleted it|was changed while it was read"):
        store.download(blob, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_large_blob_is_held_against_whatever_it_says_of_itself(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    store, path = open_place(f"{container}/large")
    data, back = random.Random(5).randbytes(3 << 20), tmp_path / "back"
    whole = {"xxh128": parts.checksum(data).hex()}
    halves = b"".join(parts.checksum(data[at : at + (2 << 20)]) for at in range(0, len(data), 2 << 20))
    for told in ({}, whole, {"xxh128parts": f"{2 << 20}-{parts.checksum(halves).hex()}"}):
        store.client(path).upload_blob(data, overwrite=True, metadata=told)
        assert copy(f"{container}/large", str(back), Settings()) == Copied(1, len(data))
        assert back.read_bytes() == data
        back.unlink()
    store.client(path).upload_blob(data[::-1], overwrite=True, metadata=whole)
    with pytest.raises(UserError, match="checksum differs"):
        copy(f"{container}/large", str(back), Settings())
    assert not list(tmp_path.iterdir()), "the next try begins anew"


def test_bytes_that_are_not_those_that_were_written_are_refused(container: str, tmp_path: Path) -> None:
    store, path = open_place(f"{container}/x")
    store.write(path, b"right")
    store.client(path).upload_blob(b"wrong", overwrite=True, metadata={"xxh128": parts.checksum(b"right").hex()})
    with pytest.raises(UserError, match="checksum differs"):
        copy(f"{container}/x", str(tmp_path / "x"), Settings())
    assert not (tmp_path / "x").exists()


def test_answers_that_break_in_the_middle_are_asked_for_again(container: str, azure: Cloud, tmp_path: Path) -> None:
    here = put_files(tmp_path / "here", {"a": 50_000, "b": 17 << 20})
    copy(str(here), container, Settings())
    azure.breaks = 3
    copy(container, str(tmp_path / "back"), Settings())
    assert azure.breaks == 0 and digests(tmp_path / "back") == digests(here)


@pytest.mark.parametrize(("status", "code"), [(503, "ServerBusy"), (429, "TooManyRequests")])
def test_a_busy_service_is_waited_for(container: str, azure: Cloud, tmp_path: Path, status: int, code: str) -> None:
    here = put_files(tmp_path / "here", {str(n): 100 for n in range(20)})
    azure.faults += [("PUT", status, code, "busy")] * 5
    copy(str(here), container, Settings())
    azure.faults += [("GET", status, code, "busy")] * 5
    copy(container, str(tmp_path / "back"), Settings())
    assert digests(tmp_path / "back") == digests(here) and not azure.faults


def test_a_part_that_the_service_was_too_busy_for_is_sent_from_its_start(
    container: str, azure: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    file, counts = put_files(tmp_path, {"large": (9 << 20) + 5}) / "large", list[int]()
    azure.faults += [("PUT", 503, "ServerBusy", "busy"), ("PUT", 429, "TooManyRequests", "busy")]
    store, path = open_place(f"{container}/large")
    store.upload(file, path, counts.append)
    assert not azure.faults and sum(counts) == (9 << 20) + 5, "what is sent again is not counted twice"
    found = store.find(path)
    assert found
    store.download(found, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_that_changes_while_it_is_sent_is_not_there_afterwards(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    small_parts(monkeypatch)
    file = put_files(tmp_path, {"large": 9 << 20}) / "large"

    def change(count: int) -> None:
        file.write_bytes(random.Random(1).randbytes((10 if grows else 2) << 20))

    store, path = open_place(f"{container}/large")
    with pytest.raises(UserError, match=r"while it was sent\. Run the same command again"):
        store.upload(file, path, change)
    assert store.find(path) is None


def test_a_folder_of_an_account_with_folders_is_no_empty_blob(container: str, tmp_path: Path) -> None:
    """A data lake shows its folders as empty blobs that say so in their metadata."""
    copy(str(put_files(tmp_path / "here", {"a": 5})), f"{container}/x", Settings())
    store, path = open_place(f"{container}/x")
    store.client(path).upload_blob(b"", metadata={"hdi_isfolder": "true"})
    assert copy(f"{container}/x", str(tmp_path / "back"), Settings()) == Copied(1, 5)
    assert digests(tmp_path / "back") == digests(tmp_path / "here")


@pytest.mark.parametrize("count", [0, 3, 300])
def test_small_files_are_all_moved_and_counted(count: int) -> None:
    done = list[int]()
    jobs = [Job(number + 1, partial(lambda number, moved: done.append(number), number)) for number in range(count)]
    assert move(jobs, "somewhere") == count * (count + 1) // 2 and sorted(done) == list(range(count))


def test_the_first_small_file_that_fails_ends_the_move() -> None:
    """What other threads have at hand is finished, and nothing is begun after it."""
    done = list[int]()

    def work(number: int, moved: Callable[[int], None]) -> None:
        if number == 290:
            raise UserError("refused")
        if number < 290:
            time.sleep(0.2)
        done.append(number)

    # the largest go first
    jobs = [Job(number + 1, partial(work, number)) for number in range(300)]
    with pytest.raises(UserError, match="refused"):
        move(jobs, "somewhere")
    assert len(done) <= 9 + FILES_AT_ONCE


def test_a_listing_has_all_pages(container: str, tmp_path: Path) -> None:
    store, _ = open_place(container)
    here = put_files(tmp_path / "here", {f"{n:04}": 1 for n in range(1200)} | {"0000-b/x": 1})
    copy(str(here), f"{container}/many", Settings())
    assert sorted(blob.name for blob in store.blobs("many")) == sorted(f"many/{name}" for name in digests(here))


def test_the_command_line(container: str, tmp_path: Path) -> None:
    here = put_files(tmp_path / "here", {"a": 10, "b/c": 20})
    done = cli("blob", "cp", str(here), f"{container}/x", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"files": 2, "bytes": 30, "same": 0, "deleted": 0}
    assert "as the identity of this machine" in done.err
    listed = cli("blob", "ls", f"{container}/x", "--json")
    assert [json.loads(line)["name"] for line in listed.out.splitlines()] == ["x/a", "x/b/c"]
    assert cli("blob", "sync", f"{container}/x", str(tmp_path / "back")).out == "2 files, 0.0 MB copied\n"
    assert digests(tmp_path / "back") == digests(here)
    wrong = cli("blob", "cp", "a", "b")
    assert wrong.code == 2 and "one of a and b has to be on Azure" in wrong.err
