"""A project that lies on Azure Blob: a working copy here, held by one machine at a time, and sent back as it grows.

In: a place. Out: a folder with `runs/` and the ledger, as every stage knows it; what changes there is sent every few
seconds, files first and manifests after them, so that no manifest is seen before what it speaks of. The ledger goes as
segments of what was written to it, each a blob that is never written twice. A lease on one blob keeps others out; it
ends a minute after the machine that held it died, and the next one goes on with all that was sent.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from yearling.cloud.copying import fetched, move
from yearling.cloud.opening import open_place
from yearling.cloud.store import Store, refused
from yearling.errors import UserError
from yearling.ledger import Ledger
from yearling.ledger_tables import SCHEMA, TABLES
from yearling.progress import say
from yearling.recipe_azure import Cloud
from yearling.record import text_digest
from yearling.run_folder import write_json

LOCK, SEGMENTS = ".yearling-lock", f"ledger/{SCHEMA}"
LEASE_S, RENEW_S = 60, 15.0
SEGMENT_S, FILES_S = 2.0, 10.0  # between two sendings
SETTLED_S = 1.0  # a file that was changed later than that may still be written
OWN = (".lock", ".tmp", ".part", ".parts")
INDEX, PENDING = ".sent.json", ".pending.jsonl"


class Mirror:
    """The working copy of a project, and what is known of the blobs that it stands for."""

    def __init__(self, store: Store, path: str, folder: Path, only: str = "") -> None:
        """`only` one run of the project, or all."""
        self.store, self.path, self.folder = store, path, folder
        self._runs = f"runs/{only}/" if only else "runs/"
        folder.mkdir(parents=True, exist_ok=True)
        self.sent: dict[str, list[Any]] = {}  # by file: tag of its blob, size and time of change when it was sent
        with suppress(OSError, ValueError):  # then all is looked at anew
            self.sent = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self._pending = folder / PENDING
        self._one = threading.Lock()

    def name(self, inside: str) -> str:
        """The whole name of a blob of the project."""
        return f"{self.path}/{inside}".lstrip("/")

    def fetch(self) -> None:
        """Bring here what is newer there; what was changed here and not sent yet stays, where nobody else went on."""
        there = {blob.name.removeprefix(self.path).lstrip("/"): blob for blob in self.store.blobs(self.path)}
        segments = sorted(name for name in there if name.startswith("ledger/"))
        files = {name: blob for name, blob in there.items() if name.startswith(self._runs)}
        newer = [name for name, blob in files.items() if self._tag(name) != blob.tag]
        for name in self.sent.keys() - files.keys() - {"ledger"}:
            (self.folder / name).unlink(missing_ok=True)
            del self.sent[name]
        if newer:
            jobs = [fetched(self.store, files[name], self.folder / name) for name in newer]
            move(jobs, f"from {self.store.place}")
        for name in newer:
            self._know(name, files[name].tag)
        self._replay(segments)
        self._keep()

    def send(self, settled_s: float = SETTLED_S) -> None:
        """Send what changed here, and take away there what is gone here."""
        with self._one:
            here = {file.relative_to(self.folder).as_posix(): file for file in self._files()}
            gone = sorted(self.sent.keys() - here.keys() - {"ledger"}, key=_manifests_last, reverse=True)
            if gone:
                self.store.delete([self.name(name) for name in gone])
                for name in gone:
                    del self.sent[name]
            now = time.time()
            for name in sorted(here, key=_manifests_last):
                state = here[name].stat()
                if self._state(name) == [state.st_size, state.st_mtime_ns] or now - state.st_mtime < settled_s:
                    continue
                self.store.upload(here[name], self.name(name))
                found = self.store.find(self.name(name))
                self.sent[name] = [found.tag if found else "", state.st_size, state.st_mtime_ns]
            self._keep()

    def take(self, queue: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Note what was written to the ledger, to be sent; on the disk when this returns."""
        with self._one, self._pending.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in queue)

    def send_segment(self) -> None:
        """Send what was written to the ledger since the last time, as one blob."""
        with self._one:
            if not self._pending.exists() or not (data := self._pending.read_bytes()):
                return
            number = self.sent.get("ledger", [0])[0] + 1
            if not self.store.write(self.name(f"{SEGMENTS}/{number:08d}.jsonl"), data, new=True):
                raise UserError(f"{self.store.place} has a ledger segment that was not sent from here. Start anew.")
            self.sent["ledger"] = [number]
            self._keep()
            self._pending.unlink()

    def send_whole(self) -> None:
        """Send a project that lay here until now: its files, and all of its ledger where none is there yet."""
        self.fetch()
        ledger = self.folder / "ledger.sqlite"
        if "ledger" not in self.sent and ledger.exists():
            with closing(sqlite3.connect(ledger)) as db:
                names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for name in (name for name in names if not name.startswith("sqlite_")):
                    rows = db.execute(f"SELECT * FROM {name}").fetchall()
                    self.take([(f"INSERT INTO {name} VALUES ({','.join('?' * len(row))})", row) for row in rows])
            self.send_segment()
        self.send(0.0)

    def _replay(self, segments: Sequence[str]) -> None:
        """Bring the ledger here to where the segments are."""
        done = self.sent.get("ledger", [0])[0]
        new = [name for name in segments if int(Path(name).stem) > done]
        if new and self._pending.exists() and self.store.read(self.name(new[0])) == self._pending.read_bytes():
            self.sent["ledger"] = [int(Path(new.pop(0)).stem)]  # sent from here, by a process that died as it had
            self._pending.unlink()
        if not new:
            return
        if self._pending.exists():
            aside = self._pending.with_name(f"pending-{int(time.time())}.jsonl")
            self._pending.replace(aside)
            say(f"azure: another machine went on with this project; what was not sent from here is in {aside}")
        ledger = self.folder / "ledger.sqlite"
        with sqlite3.connect(ledger, isolation_level=None) as db:
            db.executescript(f"{TABLES}\nPRAGMA user_version={SCHEMA};\nBEGIN;")
            for name in new:
                data = self.store.read(self.name(name)) or b""
                for line in data.decode("utf-8").splitlines():
                    statement, values = json.loads(line)
                    with suppress(sqlite3.IntegrityError):  # heard twice, where the disk refused it once
                        db.execute(statement, values)
            db.execute("COMMIT")
        db.close()
        self.sent["ledger"] = [int(Path(new[-1]).stem)]

    def _files(self) -> Iterator[Path]:
        runs = self.folder / self._runs
        yield from (p for p in runs.rglob("*") if p.is_file() and not p.name.endswith(OWN))

    def _tag(self, name: str) -> str:
        return str(self.sent[name][0]) if name in self.sent else ""

    def _state(self, name: str) -> list[int]:
        return self.sent[name][1:] if name in self.sent else []

    def _know(self, name: str, tag: str) -> None:
        state = (self.folder / name).stat()
        self.sent[name] = [tag, state.st_size, state.st_mtime_ns]

    def _keep(self) -> None:
        write_json(self.folder / INDEX, self.sent)


def _manifests_last(name: str) -> tuple[bool, str]:
    return name.endswith(".manifest.json"), name


@contextmanager
def remote_project(text: str, azure: Cloud | None, writing: bool) -> Iterator[Path]:
    """The folder of a project on Azure; where it is written to, it is held meanwhile and sent back."""
    from yearling.hub import cache_folder

    store, path = open_place(text, azure)
    mirror = Mirror(store, path, cache_folder() / "azure" / text_digest(str(store.place))[:16])
    if not writing:
        mirror.fetch()
        yield mirror.folder
        return
    with held(store, mirror.name(LOCK)) as lost:
        mirror.fetch()
        mirror.send_segment()  # what a process that was killed here had not sent
        stop = threading.Event()
        sender = threading.Thread(target=_sending, args=(mirror, stop, lost), daemon=True)
        Ledger.listener = mirror.take
        sender.start()
        try:
            yield mirror.folder
        finally:
            Ledger.listener = None
            stop.set()
            sender.join()
            if lost.is_set():
                raise UserError(
                    f"{store.place} was out of reach for a minute, and another machine may hold it. What was done "
                    f"since then is in {mirror.folder} and was not sent. Run the same command again."
                )
            mirror.send_segment()
            mirror.send(0.0)


def _sending(mirror: Mirror, stop: threading.Event, lost: threading.Event) -> None:
    """Send in the background, until it is stopped; a sending that fails is tried again."""
    files = time.monotonic() + FILES_S
    while not stop.wait(SEGMENT_S) and not lost.is_set():
        try:
            mirror.send_segment()
            if time.monotonic() >= files:
                mirror.send()
                files = time.monotonic() + FILES_S
        except UserError as error:
            say(f"azure: not sent yet, will be tried again: {error}")


@contextmanager
def held(store: Store, lock: str) -> Iterator[threading.Event]:
    """The lease of a project, renewed until it is let go; the event says that it was lost."""
    from azure.core.exceptions import AzureError

    lease = _leased(store, lock)
    stop, lost = threading.Event(), threading.Event()

    def renew() -> None:
        last = time.monotonic()
        while not stop.wait(RENEW_S):
            try:
                lease.renew()
                last = time.monotonic()
            except AzureError:
                if time.monotonic() - last > LEASE_S:
                    lost.set()
                    return

    keeper = threading.Thread(target=renew, daemon=True)
    keeper.start()
    try:
        yield lost
    finally:
        stop.set()
        keeper.join()
        with suppress(AzureError):
            lease.release()


def _leased(store: Store, lock: str) -> Any:
    """The lease, once it is ours; raises UserError where another process keeps it."""
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobLeaseClient

    store.write(lock, b"{}", new=True)
    lease: Any = BlobLeaseClient(store.client(lock))
    ends, told = time.monotonic() + LEASE_S + 5, False
    while True:
        try:
            with refused_but(store, lock):
                lease.acquire(LEASE_S)
            owner = {"host": platform.node(), "pid": os.getpid(), "since": time.time()}
            store.client(lock).upload_blob(json.dumps(owner).encode(), overwrite=True, lease=lease)
            return lease
        except ResourceExistsError:
            owner = json.loads(store.client(lock).download_blob().readall() or b"{}")
            if owner.get("host") == platform.node() and not _lives(int(owner.get("pid", 0))):
                lease.break_lease(0)
                continue
            if time.monotonic() > ends:
                raise UserError(
                    f"{store.place} is in use by another yearling, process {owner.get('pid')} of {owner.get('host')}. "
                    "Wait for it, or stop it."
                ) from None
            if not told:
                say(f"azure: held by process {owner.get('pid')} of {owner.get('host')}; waiting for a minute at most")
            told = True
            time.sleep(3)


def _lives(pid: int) -> bool:
    """Whether a process of this machine lives."""
    if sys.platform == "win32":
        return True  # asking would kill it there: its lease ends by itself
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


@contextmanager
def refused_but(store: Store, name: str) -> Iterator[None]:
    """As `refused`, but a lease that another holds stays what it is."""
    from azure.core.exceptions import ResourceExistsError

    held: ResourceExistsError | None = None
    with refused(store, name):
        try:
            yield
        except ResourceExistsError as error:
            held = error
    if held:
        raise held
