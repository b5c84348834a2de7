"""Files up, files down, and folders of them; with what is the same left where it is.

In: two names, of which one is on Azure. Out: counts, and progress in MB/s. Deletes nothing unless it is told to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from yearling.cloud.opening import open_place
from yearling.cloud.parts import TOLD_EVERY_S, is_large
from yearling.cloud.store import Blob, Store
from yearling.errors import UserError
from yearling.places import remote
from yearling.progress import progress
from yearling.recipe import Recipe
from yearling.recipe_azure import Cloud
from yearling.recipe_file import with_paths

FILES_AT_ONCE = 16
MB = 1_000_000


@dataclass(frozen=True)
class Copied:
    """What a copy did."""

    files: int
    bytes: int
    same: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Job:
    """One file to be moved."""

    size: int
    work: Callable[[Callable[[int], None]], None]  # told how to say what it moved


def copy(source: str, target: str, azure: Cloud | None, sync: bool = False, delete: bool = False) -> Copied:
    """Copy a file or a folder to Azure or from there; `sync` leaves what has the same size and is not older.

    `delete` takes away what is at the target and not at the source. Raises UserError.
    """
    if bool(remote(source)) == bool(remote(target)):
        where = "both are" if remote(source) else "neither is"
        raise UserError(f"one of {source} and {target} has to be on Azure (az://account/container/path); {where}.")
    if remote(target):
        return _up(Path(source), target, azure, sync, delete)
    return _down(source, Path(target), azure, sync, delete)[1]


@lru_cache  # a run sees one state of it
def fetch(text: str, azure: Cloud | None) -> Path:
    """A blob or a folder of blobs, in this machine's cache; what is there already and did not change is not moved."""
    from yearling.hub import cache_folder
    from yearling.record import text_digest

    folder = cache_folder() / "azure" / "data" / text_digest(text)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    one, _ = _down(text, folder, azure, sync=True, delete=True)
    return folder / one if one else folder


def here(recipe: Recipe) -> Recipe:
    """The recipe with what lies on Azure in this machine's cache, but for data sets, fetched as they are read."""
    alone = recipe.model_copy(update={"import_": ()})
    near = with_paths(alone, lambda path: fetch(text, None) if (text := remote(path)) else path)
    return near.model_copy(update={"import_": recipe.import_})


def _up(source: Path, target: str, azure: Cloud | None, sync: bool, delete: bool) -> Copied:
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder.")
    store, path = open_place(target.rstrip("/"), azure)
    if source.is_file():
        name = f"{path}/{source.name}".lstrip("/") if not path or target.endswith("/") else path
        files = {name: source}
    else:
        inside = sorted(p for p in source.rglob("*") if p.is_file() and not p.name.endswith((".part", ".parts")))
        files = {f"{path}/{p.relative_to(source).as_posix()}".lstrip("/"): p for p in inside}
    there = {blob.name: blob for blob in store.blobs(path)} if sync else {}
    same = {name for name, file in files.items() if name in there and _is_same(there[name], file, up=True)}
    jobs = [_sent(store, file, name) for name, file in files.items() if name not in same]
    moved = move(jobs, f"to {store.place}")
    gone = sorted(there.keys() - files.keys()) if delete else []
    store.delete(gone)
    return Copied(len(jobs), moved, len(same), len(gone))


def _down(source: str, target: Path, azure: Cloud | None, sync: bool, delete: bool) -> tuple[str, Copied]:
    """The name of the one file that it was ("" for a folder), and what was copied."""
    store, path = open_place(source.rstrip("/"), azure)
    one = store.find(path) if path and not source.endswith("/") else None
    if one:
        files = {target / Path(path).name if target.is_dir() else target: one}
    else:
        files = {target / _relative(blob.name, path): blob for blob in store.blobs(path)}
        if not files:
            raise UserError(f"{store.place}: there is no blob and no folder of that name. Look: yearling blob ls …")
    same = {file for file, blob in files.items() if sync and file.is_file() and _is_same(blob, file, up=False)}
    jobs = [fetched(store, blob, file) for file, blob in files.items() if file not in same]
    moved = move(jobs, f"from {store.place}")
    gone = sorted(p for p in target.rglob("*") if p.is_file() and p not in files) if delete and not one else []
    for file in gone:
        file.unlink()
    return Path(path).name if one else "", Copied(len(jobs), moved, len(same), len(gone))


def _relative(name: str, folder: str) -> str:
    inside = name.removeprefix(folder).lstrip("/")
    if any(part in ("", ".", "..") for part in inside.split("/")) or "\\" in inside:
        raise UserError(f"the blob {name!r} has a name that no file here may have. Copy it by itself.")
    return inside


def _is_same(blob: Blob, file: Path, up: bool) -> bool:
    """Whether a copy would change nothing: the same size, and the blob is not older; a fetched file has its time."""
    state = file.stat()
    here = datetime.fromtimestamp(state.st_mtime, UTC).replace(microsecond=0)
    return state.st_size == blob.size and (blob.modified >= here if up else here == blob.modified)


def _sent(store: Store, file: Path, name: str) -> Job:
    return Job(file.stat().st_size, lambda moved: store.upload(file, name, moved))


def fetched(store: Store, blob: Blob, file: Path) -> Job:
    """The job of fetching a blob."""
    return Job(blob.size, lambda moved: store.download(blob, file, moved))


def move(jobs: Iterable[Job], label: str) -> int:
    """Do all jobs, large ones one after the other, small ones many at a time; the bytes moved."""
    every = sorted(jobs, key=lambda job: -job.size)
    total, done, began = sum(job.size for job in every), 0, time.monotonic()
    with progress(None, label, round(total / MB, 1), "MB") as advance:

        def moved(count: int) -> None:
            nonlocal done
            done += count
            rate = done / MB / max(time.monotonic() - began, 1e-3)
            advance(round(done / MB, 1), speed=f"{rate:.1f} MB/s")

        for job in every:
            if is_large(job.size):
                job.work(moved)
        for count in _landing([job for job in every if not is_large(job.size)]):
            moved(count)
    return total


def _landing(jobs: list[Job]) -> Iterator[int]:
    """Do small jobs, many at a time, and tell now and then how many bytes landed since; the first that fails ends it.

    Each thread takes one after the other: a task of its own for each would cost more than the file does.
    """
    left, landed = deque(jobs), deque[int]()  # both bear to be changed by several threads

    def work() -> None:
        while True:
            try:
                job = left.popleft()
            except IndexError:
                return
            job.work(_untold)
            landed.append(job.size)

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        flying = [pool.submit(work) for _ in range(min(FILES_AT_ONCE, len(jobs)))]
        try:
            while (seen := wait(flying, TOLD_EVERY_S, FIRST_EXCEPTION)).not_done:
                if any(future.exception() for future in seen.done):
                    break
                yield sum(landed.popleft() for _ in range(len(landed)))
        finally:
            left.clear()  # each thread ends after the file that it is at
    for future in flying:
        future.result()
    yield sum(landed)


def _untold(count: int) -> None:
    """A small file is told of once it is there."""
