"""The run folder: names, manifests, stage keys, frozen values, the lock, and the event log.

In: a project folder and a run name. Out: paths, and small JSON files that are written last and by rename.
Does not know what any stage does.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from yearling.errors import UserError
from yearling.record import digest, file_digest

FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """What a finished stage did: its presence is what "done" means."""

    stage: str
    key: str
    version: int
    settings: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, int]
    results: dict[str, Any] = field(default_factory=dict)
    proofs: dict[str, Any] = field(default_factory=dict)
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


def stage_key(settings: Any, inputs: Mapping[str, str], version: int) -> str:
    """The key that decides whether a stage runs again: settings, input digests, version."""
    return digest([settings, dict(inputs), version])


@dataclass(frozen=True)
class Run:
    """One run folder, `<root>/runs/<name>`; `root` also holds the ledger that all runs share."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.root / "runs" / self.name

    @property
    def records(self) -> Path:
        """Parquet parts of records."""
        return self.path / "records"

    @property
    def verdicts(self) -> Path:
        """One folder a judge."""
        return self.path / "verdicts"

    @property
    def adapter(self) -> Path:
        """The trained adapter."""
        return self.path / "adapter"

    @property
    def school(self) -> Path:
        """Checkpoints, losses and rows of training."""
        return self.path / "train"

    @property
    def export(self) -> Path:
        """Files that run elsewhere."""
        return self.path / "export"

    @property
    def exam(self) -> Path:
        """Scores, answers and reports."""
        return self.path / "eval"

    @property
    def ledger(self) -> Path:
        """The ledger of the project, outside every run."""
        return self.root / "ledger.sqlite"

    def create(self) -> None:
        """Make the folder, or check that this version can read it."""
        mark = self.path / "run.json"
        if mark.exists():
            found = _read_mark(mark).get("format")
            if found != FORMAT:
                raise UserError(f"{self.path} has format {found}, this yearling reads {FORMAT}. Use a new run name.")
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made: {error.strerror}. Choose a folder you may write.") from None
        write_json(mark, {"format": FORMAT, "name": self.name, "created": time.time()})

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of a finished stage, or None."""
        path = self.path / f"{stage}.manifest.json"
        if not path.exists():
            return None
        try:
            return Manifest(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path} is damaged ({error}). Delete it and run the same command again.") from None

    def finish(self, manifest: Manifest) -> None:
        """Write a stage's manifest: the last act of the stage."""
        write_json(self.path / f"{manifest.stage}.manifest.json", asdict(manifest))

    def forget(self, stage: str) -> None:
        """Take a stage's manifest away, so that a stage begun anew is not seen as done."""
        (self.path / f"{stage}.manifest.json").unlink(missing_ok=True)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to `events.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False, default=str)
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def freeze(self, name: str, derive: Callable[[], T]) -> T:
        """The value derived at the first start of the run; a resume elsewhere repeats nothing."""
        path = self.path / "frozen.json"
        frozen = read_json(path) if path.exists() else {}
        if name not in frozen:
            frozen[name] = json.loads(json.dumps(derive()))  # the first start gets what a resume will read
            write_json(path, frozen)
        value: T = frozen[name]
        return value

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one writer; raises UserError where another process has it."""
        import filelock

        lock = filelock.FileLock(str(self.path / ".lock"), timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(f"run {self.name} is in use by another yearling. Wait for it, or stop it.") from None
        try:
            yield
        finally:
            lock.release()

    def delete(self) -> None:
        """Remove the run folder; the ledger's paid answers stay."""
        with self.lock():
            pass
        shutil.rmtree(self.path)


def list_runs(root: Path) -> list[Run]:
    """All runs of a project, the newest last."""
    marks = sorted((root / "runs").glob("*/run.json"), key=lambda p: _read_mark(p).get("created", 0.0))
    return [Run(root, mark.parent.name) for mark in marks]


def open_run(root: Path, name: str | None) -> Run:
    """An existing run by name, or the newest one; raises UserError with the names there are."""
    runs = list_runs(root)
    if not runs:
        raise UserError(f"no runs in {root / 'runs'}. `yearling demo` or `yearling run recipe.yaml` makes one.")
    if name is None:
        return runs[-1]
    found = next((run for run in runs if run.name == name), None)
    if found is None:
        raise UserError(f"no run {name!r} here. There are: {', '.join(run.name for run in runs)}.")
    return found


def _read_mark(path: Path) -> dict[str, Any]:
    """What a `run.json` says."""
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("created", 0.0), int | float):
        raise UserError(f"{path} is damaged. Restore it, or delete the folder {path.parent}.")
    return found


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """One digest for the names and bytes of a folder's files."""
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    return digest([[p.name, file_digest(p)] for p in files])


def read_json(path: Path) -> Any:
    """A JSON file; raises UserError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}. Restore the file, or delete it and run again.") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON by rename, so that a half-written file is never seen."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text by rename; raises UserError where the disk or the folder refuses."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
